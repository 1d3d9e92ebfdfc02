"""A guardian at home opens the product of the published ballots, and nothing that is smaller."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from streams.tally.crypto.ballots import (
    BallotState,
    EncryptedBallot,
    ballot_code,
    encrypt_ballot,
    selection_hash,
)
from streams.tally.crypto.documents import from_json, to_json
from streams.tally.crypto.elgamal import accumulate
from streams.tally.crypto.hashing import hash_elements
from streams.tally.crypto.manifest import BallotStyle, GeopoliticalUnit, Manifest, plain_manifest
from streams.tally.crypto.shares import verify_share
from streams.tally.crypto.tallies import Accumulator, BallotLines, EncryptedTally, spoiled_tally
from streams.tally.files import Product, ToDecrypt
from streams.tally.helpers import Helpers
from streams.tally.offline import CheckedProducts, check_products, make_shares, remember_opened
from streams.tally.opening import BallotsHead, content_digest
from streams.tally.packing import pack_lines
from streams.tally.refusals import RefusalCheck, Refused
from tests.small_election import Voting, begin_election

CAST = 4
SPOILED = 4
"""Place of the spoiled ballot."""


def two_districts() -> Manifest:
    """Everybody votes for a mayor; the second contest is on the ballots of one street only."""
    shape = {"mayor": ["ann", "bob"], "street": ["yes", "no"]}
    plain = plain_manifest("e", shape, moment=datetime(2026, 1, 1, tzinfo=UTC))
    contests = [
        plain.contests[0],
        msgspec.structs.replace(plain.contests[1], electoral_district_id="street"),
    ]
    return msgspec.structs.replace(
        plain,
        geopolitical_units=[
            *plain.geopolitical_units,
            GeopoliticalUnit("street", "street", "other"),
        ],
        contests=contests,
        ballot_styles=[
            BallotStyle("ballot", ["district"]),
            BallotStyle("both", ["district", "street"]),
        ],
    )


class Home:
    """An election, what the office publishes of it, and what it asks a guardian to open."""

    def __init__(self, held: Voting, directory: Path) -> None:
        self.held = held
        self.directory = directory
        states = [BallotState.CAST] * CAST + [BallotState.SPOILED]
        self.ballots = [self.ballot(f"b{n}", state) for n, state in enumerate(states)]

    def ballot(
        self, name: str, state: BallotState = BallotState.CAST, style: str = "ballot"
    ) -> EncryptedBallot:
        choices = {"mayor": ["mayor-ann-selection"]}
        return encrypt_ballot(self.held.election, name, style, choices, state=state)

    def lines(self, ballot: EncryptedBallot) -> BallotLines:
        return from_json(BallotLines, to_json(ballot))

    def total(self, places: Sequence[int]) -> EncryptedTally:
        accumulator = Accumulator(self.held.election)
        for place in places:
            accumulator.add(self.lines(self.ballots[place]).lines())
        return accumulator.result("tally")

    def opened(self, place: int) -> EncryptedTally:
        """A published ballot's lines as something to decrypt alone."""
        return self.alone(self.ballots[place])

    def alone(self, ballot: EncryptedBallot) -> EncryptedTally:
        """A ballot's lines as something to decrypt alone."""
        return spoiled_tally(ballot.object_id, self.lines(ballot), self.held.election)

    def head(self) -> str:
        head = BallotsHead()
        for ballot in self.ballots:
            packed = pack_lines(self.held.election, self.lines(ballot).lines())
            head.add(int(ballot.state), content_digest(packed))
        return head.value()

    def given(self, *products: Product) -> ToDecrypt:
        return ToDecrypt(
            "e",
            to_json(self.held.election.manifest).decode(),
            to_json(self.held.election.context).decode(),
            to_json(self.held.keys).decode(),
            list(products),
        )

    async def check(
        self, *products: Product, head: str | None = None, minimum: int = CAST
    ) -> CheckedProducts:
        path = self.directory / "ballots.jsonl"
        path.write_bytes(b"".join(to_json(ballot) + b"\n" for ballot in self.ballots))
        head = self.head() if head is None else head
        async with Helpers(1) as helpers:
            return await check_products(
                self.given(*products), path, helpers, head=head, minimum=minimum
            )

    async def refuses(
        self,
        check: RefusalCheck,
        *products: Product,
        head: str | None = None,
        minimum: int = CAST,
    ) -> None:
        with pytest.raises(Refused) as caught:
            await self.check(*products, head=head, minimum=minimum)
        assert caught.value.check == check, caught.value


@pytest.fixture(scope="module")
def held() -> Voting:
    return begin_election(two_districts(), random.Random(1), guardians=1, quorum=1)


@pytest.fixture
def home(held: Voting, tmp_path: Path) -> Home:
    return Home(held, tmp_path)


def everything(home: Home) -> list[Product]:
    return [
        Product(0, "total", [home.total(range(CAST))]),
        Product(1, "spoiled", [home.opened(SPOILED)]),
    ]


async def test_the_product_of_the_published_ballots_is_opened(home: Home) -> None:
    checked = await home.check(*everything(home))
    assert checked.head == home.head()
    secret, key = home.held.secrets[0], home.held.keys[0]
    shares = make_shares(checked, secret)
    for unit, product in enumerate(everything(home)):
        (share,), (tally,) = shares.own[unit], product.tallies
        verify_share(share, tally, key, home.held.election.extended_hash)


async def test_chunks_are_opened_that_have_each_ballot_once(home: Home) -> None:
    chunks = [
        Product(0, "chunk", [home.total([0, 3])], [0, 3]),
        Product(1, "chunk", [home.total([2, 1])], [1, 2]),
    ]
    await home.check(*chunks, minimum=2)
    await home.refuses(RefusalCheck.MINIMUM, *chunks, minimum=3)


@pytest.mark.parametrize(
    ("check", "products"),
    [
        # One cast ballot, called the total, a chunk, or spoiled.
        (RefusalCheck.TALLY, lambda home: [Product(0, "total", [home.total([2])])]),
        (RefusalCheck.TALLY, lambda home: [Product(0, "chunk", [home.total([2])], [2])]),
        (
            RefusalCheck.REPEATED,
            lambda home: [*everything(home), Product(2, "spoiled", [home.opened(2)])],
        ),
        # One that was never published.
        (
            RefusalCheck.TALLY,
            lambda home: [
                *everything(home),
                Product(2, "spoiled", [home.alone(home.ballot("new"))]),
            ],
        ),
        # The difference of two products is a ballot.
        (
            RefusalCheck.TALLY,
            lambda home: [*everything(home), Product(2, "chunk", [home.total([2])], [2])],
        ),
        (
            RefusalCheck.REPEATED,
            lambda home: [
                Product(0, "chunk", [home.total(range(CAST))], [0, 1, 2, 3]),
                Product(1, "chunk", [home.total([0, 1, 3])], [0, 1, 3]),
            ],
        ),
        (
            RefusalCheck.REPEATED,
            lambda home: [*everything(home), Product(2, "spoiled", [home.opened(SPOILED)])],
        ),
        # What is no cast ballot.
        (
            RefusalCheck.TALLY,
            lambda home: [Product(0, "chunk", [home.total(range(CAST))], [0, 1, 2, 3, 10**9])],
        ),
        (RefusalCheck.FORMAT, lambda home: [Product(0, "other", [home.total([2])])]),
        (
            RefusalCheck.FORMAT,
            lambda home: [Product(0, "total", [home.total(range(CAST)), home.total([2])])],
        ),
    ],
)
async def test_less_than_the_published_ballots_is_refused(
    home: Home, check: RefusalCheck, products: Callable[[Home], list[Product]]
) -> None:
    await home.refuses(check, *products(home), minimum=1)


async def test_ballots_of_another_head_are_refused(home: Home) -> None:
    head = home.head()
    # A cast ballot that the office calls spoiled: no hash of it covers its state.
    home.ballots[2] = msgspec.structs.replace(home.ballots[2], state=BallotState.SPOILED)
    others = [
        Product(0, "total", [home.total([0, 1, 3])]),
        Product(1, "spoiled", [home.opened(2), home.opened(SPOILED)]),
    ]
    await home.refuses(RefusalCheck.TALLY, *others, head=head, minimum=1)
    await home.check(*others, minimum=1)


async def test_the_count_of_a_few_ballots_is_refused_in_every_contest(home: Home) -> None:
    await home.refuses(RefusalCheck.MINIMUM, *everything(home), minimum=CAST + 1)
    # Enough ballots, but one alone has the street's contest.
    home.ballots[1] = home.ballot("b1", style="both")
    await home.refuses(RefusalCheck.MINIMUM, *everything(home), minimum=2)
    await home.check(*everything(home), minimum=1)


async def test_a_spoiled_ballot_that_copies_a_cast_one_does_not_open_it(home: Home) -> None:
    """Its lines are those of a cast ballot in another order: a copy that no code recognises."""
    home.ballots[SPOILED] = reordered(home.ballots[2], "other")
    await home.refuses(RefusalCheck.REPEATED, *everything(home))


def reordered(ballot: EncryptedBallot, name: str) -> EncryptedBallot:
    """Every proof holds: proofs of ElectionGuard 1.x name neither line nor ballot."""
    (contest,) = ballot.contests
    first, second, *rest = contest.ballot_selections
    swapped = [
        msgspec.structs.replace(
            own,
            ciphertext=other.ciphertext,
            proof=other.proof,
            crypto_hash=selection_hash(own.object_id, own.description_hash, other.ciphertext),
        )
        for own, other in ((first, second), (second, first))
    ]
    selections = [*swapped, *rest]
    hashes = [selection.crypto_hash for selection in selections]
    contest = msgspec.structs.replace(
        contest,
        ballot_selections=selections,
        ciphertext_accumulation=accumulate(selection.ciphertext for selection in selections),
        crypto_hash=hash_elements(contest.object_id, contest.description_hash, *hashes),
    )
    crypto_hash = hash_elements(name, ballot.manifest_hash, contest.crypto_hash)
    return msgspec.structs.replace(
        ballot,
        object_id=name,
        contests=[contest],
        crypto_hash=crypto_hash,
        code=ballot_code(ballot.code_seed, ballot.timestamp, crypto_hash),
        state=BallotState.SPOILED,
    )


async def test_a_guardian_opens_no_second_set_of_products(home: Home, tmp_path: Path) -> None:
    file = tmp_path / "ann.opened.json"
    checked = await home.check(*everything(home))
    remember_opened(checked, file)
    remember_opened(checked, file)
    assert file.stat().st_mode & 0o077 == 0
    chunks = [
        Product(0, "chunk", [home.total([0, 1])], [0, 1]),
        Product(1, "chunk", [home.total([2, 3])], [2, 3]),
    ]
    other = await home.check(*chunks, minimum=2)
    with pytest.raises(Refused) as caught:
        remember_opened(other, file)
    assert caught.value.check == RefusalCheck.TALLY

"""What a guardian does offline: checks what it is asked to open, then computes its shares."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path

import msgspec
from gmpy2 import mpz

from streams.tally.ballot_file import PublishedBallot, lines_of, published_ballots
from streams.tally.crypto.ceremony import Backup, GuardianKey, GuardianSecret, open_backup
from streams.tally.crypto.documents import from_json, to_json
from streams.tally.crypto.election import CryptoElection
from streams.tally.crypto.shares import make_compensated_share, make_share
from streams.tally.crypto.tallies import Accumulator, BallotLines, EncryptedTally, spoiled_tally
from streams.tally.files import Product, Shares, ToDecrypt, read_document, write_document
from streams.tally.helpers import Helpers
from streams.tally.opening import BallotsHead, ContestCounts
from streams.tally.packing import unpack_lines
from streams.tally.refusals import RefusalCheck, require
from streams.tally.store import CAST, SPOILED
from streams.tally.work import load_election


@dataclass(frozen=True)
class CheckedProducts:
    """Products of published ballots, from :func:`check_products` only."""

    given: ToDecrypt
    head: str
    """Of the ballots."""


class Opened(msgspec.Struct, frozen=True):
    """What a guardian decrypts of an election, kept beside its secret."""

    election_id: str
    head: str
    products: str
    """Digest of the products."""


@dataclass
class _Sum:
    """A product while its ballots are read."""

    counts: ContestCounts
    product: Accumulator


class _ProductCheck:
    """Recomputes the products from the ballots, one at a time."""

    def __init__(self, given: ToDecrypt, election: CryptoElection) -> None:
        self._election = election
        self._sums: dict[int, tuple[Product, _Sum]] = {}
        self._total = next((p.unit for p in given.products if p.kind == "total"), None)
        self._unit_of: dict[int, int] = {}
        """Of cast ballots by place, where chunks are decrypted."""
        self._spoiled: dict[str, EncryptedTally] = {}
        """By ballot, until it is found among the ballots."""
        for product in given.products:
            if product.kind == "spoiled":
                self._begin_spoiled(product)
            else:
                self._begin_sum(product)
        require(
            self._total is None or (len(self._sums) == 1 and not self._unit_of),
            RefusalCheck.TALLY,
            "parts of the ballots are to be decrypted beside the total",
        )
        self._pads = {
            line.pad for tally in self._spoiled.values() for line in tally.lines().values()
        }

    def _begin_spoiled(self, product: Product) -> None:
        for tally in product.tallies:
            require(
                tally.object_id not in self._spoiled,
                RefusalCheck.REPEATED,
                "a spoiled ballot is to be decrypted twice",
                ballot=tally.object_id,
            )
            self._spoiled[tally.object_id] = tally

    def _begin_sum(self, product: Product) -> None:
        where = {"unit": product.unit}
        require(
            product.kind in {"total", "chunk"}
            and len(product.tallies) == 1
            and product.unit not in self._sums,
            RefusalCheck.FORMAT,
            "a product is not one total, chunk or group of spoiled ballots",
            **where,
        )
        self._sums[product.unit] = (
            product,
            _Sum(ContestCounts(self._election), Accumulator(self._election)),
        )
        for place in product.ballots:
            require(
                place not in self._unit_of,
                RefusalCheck.REPEATED,
                "a ballot is in two products, whose difference would open others",
                **where,
            )
            self._unit_of[place] = product.unit

    def add(self, ballot: PublishedBallot) -> None:
        """Add the next published ballot."""
        if ballot.admitted.state == CAST:
            self._add_cast(ballot)
        elif ballot.admitted.state == SPOILED and ballot.admitted.ballot_id in self._spoiled:
            name = ballot.admitted.ballot_id
            lines = from_json(BallotLines, ballot.text)
            require(
                self._spoiled.pop(name) == spoiled_tally(name, lines, self._election),
                RefusalCheck.TALLY,
                "what is to be decrypted is not the spoiled ballot of this id",
                ballot=name,
            )

    def _add_cast(self, ballot: PublishedBallot) -> None:
        unit = self._total
        if unit is None:
            unit = self._unit_of.pop(ballot.place, None)
        require(
            unit is not None,
            RefusalCheck.TALLY,
            "a cast ballot is in none of the products",
            ballot=ballot.admitted.ballot_id,
        )
        assert unit is not None
        found = self._sums[unit][1]
        found.counts.add(ballot.admitted.ciphertexts)
        found.product.add(unpack_lines(self._election, ballot.admitted.ciphertexts))
        if self._pads:
            # Proofs of ElectionGuard 1.x do not name their ballot.
            lines = from_json(BallotLines, ballot.text).lines().values()
            require(
                not any(line.pad in self._pads for line in lines),
                RefusalCheck.REPEATED,
                "a spoiled ballot holds a ciphertext of this cast ballot and would open it",
                ballot=ballot.admitted.ballot_id,
            )

    def finish(self, minimum: int) -> None:
        """Compare, once all ballots are added."""
        require(
            not self._spoiled,
            RefusalCheck.TALLY,
            "a single ballot is to be decrypted that is not published as spoiled",
            ballot=next(iter(self._spoiled), ""),
        )
        require(
            not self._unit_of,
            RefusalCheck.TALLY,
            "a product names ballots that are not published as cast",
        )
        for unit, (product, found) in self._sums.items():
            found.counts.check(minimum, f"{product.kind} {unit}")
            (tally,) = product.tallies
            require(
                found.product.result(tally.object_id) == tally,
                RefusalCheck.TALLY,
                "a product is not that of the published ballots",
                unit=unit,
            )


async def check_products(
    given: ToDecrypt,
    ballots: Path,
    helpers: Helpers,
    *,
    head: str,
    minimum: int,
    advance: Callable[[int], None] = lambda _: None,
) -> CheckedProducts:
    """Check that the products are those of the published ballots, and reveal no single vote.

    Args:
        ballots: the published ballots, with their proofs.
        head: the published head of the ballots.
        minimum: fewest ballots whose count is decrypted.
        advance: called with the number of ballots just checked.

    Raises:
        Refused: a ballot does not verify; `tally`, if a product is another one; `minimum`;
            `repeated`, if a spoiled ballot copies a cast one or a ballot is in two products.
    """
    described = given.described()
    election, _ = load_election(described)
    check = _ProductCheck(given, election)
    found = BallotsHead()
    async for ballot in published_ballots(
        partial(lines_of, ballots), described, helpers, advance=advance
    ):
        check.add(ballot)
        found.add(ballot.admitted.state, ballot.content)
    require(
        found.value() == head.strip().lower(),
        RefusalCheck.TALLY,
        "these are not the published ballots: their head is another one",
        file=ballots,
        head=found.value(),
    )
    check.finish(minimum)
    return CheckedProducts(given, found.value())


def remember_opened(checked: CheckedProducts, file: Path) -> None:
    """Keep what is decrypted, and refuse other products of the same election.

    The difference of two products can be a single ballot.

    Raises:
        Refused: `tally`.
        SettingsError: the file cannot be read or written.
    """
    products = sha256(to_json(checked.given.products)).hexdigest()
    opened = Opened(checked.given.election_id, checked.head, products)
    if file.exists():
        require(
            read_document(Opened, file) == opened,
            RefusalCheck.TALLY,
            "this guardian decrypted other products of this election before",
            file=file,
        )
        return
    write_document(opened, file, secret=True)


def make_shares(
    checked: CheckedProducts,
    secret: GuardianSecret,
    *,
    missing: Sequence[str] = (),
    backups: Sequence[Backup] = (),
    advance: Callable[[int], None] = lambda _: None,
) -> Shares:
    """Compute a guardian's shares of all products.

    Args:
        missing: guardians to replace, using their `backups` for this guardian.
        advance: called with the number of products just done.

    Raises:
        Refused: a backup is missing or invalid, or a product does not belong to the election.
    """
    given = checked.given
    election, keys = load_election(given.described())
    by_name: dict[str, GuardianKey] = {key.owner_id: key for key in keys}
    for name in (secret.owner_id, *missing):
        require(name in by_name, RefusalCheck.GUARDIANS, "no such guardian", guardian=name)
    coordinates: dict[str, mpz] = {}
    for name in missing:
        found = [
            backup
            for backup in backups
            if (backup.owner_id, backup.designated_id) == (name, secret.owner_id)
        ]
        require(bool(found), RefusalCheck.BACKUP, "a backup is missing", owner=name)
        coordinates[name] = open_backup(found[0], secret, by_name[name])
    key, extended_hash = by_name[secret.owner_id], election.extended_hash
    own, compensated = {}, {}
    for product in given.products:
        own[product.unit] = [make_share(t, secret, key, extended_hash) for t in product.tallies]
        compensated[product.unit] = [
            [
                make_compensated_share(t, coordinate, key, by_name[name], extended_hash)
                for t in product.tallies
            ]
            for name, coordinate in coordinates.items()
        ]
        advance(1)
    return Shares(given.election_id, secret.owner_id, own, compensated)

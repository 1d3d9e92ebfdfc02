"""Checks the ballots of a record of ElectionGuard 2, each by itself."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import islice
from multiprocessing import get_context
from typing import Final

from gmpy2 import mpz

from streams.tally.crypto.group import ONE
from streams.tally.refusals import RefusalCheck, Refused, plain_name, require
from streams.tally.second.documents import SecondBallot, SecondContest, SecondManifest
from streams.tally.second.group import P, hash_bytes
from streams.tally.second.proofs import Keys, read_pair, verify_range
from streams.tally.steps import during

CAST: Final = "CAST"
CHALLENGED: Final = ("CHALLENGED", "SPOILED")
_CONTEST, _CODE = 0x23, 0x24
_FOR_EACH: Final = 4
"""Ballots in memory for each process."""


@dataclass(frozen=True)
class SecondElection:
    """What the proofs of ballots and tallies are about."""

    keys: Keys
    manifest: SecondManifest

    def style(self, name: str) -> list[SecondContest]:
        """The contests of a ballot style, in order.

        Raises:
            Refused: `style`.
        """
        units = {
            unit
            for style in self.manifest.ballot_styles
            if style.object_id == name
            for unit in style.geopolitical_unit_ids
        }
        require(bool(units), RefusalCheck.STYLE, "no such ballot style")
        ordered = sorted(self.manifest.contests, key=lambda contest: contest.sequence_order)
        return [contest for contest in ordered if contest.electoral_district_id in units]

    def contest(self, name: str) -> SecondContest:
        """A contest.

        Raises:
            Refused: `style`.
        """
        found = [each for each in self.manifest.contests if each.object_id == name]
        require(len(found) == 1, RefusalCheck.STYLE, "no such contest", contest=name)
        return found[0]


BallotRefusal = tuple[RefusalCheck, str, dict[str, object], int]
_held: list[SecondElection] = []


def _begin(election: SecondElection) -> None:
    _held[:] = [election]


def _proofs(ballot: SecondBallot) -> BallotRefusal | None:
    """Check one ballot in a process; a refusal as its parts, because they can be sent."""
    where: dict[str, object] = {"ballot": ballot.ballot_id}
    try:
        verify_second_ballot(ballot, _held[0], where)
    except Refused as refused:
        return refused.check, refused.what, where, refused.step or 5
    return None


def checked(
    ballots: Iterator[SecondBallot], election: SecondElection, processes: int
) -> Iterator[tuple[SecondBallot, BallotRefusal | None]]:
    """Check ballots, in processes if there are several; each with its refusal, in order."""
    if processes == 1:
        _begin(election)
        yield from ((ballot, _proofs(ballot)) for ballot in ballots)
        return
    with ProcessPoolExecutor(
        processes, mp_context=get_context("spawn"), initializer=_begin, initargs=(election,)
    ) as pool:
        while batch := list(islice(ballots, _FOR_EACH * processes)):
            yield from zip(batch, pool.map(_proofs, batch), strict=True)


def verify_second_ballot(
    ballot: SecondBallot, election: SecondElection, where: dict[str, object]
) -> None:
    """Check the form, the proofs, the hashes and the code of a ballot.

    Args:
        where: gets the place that is being checked.

    Raises:
        Refused: with the step.
    """
    keys = election.keys
    with during(5):
        require(
            plain_name(ballot.ballot_id) and ballot.election_id == keys.extended_hash,
            RefusalCheck.CONTEXT,
            "a ballot is of another election, or has no printable id",
        )
        require(
            ballot.state == CAST or ballot.state in CHALLENGED,
            RefusalCheck.STATE,
            "a ballot is neither cast nor challenged",
        )
        contests = election.style(ballot.ballot_style_id)
        require(
            [each.contest_id for each in ballot.contests] == [each.object_id for each in contests],
            RefusalCheck.STYLE,
            "a ballot does not have exactly the contests of its style",
        )
    for part, contest in zip(ballot.contests, contests, strict=True):
        where["contest"] = part.contest_id
        lines = [(each.selection_id, each.sequence_order) for each in part.selections]
        with during(5):
            require(
                part.sequence_order == contest.sequence_order
                and lines
                == [(each.object_id, each.sequence_order) for each in contest.ballot_selections],
                RefusalCheck.STYLE,
                "a contest does not have exactly the selections of the manifest",
            )
            pairs = []
            for line in part.selections:
                where["selection"] = line.selection_id
                pairs.append(read_pair(line.encrypted_vote))
                verify_range(line.proof, pairs[-1], contest.option_selection_limit, keys)
            where.pop("selection", None)
        with during(6):
            verify_range(part.proof, product_of(pairs), contest.votes_allowed, keys)
        with during(7):
            flat = [number for pair in pairs for number in pair]
            require(
                part.contest_hash
                == hash_bytes(
                    keys.extended_hash, _CONTEST, contest.sequence_order, keys.key, *flat
                ),
                RefusalCheck.HASH,
                "a contest's hash does not match its content",
            )
    where.pop("contest", None)
    with during(7):
        hashes = [each.contest_hash for each in ballot.contests]
        require(
            ballot.confirmation_code
            == hash_bytes(keys.extended_hash, _CODE, *hashes, more_of(ballot)),
            RefusalCheck.CODE,
            "a ballot's code does not match its content",
        )


def more_of(ballot: SecondBallot) -> bytes:
    """B_aux, which the code of a ballot includes.

    Raises:
        Refused: `format`.
    """
    try:
        return bytes.fromhex(ballot.code_baux)
    except ValueError as error:
        raise Refused(RefusalCheck.FORMAT, "code_baux is not hexadecimal") from error


def product_of(pairs: Iterable[tuple[mpz, mpz]]) -> tuple[mpz, mpz]:
    """The product of ciphertexts, which holds their sum."""
    pad = data = ONE
    for a, b in pairs:
        pad, data = pad * a % P, data * b % P
    return pad, data

"""The encrypted tally: the product of all cast ballots, line by line ("Ballot aggregation")."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec
from gmpy2 import mpz

from streams.tally.crypto.election import CryptoContest, CryptoElection, Line
from streams.tally.crypto.elgamal import UNIT, Ciphertext
from streams.tally.crypto.group import P
from streams.tally.refusals import RefusalCheck, require


class TallySelection(msgspec.Struct, frozen=True):
    """The encrypted sum of one line."""

    object_id: str
    sequence_order: int
    description_hash: mpz
    ciphertext: Ciphertext


class TallyContest(msgspec.Struct, frozen=True):
    """The encrypted sums of one contest."""

    object_id: str
    sequence_order: int
    description_hash: mpz
    selections: dict[str, TallySelection]


class EncryptedTally(msgspec.Struct, frozen=True):
    """The encrypted sums of an election, of a chunk of its ballots, or one ballot's lines."""

    object_id: str
    contests: dict[str, TallyContest]

    def lines(self) -> dict[str, Ciphertext]:
        """Ciphertexts by selection id; those are unique in an election."""
        return {
            name: selection.ciphertext
            for contest in self.contests.values()
            for name, selection in contest.selections.items()
        }


class _Line(msgspec.Struct, frozen=True):
    object_id: str
    ciphertext: Ciphertext


class _Lines(msgspec.Struct, frozen=True):
    object_id: str
    ballot_selections: list[_Line]


class BallotLines(msgspec.Struct, frozen=True):
    """The part of a ballot needed for the tally; parsed several times faster than with proofs."""

    object_id: str
    contests: list[_Lines]

    def lines(self) -> dict[str, Ciphertext]:
        """Ciphertexts by selection id, placeholders included."""
        return {
            line.object_id: line.ciphertext
            for contest in self.contests
            for line in contest.ballot_selections
        }


class Accumulator:
    """Multiplies ballots or tallies, one at a time; holds one ciphertext for every line."""

    def __init__(self, election: CryptoElection) -> None:
        self._election = election
        self._sums = {
            line.object_id: (UNIT.pad, UNIT.data)
            for contest in election.contests.values()
            for line in contest.real_lines
        }

    def add(self, lines: Mapping[str, Ciphertext]) -> None:
        """Multiply in the known lines.

        Contests outside a ballot's style add nothing.
        :func:`streams.tally.crypto.verify_ballot.verify_form` has checked that contests are
        complete.
        """
        sums = self._sums
        for name, ciphertext in lines.items():
            if name in sums:
                pad, data = sums[name]
                sums[name] = (pad * ciphertext.pad % P, data * ciphertext.data % P)

    def result(self, object_id: str) -> EncryptedTally:
        """The sum so far."""
        return _tally(
            object_id,
            [(contest, contest.real_lines) for contest in self._election.contests.values()],
            {name: Ciphertext(*sums) for name, sums in self._sums.items()},
        )


def combine_tallies(
    election: CryptoElection, object_id: str, tallies: Iterable[EncryptedTally]
) -> EncryptedTally:
    """The product of the chunks' tallies, which is decrypted instead of single chunks.

    Raises:
        Refused: `tally`, if one belongs to another election.
    """
    accumulator = Accumulator(election)
    for tally in tallies:
        check_tally(tally, election)
        accumulator.add(tally.lines())
    return accumulator.result(object_id)


def check_tally(tally: EncryptedTally, election: CryptoElection) -> None:
    """Check that a tally has exactly this election's contests and lines.

    Raises:
        Refused: `tally`.
    """
    expected = [
        (
            (contest.object_id, contest.order, contest.description_hash),
            (line.object_id, line.order, line.description_hash),
        )
        for contest in election.contests.values()
        for line in contest.real_lines
    ]
    found = [
        (
            (contest.object_id, contest.sequence_order, contest.description_hash),
            (line.object_id, line.sequence_order, line.description_hash),
        )
        for contest in tally.contests.values()
        for line in contest.selections.values()
    ]
    named = all(
        name == contest.object_id
        and all(line == selection.object_id for line, selection in contest.selections.items())
        for name, contest in tally.contests.items()
    )
    require(
        named and sorted(expected) == sorted(found),
        RefusalCheck.TALLY,
        "a tally does not have exactly the contests and selections of its election",
        tally=tally.object_id,
    )


def spoiled_tally(ballot_id: str, ballot: BallotLines, election: CryptoElection) -> EncryptedTally:
    """One spoiled ballot as a separate tally with placeholders, for its voter to check."""
    present = {contest.object_id for contest in ballot.contests}
    contests = [contest for contest in election.contests.values() if contest.object_id in present]
    return _tally(ballot_id, [(contest, contest.lines) for contest in contests], ballot.lines())


def without_placeholders(tally: EncryptedTally, election: CryptoElection) -> EncryptedTally:
    """The lines of a spoiled ballot that published records decrypt."""
    contests = [election.contests[name] for name in tally.contests]
    return _tally(
        tally.object_id, [(contest, contest.real_lines) for contest in contests], tally.lines()
    )


def _tally(
    object_id: str,
    contests: Iterable[tuple[CryptoContest, Iterable[Line]]],
    ciphertexts: Mapping[str, Ciphertext],
) -> EncryptedTally:
    result = {}
    for contest, lines in contests:
        selections = {
            line.object_id: TallySelection(
                line.object_id, line.order, line.description_hash, ciphertexts[line.object_id]
            )
            for line in lines
        }
        result[contest.object_id] = TallyContest(
            contest.object_id, contest.order, contest.description_hash, selections
        )
    return EncryptedTally(object_id, result)

"""The record of a small election, in Scrutin's layout."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from streams.tally.crypto.ballots import BallotState
from streams.tally.crypto.decryption import DiscreteLog, decrypt_tally
from streams.tally.crypto.documents import from_json, to_json
from streams.tally.crypto.tallies import BallotLines, EncryptedTally, spoiled_tally
from streams.tally.record_files import (
    BALLOTS,
    CONSTANTS,
    CONTEXT,
    GUARDIANS,
    MANIFEST,
    RESULT,
    TALLIES,
    RecordedTally,
    constants,
)
from streams.tally.results import Result
from streams.tally.work import DescribedElection
from tests.small_election import SmallElection, Voting


def described(held: SmallElection | Voting, election_id: str = "e") -> DescribedElection:
    """The election as the database has it."""
    return DescribedElection(
        election_id,
        to_json(held.election.manifest).decode(),
        to_json(held.election.context).decode(),
        to_json(held.keys).decode(),
    )


def write_record(held: SmallElection, directory: Path, *, present: int) -> None:
    """Decrypt with the first guardians, and write the record."""
    tallies = [_decrypted(held, "total", held.tally, present)]
    for ballot in held.ballots:
        if ballot.state == BallotState.SPOILED:
            lines = from_json(BallotLines, to_json(ballot))
            one = spoiled_tally(ballot.object_id, lines, held.election)
            tallies.append(_decrypted(held, "spoiled", one, present))
    spoiled = {each.plain.object_id: each.plain.counts() for each in tallies[1:]}
    election = described(held)
    result = Result(
        len(held.ballots) - len(spoiled),
        len(spoiled),
        held.counts,
        spoiled,
        [key.owner_id for key in held.keys[:present]],
    ).document(election)
    directory.mkdir(exist_ok=True)
    (directory / MANIFEST).write_text(election.manifest)
    (directory / CONTEXT).write_text(election.context)
    (directory / CONSTANTS).write_bytes(constants())
    (directory / GUARDIANS).write_text(election.guardians)
    (directory / BALLOTS).write_bytes(_lines(held.ballots))
    (directory / TALLIES).write_bytes(_lines(tallies))
    (directory / RESULT).write_text(json.dumps(result))


def _lines(documents: Iterable[object]) -> bytes:
    return b"".join(to_json(each) + b"\n" for each in documents)


def _decrypted(
    held: SmallElection, kind: Literal["total", "spoiled"], tally: EncryptedTally, present: int
) -> RecordedTally:
    shares, compensated = held.shares(tally, present=range(present))
    plain = decrypt_tally(
        tally,
        shares,
        compensated,
        held.keys,
        quorum=held.election.context.quorum,
        extended_hash=held.election.extended_hash,
        logarithm=DiscreteLog(len(held.ballots)),
    )
    return RecordedTally(kind, tally, plain)

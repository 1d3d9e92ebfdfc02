"""Writes a record in the layout that electionguard 1.x publishes and other verifiers read."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec

from streams.tally.crypto.ceremony import GuardianKey
from streams.tally.crypto.decryption import PlainContest, PlainTally
from streams.tally.crypto.documents import from_json, to_json
from streams.tally.crypto.election import Context
from streams.tally.crypto.shares import lagrange
from streams.tally.record_files import (
    ABOUT,
    BALLOT_FOLDER,
    COEFFICIENTS,
    CONSTANTS,
    CONTEXT,
    DEVICE_FOLDER,
    ENCRYPTED,
    GUARDIAN_FIELDS,
    GUARDIAN_FOLDER,
    MANIFEST,
    SPOILED_FOLDER,
    TALLY,
    RecordedTally,
    about,
    constants,
    open_record,
)
from streams.tally.refusals import RefusalCheck, require

_DIGITS: Final = 8
"""Of the numbers in names of files, so that their order is that of the ballots."""


class _Placeholders(msgspec.Struct):
    """The lines of a ballot that are no choices."""

    class _Contest(msgspec.Struct):
        class _Line(msgspec.Struct):
            object_id: str
            is_placeholder_selection: bool = False

        ballot_selections: list[_Line]

    object_id: str
    contests: list[_Contest]

    def names(self) -> set[str]:
        lines = (line for contest in self.contests for line in contest.ballot_selections)
        return {line.object_id for line in lines if line.is_placeholder_selection}


def write_published(record: Path, target: Path) -> None:
    """Write a record of Scrutin's layout again, with one ballot in memory at a time.

    Ballots and spoiled ballots are numbered in order, because ids of ballots need not be unique.

    Raises:
        Refused: `tally`, if chunks were decrypted: the layout has one tally; `format`, if the
            target has files already.
        NotARecord: there is no record.
        OSError: a file cannot be written.
    """
    files = open_record(record)
    totals = [each for each in files.tallies() if each.kind != "spoiled"]
    require(
        len(totals) == 1,
        RefusalCheck.TALLY,
        f"this layout has one tally, and {len(totals)} chunks of this election were decrypted",
        election=files.described.election_id,
    )
    require(
        not target.exists() or not any(target.iterdir()),
        RefusalCheck.FORMAT,
        "the folder for the record is not empty, and old ballots in it would be read too",
        path=target,
    )
    for folder in (GUARDIAN_FOLDER, BALLOT_FOLDER, SPOILED_FOLDER, DEVICE_FOLDER):
        (target / folder).mkdir(parents=True, exist_ok=True)
    (target / MANIFEST).write_text(files.described.manifest)
    (target / CONTEXT).write_text(files.described.context)
    (target / ABOUT).write_text(about(from_json(Context, files.described.context)))
    (target / CONSTANTS).write_bytes(constants())
    (target / ENCRYPTED).write_bytes(to_json(totals[0].encrypted))
    (target / TALLY).write_bytes(to_json(totals[0].plain))
    _write_guardians(from_json(list[GuardianKey], files.described.guardians), totals[0], target)
    spoiled = {
        each.plain.object_id: each.plain for each in files.tallies() if each.kind == "spoiled"
    }
    for number, ballot in enumerate(files.ballots()):
        name = f"{number:0{_DIGITS}}.json"
        (target / BALLOT_FOLDER / f"submitted_ballot_{name}").write_bytes(ballot.strip())
        lines = from_json(_Placeholders, ballot)
        if lines.object_id in spoiled:
            plain = _without(spoiled[lines.object_id], lines.names())
            (target / SPOILED_FOLDER / f"spoiled_ballot_{name}").write_bytes(to_json(plain))


def _write_guardians(keys: list[GuardianKey], total: RecordedTally, target: Path) -> None:
    for key in keys:
        document = msgspec.json.decode(to_json(key))
        for published, name in GUARDIAN_FIELDS.items():
            document[published] = document.pop(name)
        path = target / GUARDIAN_FOLDER / f"guardian_{key.owner_id}.json"
        path.write_bytes(msgspec.json.encode(document))
    absent = total.plain.recovered()
    orders = {key.owner_id: key.sequence_order for key in keys if key.owner_id not in absent}
    coefficients = {
        name: lagrange(order, [each for other, each in orders.items() if other != name])
        for name, order in orders.items()
    }
    (target / COEFFICIENTS).write_bytes(to_json({"coefficients": coefficients}))


def _without(plain: PlainTally, lines: set[str]) -> PlainTally:
    contests = {
        name: PlainContest(
            contest.object_id,
            {line: each for line, each in contest.selections.items() if line not in lines},
        )
        for name, contest in plain.contests.items()
    }
    return PlainTally(plain.object_id, contests)

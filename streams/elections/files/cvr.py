"""Cast-vote records in JSON: NIST SP 1500-103, and exports of Dominion's form.

A record without the contest is a comment. `IsVote` of a Dominion mark is the judgement of that
system's rules, so marks count as they were marked; ambiguous ones do not. A contest that NIST's
form calls over-voted has the marks that were refused for that, or an over-vote without names.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from streams.core.ranking import OVERVOTE
from streams.elections.files.items import FileLayout, FileRefused, Marks, NoBallot
from streams.elections.files.json_arrays import elements, others
from streams.elections.files.records import RecordFile, choose

Fields = Mapping[str, Any]


@dataclass(frozen=True)
class NistFile(RecordFile[Fields]):
    """One file of NIST SP 1500-103 in JSON, version 1."""

    def _contest(self) -> tuple[str, FileLayout]:
        try:
            elections = others(self.path, "CVR").get("Election", [])
            contests = {one["@id"]: one for each in elections for one in each["Contest"]}
            candidates = {
                one["@id"]: one.get("Name", one["@id"])
                for each in elections
                for one in each.get("Candidate", [])
            }
            named = {name: one.get("Name", name) for name, one in contests.items()}
            chosen = choose(named, self.contest, self.path)
            names = {
                one["@id"]: " / ".join(candidates[c] for c in one.get("CandidateIds", []))
                or str(one.get("Selection", "write-in" if one.get("IsWriteIn") else one["@id"]))
                for one in contests[chosen].get("ContestSelection", [])
            }
        except (KeyError, TypeError, AttributeError) as fault:
            raise FileRefused(
                f"The file has no definitions of its election: {fault!r}",
                where={"file": self.path},
                todo="A report of cast-vote records has Election, Contest and Candidate",
            ) from fault
        return chosen, FileLayout(names)

    def _records(self) -> Iterator[tuple[int, Fields]]:
        return elements(self.path, "CVR")

    def _marks(self, record: Fields, contest: str, names: Mapping[str, str]) -> Marks | None:
        return _nist_marks(record, contest, names)


def _nist_marks(record: Fields, contest: str, names: Mapping[str, str]) -> Marks | None:
    snapshots = record["CVRSnapshot"]
    current = [s for s in snapshots if s["@id"] == record.get("CurrentSnapshotId", s["@id"])]
    if len(current) != 1:
        raise NoBallot("the record does not say which snapshot is current")
    found = [c for c in current[0].get("CVRContest", []) if c["ContestId"] == contest]
    if not found:
        return None
    placed: dict[int, list[str]] = {}
    refused: dict[int, list[str]] = {}
    for selection in found[0].get("CVRContestSelection", []):
        name = selection.get("ContestSelectionId")
        for position in selection["SelectionPosition"]:
            if position["HasIndication"] != "yes" or position["NumberVotes"] <= 0:
                continue
            if name not in names:
                raise NoBallot(f"there is no selection {str(name)[:40]!r}")
            rank = _rank(position.get("Rank", selection.get("Rank", 1)))
            counts = position.get("IsAllocable") != "no"
            (placed if counts else refused).setdefault(rank, []).append(name)
    if found[0].get("Overvotes", 0) > 0 or "overvoted" in found[0].get("Status", []):
        # Its marks count for nobody by the scanner's rules; the election's own decide in the count.
        placed = {rank: marked for rank, marked in refused.items() if len(marked) > 1} | placed
        if not placed:
            return ((OVERVOTE,),)
    return _in_order(placed)


@dataclass(frozen=True)
class DominionFile(RecordFile[Fields]):
    """One `CvrExport.json` of Dominion's form, beside its manifests."""

    def _contest(self) -> tuple[str, FileLayout]:
        try:
            contests = {str(c["Id"]): c["Description"] for c in self._manifest("Contest")}
            chosen = choose(contests, self.contest, self.path)
            names = {
                str(c["Id"]): c["Description"]
                for c in self._manifest("Candidate")
                if str(c["ContestId"]) == chosen
            }
        except (KeyError, TypeError) as fault:
            raise FileRefused(
                f"A manifest has another form: {fault!r}",
                where={"folder": self.path.parent},
                todo="It has a List of objects with Id and Description",
            ) from fault
        return chosen, FileLayout(names)

    def _manifest(self, what: str) -> list[Fields]:
        file = self.path.parent / f"{what}Manifest.json"
        try:
            found: list[Fields] = json.loads(file.read_text(encoding="utf-8-sig"))["List"]
        except (OSError, ValueError, RecursionError) as fault:
            raise FileRefused(
                f"The manifest cannot be read: {fault}",
                where={"file": file},
                todo="Put the manifests of the export beside it",
            ) from fault
        return found

    def _records(self) -> Iterator[tuple[int, Fields]]:
        return elements(self.path, "Sessions")

    def _marks(self, record: Fields, contest: str, names: Mapping[str, str]) -> Marks | None:
        return _dominion_marks(record, int(contest), names)


def _dominion_marks(session: Fields, contest: int, names: Mapping[str, str]) -> Marks | None:
    sheet = session["Original"]
    if not sheet["IsCurrent"]:
        sheet = session["Modified"]
    cards = sheet.get("Cards", [sheet])
    found = [c for card in cards for c in card.get("Contests", []) if c["Id"] == contest]
    if not found:
        return None
    placed: dict[int, list[str]] = {}
    for mark in (mark for one in found for mark in one["Marks"]):
        if mark["IsAmbiguous"]:
            continue
        name = str(mark["CandidateId"])
        if name not in names:
            raise NoBallot(f"there is no candidate {name[:20]!r}")
        placed.setdefault(_rank(mark.get("Rank", 1)), []).append(name)
    return _in_order(placed)


def _rank(value: Any) -> int:
    if type(value) is not int or not 1 <= value <= 1000:
        raise NoBallot(f"{str(value)[:20]!r} is not a rank")
    return value


def _in_order(placed: Mapping[int, list[str]]) -> Marks:
    return tuple(tuple(placed.get(rank, ())) for rank in range(1, max(placed, default=0) + 1))

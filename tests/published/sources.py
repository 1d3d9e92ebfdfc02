"""Readers of files in which offices and researchers publish contests.

Scrutin's repository holds none of these files. docs/elections.md says where they were found.
"""

from __future__ import annotations

import csv
import json
import re
import sqlite3
import unicodedata
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from itertools import zip_longest
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from streams.core.ranking import OVERVOTE, Ranking, from_text, to_text
from streams.elections.files.blt import BltFile
from streams.elections.files.items import FileBallot
from tests.published.contests import Contest, Votes, rebuilt, with_votes

_NO_MARK = frozenset({"", "undervote", "UNDERVOTE"})
_OVERVOTE = frozenset({"overvote", "OVERVOTE"})
WRITE_IN = "UWI"
"""Minneapolis' label of an undeclared write-in."""


def maine(path: Path) -> Contest:
    """Maine's 2nd congressional district 2018: a letter for each rank, a line for each ballot.

    U is a rank without a mark, O an over-vote.
    """
    letters = "GPBH"
    ids = {letter: str(place) for place, letter in enumerate(letters, 1)}
    ballots = _box(
        [{"U": "", "O": OVERVOTE}.get(mark) or ids.get(mark, "") for mark in line]
        for line in path.read_text(encoding="ascii").split()
    )
    rounds = ({"1": 132_013, "2": 134_184, "3": 16_552, "4": 6_875}, {"1": 142_440, "2": 138_931})
    names = ("Golden", "Poliquin", "Bond", "Hoar")
    return Contest("Maine CD2 2018", names, {"preset": "maine"}, ballots, rounds)


def minneapolis(ballots: Path, rounds: Path) -> Contest:
    """Minneapolis' mayor 2013: the city's ballots, and its summary of rounds."""
    lines: list[tuple[str, list[str]]] = []
    for row in rows(rounds):
        if row[:1] == ["Exhausted"]:
            break
        if row[1:2] and row[1].isdecimal() and not row[0].endswith(":"):
            # Round 1 has one column; each later one a column of transfers and one of votes.
            lines.append((row[0], [row[1], *row[3::2]]))
    names = [WRITE_IN if name.startswith("Undeclared") else _plain(name) for name, _ in lines]
    ids = {name: str(place) for place, name in enumerate(names, 1)}
    published = [
        with_votes({str(place): int(votes or 0) for place, votes in enumerate(column, 1)})
        for column in zip_longest(*(votes for _, votes in lines))
        # Columns of shares follow.
        if not any("." in (votes or "") for votes in column)
    ]
    cast = [row[1:4] for row in rows(ballots)][1:]
    rules = {"preset": "minneapolis", "undeclared_write_in": ids[WRITE_IN]}
    box = _box([_label(_plain(cell), ids) for cell in row] for row in cast)
    return Contest(
        "Minneapolis 2013", tuple(names), rules, box, tuple(each for each in published if each)
    )


def rctab(folder: Path) -> Contest:
    """A folder of RCTab: configuration, a workbook of ballots, and the report of its count."""
    [config] = folder.glob("*_config.json")
    [report] = folder.glob("*_expected_detailed_report.json")
    [workbook] = folder.glob("*_cvr.xlsx")
    settings = json.loads(config.read_text(encoding="utf-8"))
    rules, source = settings["rules"], settings["cvrFileSources"][0]
    names = [one["name"] for one in settings["candidates"] if not one.get("excluded")]
    names.append("Undeclared Write-ins")
    ids = {name: str(place) for place, name in enumerate(names, 1)}
    labels = ids | {WRITE_IN: ids[names[-1]]}
    for one in settings["candidates"]:
        labels |= dict.fromkeys(one.get("aliases") or (), ids[one["name"]])
    first = int(source["firstVoteColumnIndex"]) - 1
    cast = list(rows(workbook))[int(source["firstVoteRowIndex"]) - 1 :]
    most = rules["maxRankingsAllowed"]
    end = None if most == "max" else first + int(most)
    skipped = rules["maxSkippedRanksAllowed"]
    results = json.loads(report.read_text(encoding="utf-8"))["results"]
    return Contest(
        settings["outputSettings"]["contestName"],
        tuple(names),
        {
            "overvote": re.sub("([A-Z])", r"_\1", rules["overvoteRule"]).lower(),
            "max_skipped_ranks": None if skipped == "unlimited" else int(skipped),
            "batch_elimination": rules["batchElimination"],
            "min_votes": int(rules["minimumVoteThreshold"] or 0),
            "until_two_remain": rules["continueUntilTwoCandidatesRemain"],
            "exhaust_on_duplicate": rules["exhaustOnDuplicateCandidate"],
            "undeclared_write_in": ids[names[-1]],
        },
        _box([_label(cell, labels) for cell in row[first:end]] for row in cast if any(row)),
        tuple(
            with_votes({ids[name]: int(float(votes)) for name, votes in one["tally"].items()})
            for one in results
        ),
    )


def ireland() -> Contest:
    """Ireland's president 1990, from the two counts that were published."""
    first = {"1": 694_484, "2": 612_265, "3": 267_902}
    transfers = [("3", "1", 36_789), ("3", "2", 205_565), ("3", None, 25_548)]
    return Contest(
        "Ireland 1990",
        ("Lenihan", "Robinson", "Currie"),
        {"preset": "ireland_president"},
        rebuilt(first, [transfers]),
        (first, {"1": 731_273, "2": 817_830}),
    )


def australia(path: Path) -> Iterator[Contest]:
    """Each division of the Electoral Commission's distribution of preferences.

    A division whose published transfers contradict its piles is left out, with a remark.
    """
    divisions: dict[str, list[dict[str, str]]] = {}
    with path.open(encoding="utf-8-sig", newline="") as file:
        for row in csv.DictReader(file):
            divisions.setdefault(row["DivisionNm"], []).append(row)
    for division, lines in divisions.items():
        places = {line["CandidateID"]: int(line["BallotPosition"]) for line in lines}
        ids = {one: str(place) for place, one in enumerate(sorted(places, key=places.get), 1)}  # type: ignore[arg-type]
        names = {line["CandidateID"]: f"{line['GivenNm']} {line['Surname']}" for line in lines}
        counts: dict[int, dict[str, tuple[int, int]]] = {}
        for line in lines:
            found = counts.setdefault(int(line["CountNumber"]), {})
            votes, moved = found.get(ids[line["CandidateID"]], (0, 0))
            number = int(float(line["CalculationValue"]))
            if line["CalculationType"] == "Preference Count":
                votes = number
            elif line["CalculationType"] == "Transfer Count":
                moved = number
            found[ids[line["CandidateID"]]] = votes, moved
        rounds = [with_votes({n: v for n, (v, _) in counts[c].items()}) for c in sorted(counts)]
        try:
            box = rebuilt(rounds[0], _preferences(counts, rounds))
        except ValueError as fault:
            print(f"{division}: the source contradicts itself: {fault}")
            continue
        everybody = sorted(ids.values(), key=int)
        full: Counter[Ranking] = Counter()
        for ballot, number in box.items():
            full[(*ballot, *(one for one in everybody if one not in ballot))] += number
        yield Contest(
            division,
            tuple(names[one] for one in ids),
            {"preset": "australia_house"},
            full,
            tuple(rounds),
        )


def _preferences(
    counts: dict[int, dict[str, tuple[int, int]]], rounds: Sequence[Votes]
) -> Iterator[list[tuple[str, str | None, int]]]:
    for number, before in enumerate(rounds[:-1], 1):
        [out] = before.keys() - rounds[number].keys()
        yield [(out, to, moved) for to, (_, moved) in counts[number].items() if moved > 0]


def new_york(path: Path) -> Iterator[Contest]:
    """New York City's contests in the database of a site that counted the city's ballots.

    Undeclared write-ins are candidates like others there.
    """
    query = "SELECT * FROM reports WHERE path LIKE 'us/ny/nyc%' ORDER BY ballotCount, id"
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as database:
        database.row_factory = sqlite3.Row
        for report in database.execute(query).fetchall():
            names = [
                row["name"]
                for row in database.execute(
                    "SELECT name FROM candidates WHERE report_id = ? ORDER BY candidate_index",
                    (report["id"],),
                )
            ]
            numbers = database.execute(
                "SELECT id FROM rounds WHERE report_id = ? ORDER BY round_number", (report["id"],)
            ).fetchall()
            rounds = []
            transfers = []
            for [number] in numbers:
                votes = database.execute(
                    "SELECT allocatee, votes FROM allocations WHERE round_id = ?", (number,)
                )
                rounds.append(with_votes({str(int(n) + 1): v for n, v in votes if n != "X"}))
                moved = database.execute(
                    "SELECT from_candidate, to_allocatee, count FROM transfers WHERE round_id = ?",
                    (number,),
                )
                transfers.append(
                    [(str(f + 1), None if t == "X" else str(int(t) + 1), n) for f, t, n in moved]
                )
            yield Contest(
                f"New York {report['date'][:4]} {report['officeName']} ({report['id']})",
                tuple(names),
                {"preset": "new_york_city"},
                rebuilt(rounds[0], transfers[1:]),
                tuple(rounds),
            )


def scotland(ballots: Path, dumps: Path) -> Iterator[Contest]:
    """Wards of a folder of BLT files, and what Droop writes of its count of each (format dump)."""
    for file in sorted(ballots.glob("*.blt")):
        found = list(dumps.glob(f"{file.stem}-scotland-fixed-p5-d5.txt"))
        if not found:
            continue
        rounds = []
        for line in found[0].read_text(encoding="utf-8").splitlines():
            cells = line.split("\t")
            # A stage begins with the votes that the transfer before it left.
            if cells[1:2] in (["begin"], ["transfer"]):
                votes = {str(place): text for place, text in enumerate(cells[6::3], 1)}
                rounds.append(with_votes(votes))
        yield _ward(f"Glasgow {file.stem}", file, rounds)


def councils(ballots: Path, stages: Path) -> Iterator[Contest]:
    """Wards of a folder of BLT files, and the stages that councils published.

    The stages are a folder `COUNCIL/WARD/ResultsJson.json` for each ward, transcribed by hand. A
    ward in which a transfer contradicts the votes before and after it is left out, with a remark.
    """
    wards = {file: _layout(file) for file in sorted(ballots.rglob("*.blt"))}
    for file in sorted(stages.glob("*/*/ResultsJson.json")):
        ward = json.loads(file.read_text(encoding="utf-8-sig"))["Constituency"]
        name = f"{file.parent.parent.name}: {ward['countInfo']['Constituency_Name']}"
        lines = ward["countGroup"]
        people = {
            one["Candidate_Id"]: _words(f"{one['Firstname']} {one['Surname']}") for one in lines
        }
        # The two sources write names a little differently.
        found, ids = max(
            ((each, _same_people(people, names)) for each, names in wards.items()),
            key=lambda pair: sum(len(people[one] & wards[pair[0]][n]) for one, n in pair[1]),
        )
        places = {one: str(place + 1) for one, place in ids}
        rounds: dict[int, Votes] = {}
        wrong = ""
        for one in lines:
            number, person = int(one["Count_Number"]), places[one["Candidate_Id"]]
            votes, moved = (_units(one[key]) for key in ("Total_Votes", "Transfers"))
            told = rounds.get(number - 1, {}).get(person, votes - moved) + moved
            # Some councils shorten votes, and a few transfers, to two decimal places.
            if abs(votes - told) >= _units("0.01"):
                wrong = wrong or f"count {number}, {one['Surname']}: {votes:,}, not {told:,}"
            rounds.setdefault(number, {})[person] = told if votes else 0
        if wrong:
            print(f"{name}: the source contradicts itself: {wrong}")
        else:
            yield _ward(name, found, [with_votes(rounds[number]) for number in sorted(rounds)])


def _units(votes: str | int) -> int:
    """Of the last of five decimal places."""
    return int(Decimal(votes or 0).scaleb(5))


def _ward(name: str, ballots: Path, rounds: Iterable[Votes]) -> Contest:
    reader = BltFile(ballots)
    layout = reader.layout()
    box: Counter[Ranking] = Counter()
    for item in reader.items():
        if isinstance(item, FileBallot):
            box[from_text(to_text(item.marks))] += item.number
    rules = {"count_by": "stv_scottish", "seats": layout.seats}
    return Contest(name, tuple(layout.names.values()), rules, box, tuple(rounds))


def _layout(ballots: Path) -> list[frozenset[str]]:
    return [_words(name) for name in BltFile(ballots).layout().names.values()]


def _words(name: str) -> frozenset[str]:
    """Of a person's name, without accents and without the party behind it."""
    plain = unicodedata.normalize("NFKD", re.sub(r"\(.*?\)", "", name)).upper()
    return frozenset(re.findall("[A-Z]+", re.sub(r"[^A-Z \-.]", "", plain)))


def _same_people(
    people: Mapping[str, frozenset[str]], listed: Sequence[frozenset[str]]
) -> list[tuple[str, int]]:
    """(person, place in the list), by the words in common; none if there are other numbers."""
    if len(people) != len(listed):
        return []
    pairs = [
        (len(has & words), one, n) for one, has in people.items() for n, words in enumerate(listed)
    ]
    found: dict[str, int] = {}
    for _, one, place in sorted(pairs, key=lambda pair: -pair[0]):
        if one not in found and place not in found.values():
            found[one] = place
    return list(found.items())


def _box(rows: Iterable[list[str]]) -> Counter[Ranking]:
    box: Counter[Ranking] = Counter()
    for marks in rows:
        while marks and not marks[-1]:
            marks.pop()
        box[tuple(marks)] += 1
    return box


def _plain(name: str) -> str:
    """The city's two files write quotation marks and full stops of names differently."""
    return re.sub("[^A-Z ]", "", name.upper()).strip()


def _label(cell: str, ids: dict[str, str]) -> str:
    text = cell.strip()
    if text in _NO_MARK:
        return ""
    # A name that nobody declared is a write-in.
    return OVERVOTE if text in _OVERVOTE else ids.get(text) or ids[WRITE_IN]


def rows(path: Path) -> Iterator[list[str]]:
    """The cells of a workbook's first sheet, as texts."""
    with zipfile.ZipFile(path) as book:
        shared: list[str] = []
        if "xl/sharedStrings.xml" in book.namelist():
            texts = ElementTree.fromstring(book.read("xl/sharedStrings.xml"))
            shared = [
                "".join(t.text or "" for t in one.iterfind(".//{*}t"))
                for one in texts.iterfind("{*}si")
            ]
        sheet = min(n for n in book.namelist() if n.startswith("xl/worksheets/sheet"))
        with book.open(sheet) as stream:
            for _, element in ElementTree.iterparse(stream):
                if element.tag.endswith("}row"):
                    yield _cells(element, shared)
                    element.clear()


def _cells(row: Any, shared: list[str]) -> list[str]:
    cells: list[str] = []
    for cell in row.iterfind("{*}c"):
        letters = re.match("[A-Z]+", cell.get("r"))
        assert letters is not None
        place = 0
        for letter in letters[0]:
            place = place * 26 + ord(letter) - 64
        cells += [""] * (place - len(cells))
        value = cell.findtext("{*}v") or ""
        cells[place - 1] = shared[int(value)] if cell.get("t") == "s" else value
    return cells

"""Readers of published contests, on small files written for this test."""

from __future__ import annotations

import json
import sqlite3
import zipfile
from collections import Counter
from pathlib import Path
from xml.sax.saxutils import escape

import pytest

from tests.published import sources
from tests.published.contests import Contest, rebuilt


def workbook(path: Path, rows: list[list[str]]) -> Path:
    """A workbook whose texts are shared, and whose numbers and empty cells are not."""
    texts = sorted({cell for row in rows for cell in row if cell and not _number(cell)})
    lines = []
    for number, row in enumerate(rows, 1):
        cells = [
            f'<c r="{chr(65 + place)}{number}"><v>{cell}</v></c>'
            if _number(cell)
            else f'<c r="{chr(65 + place)}{number}" t="s"><v>{texts.index(cell)}</v></c>'
            for place, cell in enumerate(row)
            if cell
        ]
        lines.append(f'<row r="{number}">{"".join(cells)}</row>')
    kind = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'
    strings = "".join(f"<si><t>{escape(text)}</t></si>" for text in texts)
    with zipfile.ZipFile(path, "w") as book:
        book.writestr("xl/sharedStrings.xml", f"<sst {kind}>{strings}</sst>")
        body = f"<worksheet {kind}><sheetData>{''.join(lines)}</sheetData></worksheet>"
        book.writestr("xl/worksheets/sheet1.xml", body)
    return path


def _number(cell: str) -> bool:
    return cell.replace(".", "").isdecimal()


CAST = [
    ["Precinct", "1", "2", "3", "COUNT"],
    *[["W-1", "ANN LEE", "undervote", "undervote", "1"]] * 5,
    *[["W-1", "BO O'DEA JR.", "", "overvote", "1"]] * 4,
    *[["W-2", "overvote", "CY", "ANN LEE", "1"]] * 2,
    ["W-2", "UWI", "BO O'DEA JR.", "", "1"],
    ["W-2", "undervote", "undervote", "undervote", "1"],
]


def test_minneapolis_two_workbooks(tmp_path: Path) -> None:
    rounds = [
        ["Total votes:", "12"],
        ["Candidate", "Round 1", "Round 2", "Round 2", "Round 3", "Round 3", "Share"],
        ["Ann Lee", "5", "0", "5", "2", "7", "0.58"],
        ['Bo "O\'Dea" Jr', "4", "1", "5", "0", "5", "0.42"],
        ["Cy", "2", "0", "2", "", "", ""],
        ["Undeclared Write-ins", "1", "", "0", "", "0", ""],
        ["Exhausted", "", "0", "0", "0", "0", ""],
        ["TOTAL", "12"],
    ]
    contest = sources.minneapolis(
        workbook(tmp_path / "cast.xlsx", CAST), workbook(tmp_path / "rounds.xlsx", rounds)
    )
    assert contest.ballots.total() == 13
    assert contest.ballots[("=", "3", "1")] == 2
    assert contest.difference(contest.counted()) == ""
    # The first difference is named.
    assert contest.difference(contest.counted()[:2]) == "2 rounds, published 3"
    other = [contest.rounds[0] | {"1": 6}, *contest.rounds[1:]]
    assert contest.difference(other) == "round 1: ANN LEE has 6, published 5"


def test_rctab_folder(tmp_path: Path) -> None:
    workbook(tmp_path / "x_cvr.xlsx", [["", "r1", "r2"], ["", "Ann", "B."], ["", "Bo", "Ann"]])
    config = {
        "outputSettings": {"contestName": "Small"},
        "cvrFileSources": [{"firstVoteColumnIndex": "2", "firstVoteRowIndex": "2"}],
        "candidates": [{"name": "Ann"}, {"name": "Bo", "aliases": ["B."]}],
        "rules": {
            "overvoteRule": "alwaysSkipToNextRank",
            "maxSkippedRanksAllowed": "unlimited",
            "maxRankingsAllowed": "1",
            "batchElimination": False,
            "minimumVoteThreshold": "",
            "continueUntilTwoCandidatesRemain": False,
            "exhaustOnDuplicateCandidate": False,
        },
    }
    report = {"results": [{"tally": {"Ann": "1", "Bo": "1"}}]}
    (tmp_path / "x_config.json").write_text(json.dumps(config))
    (tmp_path / "x_expected_detailed_report.json").write_text(json.dumps(report))
    contest = sources.rctab(tmp_path)
    assert contest.ballots == {("1",): 1, ("2",): 1}
    assert (contest.rules["overvote"], contest.rounds) == (
        "always_skip_to_next_rank",
        ({"1": 1, "2": 1},),
    )


def test_maine_letters(tmp_path: Path) -> None:
    (file := tmp_path / "votes.dat").write_text("GBHUU\nPUUUU\nOBUUU\nUUUUU\n")
    ballots = sources.maine(file).ballots
    assert ballots == {("1", "3", "4"): 1, ("2",): 1, ("=", "3"): 1, (): 1}


HEAD = (
    "DivisionNm,CountNumber,BallotPosition,CandidateID,Surname,GivenNm,CalculationType,"
    "CalculationValue"
)


def test_australia_rebuilds_ballots_from_transfers(tmp_path: Path) -> None:
    people = {
        "Ann": (1, [(5, 0), (7, 2)]),
        "Bo": (2, [(4, 0), (5, 1)]),
        "Cy": (3, [(3, 0), (0, -3)]),
    }
    lines = [HEAD]
    for name, (place, counts) in people.items():
        for number, (votes, moved) in enumerate(counts):
            start = f"North,{number},{place},{place}00,{name},,"
            lines += [f"{start}Preference Count,{votes}", f"{start}Transfer Count,{moved}"]
    (file := tmp_path / "aec.csv").write_text("\n".join(lines) + "\n")
    [contest] = sources.australia(file)
    # Every ballot ranks everybody, as the preset demands.
    assert {len(ballot) for ballot in contest.ballots} == {3}
    assert contest.difference(contest.counted()) == ""
    file.write_text("\n".join(lines).replace("Transfer Count,2", "Transfer Count,3"))
    assert list(sources.australia(file)) == []


def test_new_york_rebuilds_ballots_and_eliminates_in_batches(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "reports.sqlite3") as database:
        database.executescript(
            """
            CREATE TABLE reports (id, path, ballotCount, date, officeName);
            CREATE TABLE candidates (report_id, candidate_index, name);
            CREATE TABLE rounds (id, report_id, round_number);
            CREATE TABLE allocations (round_id, allocatee, votes);
            CREATE TABLE transfers (round_id, from_candidate, to_allocatee, count);
            INSERT INTO reports VALUES (1, 'us/ny/nyc/2021/06', 21, '2021-06-22', 'Office');
            INSERT INTO candidates VALUES (1, 0, 'A'), (1, 1, 'B'), (1, 2, 'C'), (1, 3, 'D');
            INSERT INTO rounds VALUES (10, 1, 1), (11, 1, 2);
            INSERT INTO allocations VALUES (10, '0', 9), (10, '1', 8), (10, '2', 3), (10, '3', 1),
                (11, '1', 11), (11, '0', 9), (11, 'X', 1);
            INSERT INTO transfers VALUES (11, 2, '1', 3), (11, 3, 'X', 1);
            """
        )
    [contest] = sources.new_york(tmp_path / "reports.sqlite3")
    assert contest.ballots == {("1",): 9, ("2",): 8, ("3", "2"): 3, ("4",): 1}
    assert contest.difference(contest.counted()) == ""


def test_ballots_that_cannot_be_are_not_rebuilt() -> None:
    with pytest.raises(ValueError, match="more ballots leave 2"):
        rebuilt({"1": 3, "2": 1}, [[("2", "1", 2)]])
    with pytest.raises(ValueError, match="ballots stay with 2"):
        rebuilt({"1": 3, "2": 2}, [[("2", "1", 1)]])


def test_ballots_are_written_for_the_command(tmp_path: Path) -> None:
    box = Counter({("1", "", "2"): 2, ("=",): 1, (): 4})
    contest = Contest("Small", ("A", "B"), {"preset": "maine"}, box, ())
    contest.write_ballots(tmp_path / "b.csv")
    assert (tmp_path / "b.csv").read_text().splitlines() == [
        "rank1,rank2,rank3,count",
        "1,,2,2",
        "overvote,,,1",
        ",,,4",
    ]
    assert [one["id"] for one in contest.tables()["candidates"]] == [1, 2]


def test_a_ward_of_several_seats_and_its_stages(tmp_path: Path) -> None:
    (tmp_path / "Ward.blt").write_text(
        '3 2\n7 1 2 0\n5 1 3 0\n1 1 0\n4 2 0\n6 3 0\n0\n"Ann"\n"Bob"\n"Cyd"\n"Ward"\n'
    )
    lines = [
        ["0", "log", "Add eligible: Ann"],
        *(
            [
                number,
                action,
                "8.00000",
                "0.00000",
                *(t for one in votes for t in ("name", "H", one)),
            ]
            for number, action, votes in (
                ("0", "begin", ("13.00000", "4.00000", "6.00000")),
                ("1", "unpend", ("13.00000", "4.00000", "6.00000")),
                ("1", "transfer", ("8.00000", "6.69227", "7.92305")),
                ("2", "transfer", ("8.00000", "0.00000", "7.92305")),
            )
        ),
    ]
    dump = tmp_path / "Ward-scotland-fixed-p5-d5.txt"
    dump.write_text("".join("\t".join(cells) + "\n" for cells in lines))
    [ward] = sources.scotland(tmp_path, tmp_path)
    assert ward.rules == {"count_by": "stv_scottish", "seats": 2}
    assert ward.difference(ward.counted()) == ""
    dump.write_text(dump.read_text().replace("6.69227", "6.69228"))
    [ward] = sources.scotland(tmp_path, tmp_path)
    assert "Bob has 669,227, published 669,228" in ward.difference(ward.counted())


def test_wards_and_the_stages_that_councils_published(tmp_path: Path) -> None:
    ballots = "7 1 2 0\n5 1 3 0\n1 1 0\n4 2 0\n6 3 0\n0\n"
    for name, people in (
        ("north", "Ann O'DEA (Lab)\nBob McKAY (C)\nZoë FRY (SNP)"),
        ("south", "Dee A\nEva B\nFlo C"),
    ):
        (tmp_path / f"{name}.blt").write_text(f"3 2\n{ballots}{people}\nWard\n")
    stages = (
        # Surname, first names, (transfers, votes) by stage; the order is another one.
        ("Fry", "Zoe", (("0", "6.00000"), ("1.92305", "7.92000"), ("0", "7.92000"))),
        ("McKay", "Bob James", (("0", "4"), ("2.69227", "6.69227"), ("-6.69227", "0"))),
        ("O'Dea", "Ann", (("0", "13.00000"), ("-5.00000", "8.00000"), ("0", "8"))),
    )
    rows = [
        {
            "Candidate_Id": surname,
            "Surname": surname,
            "Firstname": first,
            "Count_Number": number,
            "Transfers": moved,
            "Total_Votes": votes,
        }
        for surname, first, counts in stages
        for number, (moved, votes) in enumerate(counts, 1)
    ]
    ward = {"countInfo": {"Constituency_Name": "North"}, "countGroup": rows}
    file = tmp_path / "council" / "S1" / "ResultsJson.json"
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps({"Constituency": ward}))
    [found] = sources.councils(tmp_path, tmp_path)
    assert (found.name, found.rules["seats"]) == ("council: North", 2)
    assert found.difference(found.counted()) == ""
    file.write_text(file.read_text().replace("1.92305", "1.92304"))
    [found] = sources.councils(tmp_path, tmp_path)
    assert "Zoë FRY (SNP) has 792,305, published 792,304" in found.difference(found.counted())
    file.write_text(file.read_text().replace("7.92000", "9.92000"))
    assert list(sources.councils(tmp_path, tmp_path)) == []

"""Descriptions of elections: many names for one column, what makes no sense, and their contests."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from schemas.control import ContestMethod, ElectionContest
from streams.cli.election.commands import read_tables
from streams.core.dates import parse_begin
from streams.elections.definitions import (
    Definitions,
    ElectionsRefused,
    contest_of,
    merged,
    read,
)
from streams.elections.results import result_of
from streams.runtime.zones import zone_of

TABLES: dict[str, list[dict[str, Any]]] = {
    "political_parties": [
        {"id": 1, "party_code": "A", "party_name": "Alpha", "party_color": "#f00"},
        {"id": 2, "party_code": "B", "party_name": "Beta", "is_active": True},
    ],
    "regions": [
        {"id": 10, "region_code": "N", "region_name": "North"},
        {"id": 20, "region_code": "S", "region_name": "South"},
    ],
    "elections": [
        {
            "id": 1,
            "election_code": "E-2026",
            "election_name": "Assembly",
            "voting_method": "ranked_choice",
            "start_datetime": "2026-06-01T08:00:00",
            "end_datetime": datetime(2026, 6, 1, 20, tzinfo=UTC),
        }
    ],
    "candidates": [
        {"id": 11, "election_id": 1, "region_id": 10, "party_id": 1, "first_name": "A", "bio": ""},
        {"id": 12, "election_code": "E-2026", "region_code": "N", "party_code": "B", "name": "B"},
        {"id": 21, "election_id": "1", "region_id": "20", "last_name": "C"},
    ],
}


def known() -> Definitions:
    return merged(Definitions(), read(TABLES))


def test_tables_become_a_contest_with_regions_and_a_window() -> None:
    definitions = known()
    contest = contest_of(definitions, definitions.elections[1])
    assert isinstance(contest, ElectionContest)
    assert (contest.id, contest.title, contest.method) == (
        "election:1",
        "Assembly",
        ContestMethod.RANKED,
    )
    assert (contest.choices, contest.regions) == (["11", "12", "21"], ["10", "10", "20"])
    assert contest.opens_ms == parse_begin("2026-06-01T08:00:00Z")
    assert contest.closes_ms == parse_begin("2026-06-01T20:00:00Z")
    assert definitions.candidates[12].party_id == 2
    assert definitions.candidates[11].bio is None


@pytest.mark.parametrize(
    ("start", "end"),
    [("2026-06-01", "2026-06-02"), ("20260601", "20260602"), (date(2026, 6, 1), date(2026, 6, 2))],
)
def test_a_date_alone_is_a_whole_day(start: object, end: object) -> None:
    row = {"id": 2, "election_name": "E", "start_date": start, "end_date": end}
    election = read({"elections": [row]}).elections[2]
    assert election.starts_ms == parse_begin("2026-06-01T00:00:00Z")
    assert election.ends_ms == parse_begin("2026-06-03T00:00:00Z")
    local = read({"elections": [row]}, zone=zone_of("America/Toronto")).elections[2]
    assert local.starts_ms == parse_begin("2026-06-01T04:00:00Z")
    assert local.ends_ms == parse_begin("2026-06-03T04:00:00Z")


def test_candidates_of_an_election_are_replaced_as_a_whole() -> None:
    after = merged(known(), read({"candidates": [TABLES["candidates"][0]]}, known()))
    assert [c.id for c in after.standing(1)] == [11]
    election = after.elections[1]
    assert (
        contest_of(merged(Definitions(), read({"elections": TABLES["elections"]})), election)
        is None
    )


@pytest.mark.parametrize(
    ("table", "row", "what"),
    [
        ("elections", {"id": "x", "election_name": "E"}, "Row 1 of elections is invalid"),
        ("elections", {"id": 0, "election_name": "E"}, "out of range"),
        ("elections", {"id": 1.5, "election_name": "E"}, "not a whole number"),
        ("elections", {"id": 3}, "election_name is missing"),
        ("elections", {"id": 3, "name": "E", "voting_method": "lots"}, "no voting_method 'lots'"),
        ("elections", {"id": 3, "name": "E", "start_date": "soon"}, "'soon' is no time"),
        ("regions", {"region_code": "N"}, "id is missing"),
        ("candidates", {"id": 30, "election_id": 1}, "last_name is missing"),
        ("candidates", {"id": 30, "region_code": "Z", "name": "N"}, "no region_code 'Z'"),
        ("candidates", {"id": 30, "election_id": 9, "name": "N"}, "election 9, which does not"),
        ("candidates", {"id": 30, "election_id": 1, "party_id": 9, "name": "N"}, "party 9, which"),
        ("voters", {"id": 1}, "no election table 'voters'"),
    ],
)
def test_an_invalid_definition_is_named(table: str, row: dict[str, Any], what: str) -> None:
    with pytest.raises(ElectionsRefused, match=what):
        merged(known(), read({table: [row]}, known()))


def test_a_candidate_stands_in_a_region_or_in_all() -> None:
    mixed = [*TABLES["candidates"], {"id": 31, "election_id": 1, "name": "D"}]
    with pytest.raises(ElectionsRefused, match="some have none"):
        merged(Definitions(), read(TABLES | {"candidates": mixed}))


@pytest.mark.parametrize(
    ("table", "twin", "row", "what"),
    [
        ("regions", {"id": 11, "region_code": "N"}, {"region_code": "N"}, "region_code 'N'"),
        (
            "elections",
            {"id": 2, "election_code": "A", "election_name": "B"},
            {"election_code": "A"},
            "election_code 'A'",
        ),
    ],
)
def test_a_code_of_two_rows_names_neither(
    table: str, twin: dict[str, Any], row: dict[str, Any], what: str
) -> None:
    """The last one would win silently, and its candidates would stand in the wrong place."""
    rows = {
        "regions": [{"id": 10, "region_code": "N"}],
        "elections": [{"id": 1, "election_code": "A", "election_name": "A"}],
    }
    rows[table] = [*rows[table], twin]
    candidate = {"id": 30, "last_name": "C", "election_id": 1} | row
    if "election_code" in row:
        del candidate["election_id"]
    with pytest.raises(ElectionsRefused, match=rf"{what} belongs to \d+ and \d+"):
        read(rows | {"candidates": [candidate]})


def test_empty_rows_of_a_spreadsheet_are_left_out() -> None:
    empty = {"id": "", "region_code": " ", "region_name": None}
    found = read({"regions": [{"id": "10", "region_code": "N"}, empty, empty]})
    assert list(found.regions) == [10]
    with pytest.raises(ElectionsRefused, match="Row 3 of regions"):
        read({"regions": [{"id": "10", "region_code": "N"}, empty, {"id": "x"}]})


def test_files_of_a_folder_are_found_whatever_the_case_of_their_ending(tmp_path: Path) -> None:
    (tmp_path / "regions.CSV").write_text("id,region_code\n10,N\n,\n")
    (tmp_path / "parties.Json").write_text('[{"id": 1, "party_code": "A"}]')
    tables = read_tables([tmp_path])
    assert sorted(tables) == ["parties", "regions"]
    assert list(read(tables).regions) == [10]


def test_one_id_twice_with_different_content() -> None:
    twice = [*TABLES["regions"], {"id": 10, "region_code": "X"}]
    with pytest.raises(ElectionsRefused, match="id 10 occurs twice"):
        read({"regions": twice})


def test_results_by_region_and_party() -> None:
    """A ballot counts in the region of its first candidate who stands; others are passed over."""
    definitions = known()
    ballots = [("11>12", None, 3), ("12", None, 2), ("99>21>11", None, 1), ("99", "10", 4)]
    result = result_of(definitions, definitions.elections[1], ballots)
    north, south = result.seats
    assert north.region is not None
    assert (north.region.name, north.ballots, north.count.elected) == ("North", 5, "11")
    assert (south.ballots, south.count.elected, result.uncountable) == (1, "21", 4)
    assert result.ballots == 10
    assert result.parties() == [("A", 3, 1), (None, 1, 1), ("B", 2, 0)]
    told = result.as_dict()
    assert told["seats"][0]["rounds"][0]["votes"] == {"11": 3, "12": 2}
    assert [(seat["elected"], seat["leading"]) for seat in told["seats"]] == [
        (None, 11),
        (None, 21),
    ]
    assert told["seats"][0]["rounds"][-1]["elected"] is None
    assert [(party["seats"], party["leading"]) for party in told["parties"]] == [
        (0, 1),
        (0, 1),
        (0, 0),
    ]
    final = replace(result, final=True).as_dict()
    assert [(seat["elected"], seat["leading"]) for seat in final["seats"]] == [
        (11, None),
        (21, None),
    ]
    assert final["seats"][0]["rounds"][-1]["elected"] == 11
    assert [party["seats"] for party in final["parties"]] == [1, 1, 0]


def test_candidates_of_all_regions_are_counted_for_the_whole_country() -> None:
    everywhere = [{"id": n, "election_id": 1, "name": str(n)} for n in (1, 2)]
    single = TABLES | {
        "candidates": everywhere,
        "elections": [{"id": 1, "election_name": "President"}],
    }
    definitions = merged(Definitions(), read(single))
    ballots = [("1", "10", 2), ("2", "20", 3), ("1", None, 2), ("2", "elsewhere", 1)]
    result = result_of(definitions, definitions.elections[1], ballots)
    [seat] = result.seats
    assert (seat.region, seat.count.elected, seat.count.tied) == (None, None, ("1", "2"))
    assert result.by_region == {10: {1: 2}, 20: {2: 3}}


def test_an_error_names_the_line_of_the_file(tmp_path: Path) -> None:
    file = tmp_path / "candidates.csv"
    rows = ["id,election_id,last_name,bio", '7,1,Roy,"two', 'lines"', "", "8,1,Cyr,", "nine,1,Lee,"]
    file.write_text("\n".join(rows))
    tables = read_tables([file])
    assert [row.line for row in tables["candidates"]] == [2, 5, 6]  # type: ignore[attr-defined]
    with pytest.raises(ElectionsRefused, match=r"Line 6 of candidates\.csv is invalid") as caught:
        read(tables)
    assert caught.value.where == {"file": "candidates.csv", "line": 6}

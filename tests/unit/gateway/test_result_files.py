"""Files of results: the form that a caller gets, tables, and pictures as PNG."""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime

import msgspec
import pytest
from pyarrow import parquet

from streams.elections.contest_making import ContestFacts, Moment, result_of_totals
from streams.elections.contest_result import LogPosition
from streams.gateway.handlers.pages import read_site
from streams.gateway.result_files import (
    COLUMNS,
    STEP_COLUMNS,
    ResultFiles,
    ResultForm,
    by_first_choice,
    wanted_form,
)
from streams.gateway.store import Timeline, TimelinePoint

NOW = datetime(2026, 11, 29, 20, tzinfo=UTC)
OPEN = ContestFacts("L1", kind="law", title="Law", state="open", updated_at=NOW)
RESULT = result_of_totals(OPEN, {"=oui": 3, "non": 1}, Moment(NOW, [LogPosition(0, 4)]))
STEPS = Timeline("L1", 60, [TimelinePoint(NOW, {"=oui": 3, "non": 1})])


@pytest.mark.parametrize(
    ("path", "accept", "wanted"),
    [
        ("L1", "", ("L1", "json")),
        ("L1", "*/*", ("L1", "json")),
        ("L1", "text/html,application/xhtml+xml,*/*;q=0.8", ("L1", "json")),
        ("L1", "image/avif,image/webp,image/apng,image/svg+xml,image/*,*/*;q=0.8", ("L1", "svg")),
        ("L1", "image/png", ("L1", "png")),
        ("L1", "text/csv;q=0.5, image/svg+xml;q=0.9", ("L1", "svg")),
        ("L1", "text/csv;q=x", ("L1", "json")),
        ("L1", "application/vnd.apache.parquet", ("L1", "parquet")),
        ("L1.csv", "image/png", ("L1", "csv")),
        ("L1.png", "", ("L1", "png")),
        ("L1.2", "", ("L1.2", "json")),
        ("a.b.json", "text/csv", ("a.b", "json")),
    ],
)
def test_suffix_before_accept_before_json(path: str, accept: str, wanted: tuple[str, str]) -> None:
    assert wanted_form(path, accept) == wanted


async def test_tables_hold_the_same_in_both_forms() -> None:
    files = ResultFiles({})
    text = (await files.result(RESULT, ResultForm.CSV, "en")).content.decode()
    rows = list(csv.DictReader(io.StringIO(text)))
    assert list(rows[0]) == list(COLUMNS)
    assert [(r["choice_id"], r["votes"], r["leading"]) for r in rows] == [
        ("'=oui", "3", "True"),
        ("non", "1", "False"),
    ]
    content = (await files.result(RESULT, ResultForm.PARQUET, "en")).content
    table = parquet.read_table(io.BytesIO(content))
    assert table.column_names == list(COLUMNS)
    assert table.to_pylist()[0] == {
        **dict.fromkeys(("region_id", "region", "party")),
        "contest_id": "L1",
        "phase": "voting",
        "choice_id": "=oui",
        "name": "=oui",
        "votes": 3,
        "share": 0.75,
        "leading": True,
        "elected": False,
        "updated_at": NOW,
    }


async def test_tables_of_votes_over_time() -> None:
    files = ResultFiles({})
    text = (await files.timeline(RESULT, STEPS, ResultForm.CSV, "en")).content.decode()
    assert text.splitlines() == [
        ",".join(STEP_COLUMNS),
        "L1,2026-11-29T20:00:00+00:00,60,'=oui,'=oui,3",
        "L1,2026-11-29T20:00:00+00:00,60,non,non,1",
    ]
    content = (await files.timeline(RESULT, STEPS, ResultForm.PARQUET, "en")).content
    assert parquet.read_table(io.BytesIO(content)).to_pylist()[1]["votes"] == 1


async def test_pictures_are_of_one_size() -> None:
    files = ResultFiles(read_site().pictures)
    svg = await files.result(RESULT, ResultForm.SVG, "fr")
    assert b"Scrutin ouvert" in svg.content
    png = await files.result(RESULT, ResultForm.PNG, "en")
    assert png.content[:8] == b"\x89PNG\r\n\x1a\n"
    assert (int.from_bytes(png.content[16:20]), int.from_bytes(png.content[20:24])) == (1200, 630)
    later = await files.timeline(RESULT, STEPS, ResultForm.PNG, "en")
    assert later.content.startswith(b"\x89PNG")
    assert later.content != png.content
    assert png.headers("result") == {}


def test_rankings_are_under_their_first_choice() -> None:
    steps = Timeline("e", 60, [TimelinePoint(NOW, {"3>1": 2, "3": 1, "1>3": 4})])
    assert msgspec.to_builtins(by_first_choice(steps).points[0].votes) == {"3": 3, "1": 4}

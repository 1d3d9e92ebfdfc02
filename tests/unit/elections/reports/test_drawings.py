"""Pictures of results: well-formed, of one size, and with the figures of the one model."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from xml.etree import ElementTree

import msgspec
import pytest
import resvg_py
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.elections.contest_making import ContestFacts, Moment, result_of_totals
from streams.elections.contest_result import (
    ContestResult,
    LogPosition,
    PartyResult,
    SeatResult,
    SignedPlace,
)
from streams.elections.reports.drawings import (
    ENGLISH,
    HEIGHT,
    MAX_ROWS,
    WIDTH,
    DrawingWords,
    bars,
    drawing_of,
    shortened,
    timeline_drawing,
)
from streams.gateway.handlers.pages import read_site

FRENCH = read_site().pictures["fr"]
NOW = datetime(2026, 11, 29, 20, 14, 3, tzinfo=UTC)
MOMENT = Moment(NOW, [LogPosition(0, 41)])
HEAD = "ab" * 32


def result(totals: Mapping[str, int], **facts: Any) -> ContestResult:
    known = ContestFacts("L1", **{"kind": "law", "title": "Law 1", "state": "open", **facts})
    return result_of_totals(known, totals, MOMENT)


def texts(svg: str) -> list[str]:
    """What a picture says, and that it is one picture of one size."""
    root = ElementTree.fromstring(svg)
    assert root.get("viewBox") == f"0 0 {WIDTH} {HEIGHT}"
    found = root.iter("{http://www.w3.org/2000/svg}text")
    return [(each.text or "").strip("\u2068\u2069") for each in found]


def widths(svg: str) -> list[float]:
    """Of the coloured bars."""
    rects = ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}rect")
    return [float(r.get("width", "0")) for r in rects if r.get("fill") == "#3366aa"]


def test_a_final_result_with_its_checkpoint() -> None:
    closed = {"closed_at": NOW, "final": True, "enforced": True}
    found = result({"oui": 1500, "non": 500}, state="closed", proof=closed)
    found = msgspec.structs.replace(found, checkpoint=SignedPlace(12_345, HEAD, NOW, 2000, 1))
    said = texts(drawing_of(found))
    assert said[:2] == ["Law 1", "Final result · 2,000 votes"]
    assert {"oui", "1,500 · 75.0 %", "most votes", "non", "500 · 25.0 %"} <= set(said)
    assert f"As of 2026-11-29 20:14 UTC · signed checkpoint 12,345: {HEAD[:16]}" in said
    bar, other = widths(drawing_of(found))
    assert abs(bar - 3 * other) < 1
    french = texts(drawing_of(found, FRENCH))
    assert "1\u202f500 · 75,0\u202f%" in french
    assert "le plus de votes" in french
    assert "Résultat définitif · 2\u202f000 votes" in french


def test_nobody_is_elected_while_people_vote() -> None:
    said = texts(drawing_of(result({"oui": 1})))
    assert "leading" in said
    assert "elected" not in said
    assert "Voting is open · 1 vote" in said
    assert any("no signed checkpoint" in each for each in said)


def test_zero_votes_and_hidden_counts() -> None:
    assert "No votes yet" in texts(drawing_of(result({})))
    nobody = drawing_of(result({}, choices=("oui", "non")))
    assert widths(nobody) == [0, 0]
    hidden = texts(drawing_of(result({"": 7}, hidden=True)))
    assert ENGLISH.hidden in hidden
    assert "7" not in "".join(hidden[2:3])


def test_five_hundred_choices_are_bounded() -> None:
    found = result({f"c{n:03}": 1000 - n for n in range(500)})
    shown = bars(found, ENGLISH)
    assert len(shown) == MAX_ROWS
    assert sum(bar.votes for bar in shown) == found.total_votes
    assert shown[-1].name == "489 others"
    assert len(drawing_of(found)) < 10_000


def test_parties_and_regions_stand_for_choices() -> None:
    ahead = result({"1": 4, "2": 1}).choices
    seat = SeatResult(5, "North", 5, 0, "leading", 3, ahead, [])
    election = msgspec.structs.replace(result({}), seats={"5": seat}, total_votes=5)
    assert [bar.name for bar in bars(election, ENGLISH)] == ["North: 1"]
    party = PartyResult("A", "Apples", "#00ff00", 5, 1)
    election = msgspec.structs.replace(election, parties=[party])
    [bar] = bars(election, ENGLISH)
    assert (bar.name, bar.color, bar.note, bar.share) == ("Apples", "#00ff00", "seats: 1", 1.0)
    [bar] = bars(
        msgspec.structs.replace(election, parties=[PartyResult("A", None, '"/><a', 5, 0)]), ENGLISH
    )
    assert bar.color == "#3366aa"


@settings(max_examples=60, deadline=None)
@given(
    title=st.text(max_size=200),
    totals=st.dictionaries(st.text(min_size=1, max_size=80), st.integers(0, 10**9), max_size=20),
    words=st.sampled_from([ENGLISH, FRENCH]),
)
def test_any_text_makes_a_picture(title: str, totals: dict[str, int], words: DrawingWords) -> None:
    svg = drawing_of(result(totals, title=title), words)
    assert len(texts(svg)) >= 4
    steps = [(NOW + timedelta(seconds=10 * n), totals) for n in range(2 if totals else 0)]
    if sum(totals.values()):
        texts(timeline_drawing(result(totals, title=title), steps, 10, words))
    svg.encode()


@pytest.mark.parametrize(
    ("text", "places", "short"),
    [
        ("Ada", 3, "Ada"),
        ("Adam", 3, "Ad…"),
        ("日本語", 6, "日本語"),
        ("日本語", 5, "日…"),
        ("a\u202eb\x00c\nd", 9, "abc d"),
    ],
)
def test_names_fit_their_column(text: str, places: int, short: str) -> None:
    assert shortened(text, places) == short


def test_votes_over_time_add_up_to_the_total() -> None:
    found = result({f"c{n}": n + 1 for n in range(10)})
    half = {f"c{n}": n + 1 for n in range(5)}
    steps = [(NOW, half), (NOW + timedelta(hours=1), {f"c{n}": n + 1 for n in range(5, 10)})]
    said = texts(timeline_drawing(found, steps, 60))
    assert said[1] == "Votes over time · Voting is open · 55 votes"
    assert "3 others" in said
    assert {"10", "9", "8", "7", "6", "5", "4"} <= set(said)
    assert "2026-11-29 20:14" in said
    assert "2026-11-29 21:15" in said
    assert "No votes yet" in texts(timeline_drawing(result({}), [], 60))


def test_names_of_every_direction_are_drawn() -> None:
    """The renderer draws the names, and draws them apart from each other."""
    drawn = {
        resvg_py.svg_to_bytes(svg_string=drawing_of(result({name: 3, "non": 1})))
        for name in ("Ada", "حزب العمال 12", "Ελλάδα", "Партия")
    }
    assert len(drawn) == 4
    assert all(each.startswith(b"\x89PNG") for each in drawn)

"""Tumbling windows: ranges without gaps, deltas that add up."""

from __future__ import annotations

from collections import Counter

import pytest
from faust.windows import TumblingWindow
from hypothesis import given
from hypothesis import strategies as st

from schemas.votes import Kind, Vote
from streams.core.windows import Deltas, Windows
from tests.strategies import LAWS, make_vote, votes

moments = st.integers(0, 4_102_444_800_000)
widths = st.integers(1, 3_600_000)


@given(widths, moments)
def test_a_moment_falls_into_the_window_that_begins_at_or_before_it(width: int, at: int) -> None:
    start = Windows(width).start_ms(at)
    assert start <= at < start + width
    assert start % width == 0


@given(widths, moments)
def test_windows_follow_each_other_without_gap(width: int, at: int) -> None:
    windows = Windows(width)
    start = windows.start_ms(at)
    assert windows.start_ms(start) == start
    assert windows.start_ms(start + width - 1) == start
    assert windows.start_ms(start + width) == start + width


@pytest.mark.parametrize(
    ("at", "start"), [(0, 0), (999, 0), (1000, 1000), (1_760_000_000_123, 1_760_000_000_000)]
)
def test_one_second_windows(at: int, start: int) -> None:
    assert Windows(1000).start_ms(at) == start


def test_deltas_of_laws_and_elections() -> None:
    deltas = Deltas()
    deltas.add(
        [
            make_vote(1, choice="oui"),
            make_vote(2, choice="oui"),
            make_vote(3, choice="non"),
            make_vote(4, contest="election:1", kind=Kind.CANDIDATE, choice="42"),
        ],
        5000,
    )
    deltas.add([make_vote(5, choice="oui")], 6000)
    law = LAWS[0]
    assert deltas.laws == {(law, "oui"): 3, (law, "non"): 1}
    assert deltas.contests == {(law, "oui"): 3, (law, "non"): 1, ("election:1", "42"): 1}
    assert deltas.windows == {
        (law, "oui", 5000): 2,
        (law, "non", 5000): 1,
        ("election:1", "42", 5000): 1,
        (law, "oui", 6000): 1,
    }


@given(st.lists(st.tuples(st.lists(votes, max_size=6), st.sampled_from([0, 1000])), max_size=5))
def test_windows_add_up_to_the_totals(parts: list[tuple[list[Vote], int]]) -> None:
    deltas = Deltas()
    for items, start_ms in parts:
        deltas.add(items, start_ms)
    assert deltas.contests.total() == sum(len(items) for items, _ in parts)
    folded: Counter[tuple[str, str]] = Counter()
    for (contest, choice, _), n in deltas.windows.items():
        folded[contest, choice] += n
    assert folded == deltas.contests
    laws = {name: n for name, n in deltas.contests.items() if name[0] in LAWS}
    assert dict(deltas.laws) == laws


@pytest.mark.parametrize("at_s", [0, 59, 60, 1_760_000_000])
def test_the_ranges_are_those_of_a_faust_window(at_s: int) -> None:
    """Where Faust's own arithmetic holds: whole seconds, and wide windows."""
    ((start_s, _),) = TumblingWindow(60).ranges(at_s)
    assert Windows(60_000).start_ms(at_s * 1000) == start_s * 1000

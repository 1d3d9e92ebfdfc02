"""Ranked ballots as text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.core import ranking

names = st.from_regex(r"[a-z0-9]{1,8}", fullmatch=True)
marks = st.lists(st.lists(names, max_size=3), max_size=8)


@given(marks)
def test_what_is_written_is_read(ranks: list[list[str]]) -> None:
    text = ranking.to_text(ranks)
    read = [ranking.marked_at(rank) for rank in ranking.from_text(text)]
    expected = [sorted(set(rank)) for rank in ranks]
    while expected and not expected[-1]:
        expected.pop()
    assert read == expected
    assert ranking.marked_in(text) == [name for rank in expected for name in rank]
    assert text == (ranking.to_text(read) if read else ranking.BLANK)


@given(st.lists(names, min_size=1))
def test_a_candidate_at_each_rank_is_the_text_of_earlier_versions(order: list[str]) -> None:
    assert ranking.to_text(order) == ">".join(order)
    assert ranking.first_choice(">".join(order)) == order[0]


@pytest.mark.parametrize(
    ("text", "first"), [(">", ""), (">7", "7"), ("3=7>5", "3=7"), (">>3=7", "3=7"), ("7", "7")]
)
def test_the_first_choice_is_at_the_first_rank_with_a_mark(text: str, first: str) -> None:
    assert ranking.first_choice(text) == first


@pytest.mark.parametrize("ranks", [["1>2"], ["1=2"], [""], [["1", ""]], ["x" * 1025]])
def test_what_no_ballot_can_be(ranks: list[str]) -> None:
    with pytest.raises(ValueError, match=r"id is empty|longer"):
        ranking.to_text(ranks)

"""What is committed when Faust has dropped records that a stage then read by itself."""

from __future__ import annotations

from collections import defaultdict

from faust.types import TP
from intervaltree import IntervalTree

from streams.kafka_transport import Consumer

VOTES = TP("votes.validation", 3)


def consumer(*, committed: int, acknowledged: list[int]) -> Consumer:
    """Only the book-keeping of one: a whole one takes an app."""
    found = Consumer.__new__(Consumer)
    found._committed_offset = defaultdict(lambda: None, {VOTES: committed})
    found._acked = defaultdict(list, {VOTES: acknowledged})
    found._acked_index = defaultdict(set, {VOTES: set(acknowledged)})
    found._gap = defaultdict(IntervalTree)
    found._uncommitted = {}
    return found


def test_a_hole_before_what_was_acknowledged_holds_nothing_up() -> None:
    late = consumer(committed=618, acknowledged=[635, 636])
    assert late._filter_committable_offsets([VOTES]) == {VOTES: 637}


def test_a_hole_in_between_holds_nothing_up() -> None:
    late = consumer(committed=618, acknowledged=[618, 640, 641])
    assert late._filter_committable_offsets([VOTES]) == {VOTES: 642}


def test_nothing_is_committed_twice_or_backwards() -> None:
    late = consumer(committed=618, acknowledged=[618])
    assert late._filter_committable_offsets([VOTES]) == {VOTES: 619}
    assert late._filter_committable_offsets([VOTES]) == {}
    late._acked[VOTES].append(600)
    assert late._filter_committable_offsets([VOTES]) == {}

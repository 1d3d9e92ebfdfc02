"""What is delivered and committed around a rebalance."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from types import SimpleNamespace

import pytest
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


CHANGELOG = TP("scrutin-voted-changelog", 3)
VERDICTS = TP("votes.validated", 3)


def seeking(*, generation_after: int) -> Consumer:
    """A consumer that looks for its places while a rebalance may begin."""
    tables = SimpleNamespace(changelog_topics={CHANGELOG.topic})
    found = Consumer.__new__(Consumer)
    found.app = SimpleNamespace(consumer_generation_id=7, tables=tables)
    found._active_partitions = {VOTES, CHANGELOG}
    found._buffered_partitions = {VERDICTS}
    found._paused_partitions = set()
    found._read_offset = {}
    found._committed_offset = {}

    async def seek_to_committed() -> dict[TP, int]:
        await asyncio.sleep(0)
        assert found._active_partitions == {CHANGELOG}, "votes are delivered from the wrong place"
        assert not found._buffered_partitions
        found.app.consumer_generation_id = generation_after
        return {VOTES: 618, VERDICTS: 600}

    found.seek_to_committed = seek_to_committed
    return found


async def test_nothing_is_delivered_before_its_place_is_found() -> None:
    consumer = seeking(generation_after=7)
    await consumer.perform_seek()
    assert consumer._active_partitions == {VOTES, VERDICTS, CHANGELOG}
    assert consumer._read_offset == {VOTES: 618, VERDICTS: 600}


async def test_a_rebalance_meanwhile_decides_by_itself_what_is_delivered() -> None:
    consumer = seeking(generation_after=8)
    await consumer.perform_seek()
    assert consumer._active_partitions == {CHANGELOG}


async def test_a_failed_search_lets_records_flow_again() -> None:
    consumer = seeking(generation_after=7)

    async def fail() -> dict[TP, int]:
        raise TimeoutError

    consumer.seek_to_committed = fail
    with pytest.raises(TimeoutError):
        await consumer.perform_seek()
    assert consumer._active_partitions == {VOTES, VERDICTS, CHANGELOG}

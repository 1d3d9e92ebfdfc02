"""What is delivered and committed around a rebalance."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from types import SimpleNamespace

import pytest
from faust.types import TP
from intervaltree import IntervalTree

from streams.engine.consumer import (
    FETCH_WAIT_BEFORE_SEEK_MS,
    FETCH_WAIT_MS,
    Consumer,
    ConsumerThread,
)

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


class Answer:
    """A thread whose commits are answered when the test says so."""

    def __init__(self, *, good: bool) -> None:
        self.rebalances = 4
        self.asked: list[dict[TP, int]] = []
        self.answered = asyncio.Event()
        self._good = good

    async def commit_unless_rebalanced(self, offsets: dict[TP, int], rebalances: int) -> bool:
        assert rebalances == 4
        self.asked.append(dict(offsets))
        await self.answered.wait()
        return self._good


def committing(*, good: bool) -> tuple[Consumer, Answer, asyncio.Task[bool]]:
    """A consumer whose commit of offset 619 is under way."""
    found = consumer(committed=618, acknowledged=[])
    found._thread = answer = Answer(good=good)
    found._uncommitted = {VOTES: 600}
    found.assignment = lambda: {VOTES}
    return found, answer, asyncio.create_task(found._commit_offsets({VOTES: 619}))


async def test_what_kafka_did_not_take_is_committed_with_the_next() -> None:
    failing, answer, commit = committing(good=False)
    answer.answered.set()
    assert not await commit
    assert failing._filter_committable_offsets([]) == {VOTES: 619}
    assert failing._committed_offset[VOTES] == 618


async def test_what_kafka_took_is_not_committed_again() -> None:
    good, answer, commit = committing(good=True)
    answer.answered.set()
    assert await commit
    assert good._filter_committable_offsets([]) == {}
    assert good._committed_offset[VOTES] == 619


async def test_a_place_found_during_a_commit_is_kept() -> None:
    good, answer, commit = committing(good=True)
    await asyncio.sleep(0)
    good._uncommitted[VOTES] = 640
    answer.answered.set()
    await commit
    assert good._filter_committable_offsets([]) == {VOTES: 640}


async def test_what_failed_in_a_rebalance_does_not_set_back_what_others_committed() -> None:
    failing, answer, commit = committing(good=False)
    await asyncio.sleep(0)
    answer.rebalances += 1
    failing._uncommitted[VOTES] = 640
    answer.answered.set()
    await commit
    assert failing._filter_committable_offsets([]) == {VOTES: 640}


class Asked:
    """An aiokafka consumer whose coordinator does not answer."""

    def __init__(self) -> None:
        self.commits = 0
        self._fetcher = SimpleNamespace(_fetch_max_wait_ms=FETCH_WAIT_MS)

    async def commit(self, _offsets: object) -> None:
        self.commits += 1
        await asyncio.Event().wait()


def thread(asked: Asked) -> ConsumerThread:
    """Only what commits."""
    found = ConsumerThread.__new__(ConsumerThread)
    found._consumer = asked
    found._committing = None
    found._notifying = asyncio.Lock()

    async def nothing(*_: object) -> None:
        pass

    found.consumer = SimpleNamespace(
        threadsafe_partitions_revoked=nothing, threadsafe_partitions_assigned=nothing
    )
    found.thread_loop = asyncio.get_running_loop()
    return found


async def test_a_commit_from_before_a_rebalance_is_not_sent() -> None:
    asked = Asked()
    moved = thread(asked)
    before = moved.rebalances
    await moved.on_partitions_assigned({VOTES}, 8)
    assert not await moved._commit_unless_rebalanced({VOTES: 619}, before)
    assert asked.commits == 0


async def test_a_rebalance_ends_the_commit_that_waits_for_its_answer() -> None:
    asked = Asked()
    moved = thread(asked)
    commit = asyncio.create_task(moved._commit_unless_rebalanced({VOTES: 619}, moved.rebalances))
    await asyncio.sleep(0)
    assert asked.commits == 1
    await moved.on_partitions_revoked({VOTES})
    assert not await commit
    # The next one has its own patience.
    await moved.on_partitions_revoked({VOTES})


@pytest.mark.parametrize(
    ("rebalances", "wait_ms"), [(0, FETCH_WAIT_MS), (1, FETCH_WAIT_BEFORE_SEEK_MS)]
)
async def test_the_first_fetch_after_a_seek_waits_for_no_long_one(
    rebalances: int, wait_ms: int
) -> None:
    """A fetch is in progress when partitions get their places, and another only follows it."""
    asked = Asked()
    moved = thread(asked)
    found = consumer(committed=618, acknowledged=[])
    found._thread = moved
    found.assignment = lambda: {VOTES}
    await moved.on_partitions_revoked(set())
    before = asked._fetcher._fetch_max_wait_ms

    async def committed(_: object) -> dict[TP, int]:
        return {VOTES: 618}

    async def stage_positions(_: object) -> dict[TP, int]:
        return {VOTES: 618}

    async def seek_wait(_: object) -> None:
        assert asked._fetcher._fetch_max_wait_ms == before
        for _number in range(rebalances):
            await moved.on_partitions_revoked({VOTES})

    moved.committed, moved.seek_wait = committed, seek_wait
    tables = SimpleNamespace(changelog_topics=set())
    found.app = SimpleNamespace(stage_positions=stage_positions, tables=tables)
    await found.seek_to_committed()
    assert before == FETCH_WAIT_BEFORE_SEEK_MS
    assert asked._fetcher._fetch_max_wait_ms == wait_ms


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

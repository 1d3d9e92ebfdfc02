"""The validation stage over a log in memory: takeovers, zombies, crashes, commits that lie.

A state machine drives two workers over one partition in every way Kafka can, and a reader with a
fence, as the sink has, must always have seen the verdicts of a plain fold of the log.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)
from prometheus_client import CollectorRegistry

from schemas.codec import (
    ChangelogRecord,
    InputRecord,
    decode_input,
    decode_verdicts,
    decode_voted,
    encode,
)
from schemas.control import Control
from schemas.genesis import Genesis
from schemas.verdicts import Rejection, VerdictBatch
from schemas.voted import CHANGELOG_KEY, ControlRecord, VotedRecord
from schemas.votes import VoteBatch
from streams.assignment import Assignment
from streams.decide import decide
from streams.errors import LogMismatch, PoisonRecord, RecoveryFailed
from streams.events import InputEvent
from streams.log_writer import OutRecord
from streams.metrics import WorkerMetrics
from streams.topics import VALIDATED_TOPIC, VALIDATION_TOPIC
from streams.validation import VALIDATION_GROUP_RECORDS, Validation
from streams.voted import VotedPartition
from tests.strategies import (
    LOG_ID,
    batches,
    controls,
    make_batch,
    make_malformed,
    make_vote,
    ruled_batches,
)

CHANGELOG = "app-voted-changelog"
GENESIS = Genesis(LOG_ID, 0)


class Crashed(Exception):
    """The process died within a write."""


@dataclass
class Broker:
    """Partition 0 of three topics, in memory."""

    topics: dict[str, list[tuple[bytes | None, bytes]]] = field(
        default_factory=lambda: {VALIDATION_TOPIC: [], VALIDATED_TOPIC: [], CHANGELOG: []}
    )
    writes_left: int | None = None
    """Records until a crash."""
    reads: list[tuple[str, int, int]] = field(default_factory=list)

    def append_input(self, record: InputRecord) -> int:
        self.topics[VALIDATION_TOPIC].append((None, encode(record)))
        return len(self.topics[VALIDATION_TOPIC]) - 1

    # As LogReader.

    async def end_offset(self, topic: str, _partition: int) -> int:
        return len(self.topics[topic])

    async def tail(self, topic: str, partition: int, count: int) -> list[Any]:
        end = len(self.topics[topic])
        return [r async for r in self.read(topic, partition, max(0, end - count), end)]

    async def read(
        self, topic: str, partition: int, start: int, end: int
    ) -> AsyncGenerator[Any, None]:
        self.reads.append((topic, start, end))
        for offset in range(start, end):
            key, value = self.topics[topic][offset]
            yield SimpleNamespace(
                topic=topic, partition=partition, offset=offset, key=key, value=value
            )

    # As LogWriter.

    async def write(self, records: Sequence[OutRecord]) -> list[Any]:
        written = []
        for record in records:
            if self.writes_left is not None:
                if self.writes_left == 0:
                    self.writes_left = None
                    raise Crashed
                self.writes_left -= 1
            self.topics[record.topic].append((record.key, record.value))
            offset = len(self.topics[record.topic]) - 1
            written.append(SimpleNamespace(partition=record.partition, offset=offset))
        return written


class Store:
    """What the stage needs of the voted table's store."""

    def __init__(self) -> None:
        self.partitions: dict[int, VotedPartition] = {}
        self.own: list[tuple[int, int]] = []

    def written(self, number: int, changelog_offset: int) -> None:
        self.own.append((number, changelog_offset))


async def at_once(action: Callable[[], Awaitable[Any]]) -> Any:
    return await action()


class OneWorker:
    """A validation stage with its table, as a worker would hold them."""

    def __init__(self, broker: Broker) -> None:
        self.broker = broker
        self.store = Store()
        self.metrics = WorkerMetrics(CollectorRegistry())
        self.assignment = Assignment()
        self.stage = Validation(
            store=lambda: self.store,  # type: ignore[arg-type,return-value]
            changelog_topic=CHANGELOG,
            writer=broker,  # type: ignore[arg-type]
            reader=broker,  # type: ignore[arg-type]
            retry=at_once,
            metrics=self.metrics,
            assignment=self.assignment,
        )
        self.stage.open({0: GENESIS})
        self.acked: list[int] = []

    def revoke(self) -> None:
        self.assignment.end()
        self.stage.revoked()

    def assign(self, generation: int, *, changelog_end: int | None = None) -> None:
        """Take the partition over with a table restored from the changelog."""
        self.revoke()
        table = self.store.partitions[0] = VotedPartition(0)
        for key, value in self.broker.topics[CHANGELOG][:changelog_end]:
            (offset,) = CHANGELOG_KEY.unpack(key)
            table.apply(offset, decode_voted(value))
        self.stage.restored()
        self.assignment.begin(generation)

    def events(self, start: int, end: int) -> list[InputEvent]:
        log = self.broker.topics[VALIDATION_TOPIC]
        return [
            InputEvent(
                partition=0,
                offset=offset,
                record=decode_input(log[offset][1]),
                raw=log[offset][1],
                generation=self.assignment.generation or 0,
                acknowledge=lambda: None,
            )
            for offset in range(start, min(end, len(log)))
        ]

    async def work(self, count: int = 1_000_000, *, skip: int = 0, back: int = 0) -> None:
        """Process `count` records from where the stage says, or from an offset that lies."""
        position = await self.stage.position(0)
        assert position is not None
        start = max(0, position + skip - back)
        await self.stage.process(self.events(start, start + count))

    def metric(self, name: str, **labels: str) -> float:
        return self.metrics.registry.get_sample_value(name, labels) or 0.0


def plain_fold(log: list[InputRecord]) -> list[list[Rejection]]:
    """The verdicts on every record, decided in order, without stages."""
    table = VotedPartition(0)
    verdicts = []
    for offset, record in enumerate(log):
        change: ChangelogRecord
        if isinstance(record, VoteBatch):
            change = decide(record, offset, LOG_ID, table.get, table.rules)
        elif isinstance(record, Genesis):
            change = VotedRecord(LOG_ID, b"", [], [], [])
        else:
            change = ControlRecord(LOG_ID, record)
        table.apply(offset, change)
        verdicts.append(change.rejections)
    return verdicts


def through_the_fence(broker: Broker) -> list[VerdictBatch]:
    """What a sink applies: in the order of the log, what it knows is dropped."""
    applied: list[VerdictBatch] = []
    for _, value in broker.topics[VALIDATED_TOPIC]:
        verdicts = decode_verdicts(value)
        if verdicts.offset < len(applied):
            continue
        assert verdicts.previous_offset == len(applied) - 1, "a hole in the chain of verdicts"
        assert verdicts.offset == len(applied)
        applied.append(verdicts)
    return applied


def new_broker(*records: InputRecord) -> Broker:
    broker = Broker()
    for record in (GENESIS, *records):
        broker.append_input(record)
    return broker


class Takeovers(RuleBasedStateMachine):
    """Two workers, one partition."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.broker = new_broker()
        self.workers = [OneWorker(self.broker), OneWorker(self.broker)]
        self.alive = [False, False]
        self.owner = 0
        self.generation = 0

    def teardown(self) -> None:
        self.runner.close()

    def _assign(self, worker: int) -> None:
        self.generation += 1
        if not self.alive[worker]:
            self.workers[worker] = OneWorker(self.broker)
        self.workers[worker].assign(self.generation)
        self.alive[worker] = True
        self.owner = worker

    def _work(self, worker: int, count: int, *, skip: int = 0, back: int = 0) -> None:
        # A crash takes the worker's memory with it.
        try:
            self.runner.run(self.workers[worker].work(count, skip=skip, back=back))
        except Crashed:
            self.alive[worker] = False

    @initialize(worker=st.integers(0, 1))
    def start(self, worker: int) -> None:
        self._assign(worker)

    @rule(batch=batches)
    def votes_arrive(self, batch: VoteBatch) -> None:
        self.broker.append_input(batch)

    @rule(batch=ruled_batches)
    def votes_under_rules_arrive(self, batch: VoteBatch) -> None:
        self.broker.append_input(batch)

    @rule(control=controls)
    def a_command_arrives(self, control: Control) -> None:
        self.broker.append_input(control)

    @rule()
    def the_last_record_is_produced_again(self) -> None:
        log = self.broker.topics[VALIDATION_TOPIC]
        log.append(log[-1])

    @precondition(lambda self: self.alive[self.owner])
    @rule(count=st.integers(1, 4))
    def the_owner_works(self, count: int) -> None:
        self._work(self.owner, count)

    @precondition(lambda self: self.alive[self.owner])
    @rule(count=st.integers(1, 4), back=st.integers(1, 5))
    def the_committed_offset_is_behind(self, count: int, back: int) -> None:
        self._work(self.owner, count, back=back)

    @precondition(lambda self: self.alive[self.owner])
    @rule(count=st.integers(1, 4), skip=st.integers(1, 5))
    def the_committed_offset_ran_ahead(self, count: int, skip: int) -> None:
        self._work(self.owner, count, skip=skip)

    @precondition(lambda self: self.alive[self.owner])
    @rule(records=st.integers(0, 7))
    def the_owner_dies_within_a_write(self, records: int) -> None:
        self.broker.writes_left = records
        self._work(self.owner, 4)
        self.broker.writes_left = None

    @rule(worker=st.integers(0, 1))
    def a_worker_takes_over(self, worker: int) -> None:
        self._assign(worker)

    @precondition(lambda self: self.alive[1 - self.owner])
    @rule(count=st.integers(1, 4))
    def a_zombie_goes_on(self, count: int) -> None:
        """It does not know that the partition is not its own any more."""
        self._work(1 - self.owner, count)

    @precondition(lambda self: self.alive[1 - self.owner])
    @rule(records=st.integers(0, 5))
    def a_zombie_dies_within_a_write(self, records: int) -> None:
        self.broker.writes_left = records
        self._work(1 - self.owner, 4)
        self.broker.writes_left = None

    @invariant()
    def verdicts_are_those_of_a_plain_fold(self) -> None:
        log = [decode_input(value) for _, value in self.broker.topics[VALIDATION_TOPIC]]
        expected = plain_fold(log)
        seen = through_the_fence(self.broker)
        assert [v.rejections for v in seen] == expected[: len(seen)]
        assert [decode_input(v.record) for v in seen] == log[: len(seen)]

    @rule(worker=st.integers(0, 1))
    def in_the_end_every_record_has_its_verdicts(self, worker: int) -> None:
        self._assign(worker)
        self._work(worker, 1_000_000)
        assert len(through_the_fence(self.broker)) == len(self.broker.topics[VALIDATION_TOPIC])
        offsets = {CHANGELOG_KEY.unpack(key)[0] for key, _ in self.broker.topics[CHANGELOG]}
        assert offsets == set(range(len(self.broker.topics[VALIDATION_TOPIC])))


TestTakeovers = Takeovers.TestCase
TestTakeovers.settings = settings(max_examples=120, stateful_step_count=25, deadline=None)


async def test_changelog_goes_before_verdicts() -> None:
    """A verdict that is out must be found in the table by whoever comes next."""
    broker = new_broker(make_batch(make_vote(1)), make_batch(make_vote(2)))
    worker = OneWorker(broker)
    worker.assign(1)
    broker.writes_left = 3
    with pytest.raises(Crashed):
        await worker.work()
    assert len(broker.topics[CHANGELOG]) == 3
    assert broker.topics[VALIDATED_TOPIC] == []


async def test_what_was_decided_but_not_emitted_is_emitted_again_not_decided_again() -> None:
    broker = new_broker(make_batch(make_vote(1), make_vote(1, message="b")))
    first = OneWorker(broker)
    first.assign(1)
    broker.writes_left = 2
    with pytest.raises(Crashed):
        await first.work()
    second = OneWorker(broker)
    second.assign(2)
    await second.work()
    assert len(broker.topics[CHANGELOG]) == 2
    seen = through_the_fence(broker)
    assert [r.attempt for r in seen[1].rejections] == [1]
    assert second.metric("scrutin_gaps_healed_total", stage="validation") == 0


async def test_a_commit_that_ran_ahead_of_what_is_out_skips_nothing() -> None:
    """Decided up to 4, out up to 0, and the committed offset says 3."""
    broker = new_broker(*(make_batch(make_vote(n)) for n in range(5)))
    first = OneWorker(broker)
    first.assign(1)
    await first.work(1)
    broker.writes_left = 4
    with pytest.raises(Crashed):
        await first.work(4)
    second = OneWorker(broker)
    second.assign(2)
    await second.stage.process(second.events(3, 6))
    assert [v.offset for v in through_the_fence(broker)] == list(range(6))


async def test_a_replayed_record_is_dropped_and_counted() -> None:
    broker = new_broker(make_batch(make_vote(1)))
    worker = OneWorker(broker)
    worker.assign(1)
    await worker.work()
    await worker.work(back=5)
    assert len(broker.topics[VALIDATED_TOPIC]) == 2
    assert worker.metric("scrutin_replays_total", stage="validation") == 2


async def test_a_gap_is_read_from_the_log_and_counted() -> None:
    broker = new_broker(*(make_batch(make_vote(n)) for n in range(5)))
    worker = OneWorker(broker)
    worker.assign(1)
    await worker.work(1, skip=5)
    assert len(through_the_fence(broker)) == 6
    assert worker.metric("scrutin_gaps_healed_total", stage="validation") == 1


async def test_a_long_gap_is_healed_in_parts() -> None:
    """Else a crash within it would leave more undelivered verdicts than the table keeps."""
    count = 2 * VALIDATION_GROUP_RECORDS + 10
    broker = new_broker(*(make_batch(make_vote(1, message=n)) for n in range(count)))
    worker = OneWorker(broker)
    worker.assign(1)
    broker.writes_left = 2 * VALIDATION_GROUP_RECORDS + 1
    with pytest.raises(Crashed):
        await worker.work(1, skip=count)
    assert len(broker.topics[VALIDATED_TOPIC]) == VALIDATION_GROUP_RECORDS
    worker = OneWorker(broker)
    worker.assign(2)
    await worker.work()
    assert [v.rejections for v in through_the_fence(broker)] == plain_fold(
        [decode_input(value) for _, value in broker.topics[VALIDATION_TOPIC]]
    )


async def test_events_of_an_assignment_that_ended_are_left_to_the_next_owner() -> None:
    broker = new_broker(make_batch(make_vote(1)))
    worker = OneWorker(broker)
    worker.assign(1)
    events = worker.events(0, 2)
    worker.revoke()
    await worker.stage.process(events)
    worker.assign(2)
    await worker.stage.process(events)
    assert broker.topics[CHANGELOG] == []
    assert broker.topics[VALIDATED_TOPIC] == []


async def test_the_position_after_a_revoke_is_unknown() -> None:
    broker = new_broker(make_batch(make_vote(1)))
    worker = OneWorker(broker)
    worker.assign(1)
    worker.revoke()
    assert await worker.stage.position(0) is None


async def test_a_record_counts_in_the_metrics_by_verdict() -> None:
    batch = make_batch(
        make_vote(1),
        make_vote(1, message="again"),
        make_vote(2, choice="maybe"),
        make_vote(3),
        malformed=(make_malformed(),),
    )
    worker = OneWorker(new_broker(batch))
    worker.assign(1)
    await worker.work()
    name = "validation_votes_processed_total"
    by_status = {
        status: worker.metric(name, status=status)
        for status in ("valid", "duplicate", "invalid", "malformed")
    }
    assert by_status == {"valid": 2, "duplicate": 1, "invalid": 1, "malformed": 1}


async def test_a_later_genesis_has_no_effect_but_a_verdict() -> None:
    broker = new_broker(Genesis(b"?" * 16, 0), make_batch(make_vote(1)))
    worker = OneWorker(broker)
    worker.assign(1)
    await worker.work()
    assert [v.offset for v in through_the_fence(broker)] == [0, 1, 2]
    assert {v.log_id for v in through_the_fence(broker)} == {LOG_ID}


async def test_another_genesis_at_the_beginning_is_another_log() -> None:
    broker = Broker()
    broker.append_input(Genesis(b"?" * 16, 0))
    worker = OneWorker(broker)
    worker.assign(1)
    with pytest.raises(LogMismatch, match="replaced while this worker ran"):
        await worker.work()


async def test_a_log_that_ends_before_what_was_applied_is_refused() -> None:
    broker = new_broker(make_batch(make_vote(1)))
    worker = OneWorker(broker)
    worker.assign(1)
    await worker.work()
    broker.topics[VALIDATION_TOPIC].pop()
    with pytest.raises(LogMismatch, match="applied input offset 1, but the log ends at 0"):
        await worker.stage.position(0)


async def test_verdicts_beyond_the_changelog_are_refused() -> None:
    broker = new_broker(make_batch(make_vote(1)))
    worker = OneWorker(broker)
    worker.assign(1)
    await worker.work()
    broker.topics[CHANGELOG].pop()
    other = OneWorker(broker)
    other.assign(2)
    with pytest.raises(LogMismatch, match=r"up to input offset 1, but .* ends at 0"):
        await other.stage.position(0)


async def test_a_zombie_that_wrote_after_our_restore_is_no_mismatch() -> None:
    broker = new_broker(make_batch(make_vote(1)))
    zombie = OneWorker(broker)
    zombie.assign(1)
    worker = OneWorker(broker)
    worker.assign(2)
    await zombie.work()
    await worker.work()
    assert [v.offset for v in through_the_fence(broker)] == [0, 1]


async def test_a_changelog_of_another_log_is_refused() -> None:
    broker = new_broker(make_batch(make_vote(1)))
    worker = OneWorker(broker)
    worker.assign(1)
    await worker.work()
    other = OneWorker(broker)
    other.stage.open({0: Genesis(b"?" * 16, 0)})
    with pytest.raises(LogMismatch, match="belongs to another input log"):
        other.assign(2)


async def test_a_changelog_with_a_hole_is_refused() -> None:
    broker = new_broker(make_batch(make_vote(1)), make_batch(make_vote(2)))
    worker = OneWorker(broker)
    worker.assign(1)
    await worker.work()
    del broker.topics[CHANGELOG][1]
    with pytest.raises(RecoveryFailed, match="misses the record of input offset 1"):
        OneWorker(broker).assign(2)


@pytest.mark.parametrize("value", [b"", b"\xc1", encode(GENESIS)])
async def test_verdicts_that_cannot_be_decoded_name_their_place(value: bytes) -> None:
    broker = new_broker(make_batch(make_vote(1)))
    broker.topics[VALIDATED_TOPIC].append((None, value))
    worker = OneWorker(broker)
    worker.assign(1)
    with pytest.raises(PoisonRecord) as caught:
        await worker.work()
    assert caught.value.where == {"topic": VALIDATED_TOPIC, "partition": 0, "offset": 0}


async def test_a_skipped_record_that_cannot_be_decoded_names_its_place() -> None:
    broker = new_broker()
    broker.topics[VALIDATION_TOPIC].append((None, b"junk"))
    broker.append_input(make_batch(make_vote(1)))
    worker = OneWorker(broker)
    worker.assign(1)
    with pytest.raises(PoisonRecord) as caught:
        await worker.work(1, skip=2)
    assert caught.value.where == {"topic": VALIDATION_TOPIC, "partition": 0, "offset": 1}


async def test_own_writes_are_noted_with_their_place_in_the_changelog() -> None:
    worker = OneWorker(new_broker(make_batch(make_vote(1))))
    worker.assign(1)
    await worker.work()
    assert worker.store.own == [(0, 0), (0, 1)]

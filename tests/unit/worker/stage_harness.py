"""A validation stage over a log in memory, as a worker would hold it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from prometheus_client import CollectorRegistry

from schemas.codec import ChangelogRecord, InputRecord, decode_verdicts, decode_voted, encode
from schemas.genesis import Genesis, RehearsalGenesis
from schemas.skip import Skip
from schemas.verdicts import Rejection, VerdictBatch
from schemas.voted import CHANGELOG_KEY, ControlRecord, VotedRecord
from schemas.votes import VoteBatch
from streams.control.skips import read_input, replacement_batch
from streams.core.decide import decide
from streams.core.records import InputEvent, OutRecord, Undecodable
from streams.core.topics import VALIDATED_TOPIC, VALIDATION_TOPIC
from streams.core.voted_partition import VotedPartition
from streams.engine.assignment import Assignment
from streams.runtime.metrics import WorkerMetrics
from streams.runtime.outages import OutageTracker, Retry
from streams.worker.validation import Validation
from tests.strategies import LOG_ID

CHANGELOG = "app-voted-changelog"
GENESIS = RehearsalGenesis(LOG_ID, 0, "dry-run")


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

    def input_log(self) -> list[bytes]:
        return [value for _, value in self.topics[VALIDATION_TOPIC]]

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

    def confirmed(self, records: Sequence[OutRecord], offsets: Sequence[int]) -> None:
        self.own += [(r.partition, offset) for r, offset in zip(records, offsets, strict=True)]


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
            retry=Retry(OutageTracker(3), 0.001),
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
                record=read_input(log[offset][1]),
                raw=log[offset][1],
                generation=self.assignment.generation or 0,
                ack=lambda: None,
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


def legible(log: list[bytes]) -> list[InputRecord]:
    """The records up to the first that cannot be decoded and that nobody let pass."""
    found: list[InputRecord] = []
    decoded = [read_input(raw) for raw in log]
    for offset, record in enumerate(decoded):
        if isinstance(record, Undecodable):
            skips = [s for s in decoded[offset:] if isinstance(s, Skip) and s.offset == offset]
            if not skips:
                break
            found.append(replacement_batch(skips[0], 0, log[offset]))
        else:
            found.append(record)
    return found


def plain_fold(log: list[InputRecord]) -> list[list[Rejection]]:
    """The verdicts on every record, decided in order, without stages."""
    table = VotedPartition(0)
    verdicts = []
    for offset, record in enumerate(log):
        change: ChangelogRecord
        if isinstance(record, VoteBatch):
            change = decide(record, offset, LOG_ID, table.get, table.rules)
        elif isinstance(record, RehearsalGenesis) or not isinstance(record, Genesis | Skip):
            change = ControlRecord(LOG_ID, record)
        else:
            change = VotedRecord(LOG_ID, b"", [], [], [])
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

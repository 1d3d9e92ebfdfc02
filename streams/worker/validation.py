"""The validation stage: `votes.validation` in, voted table's changelog and `votes.validated` out.

For each batch of input records, in this order: decide, write the changelog, wait for Kafka, write
the verdicts, wait for Kafka, acknowledge. The stage trusts no committed offset: the voted table
holds what was applied, and the end of `votes.validated` shows what was emitted.
"""

from __future__ import annotations

import struct
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import structlog
from aiokafka import ConsumerRecord

from schemas.codec import ChangelogRecord, DecodeError, InputRecord, decode_verdicts, encode
from schemas.genesis import Genesis
from schemas.voted import CHANGELOG_KEY
from schemas.votes import VoteBatch
from streams.adapters.kafka.reader import LogReader
from streams.adapters.kafka.writer import LogWriter
from streams.control.skips import Skips, read_input
from streams.core.records import InputEvent, OutRecord, Undecodable, poison, poisoning
from streams.core.topics import VALIDATED_TOPIC, VALIDATION_TOPIC
from streams.core.transition import apply_record, recall_verdicts
from streams.core.voted_partition import VotedPartition
from streams.engine.assignment import Assignment
from streams.errors import LOG_LOST, REBUILD_VOTED, LogMismatch, PoisonRecord
from streams.runtime import failpoints
from streams.runtime.failpoints import Point
from streams.runtime.metrics import WorkerMetrics
from streams.runtime.outages import Retry, Service

if TYPE_CHECKING:
    from streams.worker.voted_table import VotedStore

log = structlog.get_logger(__name__)

TAIL_RECORDS: Final = 64
"""Last records searched for the emitted offset; a late zombie may have written the very last."""

VALIDATION_GROUP_RECORDS: Final = 1000
"""Most input records that are decided before their verdicts are written. After a crash in between
they are emitted from the voted table, which keeps more (:mod:`streams.core.recent_verdicts`)."""

BACKFILL_BYTES: Final = 8 * 1024 * 1024
"""Bytes read at once of a missing range."""


@dataclass(frozen=True, slots=True)
class _Input:
    offset: int
    record: InputRecord | Undecodable
    raw: bytes


@dataclass(frozen=True, slots=True)
class _Decoded:
    offset: int
    record: InputRecord
    raw: bytes


@dataclass(slots=True)
class _Out:
    """Derived records of a batch of input records, in the order of the log."""

    changelog: list[OutRecord] = field(default_factory=list)
    verdicts: list[OutRecord] = field(default_factory=list)


@dataclass(kw_only=True)
class Validation:
    """The stage."""

    store: Callable[[], VotedStore]
    """The voted table's store."""
    changelog_topic: str
    """Of the voted table."""
    writer: LogWriter
    """Writes to Kafka."""
    reader: LogReader
    """Reads ranges of Kafka."""
    retry: Retry
    """Waits while Kafka does not answer."""
    metrics: WorkerMetrics
    """The worker's."""
    assignment: Assignment
    """Events that it does not cover are left to the next owner."""

    def __post_init__(self) -> None:
        self._skips = Skips(self.reader)
        self._log_ids: Mapping[int, bytes] = {}
        self._emitted: dict[int, int] = {}

    def open(self, genesis: Mapping[int, Genesis]) -> None:
        """Set the identity of each input partition's log; before the first record."""
        self._log_ids = {partition: g.log_id for partition, g in genesis.items()}

    def log_id(self, partition: int) -> bytes:
        """Identity of an input partition's log."""
        return self._log_ids[partition]

    def revoked(self) -> None:
        """Forget what was emitted, because another worker may emit from now on.

        Records of a running batch are not touched; the next owner finds them in the log.
        """
        self._emitted.clear()

    def restored(self) -> None:
        """Check the partitions that were just restored.

        Raises:
            LogMismatch: the changelog belongs to another log.
            RecoveryFailed: the changelog misses records.
        """
        for state in self.store().partitions.values():
            state.check_complete()
            if state.log_id is not None and state.log_id != self._log_ids[state.partition]:
                raise LogMismatch(
                    "The voted table's changelog belongs to another input log",
                    where={"topic": self.changelog_topic, "partition": state.partition},
                    todo=LOG_LOST,
                )

    async def position(self, partition: int) -> int | None:
        """Input offset to read next: the first that is not both applied and emitted.

        Returns:
            None if the partition was revoked meanwhile.

        Raises:
            LogMismatch: the input log ends before what was applied.
        """
        await self._find_emitted(partition)
        end = await self.retry(
            Service.KAFKA, lambda: self.reader.end_offset(VALIDATION_TOPIC, partition)
        )
        state = self.store().partitions.get(partition)
        if state is None or partition not in self._emitted:
            return None
        if state.applied >= end:
            raise LogMismatch(
                f"The voted table applied input offset {state.applied}, but the log ends at"
                f" {end - 1}",
                where={"topic": VALIDATION_TOPIC, "partition": partition},
                todo=LOG_LOST,
            )
        return min(state.applied, self._emitted[partition]) + 1

    async def process(self, events: list[InputEvent]) -> None:
        """Validate a batch of records; returns when Kafka has changelog and verdicts."""
        started_s = time.perf_counter()
        out = _Out()
        try:
            for event in events:
                await self._find_emitted(event.partition)
                while missing := await self._missing(event):
                    await self._apply_all(event, missing, out)
                    # The range may be long: decisions must not run far ahead of written verdicts.
                    await self._write(out)
                given = _Input(event.offset, event.record, event.raw)
                await self._apply_all(event, [given], out)
        except PoisonRecord:
            # Records before it must not wait for an operator.
            await self._write(out)
            raise
        await self._write(out)
        self.metrics.validation_latency.observe(time.perf_counter() - started_s)

    def _owns(self, event: InputEvent) -> bool:
        return self.assignment.covers(event.generation) and event.partition in self._emitted

    async def _apply_all(self, event: InputEvent, inputs: list[_Input], out: _Out) -> None:
        for given in inputs:
            decoded = (
                await self._replaced(event.partition, given)
                if isinstance(given.record, Undecodable)
                else _Decoded(given.offset, given.record, given.raw)
            )
            # The assignment may have ended during each wait before this.
            if self._owns(event):
                self._apply(self.store().partitions[event.partition], decoded, out)

    async def _replaced(self, partition: int, given: _Input) -> _Decoded:
        """The replacement of a record that cannot be decoded.

        Raises:
            PoisonRecord: no operator has decided to skip it.
        """
        assert isinstance(given.record, Undecodable)
        batch = await self.retry(
            Service.KAFKA, lambda: self._skips.replacement(partition, given.offset, given.raw)
        )
        if batch is None:
            raise poison(VALIDATION_TOPIC, partition, given.offset, given.record.error)
        assert isinstance(batch, VoteBatch)
        self.metrics.skipped_records.inc()
        log.error(
            "skipped a record that cannot be decoded, as an operator decided",
            topic=VALIDATION_TOPIC,
            partition=partition,
            offset=given.offset,
        )
        return _Decoded(given.offset, batch, encode(batch))

    def _apply(self, state: VotedPartition, given: _Decoded, out: _Out) -> None:
        partition, offset = state.partition, given.offset
        log_id = self._log_ids[partition]
        if offset > state.applied:
            self._check_genesis(partition, offset, given.record)
            ignored = state.rules.ignored
            made = apply_record(
                state,
                log_id,
                offset,
                given.record,
                given.raw,
                changelog_topic=self.changelog_topic,
            )
            out.changelog.append(made.changelog)
            out.verdicts.append(made.verdicts)
            self._count(given.record, made.change)
            if state.rules.ignored > ignored:
                self._ignored(partition, offset, state.rules.ignored - ignored)
        elif offset > self._emitted[partition]:
            # Decided before, but the verdicts were not written.
            out.verdicts.append(recall_verdicts(state, log_id, offset, given.raw))
        else:
            self.metrics.replays.labels(stage="validation").inc()
            return
        self._emitted[partition] = offset

    def _ignored(self, partition: int, offset: int, changes: int) -> None:
        self.metrics.ignored_commands.labels(stage="validation").inc(changes)
        log.error(
            "a control record asks for what nobody may change, and was ignored",
            topic=VALIDATION_TOPIC,
            partition=partition,
            offset=offset,
        )

    def _check_genesis(self, partition: int, offset: int, record: InputRecord) -> None:
        if offset or not isinstance(record, Genesis):
            return
        if record.log_id != self._log_ids[partition]:
            raise LogMismatch(
                "The input log was replaced while this worker ran",
                where={"topic": VALIDATION_TOPIC, "partition": partition},
                todo="Stop all workers and bridges and find out what recreated the topic",
            )

    async def _find_emitted(self, partition: int) -> None:
        """Find the input offset up to which verdicts are in Kafka; once per assignment."""
        generation = self.assignment.generation
        if partition in self._emitted or generation is None:
            return
        emitted = await self._last_offset(
            VALIDATED_TOPIC, partition, lambda record: self._emitted_offset(partition, record)
        )
        state = self.store().partitions.get(partition)
        if state is not None and emitted > state.applied:
            # Another worker may have written both after this restore; this one decides the same.
            decided = await self._last_offset(
                self.changelog_topic,
                partition,
                lambda record: int(CHANGELOG_KEY.unpack(record.key)[0]),
            )
            if decided < emitted:
                raise LogMismatch(
                    f"Verdicts are written up to input offset {emitted}, but the voted table's"
                    f" changelog ends at {decided}",
                    where={"topic": self.changelog_topic, "partition": partition},
                    todo=REBUILD_VOTED,
                )
        if self.assignment.covers(generation) and partition in self.store().partitions:
            self._emitted[partition] = emitted

    def _emitted_offset(self, partition: int, record: ConsumerRecord) -> int:
        verdicts = decode_verdicts(record.value)
        if verdicts.log_id != self._log_ids[partition]:
            raise LogMismatch(
                "The verdicts belong to another input log",
                where={"topic": VALIDATED_TOPIC, "partition": partition, "offset": record.offset},
                todo=LOG_LOST,
            )
        return verdicts.offset

    async def _last_offset(
        self, topic: str, partition: int, input_offset: Callable[[ConsumerRecord], int]
    ) -> int:
        """Highest input offset of the last records of a partition; -1 if it is empty."""
        records = await self.retry(
            Service.KAFKA, lambda: self.reader.tail(topic, partition, TAIL_RECORDS)
        )
        last = -1
        errors = (DecodeError, TypeError, struct.error)
        for record in records:
            with poisoning(record.topic, record.partition, record.offset, errors):
                last = max(last, input_offset(record))
        return last

    async def _missing(self, event: InputEvent) -> list[_Input]:
        """Read the missing range before an event, if a committed offset ran ahead.

        Returns:
            At most one batch; empty if nothing is missing.
        """
        partition = event.partition
        if not self._owns(event):
            return []
        state = self.store().partitions[partition]
        start = min(state.applied, self._emitted[partition]) + 1
        if event.offset <= start:
            return []
        log.error(
            "a committed offset ran ahead; reading what it skipped",
            topic=VALIDATION_TOPIC,
            partition=partition,
            first_offset=start,
            last_offset=event.offset - 1,
        )
        self.metrics.backfills.labels(stage="validation").inc()

        async def read() -> list[_Input]:
            missing = []
            size_bytes = 0
            reading = self.reader.read(VALIDATION_TOPIC, partition, start, event.offset)
            async with aclosing(reading):
                async for record in reading:
                    raw = record.value or b""
                    missing.append(_Input(record.offset, read_input(raw), raw))
                    size_bytes += len(raw)
                    if len(missing) >= VALIDATION_GROUP_RECORDS or size_bytes >= BACKFILL_BYTES:
                        break
            return missing

        return await self.retry(Service.KAFKA, read)

    async def _write(self, out: _Out) -> None:
        """Write the changelog, then the verdicts, and empty `out`."""
        if out.changelog:
            written = await self.retry(Service.KAFKA, lambda: self.writer.write(out.changelog))
            self.store().confirmed(out.changelog, [metadata.offset for metadata in written])
            failpoints.at(Point.AFTER_CHANGELOG)
        if out.verdicts:
            await self.retry(Service.KAFKA, lambda: self.writer.write(out.verdicts))
            failpoints.at(Point.AFTER_VERDICT)
        out.changelog, out.verdicts = [], []

    def _count(self, record: InputRecord, change: ChangelogRecord) -> None:
        if not isinstance(record, VoteBatch):
            return
        by_status = Counter(rejection.status for rejection in change.rejections)
        total = len(record.votes) + len(record.malformed)
        by_status["valid"] = total - len(change.rejections)
        self.metrics.decided(by_status)

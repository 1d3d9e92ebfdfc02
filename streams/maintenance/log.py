"""Rebuild the input log itself, from `votes.validated` or from the database.

A log that lost only its end gets it back. A log that was recreated, or written to after a loss, is
rebuilt: records written since are first set aside in a topic, and follow the restored records.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from schemas.codec import encode
from schemas.genesis import Genesis
from schemas.votes import VoteBatch
from streams.adapters.kafka.admin import TopicPlan, create_topics, delete_topic, planned_topics
from streams.adapters.kafka.reader import LogReader
from streams.adapters.kafka.view import LogView, Span
from streams.adapters.kafka.writer import LogWriter, writing
from streams.control.skips import Skips, read_input, replacement_batch
from streams.core.records import OutRecord, Undecodable
from streams.core.topics import VALIDATION_TOPIC
from streams.errors import ScrutinError
from streams.maintenance.guard import Bars
from streams.maintenance.sources import RebuildSource
from streams.settings.configs import DeploymentConfig

HELD_TOPIC: Final = "votes.validation.held"
"""Holds the records written after the loss while the log is rebuilt."""

_WRITE_RECORDS: Final = 500
_WRITE_BYTES: Final = 8 * 1024 * 1024


@dataclass
class LogFinding:
    """How a partition of the log compares with its source."""

    partition: int
    known: int = 0
    """Records that the source knows, and those set aside."""
    held: int = 0
    """Of them, records written after the loss and set aside."""
    present: int = 0
    """Of them, records in their right place in the log."""
    since: int = 0
    """Records with votes written after the loss."""
    strange: bool = False
    """Whether another record stands in the place of a known one, or the beginning is gone."""

    @property
    def right(self) -> bool:
        """Whether there is nothing to do."""
        return self.present == self.known and not self.strange


@dataclass
class LogRebuildReport:
    """Outcome of rebuilding the log."""

    found: list[LogFinding]
    recreated: bool = False
    written: int = 0
    verified: list[LogFinding] = field(default_factory=list)

    @property
    def right(self) -> bool:
        """Whether the log now holds every known record."""
        return all(found.right for found in self.verified or self.found)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "topic": VALIDATION_TOPIC,
            "found": [asdict(found) for found in self.found],
            "recreated": self.recreated,
            "written": self.written,
            "right": self.right,
        }


@dataclass
class LogRebuild:
    """Fills the input log from a source."""

    config: DeploymentConfig
    """Of this deployment."""
    source: RebuildSource
    """Of the records."""
    bars: Bars
    """Shows progress."""

    def __post_init__(self) -> None:
        self._servers = self.config.kafka.servers
        self._reader = LogReader(self._servers)
        self._partitions = range(self.config.kafka.partitions)
        self._written = 0

    async def run(self, *, dry_run: bool) -> LogRebuildReport:
        """Rebuild; nothing may be writing to the log.

        Raises:
            LogMismatch: the source does not know the log from its beginning.
            ServiceUnavailable: a service does not answer.
        """
        await self._create(VALIDATION_TOPIC)
        held = await self._held_topic_complete()
        outcome = LogRebuildReport(await self._compare("comparing", with_held=held))
        if outcome.right or dry_run:
            return outcome
        if any(found.strange for found in outcome.found):
            outcome.recreated = True
            if held and any(found.since for found in outcome.found):
                raise ScrutinError(
                    "Votes were written to the log while it was being rebuilt",
                    where={"topic": VALIDATION_TOPIC},
                    todo=f"Stop all bridges, delete the topic {HELD_TOPIC} and start again: votes"
                    " in it that are not in the log would be lost, so look first",
                )
            if not held:
                await self._set_aside()
                held = True
            await delete_topic(self._servers, VALIDATION_TOPIC)
            await self._create(VALIDATION_TOPIC)
        await self._write(with_held=held)
        outcome.written = self._written
        outcome.verified = await self._compare("verifying", with_held=held)
        if held and all(found.right for found in outcome.verified):
            await delete_topic(self._servers, HELD_TOPIC)
        return outcome

    async def _create(self, topic: str) -> None:
        config = self.config
        [log] = [
            plan
            for plan in planned_topics(config.kafka.app_id, config.kafka.partitions)
            if plan.name == VALIDATION_TOPIC
        ]
        plan = TopicPlan(topic, log.partitions, log.config)
        await create_topics(config.kafka, [plan])

    # What the log should hold.

    async def _expected(self, partition: int, *, with_held: bool) -> AsyncIterator[bytes]:
        async for raw in self.source.records(partition):
            yield raw
        if with_held:
            async for raw in self._held(partition):
                yield raw

    async def _held(self, partition: int) -> AsyncIterator[bytes]:
        async with LogView(self._servers) as view:
            spans = await view.spans(HELD_TOPIC)
            async for records in view.read(HELD_TOPIC, {partition: spans[partition]}):
                for record in records:
                    # The last record is only the mark that the topic is complete.
                    if _holds_votes(record.value or b""):
                        yield record.value or b""

    # What the log holds.

    async def _compare(self, what: str, *, with_held: bool) -> list[LogFinding]:
        found = []
        async with LogView(self._servers) as view:
            spans = await view.spans(VALIDATION_TOPIC)
            total = sum(span.end - span.begin for span in spans.values())
            with self.bars(f"{what} {VALIDATION_TOPIC}", total) as advance:
                for partition in self._partitions:
                    expected = [
                        _digest(raw) async for raw in self._expected(partition, with_held=with_held)
                    ]
                    held = [raw async for raw in self._held(partition)] if with_held else []
                    finding = LogFinding(partition, known=len(expected), held=len(held))
                    finding.strange = spans[partition].begin > 0
                    async for offset, raw in self._readable(view, partition, spans[partition]):
                        advance(1)
                        if offset < len(expected) and _digest(raw) == expected[offset]:
                            finding.present += 1
                            continue
                        finding.strange |= offset < len(expected)
                        finding.since += _holds_votes(raw)
                    found.append(finding)
        return found

    async def _readable(
        self, view: LogView, partition: int, span: Span
    ) -> AsyncIterator[tuple[int, bytes]]:
        """Offsets and records; for a skipped record, its replacement."""
        skips = Skips(self._reader)
        async for records in view.read(VALIDATION_TOPIC, {partition: span}):
            for record in records:
                raw = record.value or b""
                if isinstance(read_input(raw), Undecodable):
                    skip = await skips.find(partition, record.offset, raw)
                    raw = raw if skip is None else encode(replacement_batch(skip, partition, raw))
                yield record.offset, raw

    # Changes to the log.

    async def _held_topic_complete(self) -> bool:
        async with LogView(self._servers) as view:
            if HELD_TOPIC not in view.topics:
                return False
            spans = await view.spans(HELD_TOPIC)
            for partition in self._partitions:
                end = spans[partition].end
                last = await view.record_at(HELD_TOPIC, partition, end - 1)
                if last is None or not isinstance(read_input(last.value), Genesis):
                    return False
        return True

    async def _set_aside(self) -> None:
        """Set aside the records written after the loss."""
        await delete_topic(self._servers, HELD_TOPIC)
        await self._create(HELD_TOPIC)
        async with (
            writing(self.config.kafka, self.config.retry) as writer,
            LogView(self._servers) as view,
        ):
            spans = await view.spans(VALIDATION_TOPIC)
            for partition in self._partitions:
                expected = [
                    _digest(raw) async for raw in self._expected(partition, with_held=False)
                ]
                batch = _WriteBatch(writer, HELD_TOPIC, partition)
                async for offset, raw in self._readable(view, partition, spans[partition]):
                    known = offset < len(expected) and _digest(raw) == expected[offset]
                    if not known and _holds_votes(raw):
                        await batch.add(raw)
                await batch.add(encode(Genesis(bytes(16), 0)))
                await batch.flush()

    async def _write(self, *, with_held: bool) -> None:
        async with writing(self.config.kafka, self.config.retry) as writer:
            ends = await self._reader.end_offsets(VALIDATION_TOPIC, self._partitions)
            with self.bars(f"writing {VALIDATION_TOPIC}", 0) as advance:
                for partition in self._partitions:
                    batch = _WriteBatch(writer, VALIDATION_TOPIC, partition)
                    number = 0
                    async for raw in self._expected(partition, with_held=with_held):
                        if number >= ends[partition]:
                            await batch.add(raw)
                            self._written += 1
                            advance(1)
                        number += 1
                    await batch.flush()


@dataclass
class _WriteBatch:
    """Collects records and writes them together."""

    writer: LogWriter
    topic: str
    partition: int

    def __post_init__(self) -> None:
        self._records: list[OutRecord] = []
        self._bytes = 0

    async def add(self, raw: bytes) -> None:
        """Add a record; writes when the batch is full."""
        self._records.append(OutRecord(self.topic, self.partition, raw))
        self._bytes += len(raw)
        if len(self._records) >= _WRITE_RECORDS or self._bytes >= _WRITE_BYTES:
            await self.flush()

    async def flush(self) -> None:
        """Write the collected records."""
        if self._records:
            await self.writer.write(self._records)
            self._records, self._bytes = [], 0


def _holds_votes(raw: bytes) -> bool:
    """Whether a record must be kept: one that cannot be decoded may hold votes too."""
    return isinstance(read_input(raw), VoteBatch | Undecodable)


def _digest(raw: bytes) -> bytes:
    return hashlib.blake2b(raw, digest_size=8).digest()

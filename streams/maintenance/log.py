"""Rebuilds the input log itself, from `votes.validated` or from the database.

A log that only lost its end gets it back. One that was recreated, or written on after a loss, is
made anew: what came since is put aside in a topic of its own first, and follows the old records.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from schemas.codec import encode
from schemas.genesis import Genesis
from schemas.votes import VoteBatch
from streams.adapters.kafka.admin import TopicPlan, create_topics, delete_topic, planned_topics
from streams.adapters.kafka.reader import LogReader
from streams.adapters.kafka.view import LogView, Span
from streams.adapters.kafka.writer import LogWriter
from streams.control.skips import Skips, in_place, read_input
from streams.core.records import OutRecord, Undecodable
from streams.core.topics import VALIDATION_TOPIC
from streams.errors import ScrutinError
from streams.maintenance.guard import Bars
from streams.maintenance.sources import RebuildSource
from streams.runtime.outages import OutageTracker
from streams.settings.model import Settings

HELD_TOPIC: Final = "votes.validation.held"
"""What came into the log after the loss, while the log is made anew."""

_WRITE_RECORDS: Final = 500
_WRITE_BYTES: Final = 8 * 1024 * 1024


@dataclass
class Beside:
    """A partition of the log beside what its source knows."""

    partition: int
    known: int = 0
    """Records that the source knows, and those put aside."""
    held: int = 0
    """Of them, records that came after the loss and were put aside."""
    present: int = 0
    """Of them, how many are where they belong."""
    since: int = 0
    """Records with votes that came after the loss."""
    strange: bool = False
    """Whether something else is in the place of a known record, or the beginning is gone."""

    @property
    def right(self) -> bool:
        """Whether there is nothing to do."""
        return self.present == self.known and not self.strange


@dataclass
class LogRebuildReport:
    """What became of the log."""

    found: list[Beside]
    recreated: bool = False
    written: int = 0
    verified: list[Beside] = field(default_factory=list)

    @property
    def right(self) -> bool:
        """Whether the log holds all that is known, now."""
        return all(beside.right for beside in self.verified or self.found)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "topic": VALIDATION_TOPIC,
            "found": [asdict(beside) for beside in self.found],
            "recreated": self.recreated,
            "written": self.written,
            "right": self.right,
        }


class LogRebuild:
    """Fills the input log from a source.

    Args:
        settings: of this deployment.
        source: of the records.
        bars: shows progress.
    """

    def __init__(self, settings: Settings, source: RebuildSource, bars: Bars) -> None:
        self._settings = settings
        self._servers = list(settings.kafka_bootstrap_servers)
        self._source = source
        self._reader = LogReader(self._servers)
        self._bars = bars
        self._partitions = range(settings.partitions)
        self._written = 0

    async def run(self, *, dry_run: bool) -> LogRebuildReport:
        """Rebuild; nothing may be writing to the log.

        Raises:
            LogMismatch: the source does not know the log from its beginning.
            ServiceUnavailable: a service is away.
        """
        await self._create(VALIDATION_TOPIC)
        held = await self._held_is_complete()
        outcome = LogRebuildReport(await self._compare("comparing", with_held=held))
        if outcome.right or dry_run:
            return outcome
        if any(beside.strange for beside in outcome.found):
            outcome.recreated = True
            if held and any(beside.since for beside in outcome.found):
                raise ScrutinError(
                    "Votes came into the log while it was being made anew",
                    where={"topic": VALIDATION_TOPIC},
                    todo=f"Stop all bridges, delete the topic {HELD_TOPIC} and start again: votes"
                    " in it that are not in the log would be lost, so look first",
                )
            if not held:
                await self._hold()
                held = True
            await delete_topic(self._servers, VALIDATION_TOPIC)
            await self._create(VALIDATION_TOPIC)
        await self._write(with_held=held)
        outcome.written = self._written
        outcome.verified = await self._compare("verifying", with_held=held)
        if held and all(beside.right for beside in outcome.verified):
            await delete_topic(self._servers, HELD_TOPIC)
        return outcome

    async def _create(self, topic: str) -> None:
        settings = self._settings
        [log] = [
            plan
            for plan in planned_topics(settings.app_id, settings.partitions)
            if plan.name == VALIDATION_TOPIC
        ]
        plan = TopicPlan(topic, log.partitions, log.config)
        await create_topics(self._servers, [plan], settings.replication_factor)

    # The log as it should be.

    async def _wanted(self, partition: int, *, with_held: bool) -> AsyncIterator[bytes]:
        async for raw in self._source.records(partition):
            yield raw
        if with_held:
            async for raw in self._held(partition):
                yield raw

    async def _held(self, partition: int) -> AsyncIterator[bytes]:
        async with LogView(self._servers) as view:
            spans = await view.spans(HELD_TOPIC)
            async for records in view.read(HELD_TOPIC, {partition: spans[partition]}):
                for record in records:
                    # The last one is the mark that all are there.
                    if _holds_votes(record.value or b""):
                        yield record.value or b""

    # The log as it is.

    async def _compare(self, what: str, *, with_held: bool) -> list[Beside]:
        found = []
        async with LogView(self._servers) as view:
            spans = await view.spans(VALIDATION_TOPIC)
            total = sum(span.end - span.begin for span in spans.values())
            with self._bars(f"{what} {VALIDATION_TOPIC}", total) as advance:
                for partition in self._partitions:
                    wanted = [
                        _digest(raw) async for raw in self._wanted(partition, with_held=with_held)
                    ]
                    held = [raw async for raw in self._held(partition)] if with_held else []
                    beside = Beside(partition, known=len(wanted), held=len(held))
                    beside.strange = spans[partition].begin > 0
                    async for offset, raw in self._legible(view, partition, spans[partition]):
                        advance(1)
                        if offset < len(wanted) and _digest(raw) == wanted[offset]:
                            beside.present += 1
                            continue
                        beside.strange |= offset < len(wanted)
                        beside.since += _holds_votes(raw)
                    found.append(beside)
        return found

    async def _legible(
        self, view: LogView, partition: int, span: Span
    ) -> AsyncIterator[tuple[int, bytes]]:
        """Offsets and records; where an operator let one pass, what stands in its place."""
        skips = Skips(self._reader)
        async for records in view.read(VALIDATION_TOPIC, {partition: span}):
            for record in records:
                raw = record.value or b""
                if isinstance(read_input(raw), Undecodable):
                    skip = await skips.find(partition, record.offset, raw)
                    raw = raw if skip is None else encode(in_place(skip, partition, raw))
                yield record.offset, raw

    # Changing it.

    async def _held_is_complete(self) -> bool:
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

    async def _hold(self) -> None:
        """Put aside what came after the loss."""
        await delete_topic(self._servers, HELD_TOPIC)
        await self._create(HELD_TOPIC)
        async with AsyncExitStack() as stack:
            writer = await self._writer(stack)
            view = await stack.enter_async_context(LogView(self._servers))
            spans = await view.spans(VALIDATION_TOPIC)
            for partition in self._partitions:
                wanted = [_digest(raw) async for raw in self._wanted(partition, with_held=False)]
                lot = _Lot(writer, HELD_TOPIC, partition)
                async for offset, raw in self._legible(view, partition, spans[partition]):
                    known = offset < len(wanted) and _digest(raw) == wanted[offset]
                    if not known and _holds_votes(raw):
                        await lot.add(raw)
                await lot.add(encode(Genesis(bytes(16), 0)))
                await lot.flush()

    async def _write(self, *, with_held: bool) -> None:
        async with AsyncExitStack() as stack:
            writer = await self._writer(stack)
            ends = await self._reader.end_offsets(VALIDATION_TOPIC, self._partitions)
            with self._bars(f"writing {VALIDATION_TOPIC}", 0) as advance:
                for partition in self._partitions:
                    lot = _Lot(writer, VALIDATION_TOPIC, partition)
                    number = 0
                    async for raw in self._wanted(partition, with_held=with_held):
                        if number >= ends[partition]:
                            await lot.add(raw)
                            self._written += 1
                            advance(1)
                        number += 1
                    await lot.flush()

    async def _writer(self, stack: AsyncExitStack) -> LogWriter:
        availability = OutageTracker(self._settings.max_retry_attempts)
        writer = LogWriter(self._servers, availability=availability)
        stack.push_async_callback(writer.close)
        return writer


class _Lot:
    """Records that are written together."""

    def __init__(self, writer: LogWriter, topic: str, partition: int) -> None:
        self._writer = writer
        self._topic = topic
        self._partition = partition
        self._records: list[OutRecord] = []
        self._bytes = 0

    async def add(self, raw: bytes) -> None:
        """Take a record; writes when there is enough."""
        self._records.append(OutRecord(self._topic, self._partition, raw))
        self._bytes += len(raw)
        if len(self._records) >= _WRITE_RECORDS or self._bytes >= _WRITE_BYTES:
            await self.flush()

    async def flush(self) -> None:
        """Write what is left."""
        if self._records:
            await self._writer.write(self._records)
            self._records, self._bytes = [], 0


def _holds_votes(raw: bytes) -> bool:
    """Whether a record must not be left out: what cannot be decoded may hold votes too."""
    return isinstance(read_input(raw), VoteBatch | Undecodable)


def _digest(raw: bytes) -> bytes:
    return hashlib.blake2b(raw, digest_size=8).digest()

"""The aggregation stage: `votes.validated` in, PostgreSQL out.

Each vote belongs to the tumbling window of its ingest time. A flush starts when `BATCH_SIZE` votes
wait, or a short time after the previous one began; votes that arrive meanwhile join the next. It
need not wait for a window's end: the database adds up the window's total, including late votes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final

import structlog

from schemas.codec import decode_input, decode_verdicts
from schemas.verdicts import VerdictBatch
from schemas.votes import VoteBatch
from streams.adapters.kafka.reader import LogReader
from streams.core.fence import MissingRange
from streams.core.ranking import first_choice
from streams.core.records import VerdictEvent, poisoning
from streams.core.topics import VALIDATED_TOPIC
from streams.errors import REBUILD_VALIDATED, LogMismatch
from streams.runtime.metrics import WorkerMetrics
from streams.runtime.outages import Retry, Service
from streams.worker.postgres_sink import PostgresSink

log = structlog.get_logger(__name__)

BACKFILL_VOTES: Final = 20_000
"""Votes per transaction while a missing range is backfilled."""


@dataclass(frozen=True, kw_only=True)
class Aggregation:
    """The stage."""

    sink: PostgresSink
    """Writes counted votes."""
    reader: LogReader
    """Reads ranges of Kafka."""
    retry: Retry
    """Waits while PostgreSQL or Kafka does not answer."""
    metrics: WorkerMetrics
    """The worker's."""
    flushed: Callable[[], None]
    """Called after each committed flush."""
    committed: Callable[[Mapping[tuple[str, str], int], list[VerdictEvent]], None]
    """Called with the totals that a flush changed, and its events; must not wait or raise."""

    async def process(self, events: list[VerdictEvent]) -> None:
        """Apply verdict batches; returns when PostgreSQL has committed them."""
        while True:
            try:
                await self._flush(events)
                return
            except MissingRange as missing:
                self.metrics.backfills.labels(stage="sink").inc()
                await self._backfill(missing)

    async def _flush(self, events: list[VerdictEvent]) -> None:
        result = await self.retry(Service.POSTGRESQL, lambda: self.sink.flush(events))
        metrics = self.metrics
        now_s = time.time()
        for event in events:
            if isinstance(event.record, VoteBatch) and event.weight:
                metrics.latency.observe(max(0.0, now_s - event.record.ingest_ms / 1000))
        for (contest, choice), votes in result.counted.items():
            # A ranking counts for its first candidate: rankings are too many to be labels.
            metrics.votes_aggregated.labels(law_id=contest, choice=first_choice(choice)).inc(votes)
            metrics.votes_by_law.labels(law_id=contest).inc(votes)
        metrics.batch_size_processed.inc(result.counted.total())
        if result.replays:
            metrics.fence_drops.inc(result.replays)
        if result.already_counted:
            metrics.already_counted_votes.inc(result.already_counted)
            log.error("the database already had accepted votes", votes=result.already_counted)
        self.flushed()
        self.committed(result.totals, events)

    async def _backfill(self, missing: MissingRange) -> None:
        """Apply the verdict batches that a committed offset skipped."""
        log.error(
            "a committed offset ran ahead; reading what it skipped",
            topic=VALIDATED_TOPIC,
            partition=missing.partition,
            first_offset=missing.start,
            last_offset=missing.end - 1,
        )
        if missing.start >= missing.end:
            raise broken_chain(missing)
        start = missing.start
        while start < missing.end:
            first = start

            async def read(first: int = first) -> list[VerdictEvent]:
                return await self._read(missing.partition, first, missing.end)

            events = await self.retry(Service.KAFKA, read)
            try:
                await self._flush(events)
            except MissingRange as again:
                raise broken_chain(again) from again
            start = events[-1].offset + 1

    async def _read(self, partition: int, start: int, end: int) -> list[VerdictEvent]:
        """Verdict batches from `start`, up to `end` or :data:`BACKFILL_VOTES` votes."""
        events: list[VerdictEvent] = []
        votes = 0
        async with aclosing(self.reader.read(VALIDATED_TOPIC, partition, start, end)) as reading:
            async for record in reading:
                with poisoning(VALIDATED_TOPIC, partition, record.offset):
                    verdicts = decode_verdicts(record.value)
                size_bytes = len(record.value)
                events.append(event_of(partition, record.offset, verdicts, size_bytes=size_bytes))
                votes += events[-1].weight
                if votes >= BACKFILL_VOTES:
                    break
        return events


def broken_chain(missing: MissingRange) -> LogMismatch:
    """The error for a range that is missing in the log itself."""
    return LogMismatch(
        "The chain of verdict batches has a gap in the log itself",
        where={"topic": VALIDATED_TOPIC, "partition": missing.partition, "offset": missing.end},
        todo=REBUILD_VALIDATED,
    )


def event_of(
    partition: int,
    offset: int,
    verdicts: VerdictBatch,
    *,
    size_bytes: int,
    generation: int = 0,
    ack: Callable[[], object] = lambda: None,
) -> VerdictEvent:
    """A verdict batch with its input record decoded.

    Raises:
        PoisonRecord: the input record cannot be decoded.
    """
    with poisoning(VALIDATED_TOPIC, partition, offset):
        record = decode_input(verdicts.record)
    return VerdictEvent(
        offset=offset,
        verdicts=verdicts,
        record=record,
        size_bytes=size_bytes,
        generation=generation,
        ack=ack,
    )

"""The agent of `tally.tasks`: does the work, stores the result, and reports it in `tally.events`.

A task whose result exists is only reported. A failure is reported too, with the error; the
coordinator decides about a retry. During outages the agent waits.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime

import structlog

from schemas.tally import Failed, Phase, TallyEvent, TallyTask
from streams.adapters.kafka.writer import LogWriter
from streams.core.records import OutRecord
from streams.errors import ScrutinError
from streams.runtime.metrics import TallyMetrics
from streams.runtime.outages import Retry, Service
from streams.tally import statements as sql
from streams.tally.codec import encode
from streams.tally.coordinator import EventOf
from streams.tally.phases import Phases
from streams.tally.store import TallyStore
from streams.tally.topics import EVENTS_TOPIC, partition_for

log = structlog.get_logger(__name__)


@dataclass(frozen=True, kw_only=True)
class Runner:
    """The working stage."""

    store: TallyStore
    """PostgreSQL."""
    phases: Phases
    """Run the tasks."""
    writer: LogWriter
    """Writes to Kafka."""
    retry: Retry
    """Waits while Kafka or PostgreSQL does not answer."""
    partitions: int
    """Of `tally.events`."""
    worker: str
    """Name of this process, for the logs."""
    metrics: TallyMetrics

    async def process(self, events: list[EventOf]) -> None:
        """Run a group of tasks in parallel; returns when all are reported."""
        await asyncio.gather(*(self.do(event.record) for event in events))

    async def do(self, task: TallyTask) -> None:
        """Run one task and report its outcome."""
        started = datetime.now(UTC)
        outcome: TallyEvent
        error = ""
        try:
            outcome = await self.retry(Service.POSTGRESQL, lambda: self.phases.do(task))
        except ScrutinError as failure:
            error = str(failure)
        except Exception as failure:
            error = f"unexpected {type(failure).__name__}"
            log.exception("a task met an unexpected error", task=task)
        if error:
            outcome = Failed(task.election_id, task.lane, task.unit, task.attempt, error)
            log.error(
                "a task failed",
                election=task.election_id,
                phase=task.lane.phase,
                guardian=task.lane.guardian,
                unit=task.unit,
                attempt=task.attempt,
                error=error,
            )
        await self.retry(Service.POSTGRESQL, lambda: self._log(task, started, error))
        took_s = (datetime.now(UTC) - started).total_seconds()
        self.metrics.tasks.labels(task.lane.phase, "failed" if error else "done").observe(took_s)
        record = OutRecord(
            EVENTS_TOPIC, partition_for(task.election_id, self.partitions), encode(outcome)
        )
        await self.retry(Service.KAFKA, lambda: self.writer.write([record]))

    async def _log(self, task: TallyTask, started: datetime, error: str) -> None:
        lane = task.lane
        row = (
            task.election_id,
            lane.phase,
            task.unit,
            task.attempt,
            self.worker,
            started,
            datetime.now(UTC),
            "FAILED" if error else "COMPLETED",
            error or None,
        )
        if lane.guardian:
            kind = "COMPENSATED" if lane.missing else "PARTIAL"
            guardians = (lane.missing or lane.guardian, lane.guardian, kind)
            await self.store.log(sql.LOG_DECRYPTION, *row, *guardians)
        elif lane.phase in {Phase.COMBINE, Phase.PUBLISH}:
            await self.store.log(sql.LOG_COMBINE, *row)
        else:
            await self.store.log(sql.LOG_TALLY, *row)

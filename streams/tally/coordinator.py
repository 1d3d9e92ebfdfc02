"""The agent of `tally.events`: decides which tasks to run and records them.

For every group of events, in this order: decide, write the tasks, write the changelog, update the
mirror in PostgreSQL, acknowledge. After a crash in between, tasks are assigned again; tasks are
idempotent.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import structlog

from schemas.tally import Create, JobState, TallyEvent, TallyTask
from streams.adapters.kafka.writer import LogWriter
from streams.core.records import OutRecord
from streams.engine.assignment import Assignment
from streams.runtime.outages import Retry, Service
from streams.tally.codec import encode
from streams.tally.jobs import JobStep, Pace, step, tick
from streams.tally.jobs_table import JobsStore, changelog_key
from streams.tally.mirror import job_rows
from streams.tally.refusals import Refused
from streams.tally.store import TallyStore
from streams.tally.topics import TASKS_TOPIC, partition_for

log = structlog.get_logger(__name__)

TICK_S: Final = 0.25


@dataclass(slots=True)
class EventOf:
    """A record of `tally.events` or `tally.tasks` that an agent processes."""

    partition: int
    offset: int
    record: Any
    generation: int
    ack: Callable[[], Any]
    """Acknowledges it to Faust."""
    size_bytes: int
    weight: int = 1


@dataclass(kw_only=True)
class Coordinator:
    """The coordinating stage."""

    jobs: Callable[[], JobsStore]
    """Store of the jobs."""
    changelog: str
    """Topic of its changelog."""
    partitions: int
    """Of `tally.tasks`."""
    pace: Pace
    """Limits for assigning work."""
    writer: LogWriter
    """Writes to Kafka."""
    store: TallyStore
    """PostgreSQL."""
    retry: Retry
    """Waits while Kafka or PostgreSQL does not answer."""
    assignment: Assignment
    """Events outside it are left to the next owner."""

    def __post_init__(self) -> None:
        self._one_at_a_time = asyncio.Lock()

    async def process(self, events: list[EventOf]) -> None:
        """Apply a group of events; returns when tasks, changelog and mirror are written."""
        async with self._one_at_a_time:
            for event in events:
                record = await self._completed(event.record)
                if record is None:
                    continue
                if not self.assignment.covers(event.generation):
                    return
                out = step(
                    self.jobs().partitions.get(event.partition, {}).get(record.election_id),
                    record,
                    offset=event.offset,
                    now_ms=_now_ms(),
                    pace=self.pace,
                )
                await self._write(event.partition, out)

    async def _completed(self, event: TallyEvent) -> TallyEvent | None:
        """Add guardians and quorum to a command from a queue; None if the election is unknown."""
        if not isinstance(event, Create) or event.guardians:
            return event
        try:
            return await self.retry(Service.POSTGRESQL, lambda: self.store.create_event(event))
        except Refused as refused:
            log.error("refused a request for a tally", error=str(refused))
            return None

    async def run(self) -> None:
        """Assign due units again until cancelled."""
        mirrored: int | None = None
        while True:
            await asyncio.sleep(TICK_S)
            async with self._one_at_a_time:
                generation = self.assignment.generation
                if generation is not None and generation != mirrored:
                    # The previous owner may have died between changelog and mirror.
                    for jobs in list(self.jobs().partitions.values()):
                        for state in list(jobs.values()):
                            await self.retry(Service.POSTGRESQL, partial(self._mirror, state))
                    mirrored = generation
                for partition, jobs in list(self.jobs().partitions.items()):
                    for state in list(jobs.values()):
                        if self.assignment.generation is not None:
                            out = tick(state, now_ms=_now_ms(), pace=self.pace)
                            await self._write(partition, out)

    async def _write(self, partition: int, out: JobStep) -> None:
        state = out.state
        if state is None or not out.changed:
            return
        if out.tasks:
            tasks = [self._task_record(task) for task in out.tasks]
            await self.retry(Service.KAFKA, lambda: self.writer.write(tasks))
        change = OutRecord(self.changelog, partition, encode(state), changelog_key(state))
        written = await self.retry(Service.KAFKA, lambda: self.writer.write([change]))
        for metadata in written:
            self.jobs().written(metadata.partition, metadata.offset)
        self.jobs().put(partition, state)
        await self.retry(Service.POSTGRESQL, lambda: self._mirror(state))

    async def _mirror(self, state: JobState) -> None:
        await self.store.put_jobs(job_rows(state, _now_ms()))

    def _task_record(self, task: TallyTask) -> OutRecord:
        # Units of one lane go to different partitions, so that several workers share them.
        lane = task.lane
        key = "\0".join((task.election_id, lane.phase, lane.guardian, lane.missing, str(task.unit)))
        return OutRecord(TASKS_TOPIC, partition_for(key, self.partitions), encode(task))


def _now_ms() -> int:
    return time.time_ns() // 1_000_000

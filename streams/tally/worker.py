"""A tally worker around Faust: the stages of its two agents, services, health, shutdown."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any, Final

import structlog
from faust.types import TP, EventT

from streams.adapters.postgres.connection import connected
from streams.adapters.postgres.migrations import migrate
from streams.engine.batching import BatchProcessor
from streams.engine.codecs import decoded, register_codec
from streams.engine.host import WorkerHost
from streams.errors import ScrutinError
from streams.runtime.failstop import fail
from streams.runtime.metrics import TallyMetrics, process_registry
from streams.runtime.outages import Service
from streams.settings.processes import TallyWorkerConfig
from streams.tally.codec import decode_event, decode_task, encode
from streams.tally.coordinator import Coordinator, EventOf
from streams.tally.helpers import Helpers
from streams.tally.jobs import Pace
from streams.tally.jobs_table import JobsTable
from streams.tally.phases import Phases
from streams.tally.runner import Runner
from streams.tally.store import TallyStore
from streams.tally.topics import (
    EVENTS_TOPIC,
    TASKS_TOPIC,
    ensure_tally_topics,
    jobs_changelog,
    tally_app_id,
)

log = structlog.get_logger(__name__)

EVENTS_CODEC: Final = "scrutin-tally-events"
TASKS_CODEC: Final = "scrutin-tally-tasks"
_GROUP_EVENTS: Final = 200


class TallyWorker(WorkerHost):
    """Builds the stages and connects them to Faust's agents.

    Args:
        config: of this process.
    """

    def __init__(self, config: TallyWorkerConfig) -> None:
        host, kafka = config.host, config.host.kafka
        metrics = TallyMetrics(process_registry())
        super().__init__(
            host, tally_app_id(kafka.app_id), metrics.registry, lambda: self.jobs.state
        )
        register_codec(EVENTS_CODEC, decode_event, encode)
        register_codec(TASKS_CODEC, decode_task, encode)
        self._writer = self.kafka_writer()
        self._store = TallyStore(host.postgres)
        self._helpers = Helpers(config.helpers)
        self._jobs: JobsTable | None = None
        self.coordinator = Coordinator(
            jobs=lambda: self.jobs.state,
            changelog=jobs_changelog(kafka.app_id),
            partitions=kafka.partitions,
            pace=Pace(in_flight=config.in_flight),
            writer=self._writer,
            store=self._store,
            retry=self.retry,
            assignment=self._assignment,
        )
        self.runner = Runner(
            store=self._store,
            phases=Phases(self._store, self._helpers, config.key_file, config.min_ballots),
            writer=self._writer,
            retry=self.retry,
            partitions=kafka.partitions,
            worker=host.name,
            metrics=metrics,
        )
        self._coordinating = self._group("tally events", self.coordinator.process, _GROUP_EVENTS)
        self._working = self._group("tally tasks", self.runner.process, self._helpers.count)
        self.processors = (self._working, self._coordinating)
        self._acknowledged: dict[TP, int] = {}

    @property
    def jobs(self) -> JobsTable:
        """The jobs' table."""
        assert self._jobs is not None
        return self._jobs

    def _group(
        self, name: str, process: Callable[[list[EventOf]], Awaitable[None]], size: int
    ) -> BatchProcessor[EventOf]:
        return BatchProcessor(
            name,
            process,
            start_weight=1,
            max_weight=size,
            max_events=size,
            assignment=self._assignment,
        )

    def jobs_table(self, name: str) -> JobsTable:
        """Declare the jobs' table; its changelog has the partitions of `tally.events`."""
        table = JobsTable(
            self.app,
            name=name,
            partitions=self._host.kafka.partitions,
            key_type=bytes,
            value_type=bytes,
            on_recover=self.restored,
            help="Progress of the jobs of every election",
        )
        self._jobs = self.app.tables.add(table)
        self.app.on_partitions_revoked.connect(self.revoked)
        return table

    # Called by the agents.

    async def coordinate(self, event: EventT) -> None:
        """Process a record of `tally.events`."""
        await self._coordinating.put(self._event_of(event))

    async def work(self, event: EventT) -> None:
        """Process a record of `tally.tasks`."""
        await self._working.put(self._event_of(event))

    def _event_of(self, event: EventT) -> EventOf:
        message = event.message
        try:
            record = decoded(event)
        except ScrutinError as error:
            fail(error)

        def acknowledge() -> None:
            event.ack()
            self._acknowledged[TP(message.topic, message.partition)] = message.offset + 1

        return EventOf(
            message.partition,
            message.offset,
            record,
            message.generation_id or 0,
            acknowledge,
            len(message.value),
        )

    # Lifecycle.

    async def prepare(self) -> list[Coroutine[Any, Any, None]]:
        """Create topics, migrate the schema, and open the resources of the stages."""
        await self.retry(
            Service.KAFKA,
            lambda: ensure_tally_topics(self._host.kafka),
        )
        await self.retry(Service.POSTGRESQL, self._prepare_database)
        await self.retry(Service.POSTGRESQL, self._store.__aenter__)
        self._resources.push_async_exit(self._store)
        await self._resources.enter_async_context(self._helpers)
        return [
            self._coordinating.run(),
            self._working.run(),
            self.coordinator.run(),
        ]

    async def _prepare_database(self) -> None:
        async with connected(self._host.postgres) as connection:
            await migrate(connection)

    async def drain(self) -> None:
        """Finish running tasks; waiting tasks stay in Kafka."""
        self._working.clear()
        await super().drain()

    def on_revoked(self) -> None:
        """Forget positions: the next owner may be behind this worker."""
        self._acknowledged.clear()

    async def positions(self) -> dict[TP, int] | None:
        """Next offset of every owned partition; None while one is busy or not read yet."""
        busy = any(each.busy for each in self.processors)
        if busy or self._not_ready() or self._assignment.generation is None:
            return None
        jobs, consumer = self.jobs.state, self.app.consumer
        found = {}
        for tp in consumer.assignment():
            if tp.topic in {EVENTS_TOPIC, TASKS_TOPIC}:
                applied = jobs.applied(tp.partition) + 1 if tp.topic == EVENTS_TOPIC else 0
                committed = consumer._committed_offset.get(tp) or 0
                found[tp] = max(applied, committed, self._acknowledged.get(tp, 0))
        return found

    async def stage_positions(self, tps: set[TP]) -> Mapping[TP, int]:
        """Next event to read, from the offsets that the jobs have applied.

        Tasks use the committed offset or start over: tasks are idempotent.
        """
        jobs = self.jobs.state
        applied = {tp: jobs.applied(tp.partition) for tp in tps if tp.topic == EVENTS_TOPIC}
        return {tp: offset + 1 for tp, offset in applied.items() if offset >= 0}

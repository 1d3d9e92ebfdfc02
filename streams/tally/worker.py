"""What a tally worker holds besides Faust: the two agents' stages, services, health, an end."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import AsyncExitStack
from typing import Any, Final

import structlog
from faust.types import TP, EventT
from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector

from streams.assignment import Assignment
from streams.availability import Availability, persistently
from streams.codecs import register_codec
from streams.database import connect, place, translated
from streams.errors import ScrutinError
from streams.events import decoded
from streams.failstop import fail
from streams.grouping import GroupRunner
from streams.log_writer import LogWriter
from streams.logs import configure_structlog
from streams.migrations import migrate
from streams.serving import StatusServer
from streams.settings import Settings
from streams.tally.codec import decode_event, decode_task, encode
from streams.tally.coordinator import Coordinator, EventOf
from streams.tally.helpers import Helpers
from streams.tally.jobs import Pace
from streams.tally.jobs_table import JobsTable
from streams.tally.phases import Phases
from streams.tally.runner import Runner
from streams.tally.store import TallyStore
from streams.tally.topics import EVENTS_TOPIC, ensure_tally_topics, jobs_changelog, tally_app_id
from streams.worker import App, new_app

log = structlog.get_logger(__name__)

EVENTS_CODEC: Final = "scrutin-tally-events"
TASKS_CODEC: Final = "scrutin-tally-tasks"
REVOKE_TIMEOUT_S: Final = 3.0
_GROUP_EVENTS: Final = 200


class TallyWorker:
    """Builds the stages and connects them to Faust's agents.

    Args:
        settings: of this process.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        register_codec(EVENTS_CODEC, decode_event, encode)
        register_codec(TASKS_CODEC, decode_task, encode)
        configure_structlog()
        self.app: App = new_app(settings, tally_app_id(settings.app_id), self)
        self._assignment = Assignment()
        self._availability = Availability(settings.max_retry_attempts)
        self._writer = LogWriter(settings.kafka_bootstrap_servers, availability=self._availability)
        self._store = TallyStore(settings)
        self._helpers = Helpers(settings.helpers())
        self._resources = AsyncExitStack()
        self._tasks: list[asyncio.Task[None]] = []
        self._opened = False
        self._jobs: JobsTable | None = None
        kafka, database = self._retry("Kafka"), self._retry("PostgreSQL")
        self.coordinator = Coordinator(
            jobs=lambda: self.jobs.state,
            changelog=jobs_changelog(settings.app_id),
            partitions=settings.partitions,
            pace=Pace(in_flight=settings.tally_in_flight),
            writer=self._writer,
            store=self._store,
            retry_kafka=kafka,
            retry_database=database,
            assignment=self._assignment,
        )
        self.runner = Runner(
            store=self._store,
            phases=Phases(self._store, self._helpers, settings.tally_key_file),
            writer=self._writer,
            retry_kafka=kafka,
            retry_database=database,
            partitions=settings.partitions,
            worker=settings.worker_id,
        )
        self._coordinating = self._group("tally events", self.coordinator.process, _GROUP_EVENTS)
        self._working = self._group("tally tasks", self.runner.process, self._helpers.count)

    @property
    def jobs(self) -> JobsTable:
        """The jobs' table."""
        assert self._jobs is not None
        return self._jobs

    def _group(
        self, name: str, process: Callable[[list[EventOf]], Awaitable[None]], size: int
    ) -> GroupRunner[EventOf]:
        return GroupRunner(
            name,
            process,
            start_weight=1,
            wait_until=lambda first_s: first_s,
            max_weight=size,
            max_events=size,
            assignment=self._assignment,
        )

    def jobs_table(self, name: str) -> JobsTable:
        """Declare the jobs' table; its changelog has the partitions of `tally.events`."""
        table = JobsTable(
            self.app,
            name=name,
            partitions=self.settings.partitions,
            key_type=bytes,
            value_type=bytes,
            on_recover=self._restored,
            help="How far the jobs of every election are",
        )
        self._jobs = self.app.tables.add(table)
        self.app.on_partitions_revoked.connect(self._revoked)
        return table

    # What the agents call.

    async def coordinate(self, event: EventT) -> None:
        """Take a record of `tally.events`."""
        await self._coordinating.put(self._event_of(event))

    async def work(self, event: EventT) -> None:
        """Take a record of `tally.tasks`."""
        await self._working.put(self._event_of(event))

    @staticmethod
    def _event_of(event: EventT) -> EventOf:
        message = event.message
        try:
            record = decoded(event)
        except ScrutinError as error:
            fail(error)
        return EventOf(
            message.partition,
            message.offset,
            record,
            message.generation_id or 0,
            event.ack,
            len(message.value),
        )

    # Lifecycle.

    async def open(self) -> None:
        """Wait for the services, bring topics and schema up to date, start the stages."""
        try:
            await self._open()
        except ScrutinError as error:
            fail(error)
        self._opened = True

    async def _open(self) -> None:
        settings = self.settings
        server = StatusServer(
            host=settings.metrics_host,
            port=settings.metrics_port,
            registry=self.registry,
            live=list,
            ready=self._not_ready,
            port_variable="PROMETHEUS_PORT",
        )
        await self._resources.enter_async_context(server)
        log.info("metrics are served", port=server.port)
        await self._retry("Kafka")(
            lambda: ensure_tally_topics(
                settings.kafka_bootstrap_servers,
                app_id=settings.app_id,
                partitions=settings.partitions,
                replication_factor=settings.replication_factor,
            )
        )
        await self._retry("PostgreSQL")(self._prepare_database)
        await self._retry("PostgreSQL")(self._store.__aenter__)
        self._resources.push_async_exit(self._store)
        await self._resources.enter_async_context(self._helpers)
        self._tasks = [
            asyncio.create_task(self._guarded(runner))
            for runner in (
                self._coordinating.run(),
                self._working.run(),
                self.coordinator.run(),
            )
        ]

    async def _prepare_database(self) -> None:
        connection = await connect(self.settings)
        try:
            async with translated(place(self.settings)):
                await migrate(connection)
        finally:
            await connection.close()

    @staticmethod
    async def _guarded(runner: Coroutine[Any, Any, None]) -> None:
        try:
            await runner
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # noqa: BLE001 - a stage must not die silently
            fail(error)

    async def drain(self) -> None:
        """Finish what is being worked on; what only waits is left in Kafka."""
        if self._opened:
            self._working.clear()
            await self._working.drain(timeout_s=self.settings.drain_timeout_s / 2)
            await self._coordinating.drain(timeout_s=self.settings.drain_timeout_s / 2)

    async def close(self) -> None:
        """End the stages and let go of the services."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []
        await self._writer.close()
        await self._resources.aclose()

    # Rebalances.

    async def _revoked(self, *_: Any, **__: Any) -> None:
        runners = (self._coordinating, self._working)
        await asyncio.gather(*(r.settle(timeout_s=REVOKE_TIMEOUT_S) for r in runners))
        self._assignment.end()
        for runner in runners:
            runner.clear()

    async def _restored(self) -> None:
        self._assignment.begin(self.app.consumer_generation_id)

    async def stage_positions(self, tps: set[TP]) -> Mapping[TP, int]:
        """Next event to read: the jobs know what they applied. Tasks go by what is committed."""
        jobs = self.jobs.state
        applied = {tp: jobs.applied(tp.partition) for tp in tps if tp.topic == EVENTS_TOPIC}
        return {tp: offset + 1 for tp, offset in applied.items() if offset >= 0}

    # Health.

    def _not_ready(self) -> list[str]:
        faults = [f"{service} is away" for service in self._availability.away()]
        if not self._opened:
            faults.append("starting")
        elif self.app.rebalancing or self.app.in_recovery:
            faults.append("restoring the jobs' table")
        elif not self.app.tables.recovery.completed.is_set():
            faults.append("waiting for partitions")
        return faults

    def _retry(self, service: str) -> Callable[[Callable[[], Awaitable[Any]]], Awaitable[Any]]:
        async def retry(action: Callable[[], Awaitable[Any]]) -> Any:
            return await persistently(
                action,
                service=service,
                availability=self._availability,
                retry_delay_s=self.settings.retry_delay_s,
            )

        return retry

"""What a worker process holds besides Faust: stages, services, health, an orderly end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import AsyncExitStack
from typing import Any, Final, Protocol, TypeVar

import faust.app.base
import structlog
from faust._cython.streams import StreamIterator  # noqa: F401 - its absence changes acknowledgement
from faust.types import TP, EventT
from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector
from yarl import URL

from schemas.genesis import Genesis
from streams import failpoints
from streams.aggregation import Aggregation, event_of
from streams.assignment import Assignment
from streams.availability import Availability, persistently
from streams.codecs import register_codecs
from streams.database import connect, place, translated
from streams.errors import ScrutinError, ServiceUnavailable
from streams.events import InputEvent, VerdictEvent, decoded, value_of
from streams.failstop import fail
from streams.global_votes import GlobalVotes
from streams.grouping import GroupRunner
from streams.identity import check_database
from streams.kafka_transport import Transport
from streams.live import TotalsPublisher
from streams.log_reader import LogReader
from streams.log_writer import LogWriter
from streams.logs import configure_structlog, logging_config
from streams.metrics import WorkerMetrics
from streams.migrations import migrate
from streams.progress import Progress
from streams.redis_client import redis_client
from streams.serving import StatusServer
from streams.settings import Settings
from streams.sink import PostgresSink
from streams.timekeeper import Timekeeper
from streams.topics import VALIDATED_TOPIC, VALIDATION_TOPIC, changelog_topic, ensure_topics
from streams.validation import VALIDATION_GROUP_RECORDS, Validation
from streams.voted_disk import Position, VotedDisk, digest
from streams.voted_table import Persistence, VotedTable
from streams.window_topic import WindowTopic
from streams.windows import Windows

log = structlog.get_logger(__name__)

REVOKE_TIMEOUT_S: Final = 3.0
"""How long a running group may hold up a rebalance."""

POSITIONS_TIMEOUT_S: Final = 15.0
RECOVERY_RECORDS: Final = 200
VALIDATION_GROUP_VOTES: Final = 8000

T = TypeVar("T")


class _NoWebServer(faust.app.base.BootStrategy):  # type: ignore[misc]
    # Whatever the settings say, `faust worker` starts a web server on every address of the host,
    # which shows the tables to anybody.
    enable_web = False


class Stages(Protocol):
    """What is around Faust's app in a process."""

    async def open(self) -> None:
        """Open what the stages need."""

    async def drain(self) -> None:
        """Work off what the agents have taken in."""

    async def close(self) -> None:
        """End the stages and let go of the services."""

    async def stage_positions(self, tps: set[TP]) -> Mapping[TP, int]:
        """Next offset to read of the partitions that a stage knows."""


class App(faust.App):  # type: ignore[misc]
    """Faust's app, with the worker's own start and end around it."""

    BootStrategy = _NoWebServer
    worker: Stages

    async def on_first_start(self) -> None:
        """Open what the stages need before any partition is assigned."""
        await super().on_first_start()
        await self.worker.open()

    async def on_stop(self) -> None:
        """Finish what was taken in, let Faust commit, then let go."""
        await self.worker.drain()
        await super().on_stop()

    async def on_shutdown(self) -> None:
        """Close connections when Faust has stopped."""
        await super().on_shutdown()
        await self.worker.close()

    async def stage_positions(self, tps: set[TP]) -> Mapping[TP, int]:
        """Where the stages are, for the consumer."""
        return await self.worker.stage_positions(tps)


def new_app(settings: Settings, app_id: str, worker: Stages) -> App:
    """Faust's app as our stages need it.

    Args:
        app_id: Kafka group, prefix of the changelogs' names.
        worker: opened before the first partition is assigned, drained before the end.
    """
    app = App(
        app_id,
        broker=[URL(f"kafka://{server}") for server in settings.kafka_bootstrap_servers],
        store="memory://",
        datadir=settings.data_dir,
        topic_partitions=settings.partitions,
        topic_replication_factor=settings.replication_factor,
        topic_disable_leader=True,
        processing_guarantee="at_least_once",
        table_standby_replicas=0,
        # Our groups acknowledge by themselves; waiting for an empty stream would hang.
        stream_wait_empty=False,
        stream_buffer_maxsize=64,
        stream_recovery_delay=0.0,
        broker_commit_interval=1.0,
        broker_session_timeout=10.0,
        broker_heartbeat_interval=2.0,
        # A long outage of PostgreSQL must not cost the partitions.
        broker_max_poll_interval=86_400.0,
        consumer_max_fetch_size=4 * 1024 * 1024,
        producer_acks=-1,
        web_enabled=False,
        logging_config=logging_config(settings.log_level, settings.log_format),
    )
    app.worker = worker
    app.transport = Transport(app.conf.broker_consumer, app, loop=app.loop)
    return app


class Worker:
    """Builds the stages and connects them to Faust's agents.

    Args:
        settings: of this process.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.metrics = WorkerMetrics(CollectorRegistry())
        ProcessCollector(registry=self.metrics.registry)
        PlatformCollector(registry=self.metrics.registry)
        self.windows = Windows(settings.window_ms)
        self._assignment = Assignment()
        self._availability = Availability(settings.max_retry_attempts, self._on_outage)
        servers = settings.kafka_bootstrap_servers
        self._reader = LogReader(servers)
        self._writer = LogWriter(servers, availability=self._availability)
        self._window_writer = LogWriter(servers, availability=self._availability)
        self._sink = PostgresSink(settings, self.windows, self.metrics)
        self._window_topic = WindowTopic(self._sink, self._window_writer)
        self._command_writer = LogWriter(servers, availability=self._availability)
        self._timekeeper = Timekeeper(settings, self._sink, self._command_writer)
        self._redis = redis_client(
            host=settings.redis_host,
            port=settings.redis_port,
            db=settings.redis_db,
            password=settings.redis_password.get_secret_value(),
        )
        self._live = TotalsPublisher(
            self._redis,
            self.metrics,
            GlobalVotes(self._redis, self._sink).announce if settings.global_votes else None,
        )
        self._resources = AsyncExitStack()
        self._tasks: list[asyncio.Task[None]] = []
        self._opened = False
        self._voted: VotedTable | None = None
        register_codecs()
        configure_structlog()
        self.app = new_app(settings, settings.app_id, self)
        self.validation = Validation(
            store=lambda: self.voted.state,
            changelog_topic=changelog_topic(settings.app_id),
            writer=self._writer,
            reader=self._reader,
            retry=self._retry("Kafka"),
            metrics=self.metrics,
            assignment=self._assignment,
        )
        self.aggregation = Aggregation(
            sink=self._sink,
            reader=self._reader,
            retry_database=self._retry("PostgreSQL"),
            retry_kafka=self._retry("Kafka"),
            metrics=self.metrics,
            flushed=self._window_topic.flushed,
            committed=self._live.offer if settings.live else lambda *_: None,
        )
        self._validating: GroupRunner[InputEvent] = GroupRunner(
            "validation",
            self.validation.process,
            start_weight=1,
            wait_until=lambda first_s: first_s,
            max_weight=VALIDATION_GROUP_VOTES,
            max_events=VALIDATION_GROUP_RECORDS,
            assignment=self._assignment,
        )
        self._aggregating: GroupRunner[VerdictEvent] = GroupRunner(
            "aggregation",
            self.aggregation.process,
            start_weight=settings.batch_size,
            wait_until=self._window_end_s,
            max_weight=settings.max_flush_votes,
            assignment=self._assignment,
        )
        self._progress = Progress(self, self._sink, self._reader, self._availability)

    @property
    def sinks(self) -> bool:
        """Whether this deployment counts into PostgreSQL."""
        return self.settings.sink == "postgres"

    @property
    def voted(self) -> VotedTable:
        """The voted table."""
        assert self._voted is not None
        return self._voted

    def voted_table(self, name: str) -> VotedTable:
        """Declare the voted table; its changelog has the input log's partitions."""
        table = VotedTable(
            self.app,
            name=name,
            partitions=self.settings.partitions,
            key_type=bytes,
            value_type=bytes,
            on_recover=self._restored,
            # Records hold up to 4,000 votes; what is read ahead of the store is memory.
            recovery_buffer_size=RECOVERY_RECORDS,
            help="Who voted, and where in the log their first vote is",
        )
        self._voted = self.app.tables.add(table)
        if self.settings.store == "rocksdb":
            persistence = Persistence(
                VotedDisk(self.settings.data_dir / name), self.validation.log_id, self._holds
            )
            table.state.persist(persistence)
        self.app.on_partitions_revoked.connect(self._revoked)
        return table

    def _window_end_s(self, first_s: float) -> float:
        """When to flush at the latest, on the monotonic clock, a vote that came at `first_s`."""
        end_s = time.monotonic() + self.windows.left_s(time.time())
        # The wall clock may jump; a flush waits no longer than one window whatever it says.
        return min(end_s, first_s + self.settings.batch_timeout_s)

    # What the agents call.

    async def validate(self, event: EventT) -> None:
        """Take a record of `votes.validation`."""
        message = event.message
        await self._validating.put(
            InputEvent(
                partition=message.partition,
                offset=message.offset,
                record=value_of(event),
                raw=message.value or b"",
                generation=message.generation_id or 0,
                acknowledge=event.ack,
            )
        )

    async def aggregate(self, event: EventT) -> None:
        """Take a record of `votes.validated`."""
        message = event.message
        await self._aggregating.put(
            self._or_fail(
                lambda: event_of(
                    message.partition,
                    message.offset,
                    decoded(event),
                    size_bytes=len(message.value),
                    generation=message.generation_id or 0,
                    acknowledge=event.ack,
                )
            )
        )

    @staticmethod
    def _or_fail(decode: Callable[[], T]) -> T:
        try:
            return decode()
        except Exception as error:  # noqa: BLE001 - Faust would acknowledge the record and go on
            fail(error)

    # Lifecycle.

    async def open(self) -> None:
        """Wait for the services, bring topics and schema up to date, start the stages.

        Errors end the process: Faust would start again without end. A stop ends the waiting.
        """
        failpoints.arm(failpoints.parse(self.settings.test_failpoints))
        opening = asyncio.create_task(self._open())
        stopped = asyncio.create_task(self.app._stopped.wait())
        await asyncio.wait([opening, stopped], return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        if not opening.done():
            opening.cancel()
            await asyncio.wait([opening])
            return
        error = opening.exception()
        if error is not None:
            fail(error)
        self._opened = True

    async def _open(self) -> None:
        settings = self.settings
        server = StatusServer(
            host=settings.metrics_host,
            port=settings.metrics_port,
            registry=self.metrics.registry,
            live=list,
            ready=self._not_ready,
            port_variable="PROMETHEUS_PORT",
        )
        await self._resources.enter_async_context(server)
        log.info("metrics are served", port=server.port)
        genesis: Mapping[int, Genesis] = await self._retry("Kafka")(
            lambda: ensure_topics(
                list(settings.kafka_bootstrap_servers),
                app_id=settings.app_id,
                partitions=settings.partitions,
                replication_factor=settings.replication_factor,
            )
        )
        self.validation.open(genesis)
        runners: list[Coroutine[Any, Any, None]] = [self._validating.run()]
        if self.sinks:
            await self._retry("PostgreSQL")(lambda: self._prepare_database(genesis))
            await self._resources.enter_async_context(self._sink)
            runners += [
                self._aggregating.run(),
                self._window_topic.run(),
                self._timekeeper.run(),
            ]
            if settings.live:
                runners.append(self._live.run())
        runners.append(self._progress.run())
        self._tasks = [asyncio.create_task(self._guarded(runner)) for runner in runners]

    async def _prepare_database(self, genesis: Mapping[int, Genesis]) -> None:
        connection = await connect(self.settings)
        try:
            async with translated(place(self.settings)):
                for migration in await migrate(connection):
                    log.info("migration applied", version=migration.version, name=migration.name)
                await check_database(connection, genesis, self._reader)
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
        """Work off what the agents have taken in."""
        if not self._opened:
            return
        timeout_s = self.settings.drain_timeout_s / 2
        await self._validating.drain(timeout_s=timeout_s)
        await self._aggregating.drain(timeout_s=timeout_s)
        if self.sinks:
            await self._progress.last_words(self._window_topic)

    async def close(self) -> None:
        """End the stages and let go of the services."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []
        await self._writer.close()
        await self._window_writer.close()
        self.voted.state.close()
        await self._command_writer.close()
        await self._redis.aclose()
        await self._resources.aclose()

    async def _holds(self, partition: int, position: Position) -> bool:
        """Whether the voted table's changelog has that record."""
        record = await self._retry("Kafka")(
            lambda: self._reader.at(
                changelog_topic(self.settings.app_id), partition, position.offset
            )
        )
        return record is not None and digest(record.key, record.value) == position.digest

    # Rebalances.

    async def _revoked(self, *_: Any, **__: Any) -> None:
        runners = (self._validating, self._aggregating)
        await asyncio.gather(*(r.settle(timeout_s=REVOKE_TIMEOUT_S) for r in runners))
        self._assignment.end()
        for runner in runners:
            runner.clear()
        self.validation.revoked()

    async def _restored(self) -> None:
        try:
            self.validation.restored()
        except ScrutinError as error:
            fail(error)
        self._assignment.begin(self.app.consumer_generation_id)

    async def stage_positions(self, tps: set[TP]) -> Mapping[TP, int]:
        """Next offset to read, by the stages' own knowledge; nothing while a service is away."""
        positions: dict[TP, int] = {}
        try:
            async with asyncio.timeout(POSITIONS_TIMEOUT_S):
                if self.sinks:
                    validated = await self._sink.positions()
                    for tp in tps:
                        if tp.topic == VALIDATED_TOPIC:
                            positions[tp] = validated.get(tp.partition, 0)
                for tp in tps:
                    if tp.topic == VALIDATION_TOPIC:
                        position = await self.validation.position(tp.partition)
                        if position is not None:
                            positions[tp] = position
        except (ServiceUnavailable, TimeoutError) as error:
            # The committed offsets serve; what they skip is healed when its successor arrives.
            log.warning("reading from committed offsets", error=str(error) or "timeout")
        except ScrutinError as error:
            fail(error)
        return positions

    # Health.

    def _not_ready(self) -> list[str]:
        faults = [f"{service} is away" for service in self._availability.away()]
        if not self._opened:
            faults.append("starting")
        elif self.app.rebalancing or self.app.in_recovery:
            faults.append("restoring the voted table")
        elif not self.app.tables.recovery.completed.is_set():
            faults.append("waiting for partitions")
        return faults

    def _on_outage(self, service: str) -> None:
        if service == "PostgreSQL":
            self.metrics.aggregation_errors.labels(error_type="database_unavailable").inc()
            self.metrics.database_operations.labels("flush", "error").inc()
        else:
            self.metrics.validation_errors.labels(error_type="kafka_unavailable").inc()

    def _retry(self, service: str) -> Callable[[Callable[[], Awaitable[Any]]], Awaitable[Any]]:
        async def retry(action: Callable[[], Awaitable[Any]]) -> Any:
            return await persistently(
                action,
                service=service,
                availability=self._availability,
                retry_delay_s=self.settings.retry_delay_s,
            )

        return retry

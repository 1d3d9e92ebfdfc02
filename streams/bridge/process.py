"""The bridge process: its parts, startup and shutdown."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING

import structlog
from redis.asyncio import Redis

from schemas.genesis import Genesis
from schemas.notices import (
    AdoptionBegun,
    AdoptionEnded,
    IntakePaused,
    IntakeResumed,
    Notice,
    RollLoaded,
)
from streams.adapters.kafka import admin
from streams.adapters.kafka.reader import LogReader
from streams.adapters.rabbitmq.client import connected
from streams.adapters.rabbitmq.queues import Route
from streams.adapters.redis.client import redis_client
from streams.bridge.consumer import QueueConsumer
from streams.bridge.egress import Egress
from streams.bridge.mirror import Mirror, check_mirror
from streams.bridge.publisher import QueuePublisher
from streams.bridge.queue_guard import QueueGuard
from streams.bridge.sampling import Sampler
from streams.bridge.verdict_reader import VerdictReader
from streams.core import topics
from streams.errors import ExitCode, ServiceUnavailable
from streams.intake.assembly import Intake, first_error
from streams.intake.control_reader import ControlReader
from streams.intake.ingress import Ingress
from streams.intake.pause import PauseController
from streams.intake.receipts import Receipts
from streams.intake.roll import TableRoll
from streams.messages.outgoing import POLL_EXCHANGE, POLL_ROUTING_KEY
from streams.runtime import failpoints
from streams.runtime.metrics import BridgeMetrics, expose_health, process_registry
from streams.runtime.outages import OutageTracker, Retry, Service
from streams.runtime.status_server import StatusServer
from streams.runtime.stopping import stop_on_signals
from streams.settings.processes import BridgeConfig
from streams.settings.queues import (
    AGGREGATION,
    POLL_UPDATES,
    RECEIPTS,
    REVIEW,
    VALIDATION,
    QueuesConfig,
)

if TYPE_CHECKING:
    from streams.bridge.tally_queues import TallyQueues

log = structlog.get_logger(__name__)

_CLOSE_S = 1.0
"""Longest wait for connections to close: once for deliveries that are returned, once for
publishers, once for everything else."""


class Bridge:
    """Ingress, egress and mirror of one process.

    Constructed and run on one event loop. `run` works until cancelled; call :meth:`drain` before
    that to finish the work in progress.

    Args:
        config: of this process.
        redis: client, for the roll and the mirror.
        metrics: of the bridge.
    """

    def __init__(self, config: BridgeConfig, redis: Redis, metrics: BridgeMetrics) -> None:
        deployment = config.intake.deployment
        self._config = config
        self._deployment = deployment
        self._kafka = deployment.kafka
        self._rabbit = deployment.rabbit
        self._queues = deployment.queues
        self._redis = redis
        self._metrics = metrics
        self._retry = Retry(OutageTracker(deployment.retry.max_attempts), deployment.retry.delay_s)
        self._guard = QueueGuard(self._rabbit, self._queues.accept_loss, metrics)
        expose_health(metrics.registry, self.faults, self._retry.outages)
        self._ingress: Ingress | None = None
        self._egress: Egress | None = None
        self._tally: TallyQueues | None = None
        self._genesis: Mapping[int, Genesis] = {}
        self._pause: PauseController | None = None
        self._table_roll: TableRoll | None = None
        self._readers: list[VerdictReader] = []
        self._tasks: list[asyncio.Task[None]] = []

    def faults(self) -> list[str]:
        """Why the bridge is not ready, for `/ready`."""
        faults = [f"{service} is unavailable" for service in self._retry.outages.unavailable()]
        if self._ingress is None:
            return [*faults, "starting"]
        if self._pause is not None and self._pause.adopting:
            return [*faults, "an adoption is not finished: run `scrutin adopt` again"]
        consuming = self._ingress.consuming and (self._tally is None or self._tally.consuming)
        return faults if faults or consuming else ["not consuming yet"]

    async def run(self) -> None:
        """Work until cancelled.

        Raises:
            ScrutinError: an error that only an operator can fix.
            StageFailed: an unexpected error.
        """
        self._genesis = await self._retry(
            Service.KAFKA,
            lambda: admin.ensure_topics(self._kafka),
        )
        await self._check_mirror()
        try:
            async with asyncio.TaskGroup() as group:
                for name, work in self._parts():
                    self._tasks.append(group.create_task(work, name=name))
        except ExceptionGroup as errors:
            raise first_error(errors, process=self._deployment.name) from errors

    async def _check_mirror(self) -> None:
        async def check() -> None:
            await check_mirror(self._redis, LogReader(self._kafka.servers), self._kafka.partitions)

        if self._deployment.roll == "redis" and VALIDATION in self._queues.ingress:
            await self._retry(Service.REDIS, check)
            return
        # This deployment can receive votes without Redis.
        with suppress(ServiceUnavailable):
            await check()

    async def drain(self) -> None:
        """Stop receiving; finish, confirm and commit the work in progress while `run` continues."""
        for reader in self._readers:
            reader.stop()
        if self._ingress is not None:
            await self._ingress.drain()
        ending = [t for t in self._tasks if t.get_name() in {"egress", "mirror"}]
        if ending:
            await asyncio.wait(ending)

    async def give_back(self) -> None:
        """Return deliveries that :meth:`drain` could not pass on to their queues."""
        if self._ingress is not None:
            await self._ingress.give_back()

    async def aclose(self) -> None:
        """Close the connections that outlive `run`."""
        if self._egress is not None:
            await self._egress.aclose()

    # Parts -------------------------------------------------------------------------------------

    def _parts(self) -> list[tuple[str, Coroutine[None, None, None]]]:
        app_id = self._kafka.app_id
        intake = Intake(self._config.intake, self._redis, self._retry, self._metrics)
        self._table_roll = intake.table_roll
        ingress = intake.ingress
        self._attach_queues(ingress)
        egress = self._egress = self._make_egress()
        mirror = Mirror(
            self._redis,
            retry=self._retry,
            metrics=self._metrics,
        )
        pause = self._pause = PauseController(ingress)
        readers = {
            name: self._reader(name, group, pause.gate(handle))
            for name, group, handle in (
                ("egress", topics.egress_group(app_id), egress.handle),
                ("mirror", topics.mirror_group(app_id), mirror.handle),
            )
        }
        notices = ControlReader(
            self._kafka.servers,
            log_id=self._genesis[0].log_id,
            on_notice=self._on_notice,
            retry=self._retry,
        )
        self._readers = list(readers.values())
        self._ingress = ingress
        return [
            ("input log", intake.input_log.run()),
            ("lag gate", intake.gate.run()),
            ("egress queues", self._declare_egress()),
            ("notices", notices.run()),
            ("ingress", self._take_in(notices, ingress)),
            *((name, reader.run()) for name, reader in readers.items()),
            *self._tally_queues(),
        ]

    def _tally_queues(self) -> list[tuple[str, Coroutine[None, None, None]]]:
        if not self._config.tally_queues:
            return []
        # Imported here: a bridge without tally queues does not need the tally.
        from streams.bridge.tally_queues import TallyQueues  # noqa: PLC0415

        self._tally = TallyQueues(
            self._config.tally_queues,
            self._kafka,
            self._rabbit,
            retry=self._retry,
            guard=self._guard,
            metrics=self._metrics,
        )
        return [("tally queues", self._tally.run())]

    @staticmethod
    async def _take_in(notices: ControlReader, ingress: Ingress) -> None:
        # Notices from before the start of this process apply to its first vote.
        await notices.caught_up()
        await ingress.run()

    async def _on_notice(self, notice: Notice) -> None:
        assert self._pause is not None
        assert self._table_roll is not None
        match notice:
            case RollLoaded():
                self._table_roll.loaded()
            case IntakePaused():
                await self._pause.pause(notice)
            case IntakeResumed():
                await self._pause.resume(notice)
            case AdoptionBegun():
                await self._pause.adoption_begins()
            case AdoptionEnded():
                await self._pause.adoption_ends()

    async def _declare_egress(self) -> None:
        """Declare the egress queues, so that readers find them before the first message."""

        async def declare() -> None:
            async with connected(self._rabbit, "scrutin queues") as connection:
                for documented in self._queues.egress:
                    channel, _ = await route_of(self._queues, documented).ensure(connection)
                    await channel.close()

        await self._retry(Service.RABBITMQ, declare)

    def _attach_queues(self, ingress: Ingress) -> None:
        for documented in self._queues.ingress:
            ingress.attach(
                QueueConsumer(
                    self._rabbit,
                    route=route_of(self._queues, documented),
                    prevalidated=documented == AGGREGATION,
                    poll_updates=documented == POLL_UPDATES,
                    prefetch=self._config.prefetch,
                    bind=self._queues.bindings and documented == VALIDATION,
                    measure=documented == VALIDATION,
                    guard=self._guard,
                    intake=ingress,
                    retry=self._retry,
                    metrics=self._metrics,
                )
            )

    def _make_egress(self) -> Egress:
        def publisher(documented: str) -> QueuePublisher | None:
            if documented not in self._queues.egress:
                return None
            return QueuePublisher(
                self._rabbit,
                route=route_of(self._queues, documented),
                retry=self._retry,
                metrics=self._metrics,
            )

        return Egress(
            review=publisher(REVIEW),
            aggregation=publisher(AGGREGATION),
            updates=publisher(POLL_UPDATES),
            receipts=publisher(RECEIPTS),
            seal=Receipts(self._config.intake.secret.encode()),
            sampler=Sampler(self._config.reviews_per_minute),
            metrics=self._metrics,
        )

    def _reader(
        self, name: str, group: str, handle: Callable[..., Awaitable[None]]
    ) -> VerdictReader:
        def behind(lag: Mapping[int, int]) -> None:
            for partition in [p for p in reported if p not in lag]:
                self._metrics.behind.remove(name, partition)
            reported.clear()
            reported.update(lag)
            for partition, records in lag.items():
                self._metrics.behind.labels(name, partition).set(records)

        reported: dict[int, int] = {}
        return VerdictReader(
            self._kafka.servers,
            group=group,
            handle=handle,
            behind=behind,
            retry=self._retry,
        )


def route_of(queues: QueuesConfig, documented: str) -> Route:
    """How messages reach a queue, given its documented name."""
    queue = queues.name(documented)
    if documented == POLL_UPDATES:
        return Route(queue, POLL_EXCHANGE, POLL_ROUTING_KEY)
    return Route(queue)


async def serve(config: BridgeConfig) -> ExitCode:
    """Run a bridge until SIGTERM or SIGINT, then drain it; a second signal ends at once.

    Raises:
        ScrutinError: the bridge cannot work, or met an unexpected error.
    """
    failpoints.arm(failpoints.parse(config.failpoints))
    stop = stop_on_signals()
    metrics = BridgeMetrics(process_registry())
    async with aclosing(redis_client(config.intake.deployment.redis)) as redis:
        bridge = Bridge(config, redis, metrics)
        async with StatusServer(
            host=config.metrics_host,
            port=config.metrics_port,
            registry=metrics.registry,
            live=list,
            ready=bridge.faults,
            port_variable="SCRUTIN_BRIDGE_METRICS_PORT",
        ) as status:
            log.info("bridge started", metrics_port=status.port, name=config.intake.deployment.name)
            await _until_stopped(bridge, stop, config.drain_timeout_s)
    log.info("bridge ended")
    return ExitCode.OK


async def _until_stopped(bridge: Bridge, stop: asyncio.Event, drain_timeout_s: float) -> None:
    running = asyncio.create_task(bridge.run())
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait([running, stopping], return_when=asyncio.FIRST_COMPLETED)
        if stop.is_set() and not running.done():
            log.info("draining", seconds=drain_timeout_s)
            await _drain(bridge, running, drain_timeout_s - 3 * _CLOSE_S)
    finally:
        stopping.cancel()
        if not running.done():
            running.cancel()
        with suppress(TimeoutError):
            async with asyncio.timeout(_CLOSE_S):
                await bridge.aclose()
        await asyncio.wait([running], timeout=_CLOSE_S)
    if running.done() and not running.cancelled():
        running.result()


async def _drain(bridge: Bridge, running: asyncio.Task[None], seconds: float) -> None:
    draining = asyncio.create_task(bridge.drain())
    await asyncio.wait(
        [draining, running], timeout=max(0.1, seconds), return_when=asyncio.FIRST_COMPLETED
    )
    if not draining.done():
        log.warning(
            "draining did not finish in time; RabbitMQ and Kafka will deliver the rest again"
        )
        draining.cancel()
        if not running.done():
            with suppress(TimeoutError):
                async with asyncio.timeout(_CLOSE_S):
                    await bridge.give_back()
        return
    draining.result()

"""What every worker process has around its stages: patience, health, rebalances, an orderly end."""

from __future__ import annotations

import asyncio
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Any, Final

import structlog
from faust.types import TP
from prometheus_client import CollectorRegistry

from streams.adapters.kafka.reader import LogReader
from streams.adapters.kafka.writer import LogWriter
from streams.engine.app import App, new_app
from streams.engine.assignment import Assignment, owned
from streams.engine.batching import BatchProcessor
from streams.engine.partition_store import PartitionStore
from streams.engine.watchdog import Watchdog
from streams.errors import NoProgress, ScrutinError
from streams.runtime.failstop import fail
from streams.runtime.logs import configure_structlog
from streams.runtime.metrics import expose_health
from streams.runtime.outages import OutageTracker, Retry
from streams.runtime.status_server import StatusServer
from streams.runtime.task_dump import dump_tasks, dump_tasks_on_signal
from streams.settings.processes import HostConfig

log = structlog.get_logger(__name__)

REVOKE_TIMEOUT_S: Final = 3.0
"""How long a running group may hold up a rebalance."""

STOP_MARGIN_S: Final = 14.0
"""What a stop may take beyond the time to drain: commits, leaving the group, closing. Supervisors
wait 30 s, and would end the process without a word."""


class WorkerHost(ABC):
    """Holds the stages of a worker process and connects them to Faust's app.

    A subclass builds its stages, names them in :attr:`groups` and says what it needs to be open.

    Args:
        config: of this process.
        app_id: Faust's, see :func:`streams.engine.app.new_app`.
        registry: of the process's metrics, see :func:`streams.runtime.metrics.process_registry`.
        store: of its table, once that is declared.
    """

    def __init__(
        self,
        config: HostConfig,
        app_id: str,
        registry: CollectorRegistry,
        store: Callable[[], PartitionStore[Any, Any, Any]],
    ) -> None:
        self._host = config
        configure_structlog()
        self.app: App = new_app(config, app_id, self)
        self.groups: Sequence[BatchProcessor[Any]] = ()
        """What takes the agents' records, in the order in which it is drained."""
        self._registry = registry
        self._table_store = store
        self._assignment = Assignment()
        self.retry = Retry(
            OutageTracker(config.retry.max_attempts, self.on_outage), config.retry.delay_s
        )
        """Waits out the outages of all services that the stages need."""
        self._watchdog = Watchdog(
            positions=self.positions,
            restore=self._restore,
            on_lag=self.on_lag,
            reader=LogReader(config.kafka.servers),
            outages=self.retry.outages,
            timeout_s=config.watchdog_timeout_s,
            restore_timeout_s=config.recovery_timeout_s,
            worker=config.name,
        )
        self._resources = AsyncExitStack()
        self._tasks: list[asyncio.Task[None]] = []
        self._opened = False
        self._stopping: threading.Timer | None = None
        self._stop_limit_s = config.drain_timeout_s + STOP_MARGIN_S

    # What a subclass says.

    @abstractmethod
    async def prepare(self) -> list[Coroutine[Any, Any, None]]:
        """Bring topics, schema and connections up; returns what runs until the end."""

    @abstractmethod
    async def stage_positions(self, tps: set[TP]) -> Mapping[TP, int]:
        """Next offset to read of the partitions that a stage knows."""

    @abstractmethod
    async def positions(self) -> Mapping[TP, int] | None:
        """Next offset of every owned partition; None while there is nothing to judge."""

    def on_lag(self, lag: Mapping[TP, int]) -> None:  # noqa: B027 - a hook
        """So many records wait, by partition."""

    def on_outage(self, service: str) -> None:  # noqa: B027 - a hook
        """A try of a service failed."""

    def on_revoked(self) -> None:  # noqa: B027 - a hook
        """Partitions are taken away; nothing of theirs is in work any more."""

    def on_restored(self) -> None:  # noqa: B027 - a hook
        """The table is restored; agents start after this.

        Raises:
            ScrutinError: it must not be used.
        """

    def kafka_writer(self) -> LogWriter:
        """A producer of this process's own, closed at the end."""
        writer = LogWriter(self._host.kafka.servers, outages=self.retry.outages)
        self._resources.push_async_callback(writer.close)
        return writer

    # Lifecycle.

    async def open(self) -> None:
        """Wait for the services, bring topics and schema up to date, start the stages.

        Errors end the process: Faust would start again without end. A stop ends the waiting.
        """
        dump_tasks_on_signal(self._loops)
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
        server = StatusServer(
            host=self._host.metrics_host,
            port=self._host.metrics_port,
            registry=self._registry,
            live=list,
            ready=self._not_ready,
            port_variable="PROMETHEUS_PORT",
        )
        expose_health(self._registry, self._not_ready, self.retry.outages)
        await self._resources.enter_async_context(server)
        log.info("metrics are served", port=server.port)
        self._tasks = [
            asyncio.create_task(self._guarded(runner))
            for runner in (*await self.prepare(), self._watchdog.run())
        ]

    @staticmethod
    async def _guarded(runner: Coroutine[Any, Any, None]) -> None:
        try:
            await runner
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # noqa: BLE001 - a stage must not die silently
            fail(error)

    def _loops(self) -> dict[str, asyncio.AbstractEventLoop]:
        return {"main": self.app.loop, "consumer": self.app.consumer.thread_loop}

    def _stop_hangs(self) -> None:
        dump_tasks(self._loops)
        fail(
            NoProgress(
                "The stop has not come to its end",
                where={"limit_s": self._stop_limit_s},
                todo="Nothing is lost, and it can be started again; the lines before this one say"
                " what it waits for: please report them",
            )
        )

    async def drain(self) -> None:
        """Work off what the agents have taken in, and begin the time in which the stop must end."""
        # In a thread: the loop may be what stands still.
        self._stopping = threading.Timer(self._stop_limit_s, self._stop_hangs)
        self._stopping.daemon = True
        self._stopping.start()
        if self._opened:
            for group in self.groups:
                await group.drain(timeout_s=self._host.drain_timeout_s / len(self.groups))

    async def close(self) -> None:
        """End the stages and let go of the services."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []
        await self._resources.aclose()
        if self._stopping is not None:
            self._stopping.cancel()

    # Rebalances.

    async def revoked(self, *_: Any, **__: Any) -> None:
        """Faust's signal: settle what is in work, forget what only waits."""
        await asyncio.gather(*(group.settle(timeout_s=REVOKE_TIMEOUT_S) for group in self.groups))
        self._assignment.end()
        for group in self.groups:
            group.clear()
        self.on_revoked()

    async def restored(self) -> None:
        """Faust's callback: the assignment begins."""
        try:
            self.on_restored()
        except ScrutinError as error:
            fail(error)
        self._assignment.begin(self.app.consumer_generation_id)

    # Health.

    def owned(self, topic: str) -> list[int]:
        """Numbers of the partitions of a topic that this worker owns."""
        return owned(self.app, topic)

    def _restore(self) -> tuple[str, float] | None:
        if not (self.app.rebalancing or self.app.in_recovery):
            return None
        store = self._table_store()
        return store.title, store.last_applied_at_s

    def _not_ready(self) -> list[str]:
        faults = [f"{service} is away" for service in self.retry.outages.unavailable()]
        if not self._opened:
            faults.append("starting")
        elif self.app.rebalancing or self.app.in_recovery:
            faults.append(f"restoring the {self._table_store().title}")
        elif not self.app.tables.recovery.completed.is_set():
            faults.append("waiting for partitions")
        return faults

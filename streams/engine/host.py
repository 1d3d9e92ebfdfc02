"""Base class of worker processes: retries, health checks, rebalances, graceful shutdown."""

from __future__ import annotations

import asyncio
import threading
import time
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
"""Longest delay of a rebalance by a running batch."""

STOP_MARGIN_S: Final = 14.0
"""Time for a stop after draining: commits, leaving the group, closing. Supervisors wait 30 s, then
kill the process without a log line."""


class WorkerHost(ABC):
    """Holds the stages of a worker process and connects them to Faust's app.

    A subclass builds its stages, lists their batch processors in :attr:`processors` and opens what
    they need.

    Args:
        config: of this process.
        app_id: of Faust's app, see :func:`streams.engine.app.new_app`.
        registry: of the process's metrics, see :func:`streams.runtime.metrics.process_registry`.
        store: the store of its table, which is declared later.
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
        self.processors: Sequence[BatchProcessor[Any]] = ()
        """Batch processors of the agents, in the order in which they are drained."""
        self._registry = registry
        self._table_store = store
        self._assignment = Assignment()
        self.retry = Retry(
            OutageTracker(config.retry.max_attempts, self.on_outage), config.retry.delay_s
        )
        """Retries during outages of the services that the stages need."""
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

    # Provided by subclasses.

    @abstractmethod
    async def prepare(self) -> list[Coroutine[Any, Any, None]]:
        """Prepare topics, schema and connections; returns the tasks to run until the end."""

    @abstractmethod
    async def stage_positions(self, tps: set[TP]) -> Mapping[TP, int]:
        """Next offset to read of the partitions that a stage knows."""

    @abstractmethod
    async def positions(self) -> Mapping[TP, int] | None:
        """Next offset of every owned partition; None while they are not known."""

    def on_lag(self, lag: Mapping[TP, int]) -> None:  # noqa: B027 - a hook
        """Called with the number of waiting records by partition."""

    def on_outage(self, service: str) -> None:  # noqa: B027 - a hook
        """Called when a try to reach a service failed."""

    def on_revoked(self) -> None:  # noqa: B027 - a hook
        """Called after a revoke, when no record of the revoked partitions is being processed."""

    def on_restored(self, took_s: float) -> None:  # noqa: B027 - a hook
        """Called when the table is restored, before agents start.

        Args:
            took_s: duration of the restore.

        Raises:
            ScrutinError: the table must not be used.
        """

    def kafka_writer(self) -> LogWriter:
        """A new producer, closed at the end."""
        writer = LogWriter(self._host.kafka.servers, outages=self.retry.outages)
        self._resources.push_async_callback(writer.close)
        return writer

    # Lifecycle.

    async def open(self) -> None:
        """Wait for the services, update topics and schema, start the stages.

        An error ends the process, because Faust would restart endlessly. A stop ends the waiting.
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
        except BaseException as error:  # noqa: BLE001 - a stage must not end silently
            fail(error)

    def _loops(self) -> dict[str, asyncio.AbstractEventLoop]:
        return {"main": self.app.loop, "consumer": self.app.consumer.thread_loop}

    def _stop_hangs(self) -> None:
        dump_tasks(self._loops)
        fail(
            NoProgress(
                "The stop has not come to its end",
                where={"limit_s": self._stop_limit_s},
                todo="Nothing is lost, and it can be started again; the lines before this one show"
                " what it waits for: please report them",
            )
        )

    async def drain(self) -> None:
        """Process the records that the agents hold, and start the time limit of the stop."""
        # In a thread, because the event loop may be blocked.
        self._stopping = threading.Timer(self._stop_limit_s, self._stop_hangs)
        self._stopping.daemon = True
        self._stopping.start()
        if self._opened:
            for each in self.processors:
                await each.drain(timeout_s=self._host.drain_timeout_s / len(self.processors))

    async def close(self) -> None:
        """Stop the stages and close connections to services."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []
        await self._resources.aclose()
        if self._stopping is not None:
            self._stopping.cancel()

    # Rebalances.

    async def revoked(self, *_: Any, **__: Any) -> None:
        """Faust's signal of a revoke: finish running batches, drop waiting records."""
        await asyncio.gather(*(each.settle(timeout_s=REVOKE_TIMEOUT_S) for each in self.processors))
        self._assignment.end()
        for each in self.processors:
            each.clear()
        self.on_revoked()

    async def restored(self) -> None:
        """Faust's callback after a restore: start the assignment."""
        now_s = time.monotonic()
        began_s = self.app.tables.recovery.began_s
        try:
            self.on_restored(now_s - (now_s if began_s is None else began_s))
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
        faults = [f"{service} is unavailable" for service in self.retry.outages.unavailable()]
        if not self._opened:
            faults.append("starting")
        elif self.app.rebalancing or self.app.in_recovery:
            faults.append(f"restoring the {self._table_store().title}")
        elif not self.app.tables.recovery.completed.is_set():
            faults.append("waiting for partitions")
        return faults

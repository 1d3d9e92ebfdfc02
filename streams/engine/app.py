"""Faust's app for Scrutin's workers: no web server, and hooks at start and stop."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import faust.app.base
from faust._cython.streams import StreamIterator  # noqa: F401 - its absence changes acknowledgement
from faust.types import TP
from yarl import URL

from streams.engine.consumer import Transport, credentials
from streams.engine.recovery import TableManager
from streams.runtime.logs import logging_config
from streams.settings.processes import HostConfig


class _NoWebServer(faust.app.base.BootStrategy):  # type: ignore[misc]
    # Regardless of the settings, `faust worker` starts a web server on every address of the host,
    # which shows the tables to anybody.
    enable_web = False


class Stages(Protocol):
    """Hooks of a worker process around Faust's app."""

    async def open(self) -> None:
        """Open what the stages need."""

    async def drain(self) -> None:
        """Process the records that the agents hold."""

    async def close(self) -> None:
        """Stop the stages and close connections to services."""

    async def stage_positions(self, tps: set[TP]) -> Mapping[TP, int]:
        """Next offset to read of the partitions that a stage knows."""


class App(faust.App):  # type: ignore[misc]
    """Faust's app with the worker's start and stop around it."""

    BootStrategy = _NoWebServer
    worker: Stages

    async def on_first_start(self) -> None:
        """Open what the stages need before any partition is assigned."""
        await super().on_first_start()
        await self.worker.open()

    async def on_stop(self) -> None:
        """Process the records held, then let Faust commit and stop."""
        await self.worker.drain()
        await super().on_stop()

    async def on_shutdown(self) -> None:
        """Close connections when Faust has stopped."""
        await super().on_shutdown()
        await self.worker.close()

    async def stage_positions(self, tps: set[TP]) -> Mapping[TP, int]:
        """Positions of the stages, for the consumer."""
        return await self.worker.stage_positions(tps)


def new_app(config: HostConfig, app_id: str, worker: Stages) -> App:
    """Faust's app, configured for the stages.

    Args:
        app_id: the Kafka group, and the prefix of the changelogs' names.
        worker: opened before the first partition is assigned, drained before the end.
    """
    app = App(
        app_id,
        broker=[URL(f"kafka://{server}") for server in config.kafka.addresses],
        broker_credentials=credentials(config.kafka.security),
        store="memory://",
        TableManager=TableManager,
        datadir=config.data_dir,
        topic_partitions=config.kafka.partitions,
        topic_replication_factor=config.kafka.replication_factor,
        topic_disable_leader=True,
        processing_guarantee="at_least_once",
        table_standby_replicas=0,
        # The batch processors acknowledge; waiting for an empty stream would hang.
        stream_wait_empty=False,
        stream_buffer_maxsize=64,
        stream_recovery_delay=0.0,
        broker_commit_interval=1.0,
        broker_session_timeout=10.0,
        broker_heartbeat_interval=2.0,
        # After a restart, a broker may wait this long for members that no longer exist.
        broker_rebalance_timeout=20.0,
        # A long outage of PostgreSQL must not lose the partitions.
        broker_max_poll_interval=86_400.0,
        consumer_max_fetch_size=4 * 1024 * 1024,
        producer_acks=-1,
        web_enabled=False,
        logging_config=logging_config(config.log_level, config.log_format),
    )
    app.worker = worker
    app.transport = Transport(app.conf.broker_consumer, app, loop=app.loop)
    return app

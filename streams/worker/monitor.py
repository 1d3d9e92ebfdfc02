"""Watches a running worker: gauges for the scrape, and an end to a process that does not move."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

import structlog
from faust.exceptions import ConsumerNotStarted

from streams.adapters.kafka.reader import LogReader
from streams.adapters.postgres import statements
from streams.adapters.postgres.connection import translated
from streams.core.topics import VALIDATED_TOPIC, VALIDATION_TOPIC
from streams.errors import NoProgress, RecoveryFailed, ServiceUnavailable
from streams.runtime.failstop import fail
from streams.runtime.outages import OutageTracker
from streams.worker.postgres_sink import PostgresSink

if TYPE_CHECKING:
    from streams.worker.process import Worker
    from streams.worker.window_publisher import WindowPublisher

log = structlog.get_logger(__name__)

INTERVAL_S: Final = 1.0
LAG_EVERY_S: Final = 5.0
"""Lag is looked up so often, or four times within the watchdog's timeout."""


class Monitor:
    """The watch.

    Args:
        worker: what is watched.
        sink: for the totals and the fence.
        reader: for the ends of the log, over a connection of its own.
        outages: known outages are no reason to end the process.
    """

    def __init__(
        self, worker: Worker, sink: PostgresSink, reader: LogReader, outages: OutageTracker
    ) -> None:
        self._worker = worker
        self._sink = sink
        self._reader = reader
        self._outages = outages
        self._moved_at_s = time.monotonic()
        self._applied: dict[tuple[str, int], int] = {}

    async def run(self) -> None:
        """Watch until cancelled."""
        host = self._worker.config.host
        ticks = 0
        timeouts_s = (host.watchdog_timeout_s, host.recovery_timeout_s)
        lag_every = max(1, int(min(LAG_EVERY_S, *(t / 4 for t in timeouts_s)) / INTERVAL_S))
        while True:
            await asyncio.sleep(INTERVAL_S)
            ticks += 1
            try:
                async with asyncio.timeout(30):
                    await self._export_totals()
                    if ticks % lag_every == 0:
                        await self._watch()
            except (ServiceUnavailable, TimeoutError) as error:
                # The stages report outages; without figures there is nothing to judge.
                self._moved_at_s = time.monotonic()
                log.debug("progress is unknown", error=str(error))

    def _partitions(self, topic: str) -> list[int]:
        try:
            assignment = self._worker.app.consumer.assignment()
        except ConsumerNotStarted:
            # The consumer's thread may take longer than the first tick.
            return []
        return sorted(tp.partition for tp in assignment if tp.topic == topic)

    async def _export_totals(self) -> None:
        """Totals are exported by the owner of partition 0 only, so that sums are right."""
        gauge = self._worker.metrics.current_vote_totals
        if not self._worker.sinks or 0 not in self._partitions(VALIDATED_TOPIC):
            gauge.clear()
            return
        where: dict[str, object] = {"table": "vote_results"}
        async with translated(where), self._sink.connections.acquire() as connection:
            rows = await connection.fetch(statements.READ_TOTALS)
        # A reset takes laws away.
        gauge.clear()
        for row in rows:
            gauge.labels(law_id=row["law_id"], choice="oui").set(row["oui_count"])
            gauge.labels(law_id=row["law_id"], choice="non").set(row["non_count"])

    async def _watch(self) -> None:
        app = self._worker.app
        if app.rebalancing or app.in_recovery:
            self._watch_recovery()
            return
        applied = await self._positions()
        found: dict[tuple[str, int], int] = {}
        for topic, stage in ((VALIDATION_TOPIC, "validation"), (VALIDATED_TOPIC, "aggregation")):
            mine = {p: at for (t, p), at in applied.items() if t == topic}
            if not mine:
                continue
            for partition, end in (await self._reader.end_offsets(topic, list(mine))).items():
                found[stage, partition] = max(0, end - mine[partition])
        # Partitions that went to another worker are its to tell of.
        self._worker.metrics.lag.clear()
        for (stage, partition), behind in found.items():
            self._worker.metrics.lag.labels(stage=stage, partition=partition).set(behind)
        lag = sum(found.values())
        if applied != self._applied or not lag or self._outages.degraded:
            self._applied = applied
            self._moved_at_s = time.monotonic()
            return
        still_s = time.monotonic() - self._moved_at_s
        if still_s > self._worker.config.host.watchdog_timeout_s:
            fail(
                NoProgress(
                    f"{lag} records wait and none was processed for {still_s:.0f} s",
                    where={"worker": self._worker.config.host.name},
                    todo="Start the worker again; if it repeats, see the log before this line",
                )
            )

    async def _positions(self) -> dict[tuple[str, int], int]:
        """Next offset of each owned partition, by the stages' own knowledge."""
        positions = {}
        self._worker.metrics.voted_entries.clear()
        self._worker.metrics.roll_entries.clear()
        for partition, state in self._worker.voted.state.partitions.items():
            positions[VALIDATION_TOPIC, partition] = state.applied + 1
            self._worker.metrics.voted_entries.labels(partition=partition).set(len(state))
            self._worker.metrics.roll_entries.labels(partition=partition).set(len(state.rules.roll))
        if self._worker.sinks:
            validated = await self._sink.positions()
            for partition in self._partitions(VALIDATED_TOPIC):
                positions[VALIDATED_TOPIC, partition] = validated.get(partition, 0)
        return positions

    def _watch_recovery(self) -> None:
        still_s = time.monotonic() - max(
            self._moved_at_s, self._worker.voted.state.last_applied_at_s
        )
        if not self._outages.degraded and (still_s > self._worker.config.host.recovery_timeout_s):
            fail(
                RecoveryFailed(
                    f"The restore of the voted table has not moved for {still_s:.0f} s",
                    where={"worker": self._worker.config.host.name},
                    todo="Check Kafka and start the worker again",
                )
            )

    async def publish_final_windows(self, windows: WindowPublisher) -> None:
        """Publish the windows of the last flushes before the end; what fails is done at a start."""
        try:
            async with asyncio.timeout(2):
                await windows.publish_all()
        except (ServiceUnavailable, TimeoutError) as error:
            log.info("windows are published at the next start", error=str(error))

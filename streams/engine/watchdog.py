"""Ends a worker that owns partitions with records in them and takes none.

After a rebalance a Faust consumer may be alive, own partitions and fetch nothing. Nobody else gets
its records. The process ends, and the next owner of its partitions works.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Final

import structlog
from faust.types import TP

from streams.adapters.kafka.reader import LogReader
from streams.errors import NoProgress, RecoveryFailed, ServiceUnavailable
from streams.runtime.failstop import fail
from streams.runtime.outages import OutageTracker

log = structlog.get_logger(__name__)

LOOK_EVERY_S: Final = 5.0
"""Longest time between two looks; the gauges of the lag are as old."""
_LOOKS: Final = 6
"""Looks within the shorter timeout, where that is more often."""
_ANSWER_S: Final = 30.0
"""Longest wait for the positions and ends of one look."""


class StallClock:
    """How long nothing has moved though records wait; pure."""

    def __init__(self, now_s: float) -> None:
        self.since_s = now_s
        """When something moved last."""
        self._positions: Mapping[TP, int] = {}

    def look(self, positions: Mapping[TP, int], ends: Mapping[TP, int], now_s: float) -> float:
        """Seconds without movement, 0 if nothing waits.

        Args:
            positions: next offset of every owned partition.
            ends: offset that its next record will get.
            now_s: of a monotonic clock.
        """
        waits = any(end > positions[tp] for tp, end in ends.items())
        if not waits or positions != self._positions:
            self._positions = dict(positions)
            self.since_s = now_s
        return now_s - self.since_s

    def excuse(self, now_s: float) -> None:
        """Something is being done, or cannot be."""
        self.since_s = now_s


class Watchdog:
    """The watch.

    Args:
        positions: next offset of every owned partition; None while there is nothing to judge.
        restore: title of the table and when it took its last record, of a monotonic clock; None
            while no restore runs.
        reader: for the ends of the partitions, over a connection of its own.
        outages: known outages are no reason to end the process.
        timeout_s: longest time without progress while records wait.
        restore_timeout_s: longest time in which a restore does not move.
        worker: name of this process.
        on_lag: called with the records that wait, by partition.
    """

    def __init__(
        self,
        *,
        positions: Callable[[], Awaitable[Mapping[TP, int] | None]],
        restore: Callable[[], tuple[str, float] | None],
        reader: LogReader,
        outages: OutageTracker,
        timeout_s: float,
        restore_timeout_s: float,
        worker: str,
        on_lag: Callable[[Mapping[TP, int]], None] = lambda _: None,
    ) -> None:
        self._positions = positions
        self._restore = restore
        self._reader = reader
        self._outages = outages
        self._timeout_s = timeout_s
        self._restore_timeout_s = restore_timeout_s
        self._worker = worker
        self._on_lag = on_lag
        self._clock = StallClock(time.monotonic())

    async def run(self) -> None:
        """Watch until cancelled."""
        self._clock.excuse(time.monotonic())
        period_s = min(LOOK_EVERY_S, min(self._timeout_s, self._restore_timeout_s) / _LOOKS)
        while True:
            await asyncio.sleep(period_s)
            try:
                async with asyncio.timeout(_ANSWER_S):
                    await self._look()
            except (ServiceUnavailable, TimeoutError) as error:
                # The stages report outages; without figures there is nothing to judge.
                log.debug("progress is unknown", error=str(error))
                self._clock.excuse(time.monotonic())

    async def _look(self) -> None:
        restore = self._restore()
        if restore is not None:
            self._judge_restore(*restore)
            return
        before = await self._positions()
        ends = {} if before is None else await self._ends(before)
        # What was done while the ends were asked for counts.
        positions = None if before is None else await self._positions()
        if positions is None or positions.keys() != ends.keys():
            self._clock.excuse(time.monotonic())
            return
        lag = {tp: max(0, end - positions[tp]) for tp, end in ends.items()}
        self._on_lag(lag)
        if self._outages.degraded:
            self._clock.excuse(time.monotonic())
            return
        still_s = self._clock.look(positions, ends, time.monotonic())
        if still_s > self._timeout_s:
            fail(
                NoProgress(
                    f"{sum(lag.values())} records wait and none was processed for {still_s:.0f} s",
                    where={"worker": self._worker},
                    todo="Start the worker again; if it repeats, see the log before this line",
                )
            )

    def _judge_restore(self, table: str, applied_at_s: float) -> None:
        still_s = time.monotonic() - max(self._clock.since_s, applied_at_s)
        if not self._outages.degraded and still_s > self._restore_timeout_s:
            fail(
                RecoveryFailed(
                    f"The restore of the {table} has not moved for {still_s:.0f} s",
                    where={"worker": self._worker},
                    todo="Check Kafka and start the worker again",
                )
            )

    async def _ends(self, owned: Iterable[TP]) -> dict[TP, int]:
        topics: dict[str, list[int]] = {}
        for tp in owned:
            topics.setdefault(tp.topic, []).append(tp.partition)
        ends = {}
        for topic, partitions in topics.items():
            found = await self._reader.end_offsets(topic, partitions)
            ends.update({TP(topic, partition): end for partition, end in found.items()})
        return ends

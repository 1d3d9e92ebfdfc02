"""Ends a worker that owns partitions with waiting records and processes none.

After a rebalance a Faust consumer may be alive, own partitions and fetch nothing, and no other
worker gets its records. Ending the process gives the partitions to another worker.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

import structlog
from faust.types import TP

from streams.adapters.kafka.reader import LogReader
from streams.errors import NoProgress, RecoveryFailed, ServiceUnavailable
from streams.runtime.failstop import fail
from streams.runtime.outages import OutageTracker

log = structlog.get_logger(__name__)

CHECK_PERIOD_S: Final = 5.0
"""Longest time between two checks; also the greatest age of the lag gauges."""
_CHECKS: Final = 6
"""Checks within the shorter timeout, if that makes them more frequent."""
_REPLY_TIMEOUT_S: Final = 30.0
"""Longest wait for the positions and ends of one check."""


class StallClock:
    """Measures time without progress while records wait; pure."""

    def __init__(self, now_s: float) -> None:
        self.since_s = now_s
        """Time of the last progress."""
        self._positions: Mapping[TP, int] = {}

    def update(self, positions: Mapping[TP, int], ends: Mapping[TP, int], now_s: float) -> float:
        """Seconds without progress; 0 if no record waits.

        Args:
            positions: next offset of every owned partition.
            ends: end offset of every owned partition.
            now_s: of a monotonic clock.
        """
        waits = any(end > positions[tp] for tp, end in ends.items())
        if not waits or positions != self._positions:
            self._positions = dict(positions)
            self.since_s = now_s
        return now_s - self.since_s

    def excuse(self, now_s: float) -> None:
        """Restart the measurement: progress is made, or impossible now."""
        self.since_s = now_s


@dataclass(kw_only=True)
class Watchdog:
    """Checks the progress of a worker and ends it if it stalls."""

    positions: Callable[[], Awaitable[Mapping[TP, int] | None]]
    """Next offset of every owned partition; None while they are not known."""
    restore: Callable[[], tuple[str, float] | None]
    """Title of the table and monotonic time of its last restored record; None while no restore
    runs."""
    reader: LogReader
    """For the end offsets, over its own connection."""
    outages: OutageTracker
    """During a known outage the process is not ended."""
    timeout_s: float
    """Longest time without progress while records wait."""
    restore_timeout_s: float
    """Longest time without progress of a restore."""
    worker: str
    """Name of this process."""
    on_lag: Callable[[Mapping[TP, int]], None] = lambda _: None
    """Called with the number of waiting records by partition."""

    def __post_init__(self) -> None:
        self._clock = StallClock(time.monotonic())

    async def run(self) -> None:
        """Check until cancelled."""
        self._clock.excuse(time.monotonic())
        period_s = min(CHECK_PERIOD_S, min(self.timeout_s, self.restore_timeout_s) / _CHECKS)
        while True:
            await asyncio.sleep(period_s)
            try:
                async with asyncio.timeout(_REPLY_TIMEOUT_S):
                    await self._check()
            except (ServiceUnavailable, TimeoutError) as error:
                # The stages report outages; without positions nothing can be checked.
                log.debug("progress is unknown", error=str(error))
                self._clock.excuse(time.monotonic())

    async def _check(self) -> None:
        restore = self.restore()
        if restore is not None:
            self._check_restore(*restore)
            return
        before = await self.positions()
        ends = {} if before is None else await self._ends(before)
        # Read again, so that progress during the read of the ends counts.
        positions = None if before is None else await self.positions()
        if positions is None or positions.keys() != ends.keys():
            self._clock.excuse(time.monotonic())
            return
        lag = {tp: max(0, end - positions[tp]) for tp, end in ends.items()}
        self.on_lag(lag)
        if self.outages.degraded:
            self._clock.excuse(time.monotonic())
            return
        stalled_s = self._clock.update(positions, ends, time.monotonic())
        if stalled_s > self.timeout_s:
            fail(
                NoProgress(
                    f"{sum(lag.values())} records wait and none was processed"
                    f" for {stalled_s:.0f} s",
                    where={"worker": self.worker},
                    todo="Start the worker again; if it repeats, see the log before this line",
                )
            )

    def _check_restore(self, table: str, applied_at_s: float) -> None:
        stalled_s = time.monotonic() - max(self._clock.since_s, applied_at_s)
        if not self.outages.degraded and stalled_s > self.restore_timeout_s:
            fail(
                RecoveryFailed(
                    f"The restore of the {table} has not moved for {stalled_s:.0f} s",
                    where={"worker": self.worker},
                    todo="Check Kafka and start the worker again",
                )
            )

    async def _ends(self, owned: Iterable[TP]) -> dict[TP, int]:
        topics: dict[str, list[int]] = {}
        for tp in owned:
            topics.setdefault(tp.topic, []).append(tp.partition)
        ends = {}
        for topic, partitions in topics.items():
            found = await self.reader.end_offsets(topic, partitions)
            ends.update({TP(topic, partition): end for partition, end in found.items()})
        return ends

"""Ends a tally worker that owns partitions with records in them and takes none.

After a rebalance a Faust consumer may be alive, owned and still. Nobody else gets its tasks, and a
unit that is given out again lands in the same partition. The process ends; the next owner works.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Final

import structlog
from faust.types import TP

from streams.adapters.kafka.reader import LogReader
from streams.errors import NoProgress, ServiceUnavailable
from streams.runtime.failstop import fail
from streams.runtime.outages import OutageTracker

log = structlog.get_logger(__name__)

_LOOKS: Final = 6
"""Times that it looks within its timeout."""


class StallClock:
    """How long nothing has moved though records wait; pure."""

    def __init__(self, now_s: float) -> None:
        self._since_s = now_s
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
            self._since_s = now_s
        return now_s - self._since_s

    def excuse(self, now_s: float) -> None:
        """Something is being done, or cannot be."""
        self._since_s = now_s


class Watchdog:
    """The watch.

    Args:
        positions: next offset of every owned partition; None while there is nothing to judge.
        reader: for the ends of the partitions.
        outages: known outages are no reason to end the process.
        timeout_s: how long it may stand still.
        worker: name of this process.
    """

    def __init__(
        self,
        *,
        positions: Callable[[], Mapping[TP, int] | None],
        reader: LogReader,
        outages: OutageTracker,
        timeout_s: float,
        worker: str,
    ) -> None:
        self._positions = positions
        self._reader = reader
        self._outages = outages
        self._timeout_s = timeout_s
        self._worker = worker

    async def run(self) -> None:
        """Watch until cancelled."""
        stillness = StallClock(time.monotonic())
        while True:
            await asyncio.sleep(self._timeout_s / _LOOKS)
            positions = self._positions()
            if positions is None or self._outages.degraded:
                stillness.excuse(time.monotonic())
                continue
            try:
                async with asyncio.timeout(self._timeout_s):
                    ends = await self._ends(positions)
            except (ServiceUnavailable, TimeoutError) as error:
                log.debug("progress is unknown", error=str(error))
                stillness.excuse(time.monotonic())
                continue
            # What was done while the ends were asked for counts.
            positions = self._positions()
            if positions is None or positions.keys() != ends.keys():
                stillness.excuse(time.monotonic())
                continue
            still_s = stillness.look(positions, ends, time.monotonic())
            if still_s > self._timeout_s:
                fail(
                    NoProgress(
                        f"Records wait and none was processed for {still_s:.0f} s",
                        where={"worker": self._worker},
                        todo="Start the worker again; if it repeats, see the log before this line",
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

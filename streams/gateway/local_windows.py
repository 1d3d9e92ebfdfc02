"""Moving windows in the memory of one process, for the time in which Redis does not answer.

The memory is bounded: beyond a number of requests, those of who came least recently are forgotten.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

MAX_REQUESTS: Final = 100_000
"""Remembered for each limit, about 10 to 30 MiB."""


@dataclass(frozen=True)
class Room:
    """What a limit still lets through."""

    remaining: int
    wait_s: float
    """Until the oldest request leaves the window."""


class LocalWindow:
    """Requests of each client in the last seconds.

    Args:
        amount: of requests of one client in the period.
        period_s: length of the window.
        max_requests: remembered of all clients together.
    """

    def __init__(self, amount: int, period_s: float, *, max_requests: int = MAX_REQUESTS) -> None:
        self._amount = amount
        self._period_s = period_s
        self._max_requests = max(amount, max_requests)
        self._times_s: OrderedDict[str, list[float]] = OrderedDict()
        self._requests = 0

    def __len__(self) -> int:
        """Number of remembered requests."""
        return self._requests

    def hit(self, who: str, now_s: float) -> bool:
        """Count a request, unless there were too many."""
        times_s = self._current(who, now_s)
        if len(times_s) >= self._amount:
            return False
        times_s.append(now_s)
        self._times_s[who] = times_s
        self._times_s.move_to_end(who)
        self._requests += 1
        while self._requests > self._max_requests:
            _, forgotten = self._times_s.popitem(last=False)
            self._requests -= len(forgotten)
        return True

    def forget(self, who: str) -> None:
        """Forget a client's requests."""
        self._requests -= len(self._times_s.pop(who, []))

    def room(self, who: str, now_s: float) -> Room:
        """What is left for a client; counts nothing."""
        times_s = self._current(who, now_s)
        wait_s = times_s[0] + self._period_s - now_s if times_s else 0.0
        return Room(self._amount - len(times_s), wait_s)

    def _current(self, who: str, now_s: float) -> list[float]:
        times_s = self._times_s.get(who, [])
        gone = bisect_right(times_s, now_s - self._period_s)
        if gone:
            del times_s[:gone]
            self._requests -= gone
            if not times_s:
                del self._times_s[who]
        return times_s

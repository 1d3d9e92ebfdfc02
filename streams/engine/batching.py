"""Group commit for an agent: what arrives while one group is worked on rides in the next.

Faust's own `take()` acknowledges in a `finally`, even when the work failed, and `noack_take()`
leaves gaps. Here an agent puts its events into a bounded queue; one task takes what is waiting,
works on it, and acknowledges in order after the effect. Events of an older assignment are dropped
and never acknowledged: after a rebalance the committed offset brings them back.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final, Generic, Protocol, TypeVar

import structlog

from streams.engine.assignment import Assignment
from streams.runtime.failstop import fail

log = structlog.get_logger(__name__)


class BatchItem(Protocol):
    """What a group is made of."""

    @property
    def generation(self) -> int:
        """Generation of the consumer group in which the event was read."""

    @property
    def weight(self) -> int:
        """What counts towards a full group, e.g. votes."""

    @property
    def size_bytes(self) -> int:
        """Memory it takes, roughly."""

    def ack(self) -> None:
        """Acknowledge the event to Faust."""


T = TypeVar("T", bound=BatchItem)

QUEUE_BYTES: Final = 32 * 1024 * 1024
"""An agent waits when its queue holds this much."""


class BatchProcessor(Generic[T]):
    """Works on groups of events, one group at a time.

    Args:
        name: for logs.
        process: works on a group; returning means the effect is durable. Raising ends the process.
        start_weight: a group starts once this much weight waits,
        pause_s: or, however little waits, this long after the one before began. What comes after
            a pause is worked on at once; a trickle makes no more groups a second than this allows.
        gather_s: the first event after an idle time waits this long for those fetched with it,
            which would otherwise be a group of their own and wait for the first one's answers.
        max_weight: a group takes no more events once it weighs this,
        max_events: or holds this many.
        assignment: events that it does not cover are dropped.
    """

    def __init__(
        self,
        name: str,
        process: Callable[[list[T]], Awaitable[None]],
        *,
        start_weight: int,
        pause_s: float = 0.0,
        gather_s: float = 0.0,
        max_weight: int,
        max_events: int = 10_000,
        assignment: Assignment,
    ) -> None:
        self._name = name
        self._process = process
        self._start_weight = start_weight
        self._pause_s = pause_s
        self._gather_s = gather_s
        self._max_weight = max_weight
        self._max_events = max_events
        self._assignment = assignment
        self._queue: deque[T] = deque()
        self._weight = 0
        self._bytes = 0
        self._began_s = -math.inf
        self._changed = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._running = False
        self._settled = asyncio.Event()
        # Nothing waits and nothing runs.
        self._settled.set()
        self._draining = False

    @property
    def waiting(self) -> int:
        """Events in the queue."""
        return len(self._queue)

    @property
    def busy(self) -> bool:
        """Whether something is being worked on or waits to be."""
        return self._running or bool(self._queue)

    async def put(self, item: T) -> None:
        """Queue an event; waits while the queue is full."""
        await self._room.wait()
        if not self._assignment.covers(item.generation):
            return
        self._settled.clear()
        self._queue.append(item)
        self._weight += item.weight
        self._bytes += item.size_bytes
        if self._bytes >= QUEUE_BYTES:
            self._room.clear()
        self._changed.set()

    async def run(self) -> None:
        """Work until cancelled. Ends the process if the work fails."""
        while True:
            group = await self._next_group()
            self._running = True
            try:
                await self._process(group)
            except asyncio.CancelledError:
                raise
            except BaseException as error:  # noqa: BLE001 - every unexpected error ends the process
                fail(error)
            for item in group:
                if self._assignment.covers(item.generation):
                    item.ack()
            self._running = False
            if not self._queue:
                self._settled.set()

    async def _next_group(self) -> list[T]:
        if not self._queue:
            while not self._queue:
                self._changed.clear()
                await self._changed.wait()
            await asyncio.sleep(self._gather_s)
        while self._queue and self._weight < self._start_weight and not self._draining:
            pause_s = self._began_s + self._pause_s - time.monotonic()
            if pause_s <= 0:
                break
            self._changed.clear()
            try:
                async with asyncio.timeout(pause_s):
                    await self._changed.wait()
            except TimeoutError:
                break
        group: list[T] = []
        weight = 0
        while self._queue and (
            not group or (weight < self._max_weight and len(group) < self._max_events)
        ):
            item = self._queue.popleft()
            self._weight -= item.weight
            self._bytes -= item.size_bytes
            weight += item.weight
            group.append(item)
        self._began_s = time.monotonic()
        if self._bytes < QUEUE_BYTES:
            self._room.set()
        return group or await self._next_group()

    async def settle(self, *, timeout_s: float) -> None:
        """Drop what waits and let the running group finish; before an assignment ends.

        Args:
            timeout_s: how long the running group may hold up the rebalance.
        """
        self.clear()
        await self._wait_settled(timeout_s)

    def clear(self) -> None:
        """Drop what waits."""
        self._queue.clear()
        self._weight = 0
        self._bytes = 0
        self._room.set()
        if not self._running:
            self._settled.set()

    async def drain(self, *, timeout_s: float) -> None:
        """Work on everything that waits, for a clean stop."""
        self._draining = True
        self._changed.set()
        await self._wait_settled(timeout_s)

    async def _wait_settled(self, timeout_s: float) -> None:
        try:
            async with asyncio.timeout(timeout_s):
                await self._settled.wait()
        except TimeoutError:
            log.warning("stage is still busy", stage=self._name, waited_s=timeout_s)

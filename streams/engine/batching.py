"""Group commit for an agent: events that arrive during one batch join the next.

Faust's own `take()` acknowledges in a `finally`, even when processing failed, and `noack_take()`
leaves gaps. Here an agent puts its events into a bounded queue; one task takes the waiting events,
processes them, and acknowledges in order after the effect. Events of an older assignment are
dropped without acknowledgement: after a rebalance they are read again.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import KW_ONLY, dataclass
from typing import Final, Generic, Protocol, TypeVar

import structlog

from streams.engine.assignment import Assignment
from streams.runtime.failstop import fail

log = structlog.get_logger(__name__)


class BatchItem(Protocol):
    """An event in a batch."""

    @property
    def generation(self) -> int:
        """Generation of the consumer group in which the event was read."""

    @property
    def weight(self) -> int:
        """Contribution to a full batch, e.g. its votes."""

    @property
    def size_bytes(self) -> int:
        """Approximate memory use."""

    def ack(self) -> None:
        """Acknowledge the event to Faust."""


T = TypeVar("T", bound=BatchItem)

QUEUE_BYTES: Final = 32 * 1024 * 1024
"""An agent waits while its queue holds this much."""


@dataclass
class BatchProcessor(Generic[T]):
    """Processes batches of events, one batch at a time."""

    name: str
    """For logs."""
    process: Callable[[list[T]], Awaitable[None]]
    """Processes a batch; on return the effect is durable. An error ends the process."""
    _: KW_ONLY
    start_weight: int
    """A batch starts when events of this weight wait."""
    pause_s: float = 0.0
    """A smaller batch starts this long after the previous one began. After an idle time it starts
    at once; under light load this limits the batches a second."""
    gather_s: float = 0.0
    """The first event after an idle time waits this long for events of the same fetch, which would
    otherwise form the next batch and wait for the first one's replies."""
    max_weight: int
    """A batch takes no more events when it has this weight."""
    max_events: int = 10_000
    """A batch takes no more than this many events."""
    assignment: Assignment
    """Events that it does not cover are dropped."""

    def __post_init__(self) -> None:
        self._queue: deque[T] = deque()
        self._weight = 0
        self._bytes = 0
        self._began_s = -math.inf
        self._changed = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._running = False
        self._settled = asyncio.Event()
        # Set while nothing waits and nothing runs.
        self._settled.set()
        self._draining = False

    @property
    def waiting(self) -> int:
        """Events in the queue."""
        return len(self._queue)

    @property
    def busy(self) -> bool:
        """Whether a batch runs or events wait."""
        return self._running or bool(self._queue)

    async def put(self, item: T) -> None:
        """Queue an event; waits while the queue is full."""
        await self._room.wait()
        if not self.assignment.covers(item.generation):
            return
        self._settled.clear()
        self._queue.append(item)
        self._weight += item.weight
        self._bytes += item.size_bytes
        if self._bytes >= QUEUE_BYTES:
            self._room.clear()
        self._changed.set()

    async def run(self) -> None:
        """Process batches until cancelled. An error of `process` ends this process."""
        while True:
            batch = await self._next_batch()
            self._running = True
            try:
                await self.process(batch)
            except asyncio.CancelledError:
                raise
            except BaseException as error:  # noqa: BLE001 - every unexpected error ends the process
                fail(error)
            for item in batch:
                if self.assignment.covers(item.generation):
                    item.ack()
            self._running = False
            if not self._queue:
                self._settled.set()

    async def _next_batch(self) -> list[T]:
        if not self._queue:
            while not self._queue:
                self._changed.clear()
                await self._changed.wait()
            await asyncio.sleep(self.gather_s)
        while self._queue and self._weight < self.start_weight and not self._draining:
            pause_s = self._began_s + self.pause_s - time.monotonic()
            if pause_s <= 0:
                break
            self._changed.clear()
            try:
                async with asyncio.timeout(pause_s):
                    await self._changed.wait()
            except TimeoutError:
                break
        batch: list[T] = []
        weight = 0
        while self._queue and (
            not batch or (weight < self.max_weight and len(batch) < self.max_events)
        ):
            item = self._queue.popleft()
            self._weight -= item.weight
            self._bytes -= item.size_bytes
            weight += item.weight
            batch.append(item)
        self._began_s = time.monotonic()
        if self._bytes < QUEUE_BYTES:
            self._room.set()
        return batch or await self._next_batch()

    async def settle(self, *, timeout_s: float) -> None:
        """Drop waiting events and let the running batch finish; before an assignment ends.

        Args:
            timeout_s: longest delay of the rebalance by the running batch.
        """
        self.clear()
        await self._wait_settled(timeout_s)

    def clear(self) -> None:
        """Drop waiting events."""
        self._queue.clear()
        self._weight = 0
        self._bytes = 0
        self._room.set()
        if not self._running:
            self._settled.set()

    async def drain(self, *, timeout_s: float) -> None:
        """Process all waiting events, for a clean stop."""
        self._draining = True
        self._changed.set()
        await self._wait_settled(timeout_s)

    async def _wait_settled(self, timeout_s: float) -> None:
        try:
            async with asyncio.timeout(timeout_s):
                await self._settled.wait()
        except TimeoutError:
            log.warning("stage is still busy", stage=self.name, waited_s=timeout_s)

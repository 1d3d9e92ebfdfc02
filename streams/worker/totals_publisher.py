"""Publishes committed totals to subscribers: Redis pub/sub, after COMMIT, best effort.

Totals are absolute, so the next message makes up for a lost one, and messages may arrive in any
order: the higher number is the later one. With `SCRUTIN_SECRET` they are signed. Nothing here can
delay or fail the count: :meth:`offer` never waits, and a message that Redis does not accept at once
is dropped.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import structlog
from redis.asyncio import Redis

from streams.adapters.redis.client import redis_errors
from streams.core.live_totals import (
    CHANNEL,
    MAX_NOTICES,
    Notice,
    Totals,
    TotalsMessage,
    merge,
    notices,
    write_message,
)
from streams.core.polls import POLL_PREFIX
from streams.core.records import VerdictEvent
from streams.errors import ScrutinError
from streams.runtime.metrics import WorkerMetrics

log = structlog.get_logger(__name__)

PERIOD_S: Final = 0.025
"""Shortest time between two messages of one worker."""
MAX_WAITING: Final = 10_000
"""Most choices that wait for Redis. More are dropped, and subscribers ask the database."""


@dataclass
class TotalsPublisher:
    """Publishes totals."""

    redis: Redis
    """Client."""
    metrics: WorkerMetrics
    """The worker's."""
    announce: Callable[[Sequence[Notice]], Awaitable[None]] | None = None
    """Called with the notices."""
    key: bytes = field(default=b"", repr=False)
    """Signs the messages; empty: they are not signed."""

    def __post_init__(self) -> None:
        self._waiting: Totals = {}
        self._notices: list[Notice] = []
        self._size = 0
        self._wake = asyncio.Event()

    def offer(
        self, totals: Mapping[tuple[str, str], int], events: Sequence[VerdictEvent] = ()
    ) -> None:
        """Queue totals for the next message; never waits.

        Args:
            totals: as committed.
            events: the counted verdict batches.
        """
        if not totals or self._size >= MAX_WAITING:
            return
        merge(self._waiting, totals)
        self._size += len(totals)
        room = MAX_NOTICES - len(self._notices)
        if room > 0 and any(contest.startswith(POLL_PREFIX) for contest, _ in totals):
            self._notices += notices(events)[:room]
        self._wake.set()

    async def run(self) -> None:
        """Publish until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            now_ms = time.time_ns() // 1_000_000
            message = TotalsMessage(self._waiting, self._notices, now_ms)
            self._waiting, self._notices, self._size = {}, [], 0
            try:
                async with redis_errors("take committed totals"):
                    await self.redis.publish(CHANNEL, write_message(message, self.key))
                self.metrics.live_messages.labels("published").inc()
                if self.announce is not None and message.notices:
                    await self.announce(message.notices)
            except ScrutinError as error:
                self.metrics.live_messages.labels("dropped").inc()
                log.debug("live totals are not published", error=str(error))
            await asyncio.sleep(PERIOD_S)

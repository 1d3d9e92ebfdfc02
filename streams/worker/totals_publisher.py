"""Publishes committed totals to subscribers: Redis pub/sub, after COMMIT, best effort.

Totals are absolute, so the next message makes up for a lost one, and messages may arrive in any
order: the higher number is the later one. Nothing here can delay or fail the count: :meth:`offer`
never waits, and a message that Redis does not accept at once is dropped.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final

import msgspec
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


class TotalsPublisher:
    """Publishes totals.

    Args:
        redis: client.
        metrics: the worker's.
        announce: called with the notices.
    """

    def __init__(
        self,
        redis: Redis,
        metrics: WorkerMetrics,
        announce: Callable[[Sequence[Notice]], Awaitable[None]] | None = None,
    ) -> None:
        self._redis = redis
        self._announce = announce
        self._metrics = metrics
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
            message = TotalsMessage(self._waiting, self._notices)
            self._waiting, self._notices, self._size = {}, [], 0
            try:
                async with redis_errors("take committed totals"):
                    await self._redis.publish(CHANNEL, msgspec.json.encode(message))
                self._metrics.live_messages.labels("published").inc()
                if self._announce is not None and message.notices:
                    await self._announce(message.notices)
            except ScrutinError as error:
                self._metrics.live_messages.labels("dropped").inc()
                log.debug("live totals are not published", error=str(error))
            await asyncio.sleep(PERIOD_S)

"""Watching contests: committed totals in from Redis, rooms and their watchers, deltas out.

Redis brings totals within milliseconds and may lose them; every few seconds, and faster while Redis
is away, the database says what is true of every contest that somebody watches.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Final, Self

import structlog
from redis.asyncio import Redis

from streams.adapters.redis.client import redis_errors
from streams.core.live_totals import CHANNEL, MAX_NOTICES, Notice, Totals, read_message
from streams.errors import ScrutinError, ServiceUnavailable
from streams.gateway.contest_feed import ContestFeed, ContestStanding
from streams.runtime.metrics import GatewayMetrics

log = structlog.get_logger(__name__)

REFRESH_S: Final = 2.0
REFRESH_AWAY_S: Final = 0.5
"""While Redis brings nothing."""
PERIOD_S: Final = 0.05
"""Shortest time between two deltas of a room with few watchers."""
PER_WATCHER_S: Final = 0.00006
"""What a delta costs for each watcher, so that a crowded room does not take all the CPU."""
MAX_ROOMS: Final = 10_000
MAX_WATCHERS: Final = 20_000

SnapshotLoader = Callable[
    [Sequence[str]], Awaitable[Mapping[str, tuple[dict[str, int], ContestStanding]]]
]
"""Contests -> what the database says of each."""


class TooManyWatchers(Exception):
    """There is no room for one more watcher."""


class _Busy:
    """A room with its watchers."""

    def __init__(self, contest: str) -> None:
        self.room = ContestFeed(contest)
        self.watchers = 0
        self.touched = 0
        """Messages of Redis; the database's answer is older than those that come meanwhile."""
        self.ready = asyncio.Event()
        """The database was asked once."""
        self._next: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._timer: asyncio.TimerHandle | None = None
        self._told_s = -math.inf

    async def changed(self) -> None:
        """Wait for the next change that is to be told."""
        await asyncio.shield(self._next)

    def tell_soon(self) -> None:
        """Tell the watchers, not more often than is good."""
        if self._timer is None:
            loop = asyncio.get_running_loop()
            soonest_s = self._told_s + PERIOD_S + self.watchers * PER_WATCHER_S
            self._timer = loop.call_at(max(loop.time(), soonest_s), self._tell)

    def _tell(self) -> None:
        self._timer = None
        self._told_s = asyncio.get_running_loop().time()
        told, self._next = self._next, asyncio.get_running_loop().create_future()
        told.set_result(None)

    def close(self) -> None:
        """Nobody watches any more."""
        if self._timer is not None:
            self._timer.cancel()
        self._next.cancel()


class Subscriptions:
    """All rooms of a gateway. Enter it to be fed.

    Args:
        redis: client.
        truth: asks the database.
        metrics: of the gateway.
    """

    def __init__(self, redis: Redis, truth: SnapshotLoader, metrics: GatewayMetrics) -> None:
        self._redis = redis
        self._truth = truth
        self._metrics = metrics
        self._rooms: dict[str, _Busy] = {}
        self._watchers = 0
        self._notices: deque[tuple[int, Notice]] = deque(maxlen=MAX_NOTICES)
        self._notice_number = 0
        self._noticed: asyncio.Event = asyncio.Event()
        self._fed = False
        self._ask = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        self._tasks = [
            asyncio.create_task(self._listen(), name="live totals"),
            asyncio.create_task(self._refresh(), name="live refresh"),
        ]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for busy in self._rooms.values():
            busy.close()

    @property
    def watchers(self) -> int:
        """Open sockets and streams."""
        return self._watchers

    async def watch(self, contest: str) -> AsyncGenerator[bytes, None]:
        """Messages for one watcher: a snapshot, then deltas, for as long as it takes them.

        Raises:
            Crowded: there is no room.
        """
        with self._seat(contest) as busy:
            with suppress(TimeoutError):
                async with asyncio.timeout(REFRESH_S):
                    await busy.ready.wait()
            seen: int | None = None
            while True:
                room = busy.room
                if seen is None or room.number != seen:
                    message = room.message(seen)
                    seen = room.number
                    yield message
                    # What came while the watcher took that is told in one.
                    continue
                await busy.changed()

    async def watch_notices(self) -> AsyncGenerator[Notice, None]:
        """Votes of polls by name, from now on; the latest ones for who is slow.

        Raises:
            Crowded: there is no room.
        """
        if self._watchers >= MAX_WATCHERS:
            raise TooManyWatchers
        self._watchers += 1
        seen = self._notice_number
        try:
            while True:
                # One at a time: while a watcher takes it the oldest may go.
                upcoming = next((each for each in self._notices if each[0] > seen), None)
                if upcoming is None:
                    await self._noticed.wait()
                else:
                    seen, notice = upcoming
                    yield notice
        finally:
            self._watchers -= 1

    def notify(self, notices: list[Notice]) -> None:
        """Take votes from Redis."""
        for notice in notices:
            self._notice_number += 1
            self._notices.append((self._notice_number, notice))
        if notices:
            told, self._noticed = self._noticed, asyncio.Event()
            told.set()

    def snapshot(self, contest: str) -> bytes:
        """A snapshot for a watcher that has lost its place."""
        return self._rooms[contest].room.message(None)

    @contextmanager
    def _seat(self, contest: str) -> Iterator[_Busy]:
        busy = self._rooms.get(contest)
        if self._watchers >= MAX_WATCHERS or (busy is None and len(self._rooms) >= MAX_ROOMS):
            raise TooManyWatchers
        if busy is None:
            busy = self._rooms[contest] = _Busy(contest)
            self._ask.set()
        busy.watchers += 1
        self._watchers += 1
        self._metrics.watchers.set(self._watchers)
        try:
            yield busy
        finally:
            busy.watchers -= 1
            self._watchers -= 1
            self._metrics.watchers.set(self._watchers)
            if not busy.watchers:
                busy.close()
                del self._rooms[contest]

    # Feeding.

    def take(self, totals: Totals) -> None:
        """Take committed totals from Redis."""
        for contest, choices in totals.items():
            busy = self._rooms.get(contest)
            if busy is not None:
                busy.touched += 1
                if busy.room.raise_totals(choices):
                    busy.tell_soon()

    async def _listen(self) -> None:
        while True:
            try:
                async with redis_errors("bring live totals"), self._redis.pubsub() as pubsub:
                    await pubsub.subscribe(CHANNEL)
                    self._fed = True
                    while True:
                        message = await pubsub.get_message(
                            ignore_subscribe_messages=True, timeout=1.0
                        )
                        if message is not None:
                            found = read_message(message["data"])
                            self.take(found.contests)
                            self.notify(found.notices)
            except ServiceUnavailable as error:
                self._fed = False
                log.warning("live totals come from the database only", error=str(error))
                await asyncio.sleep(1.0)

    async def _refresh(self) -> None:
        while True:
            pause_s = REFRESH_S if self._fed else REFRESH_AWAY_S
            with suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await self._ask.wait()
            self._ask.clear()
            if not self._rooms:
                continue
            try:
                await self.refresh()
            except ScrutinError as error:
                log.warning("watchers wait for the database", error=str(error))
                await asyncio.sleep(1.0)

    async def refresh(self) -> None:
        """Ask the database for every room.

        Raises:
            ServiceUnavailable: it is away.
        """
        before = {contest: busy.touched for contest, busy in self._rooms.items()}
        for contest, (totals, standing) in (await self._truth(list(before))).items():
            busy = self._rooms.get(contest)
            if busy is None:
                continue
            if busy.touched == before[contest]:
                changed = busy.room.replace(totals, standing)
            else:
                # Redis was faster: the answer may be older than what is shown.
                raised = busy.room.raise_totals(totals)
                changed = busy.room.replace(dict(busy.room.totals), standing) or raised
            busy.ready.set()
            if changed:
                busy.tell_soon()

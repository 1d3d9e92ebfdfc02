"""Subscriptions to contests: committed totals come from Redis, watchers get deltas.

Redis delivers totals within milliseconds and may lose some. Every few seconds, and more often while
Redis does not answer, the snapshot loader reads all watched contests from the database.
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
REFRESH_WITHOUT_REDIS_S: Final = 0.5
PERIOD_S: Final = 0.05
"""Shortest time between two deltas of a contest with few watchers."""
PER_WATCHER_S: Final = 0.00006
"""Time added for each watcher, so that a contest with many does not take all the CPU."""
MAX_CONTESTS: Final = 10_000
MAX_WATCHERS: Final = 20_000

SnapshotLoader = Callable[
    [Sequence[str]], Awaitable[Mapping[str, tuple[dict[str, int], ContestStanding]]]
]
"""Contests -> totals and state of each in the database."""


class TooManyWatchers(Exception):
    """The limit of watchers is reached."""


class _WatchedContest:
    """The feed of one contest, and its watchers."""

    def __init__(self, contest: str) -> None:
        self.feed = ContestFeed(contest)
        self.watchers = 0
        self.touched = 0
        """Messages from Redis so far; those that come during a query are newer than its answer."""
        self.ready = asyncio.Event()
        """Set once the database has answered."""
        self._next: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._timer: asyncio.TimerHandle | None = None
        self._woken_s = -math.inf

    async def changed(self) -> None:
        """Wait until watchers may get the next change."""
        await asyncio.shield(self._next)

    def wake_soon(self) -> None:
        """Wake the watchers, as soon as the shortest time between deltas allows."""
        if self._timer is None:
            loop = asyncio.get_running_loop()
            soonest_s = self._woken_s + PERIOD_S + self.watchers * PER_WATCHER_S
            self._timer = loop.call_at(max(loop.time(), soonest_s), self._wake)

    def _wake(self) -> None:
        self._timer = None
        self._woken_s = asyncio.get_running_loop().time()
        woken, self._next = self._next, asyncio.get_running_loop().create_future()
        woken.set_result(None)

    def close(self) -> None:
        """Stop, because the last watcher has left."""
        if self._timer is not None:
            self._timer.cancel()
        self._next.cancel()


class Subscriptions:
    """All watched contests of a gateway. Enter it to receive totals.

    Args:
        redis: client.
        load_snapshots: reads contests from the database.
        metrics: of the gateway.
    """

    def __init__(
        self, redis: Redis, load_snapshots: SnapshotLoader, metrics: GatewayMetrics
    ) -> None:
        self._redis = redis
        self._load_snapshots = load_snapshots
        self._metrics = metrics
        self._contests: dict[str, _WatchedContest] = {}
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
        for watched in self._contests.values():
            watched.close()

    @property
    def watchers(self) -> int:
        """Number of open sockets and event streams."""
        return self._watchers

    async def watch(self, contest: str) -> AsyncGenerator[bytes, None]:
        """Messages for one watcher: a snapshot, then deltas.

        Raises:
            TooManyWatchers: the limit is reached.
        """
        with self._joined(contest) as watched:
            with suppress(TimeoutError):
                async with asyncio.timeout(REFRESH_S):
                    await watched.ready.wait()
            seen: int | None = None
            while True:
                feed = watched.feed
                if seen is None or feed.number != seen:
                    message = feed.message(seen)
                    seen = feed.number
                    yield message
                    # Changes during that send go into one delta.
                    continue
                await watched.changed()

    async def watch_notices(self) -> AsyncGenerator[Notice, None]:
        """Votes in polls by name, from now on; slow watchers get only the latest ones.

        Raises:
            TooManyWatchers: the limit is reached.
        """
        if self._watchers >= MAX_WATCHERS:
            raise TooManyWatchers
        self._watchers += 1
        seen = self._notice_number
        try:
            while True:
                # One at a time: the oldest ones may be dropped during a send.
                upcoming = next((each for each in self._notices if each[0] > seen), None)
                if upcoming is None:
                    await self._noticed.wait()
                else:
                    seen, notice = upcoming
                    yield notice
        finally:
            self._watchers -= 1

    def notify(self, notices: list[Notice]) -> None:
        """Give watchers votes that came from Redis."""
        for notice in notices:
            self._notice_number += 1
            self._notices.append((self._notice_number, notice))
        if notices:
            reached, self._noticed = self._noticed, asyncio.Event()
            reached.set()

    def snapshot(self, contest: str) -> bytes:
        """A snapshot for a watcher that noticed a gap."""
        return self._contests[contest].feed.message(None)

    @contextmanager
    def _joined(self, contest: str) -> Iterator[_WatchedContest]:
        watched = self._contests.get(contest)
        if self._watchers >= MAX_WATCHERS or (
            watched is None and len(self._contests) >= MAX_CONTESTS
        ):
            raise TooManyWatchers
        if watched is None:
            watched = self._contests[contest] = _WatchedContest(contest)
            self._ask.set()
        watched.watchers += 1
        self._watchers += 1
        self._metrics.watchers.set(self._watchers)
        try:
            yield watched
        finally:
            watched.watchers -= 1
            self._watchers -= 1
            self._metrics.watchers.set(self._watchers)
            if not watched.watchers:
                watched.close()
                del self._contests[contest]

    # Totals from Redis and the database.

    def take(self, totals: Totals) -> None:
        """Apply committed totals that came from Redis."""
        for contest, choices in totals.items():
            watched = self._contests.get(contest)
            if watched is not None:
                watched.touched += 1
                if watched.feed.raise_totals(choices):
                    watched.wake_soon()

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
            pause_s = REFRESH_S if self._fed else REFRESH_WITHOUT_REDIS_S
            with suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await self._ask.wait()
            self._ask.clear()
            if not self._contests:
                continue
            try:
                await self.refresh()
            except ScrutinError as error:
                log.warning("watchers wait for the database", error=str(error))
                await asyncio.sleep(1.0)

    async def refresh(self) -> None:
        """Read every watched contest from the database.

        Raises:
            ServiceUnavailable: the database does not answer.
        """
        before = {contest: watched.touched for contest, watched in self._contests.items()}
        for contest, (totals, standing) in (await self._load_snapshots(list(before))).items():
            watched = self._contests.get(contest)
            if watched is None:
                continue
            if watched.touched == before[contest]:
                changed = watched.feed.replace(totals, standing)
            else:
                # A message came during the query: the answer may be older than the feed.
                raised = watched.feed.raise_totals(totals)
                changed = watched.feed.replace(dict(watched.feed.totals), standing) or raised
            watched.ready.set()
            if changed:
                watched.wake_soon()

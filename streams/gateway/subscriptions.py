"""Subscriptions to contests: committed totals come from Redis, watchers get deltas.

Redis delivers totals within milliseconds and may lose some. Every few seconds, and more often while
Redis does not answer, the snapshot loader reads all watched contests from the database. Its answer
replaces what Redis said before. A message that no worker has signed changes nothing by itself: the
contests that it names are read.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import (
    AsyncGenerator,
    Awaitable,
    Callable,
    Collection,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import aclosing, contextmanager, suppress
from typing import Final, Self

import structlog
from redis.asyncio import Redis

from streams.adapters.redis.client import redis_errors
from streams.core.keys import is_contest_name
from streams.core.live_totals import CHANNEL, Totals, is_genuine, read_message
from streams.errors import ScrutinError, ServiceUnavailable, StageFailed
from streams.gateway.bell import Bell
from streams.gateway.contest_feed import ContestFeed, ContestStanding
from streams.gateway.notices import NoticeFeed
from streams.runtime.metrics import GatewayMetrics

log = structlog.get_logger(__name__)

REFRESH_S: Final = 2.0
REFRESH_WITHOUT_REDIS_S: Final = 0.5
SHORTEST_REFRESH_S: Final = 0.1
"""Shortest time between two readings, whatever Redis says."""
BEAT_S: Final = 2.5
"""Time between two heartbeats. Pages that get nothing for 5 s say so."""
MAX_ASKED: Final = 1000
"""Contests of one query."""
READ_AT_ONCE: Final = 8
"""Contests whose watchers are woken in one turn of the loop: votes do not wait for all."""
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


class NoSuchContest(Exception):
    """No contest can have this id."""


class _WatchedContest:
    """The feed of one contest, and its watchers."""

    def __init__(self, contest: str) -> None:
        self.feed = ContestFeed(contest)
        self.watchers = 0
        self.newer: dict[str, int] = {}
        """Totals that came from Redis since the last query began: its answer may lack them."""
        self.beats = 0
        self._heartbeat: tuple[tuple[int, int, bool], bytes] | None = None
        self.ready = asyncio.Event()
        """Set once the database has answered."""
        self.bell = Bell()
        """Rings when watchers may get the next change."""
        self._timer: asyncio.TimerHandle | None = None
        self._woken_s = -math.inf
        self._beating = asyncio.get_running_loop().call_later(BEAT_S, self._beat)

    async def read_once(self) -> None:
        """Wait until the database has answered, for a while."""
        with suppress(TimeoutError):
            async with asyncio.timeout(REFRESH_S):
                await self.ready.wait()

    def wake_soon(self) -> None:
        """Wake the watchers, as soon as the shortest time between deltas allows."""
        if self._timer is None:
            loop = asyncio.get_running_loop()
            soonest_s = self._woken_s + PERIOD_S + self.watchers * PER_WATCHER_S
            self._timer = loop.call_at(max(loop.time(), soonest_s), self._wake)

    def _wake(self) -> None:
        self._timer = None
        self._woken_s = asyncio.get_running_loop().time()
        self.bell.ring()

    def heartbeat(self, now_s: float) -> bytes:
        """The heartbeat of this beat, encoded once for all watchers that have the same changes."""
        key = (self.beats, self.feed.number, self.feed.filled)
        if self._heartbeat is None or self._heartbeat[0] != key:
            self._heartbeat = (key, self.feed.heartbeat(now_s))
        return self._heartbeat[1]

    def _beat(self) -> None:
        self.beats += 1
        self._beating = asyncio.get_running_loop().call_later(BEAT_S, self._beat)
        self.wake_soon()

    def close(self) -> None:
        """Stop, because the last watcher has left."""
        self._beating.cancel()
        if self._timer is not None:
            self._timer.cancel()


class Subscriptions:
    """All watched contests of a gateway. Enter it to receive totals.

    Args:
        redis: client.
        load_snapshots: reads contests from the database.
        metrics: of the gateway.
        notices: gets the votes in polls by name.
        key: of the workers' signatures; empty: all totals are read from the database.
    """

    def __init__(
        self,
        redis: Redis,
        load_snapshots: SnapshotLoader,
        metrics: GatewayMetrics,
        *,
        notices: NoticeFeed,
        key: bytes = b"",
    ) -> None:
        self._redis = redis
        self._load_snapshots = load_snapshots
        self._metrics = metrics
        self._contests: dict[str, _WatchedContest] = {}
        self._watchers = 0
        self._notices = notices
        self._key = key
        self._fed = False
        self._due: set[str] = set()
        self._ask = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        self._tasks = [
            asyncio.create_task(self._listen(), name="live totals"),
            asyncio.create_task(self._refresh(), name="live refresh"),
            asyncio.create_task(self._notices.run(), name="live notices"),
        ]
        return self

    async def __aexit__(self, *_: object) -> None:
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
        """Messages for one watcher: a snapshot, then deltas, and heartbeats between them.

        Raises:
            NoSuchContest: no contest can have this id.
            TooManyWatchers: the limit is reached.
        """
        if not is_contest_name(contest):
            raise NoSuchContest
        with self.counted(), self._joined(contest) as watched:
            await watched.read_once()
            feed = watched.feed
            seen: int | None = None
            beats = -1
            while True:
                now_s = time.monotonic()
                if feed.filled and feed.number != seen:
                    message = feed.message(seen, now_s)
                    seen = feed.number
                elif watched.beats != beats:
                    message = watched.heartbeat(now_s)
                else:
                    await watched.bell.wait()
                    continue
                beats = watched.beats
                yield message
                # Changes during that send go into one delta.

    async def changes(self, contest: str) -> AsyncGenerator[None, None]:
        """Once at the beginning, then with each change of a contest and each beat.

        Args:
            contest: an id that a contest can have.

        Raises:
            TooManyWatchers: the limit of contests is reached.
        """
        with self._joined(contest) as watched:
            await watched.read_once()
            seen: tuple[int, int] | None = None
            while True:
                now = (watched.feed.number, watched.beats)
                if now == seen:
                    await watched.bell.wait()
                else:
                    seen = now
                    yield

    async def watch_notices(self) -> AsyncGenerator[bytes, None]:
        """Votes in polls by name, from now on; slow watchers get only the latest ones.

        Raises:
            TooManyWatchers: the limit is reached.
        """
        with self.counted():
            async with aclosing(self._notices.watch()) as messages:
                async for message in messages:
                    yield message

    def snapshot(self, contest: str) -> bytes | None:
        """A snapshot for a watcher that noticed a gap; None if it still waits for its first."""
        feed = self._contests[contest].feed
        return feed.message(None, time.monotonic()) if feed.filled else None

    @contextmanager
    def counted(self) -> Iterator[None]:
        """Count one watcher while the block runs.

        Raises:
            TooManyWatchers: the limit is reached.
        """
        if self._watchers >= MAX_WATCHERS:
            raise TooManyWatchers
        self._watchers += 1
        self._metrics.watchers.set(self._watchers)
        try:
            yield
        finally:
            self._watchers -= 1
            self._metrics.watchers.set(self._watchers)

    @contextmanager
    def _joined(self, contest: str) -> Iterator[_WatchedContest]:
        watched = self._contests.get(contest)
        if watched is None:
            if len(self._contests) >= MAX_CONTESTS:
                raise TooManyWatchers
            watched = self._contests[contest] = _WatchedContest(contest)
            self._read_soon([contest])
        watched.watchers += 1
        try:
            yield watched
        finally:
            watched.watchers -= 1
            if not watched.watchers:
                watched.close()
                del self._contests[contest]

    # Totals from Redis and the database.

    def take(self, totals: Totals) -> None:
        """Apply committed totals that a worker has signed."""
        for contest, choices in totals.items():
            watched = self._contests.get(contest)
            if watched is not None:
                for choice, votes in choices.items():
                    watched.newer[choice] = max(votes, watched.newer.get(choice, 0))
                if watched.feed.raise_totals(choices):
                    watched.wake_soon()

    def take_message(self, data: bytes) -> None:
        """Apply a message from Redis."""
        found = read_message(data)
        if is_genuine(data, found, self._key, time.time_ns() // 1_000_000):
            self.take(found.contests)
            self._read_soon([contest for contest, choices in found.contests.items() if not choices])
            self._notices.offer(found.notices)
        else:
            if self._key:
                self._metrics.unsigned_totals.inc()
            self._read_soon(found.contests)

    def _read_soon(self, contests: Collection[str]) -> None:
        if watched := self._contests.keys() & set(contests):
            self._due |= watched
            self._ask.set()

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
                            self.take_message(message["data"])
            except ServiceUnavailable as error:
                self._fed = False
                log.warning("live totals come from the database only", error=str(error))
                await asyncio.sleep(1.0)

    async def _refresh(self) -> None:
        all_due_s = 0.0
        while True:
            wait_s = all_due_s - time.monotonic()
            with suppress(TimeoutError):
                async with asyncio.timeout(max(wait_s, 0)):
                    await self._ask.wait()
            self._ask.clear()
            try:
                if time.monotonic() < all_due_s:
                    due, self._due = self._due & self._contests.keys(), set()
                    await self.refresh(due)
                else:
                    self._due.clear()
                    all_due_s = time.monotonic() + (
                        REFRESH_S if self._fed else REFRESH_WITHOUT_REDIS_S
                    )
                    await self.refresh()
            except ScrutinError as error:
                log.warning("watchers wait for the database", error=str(error))
                await asyncio.sleep(1.0)
            await asyncio.sleep(SHORTEST_REFRESH_S)

    async def refresh(self, contests: Collection[str] | None = None) -> None:
        """Read watched contests from the database.

        Args:
            contests: which; None: all.

        Raises:
            ServiceUnavailable: the database does not answer.
        """
        names = list(self._contests if contests is None else contests)
        for start in range(0, len(names), MAX_ASKED):
            await self._read(names[start : start + MAX_ASKED])

    async def _read(self, names: Sequence[str]) -> None:
        """Read contests; one that cannot be read does not keep the others waiting."""
        asked_s = time.monotonic()
        for name in names:
            if name in self._contests:
                self._contests[name].newer.clear()
        try:
            found = await self._load_snapshots(names)
        except StageFailed as error:
            if len(names) == 1:
                log.error("a contest cannot be read", error=str(error))
                return
            middle = len(names) // 2
            await self._read(names[:middle])
            await self._read(names[middle:])
            return
        for number, (contest, (totals, standing)) in enumerate(found.items(), start=1):
            if not number % READ_AT_ONCE:
                await asyncio.sleep(0)
            watched = self._contests.get(contest)
            if watched is None:
                continue
            current = dict(totals)
            for choice, votes in watched.newer.items():
                current[choice] = max(votes, current.get(choice, 0))
            changed = watched.feed.replace(current, standing, asked_s)
            if changed or not watched.ready.is_set():
                watched.ready.set()
                watched.wake_soon()

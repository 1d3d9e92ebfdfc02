"""Limits per voter, address and poll, shared by all gateways through Redis.

They limit abuse and decide nothing about the count. While Redis does not answer, each gateway
limits by itself what comes to it; a metric counts those requests.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final, TypeVar

import limits
from limits.aio.storage import RedisStorage
from limits.aio.strategies import MovingWindowRateLimiter
from redis.asyncio import Redis
from redis.exceptions import RedisError

from streams.adapters.redis.keys import THROTTLE_PREFIX
from streams.gateway.local_windows import LocalWindow, Room
from streams.gateway.problems import Problem
from streams.runtime.metrics import GatewayMetrics
from streams.settings.processes import ThrottleConfig

Answer = TypeVar("Answer")

PAUSE_S: Final = 1.0
"""After which Redis is asked again, by one request: the others must not wait for its timeout."""


@dataclass
class Attempt:
    """An attempt to use credentials."""

    refused: bool = False
    """Set by the caller once the credentials turn out to be wrong."""


class Throttle:
    """Counts requests.

    Args:
        redis: client.
        config: the rates.
        metrics: of the gateway.
    """

    def __init__(self, redis: Redis, config: ThrottleConfig, metrics: GatewayMetrics) -> None:
        # The address names only the kind of server; connections come from the client's pool.
        storage = RedisStorage(
            "async+redis://",
            implementation="redispy",
            key_prefix=THROTTLE_PREFIX,
            connection_pool=redis.connection_pool,  # type: ignore[arg-type]
        )
        self._limiter = MovingWindowRateLimiter(storage)
        self._metrics = metrics
        rates = {
            "address": config.address,
            "voter": config.voter,
            "poll": config.poll,
            "law_address": config.law_address,
            "refused_address": config.refused_address,
            "refused_person": config.refused_person,
        }
        self._rates = {name: limits.parse(rate) for name, rate in rates.items() if rate != "off"}
        self._local = {
            name: LocalWindow(rate.amount, rate.get_expiry()) for name, rate in self._rates.items()
        }
        self._ask_redis_at_s = 0.0
        """0 while Redis answers."""
        self._trying: Counter[str] = Counter()

    async def check(self, limit: str, who: str) -> None:
        """Count one request.

        Args:
            limit: `address`, `voter`, `poll` or `law_address`.
            who: address, voter's hash or poll; only its digest is kept.

        Raises:
            Problem: there were too many (429).
        """
        if limit not in self._rates:
            return
        digest = _digest(who)
        if not await self._hit(limit, digest):
            raise self._throttled(limit, (await self._room(limit, digest)).wait_s)

    @asynccontextmanager
    async def attempt(self, address: str, person: str | None) -> AsyncIterator[Attempt]:
        """Let the caller look whether credentials are right, unless too many were refused before.

        Attempts for one person that are not decided yet count as refused, so that a burst finds
        out no more than the same requests one after the other.

        Args:
            address: of the client.
            person: whom the credentials are for, if they name somebody.

        Raises:
            Problem: too many were refused (429); nothing may be asked.
        """
        attempt = Attempt()
        trying = "" if person is None else _digest(person)
        self._trying[trying] += 1
        undecided = self._trying[trying]
        try:
            await self._check_refused("refused_address", _digest(address), 1)
            if person is not None:
                await self._check_refused("refused_person", trying, undecided)
            yield attempt
        finally:
            try:
                if attempt.refused:
                    await self._count_refused("refused_address", _digest(address))
                    if person is not None:
                        await self._count_refused("refused_person", trying)
            finally:
                self._trying[trying] -= 1
                if not self._trying[trying]:
                    del self._trying[trying]

    async def _check_refused(self, limit: str, digest: str, cost: int) -> None:
        if limit not in self._rates:
            return
        room = await self._room(limit, digest)
        if room.remaining < cost:
            raise self._throttled(limit, room.wait_s)

    async def _count_refused(self, limit: str, digest: str) -> None:
        if limit in self._rates:
            await self._hit(limit, digest)

    async def _hit(self, limit: str, digest: str) -> bool:
        return await self._asked(
            lambda: self._limiter.hit(self._rates[limit], limit, digest),
            lambda: self._local[limit].hit(digest, time.monotonic()),
        )

    async def _room(self, limit: str, digest: str) -> Room:
        async def shared() -> Room:
            window = await self._limiter.get_window_stats(self._rates[limit], limit, digest)
            return Room(window.remaining, window.reset_time - time.time())

        return await self._asked(shared, lambda: self._local[limit].room(digest, time.monotonic()))

    async def _asked(
        self, shared: Callable[[], Awaitable[Answer]], local: Callable[[], Answer]
    ) -> Answer:
        """Ask Redis, or this process while Redis does not answer."""
        now_s = time.monotonic()
        if now_s >= self._ask_redis_at_s:
            if self._ask_redis_at_s:
                self._ask_redis_at_s = now_s + PAUSE_S
            try:
                answer = await shared()
            except (RedisError, OSError, TimeoutError):
                self._ask_redis_at_s = time.monotonic() + PAUSE_S
            else:
                self._ask_redis_at_s = 0.0
                return answer
        self._metrics.unthrottled.inc()
        return local()

    def _throttled(self, limit: str, wait_s: float) -> Problem:
        self._metrics.throttled.labels(limit).inc()
        seconds = max(1, math.ceil(wait_s))
        return Problem(
            429,
            f"Request was throttled. Expected available in {seconds} seconds.",
            headers={"Retry-After": str(seconds)},
        )


def _digest(who: str) -> str:
    return hashlib.blake2b(who.encode(errors="surrogatepass"), digest_size=16).hexdigest()

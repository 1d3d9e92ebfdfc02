"""Limits per voter, address and poll, shared by all gateways through Redis.

They limit abuse and decide nothing about the count: while Redis does not answer, every request
passes, and a metric counts those.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import limits
from limits.aio.storage import RedisStorage
from limits.aio.strategies import MovingWindowRateLimiter
from redis.asyncio import Redis
from redis.exceptions import RedisError

from streams.gateway.problems import Problem
from streams.runtime.metrics import GatewayMetrics
from streams.settings.processes import ThrottleConfig


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
            key_prefix="scrutin:throttle",
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
        self._trying: Counter[str] = Counter()

    async def check(self, limit: str, who: str) -> None:
        """Count one request.

        Args:
            limit: `address`, `voter`, `poll` or `law_address`.
            who: address, voter's hash or poll; only its digest is kept.

        Raises:
            Problem: there were too many (429).
        """
        rate = self._rates.get(limit)
        if rate is None:
            return
        digest = _digest(who)
        try:
            if await self._limiter.hit(rate, limit, digest):
                return
            window = await self._limiter.get_window_stats(rate, limit, digest)
        except (RedisError, OSError, TimeoutError):
            self._metrics.unthrottled.inc()
            return
        raise self._throttled(limit, window.reset_time)

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
        rate = self._rates.get(limit)
        if rate is None:
            return
        try:
            window = await self._limiter.get_window_stats(rate, limit, digest)
        except (RedisError, OSError, TimeoutError):
            self._metrics.unthrottled.inc()
            return
        if window.remaining < cost:
            raise self._throttled(limit, window.reset_time)

    async def _count_refused(self, limit: str, digest: str) -> None:
        rate = self._rates.get(limit)
        if rate is not None:
            try:
                await self._limiter.hit(rate, limit, digest)
            except (RedisError, OSError, TimeoutError):
                self._metrics.unthrottled.inc()

    def _throttled(self, limit: str, reset_time: float) -> Problem:
        self._metrics.throttled.labels(limit).inc()
        seconds = max(1, math.ceil(reset_time - time.time()))
        return Problem(
            429,
            f"Request was throttled. Expected available in {seconds} seconds.",
            headers={"Retry-After": str(seconds)},
        )


def _digest(who: str) -> str:
    return hashlib.blake2b(who.encode(errors="surrogatepass"), digest_size=16).hexdigest()

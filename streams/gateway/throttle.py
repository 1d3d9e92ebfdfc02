"""Limits per voter, address and poll, shared by all gateways through Redis.

They limit abuse and decide nothing about the count: while Redis does not answer, every request
passes, and a metric counts those.
"""

from __future__ import annotations

import hashlib
import math
import time

import limits
from limits.aio.storage import RedisStorage
from limits.aio.strategies import MovingWindowRateLimiter
from redis.asyncio import Redis
from redis.exceptions import RedisError

from streams.gateway.problems import Problem
from streams.runtime.metrics import GatewayMetrics
from streams.settings.processes import ThrottleConfig


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
        }
        self._rates = {name: limits.parse(rate) for name, rate in rates.items() if rate != "off"}

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
        digest = hashlib.blake2b(who.encode(), digest_size=16).hexdigest()
        try:
            if await self._limiter.hit(rate, limit, digest):
                return
            window = await self._limiter.get_window_stats(rate, limit, digest)
        except (RedisError, OSError, TimeoutError):
            self._metrics.unthrottled.inc()
            return
        self._metrics.throttled.labels(limit).inc()
        seconds = max(1, math.ceil(window.reset_time - time.time()))
        raise Problem(
            429,
            f"Request was throttled. Expected available in {seconds} seconds.",
            headers={"Retry-After": str(seconds)},
        )

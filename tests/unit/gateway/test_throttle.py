"""Limits while Redis does not answer; tests/integration has those that Redis holds."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from prometheus_client import CollectorRegistry

from streams.adapters.redis.client import redis_client
from streams.gateway.problems import Problem
from streams.gateway.throttle import Throttle
from streams.runtime.metrics import GatewayMetrics
from streams.settings.configs import RedisConfig
from streams.settings.processes import ThrottleConfig

CONFIG = ThrottleConfig(
    address="3/minute",
    voter="off",
    poll="off",
    law_address="off",
    refused_address="4/hour",
    refused_person="2/hour",
)


@asynccontextmanager
async def throttle(port: int) -> AsyncIterator[tuple[Throttle, GatewayMetrics]]:
    metrics = GatewayMetrics(CollectorRegistry())
    redis = redis_client(RedisConfig(host="127.0.0.1", port=port, db=0, password=""))
    try:
        yield Throttle(redis, CONFIG, metrics), metrics
    finally:
        await redis.aclose()


@asynccontextmanager
async def closing_server() -> AsyncIterator[tuple[int, list[None]]]:
    """Accepts connections and closes them; counts them."""
    came: list[None] = []

    def closed(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        came.append(None)
        writer.close()

    async with await asyncio.start_server(closed, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1], came


async def refused(throttle: Throttle, address: str, person: str | None) -> int:
    try:
        async with throttle.attempt(address, person) as attempt:
            attempt.refused = True
    except Problem as problem:
        return problem.status
    return 400


async def test_requests_are_limited_while_redis_does_not_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("streams.gateway.throttle.PAUSE_S", 3600.0)
    async with closing_server() as (port, came), throttle(port) as (limits, metrics):
        for _ in range(3):
            await limits.check("address", "192.0.2.1")
        for _ in range(20):
            with pytest.raises(Problem) as raised:
                await limits.check("address", "192.0.2.1")
            assert raised.value.status == 429
            assert 1 <= int(raised.value.headers["Retry-After"]) <= 60
        await limits.check("address", "192.0.2.2")
        await limits.check("voter", "a limit that is off")
        # Not every request waits for Redis.
        assert len(came) == 1
        assert metrics.unthrottled._value.get() == 3 + 2 * 20 + 1
        assert metrics.throttled.labels("address")._value.get() == 20


async def test_redis_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streams.gateway.throttle.PAUSE_S", 0.0)
    async with closing_server() as (port, came), throttle(port) as (limits, _):
        for n in range(3):
            await limits.check("address", "192.0.2.1")
            assert len(came) == n + 1


async def test_refused_credentials_are_limited_while_redis_does_not_answer() -> None:
    async with closing_server() as (port, _), throttle(port) as (limits, _):
        burst = await asyncio.gather(
            *(refused(limits, f"2001:db8:{n}::", "a person") for n in range(30))
        )
        more = [await refused(limits, "2001:db8:ffff::", "a person") for _ in range(3)]
        assert set(burst) <= {400, 429}
        assert [*burst, *more].count(400) == 2
        assert more[-1] == 429
        one_by_one = [await refused(limits, "192.0.2.9", f"person {n}") for n in range(6)]
        assert one_by_one == [400] * 4 + [429] * 2
        async with limits.attempt("192.0.2.10", "another") as attempt:
            assert not attempt.refused

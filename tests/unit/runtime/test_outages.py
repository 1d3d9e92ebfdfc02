"""Waiting out outages."""

from __future__ import annotations

import asyncio

import pytest

from streams.errors import LogMismatch, ServiceUnavailable
from streams.runtime.outages import OutageTracker, Retry


class Service:
    """Answers after a number of failures."""

    def __init__(self, failures: int) -> None:
        self.failures = failures
        self.calls = 0

    async def __call__(self) -> str:
        self.calls += 1
        if self.calls <= self.failures:
            raise ServiceUnavailable("away")
        return "answer"


async def ask(service: Service, outages: OutageTracker, name: str = "Kafka") -> str:
    return await Retry(outages, 0.0001)(name, service)


async def test_an_answer_is_given_back() -> None:
    service, outages = Service(0), OutageTracker(3)
    assert await ask(service, outages) == "answer"
    assert service.calls == 1
    assert not outages.degraded


async def test_an_outage_is_waited_out_however_many_tries_it_takes() -> None:
    service, noted = Service(7), list[str]()
    outages = OutageTracker(3, noted.append)
    assert await ask(service, outages) == "answer"
    assert service.calls == 8
    assert noted == ["Kafka"] * 7
    assert not outages.degraded
    assert outages.unavailable() == []


async def test_other_errors_pass_at_once() -> None:
    calls = 0

    async def mismatch() -> None:
        nonlocal calls
        calls += 1
        raise LogMismatch("another log")

    with pytest.raises(LogMismatch):
        await Retry(OutageTracker(3), 0.0001)("Kafka", mismatch)
    assert calls == 1


async def test_waiting_can_be_cancelled() -> None:
    service = Service(10**9)
    failed_once = asyncio.Event()
    outages = OutageTracker(3, lambda _: failed_once.set())
    task = asyncio.create_task(ask(service, outages))
    async with asyncio.timeout(60):
        await failed_once.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def test_a_service_is_away_after_so_many_failures_in_a_row() -> None:
    outages = OutageTracker(3)
    assert [outages.failed("Kafka") for _ in range(2)] == [1, 2]
    assert outages.degraded
    assert outages.unavailable() == []
    assert outages.failed("Kafka") == 3
    assert outages.unavailable() == ["Kafka"]
    outages.succeeded("Kafka")
    assert outages.unavailable() == []
    assert not outages.degraded
    assert outages.failed("Kafka") == 1


def test_services_are_counted_apart() -> None:
    outages = OutageTracker(1)
    outages.failed("Redis")
    outages.failed("Kafka")
    assert outages.unavailable() == ["Kafka", "Redis"]
    outages.succeeded("Kafka")
    assert outages.unavailable() == ["Redis"]
    assert outages.degraded

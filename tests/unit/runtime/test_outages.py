"""Waiting out outages."""

from __future__ import annotations

import asyncio

import pytest

from streams.errors import LogMismatch, ServiceUnavailable
from streams.runtime.outages import OutageTracker, persistently


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


async def ask(service: Service, availability: OutageTracker, name: str = "Kafka") -> str:
    return await persistently(
        service, service=name, availability=availability, retry_delay_s=0.0001
    )


async def test_an_answer_is_given_back() -> None:
    service, availability = Service(0), OutageTracker(3)
    assert await ask(service, availability) == "answer"
    assert service.calls == 1
    assert not availability.degraded


async def test_an_outage_is_waited_out_however_many_tries_it_takes() -> None:
    service, noted = Service(7), list[str]()
    availability = OutageTracker(3, noted.append)
    assert await ask(service, availability) == "answer"
    assert service.calls == 8
    assert noted == ["Kafka"] * 7
    assert not availability.degraded
    assert availability.unavailable() == []


async def test_other_errors_pass_at_once() -> None:
    calls = 0

    async def mismatch() -> None:
        nonlocal calls
        calls += 1
        raise LogMismatch("another log")

    with pytest.raises(LogMismatch):
        await persistently(
            mismatch, service="Kafka", availability=OutageTracker(3), retry_delay_s=0.0001
        )
    assert calls == 1


async def test_waiting_can_be_cancelled() -> None:
    service = Service(10**9)
    failed_once = asyncio.Event()
    availability = OutageTracker(3, lambda _: failed_once.set())
    task = asyncio.create_task(ask(service, availability))
    async with asyncio.timeout(60):
        await failed_once.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def test_a_service_is_away_after_so_many_failures_in_a_row() -> None:
    availability = OutageTracker(3)
    assert [availability.failed("Kafka") for _ in range(2)] == [1, 2]
    assert availability.degraded
    assert availability.unavailable() == []
    assert availability.failed("Kafka") == 3
    assert availability.unavailable() == ["Kafka"]
    availability.succeeded("Kafka")
    assert availability.unavailable() == []
    assert not availability.degraded
    assert availability.failed("Kafka") == 1


def test_services_are_counted_apart() -> None:
    availability = OutageTracker(1)
    availability.failed("Redis")
    availability.failed("Kafka")
    assert availability.unavailable() == ["Kafka", "Redis"]
    availability.succeeded("Kafka")
    assert availability.unavailable() == ["Redis"]
    assert availability.degraded

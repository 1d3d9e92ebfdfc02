"""Outages: retry until a service answers, and report it meanwhile.

Adapters raise :class:`streams.errors.ServiceUnavailable`; long-running processes call them through
:class:`Retry`. Nothing is dropped while waiting. After `MAX_RETRY_ATTEMPTS` failed tries
the process reports itself not ready.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, TypeVar

import stamina
import structlog

from streams.errors import ServiceUnavailable

log = structlog.get_logger(__name__)

T = TypeVar("T")

MAX_PAUSE_S: Final = 10.0


class Service(StrEnum):
    """Services that may be unavailable, by their names in `/ready`, logs and metrics."""

    KAFKA = "kafka"
    POSTGRESQL = "postgresql"
    RABBITMQ = "rabbitmq"
    """The bridge appends the queue."""
    REDIS = "redis"
    ROLL = "roll"
    """`valid_hashes` in Redis; unavailable also while it is missing or shrank sharply."""


@dataclass
class OutageTracker:
    """Counts consecutive failed tries per service."""

    max_attempts: int
    """Consecutive failures after which a service counts as unavailable."""
    on_failure: Callable[[str], None] = lambda _: None
    """Called with the service's name at every failed try."""

    def __post_init__(self) -> None:
        self._failures: dict[str, int] = {}

    def failed(self, service: str) -> int:
        """Record a failed try; returns the number of consecutive ones."""
        count = self._failures.get(service, 0) + 1
        self._failures[service] = count
        self.on_failure(service)
        return count

    def succeeded(self, service: str) -> None:
        """Record that the service answered."""
        if self._failures.pop(service, 0):
            log.info("service answers again", service=service)

    def failures(self) -> dict[str, int]:
        """Consecutive failed tries by service; without services that answered last."""
        return dict(self._failures)

    def unavailable(self) -> list[str]:
        """Services that count as unavailable, for `/ready`."""
        return sorted(s for s, n in self._failures.items() if n >= self.max_attempts)

    @property
    def degraded(self) -> bool:
        """Whether any service failed at its last try."""
        return bool(self._failures)


@dataclass(frozen=True, slots=True)
class Retry:
    """Repeats an action until its service answers, with exponential pauses up to 10 s and jitter.

    `await retry(Service.KAFKA, action)` returns what `action` returns. Errors other than
    :class:`ServiceUnavailable` pass through at once.

    Args:
        outages: counts the failed tries.
        delay_s: first pause between tries.
    """

    outages: OutageTracker
    delay_s: float

    async def __call__(self, service: str, action: Callable[[], Awaitable[T]]) -> T:
        """Await `action` until `service` answers."""
        try:
            return await self._once(service, action)
        except ServiceUnavailable as error:
            failed: ServiceUnavailable | None = error
        # Only after a failure: a context of retries takes 40 µs of CPU.
        async for attempt in stamina.retry_context(
            on=ServiceUnavailable,
            attempts=None,
            timeout=None,
            wait_initial=self.delay_s,
            wait_max=MAX_PAUSE_S,
            wait_jitter=self.delay_s / 2,
        ):
            with attempt:
                if failed is not None:
                    first, failed = failed, None
                    raise first
                return await self._once(service, action)
        raise AssertionError("unreachable: the retries have no limit")

    async def _once(self, service: str, action: Callable[[], Awaitable[T]]) -> T:
        try:
            result = await action()
        except ServiceUnavailable as error:
            tries = self.outages.failed(service)
            log.warning("service is unavailable", service=service, tries=tries, error=str(error))
            raise
        self.outages.succeeded(service)
        return result

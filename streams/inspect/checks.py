"""What a check of `scrutin doctor` is, and how one that gets no answer is told."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, TypeVar

from streams.errors import ScrutinError, ServiceUnavailable

T = TypeVar("T")

DEADLINE_S: Final = 5.0
"""Longest wait for a service."""
MAX_SKEW_S: Final = 1.0
"""Clocks further apart than this are worth a warning."""


class CheckStatus(StrEnum):
    """How a check ended."""

    OK = "ok"
    WARNING = "warning"
    FAILURE = "failure"


@dataclass(frozen=True)
class Check:
    """One finding."""

    service: str
    name: str
    status: CheckStatus
    detail: str
    todo: str = ""
    away: bool = False
    """The service could not be reached at all."""

    def as_dict(self) -> dict[str, str]:
        """For JSON."""
        return {
            "service": self.service,
            "name": self.name,
            "status": self.status.value,
            "detail": self.detail,
            "todo": self.todo,
        }


def ok(service: str, name: str, detail: str) -> Check:
    """All is well."""
    return Check(service, name, CheckStatus.OK, detail)


def warning(service: str, name: str, detail: str, todo: str) -> Check:
    """It works, but."""
    return Check(service, name, CheckStatus.WARNING, detail, todo)


def failure(service: str, name: str, detail: str, todo: str) -> Check:
    """It does not work, or votes are in danger."""
    return Check(service, name, CheckStatus.FAILURE, detail, todo)


async def ask(service: str, question: Awaitable[T]) -> T | Check:
    """Ask a service; what keeps it from answering becomes a failed check."""
    try:
        async with asyncio.timeout(DEADLINE_S):
            return await question
    except TimeoutError:
        detail, todo, away = f"no answer within {DEADLINE_S:g} s", "Is it up and not stuck?", True
    except ScrutinError as error:
        place = ", ".join(f"{name} {value}" for name, value in error.where.items())
        detail = f"{error.what} ({place})" if place else error.what
        todo, away = error.todo, isinstance(error, ServiceUnavailable)
    return Check(service, "reachable", CheckStatus.FAILURE, detail, todo, away)


@dataclass(frozen=True)
class CheckClock:
    """A service's clock against ours."""

    ahead_s: float
    """How far the service's clock is ahead; negative if behind."""
    unsure_s: float
    """Half of the time the question took."""

    @classmethod
    def read(cls, theirs_s: float, asked_s: float) -> CheckClock:
        """Compare a time told now.

        Args:
            theirs_s: what the service said, Unix time in seconds.
            asked_s: our clock when the question went out.
        """
        answered_s = time.time()
        return cls(theirs_s - (asked_s + answered_s) / 2, (answered_s - asked_s) / 2)


def evaluate_clock(service: str, clock: CheckClock) -> Check:
    """Clocks decide nothing about who may vote, but times in rows and windows come from them."""
    if abs(clock.ahead_s) - clock.unsure_s > MAX_SKEW_S:
        side = "ahead of" if clock.ahead_s > 0 else "behind"
        return warning(
            service,
            "clock",
            f"{abs(clock.ahead_s):.1f} s {side} this host",
            "Synchronise the clocks (chrony, systemd-timesyncd)",
        )
    # Answers that took long make small differences meaningless.
    return ok(service, "clock", f"within {abs(clock.ahead_s) + clock.unsure_s:.2g} s of this host")


def count(checks: list[Check], status: CheckStatus) -> int:
    """How many checks ended so."""
    return sum(check.status is status for check in checks)

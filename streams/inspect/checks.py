"""Checks of `scrutin doctor`, including those that get no answer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Final, TypeVar

from streams.errors import ScrutinError, ServiceUnavailable

T = TypeVar("T")

DEADLINE_S: Final = 5.0
"""Longest wait for a service."""
MAX_SKEW_S: Final = 1.0
"""Clock differences above this cause a warning."""


class CheckStatus(StrEnum):
    """Outcome of a check."""

    OK = "ok"
    WARNING = "warning"
    FAILURE = "failure"
    NOT_CHECKED = "not_checked"
    """Nobody looked, so it may be right or wrong; the detail says why."""


@dataclass(frozen=True)
class Check:
    """One check with its outcome."""

    service: str
    name: str
    status: CheckStatus
    detail: str
    todo: str = ""
    unavailable: bool = False
    """The service could not be reached."""

    def as_dict(self) -> dict[str, str]:
        """For JSON."""
        shown = asdict(self)
        del shown["unavailable"]
        return shown


@dataclass(frozen=True)
class CheckClock:
    """A service's clock compared with this host's."""

    ahead_s: float
    """Lead of the service's clock; negative if it is behind."""
    uncertainty_s: float
    """Half the round-trip time of the query."""

    @classmethod
    def read(cls, service_time_s: float, asked_s: float) -> CheckClock:
        """Compare a time that the service has just returned.

        Args:
            service_time_s: the service's Unix time in seconds.
            asked_s: this host's clock when the query was sent.
        """
        answered_s = time.time()
        return cls(service_time_s - (asked_s + answered_s) / 2, (answered_s - asked_s) / 2)


@dataclass(frozen=True)
class CheckedService:
    """A service that is checked; makes its checks."""

    name: str

    def ok(self, name: str, detail: str) -> Check:
        """The check passed."""
        return Check(self.name, name, CheckStatus.OK, detail)

    def warning(self, name: str, detail: str, todo: str) -> Check:
        """The check passed with a warning."""
        return Check(self.name, name, CheckStatus.WARNING, detail, todo)

    def failure(self, name: str, detail: str, todo: str) -> Check:
        """The check failed, or votes may be lost."""
        return Check(self.name, name, CheckStatus.FAILURE, detail, todo)

    def not_checked(self, name: str, why: str, todo: str = "") -> Check:
        """Nothing is known: the check was not made."""
        return Check(self.name, name, CheckStatus.NOT_CHECKED, why, todo)

    async def ask(self, question: Awaitable[T]) -> T | Check:
        """Query it; an error or timeout becomes a failed check."""
        try:
            async with asyncio.timeout(DEADLINE_S):
                return await question
        except TimeoutError:
            detail, todo, unavailable = (
                f"no answer within {DEADLINE_S:g} s",
                "Check that the service runs and responds",
                True,
            )
        except ScrutinError as error:
            place = ", ".join(f"{name} {value}" for name, value in error.where.items())
            detail = f"{error.what} ({place})" if place else error.what
            todo, unavailable = error.todo, isinstance(error, ServiceUnavailable)
        return Check(self.name, "reachable", CheckStatus.FAILURE, detail, todo, unavailable)

    def clock(self, clock: CheckClock) -> Check:
        """Check a clock: it does not affect who may vote, but times in rows and windows."""
        if abs(clock.ahead_s) - clock.uncertainty_s > MAX_SKEW_S:
            side = "ahead of" if clock.ahead_s > 0 else "behind"
            return self.warning(
                "clock",
                f"{abs(clock.ahead_s):.1f} s {side} this host",
                "Synchronise the clocks (chrony, systemd-timesyncd)",
            )
        # A slow answer makes small differences meaningless.
        return self.ok(
            "clock", f"within {abs(clock.ahead_s) + clock.uncertainty_s:.2g} s of this host"
        )


def count(checks: list[Check], status: CheckStatus) -> int:
    """Number of checks with this outcome."""
    return sum(check.status is status for check in checks)

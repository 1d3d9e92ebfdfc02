"""Backends that run a service: as a process, in a container, or given by the environment."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import NoReturn, Protocol

from streams.devstack.service import StackService
from streams.devstack.state import ServiceRecord
from streams.errors import StackError

Say = Callable[[str], None]


class Backend(Protocol):
    """Starts and ends services; all its state is in the service's record."""

    def create(
        self, service: StackService, record: ServiceRecord, save: Callable[[], None], say: Say
    ) -> None:
        """Start a stopped service with its existing data.

        Calls `save` after each start that the state file must record.
        """
        ...

    def running(self, record: ServiceRecord) -> bool:
        """Whether it runs, paused or not, regardless of its health."""
        ...

    def paused(self, record: ServiceRecord) -> bool:
        """Whether it is paused."""
        ...

    def stop(self, record: ServiceRecord, sig: signal.Signals, deadline_seconds: float) -> None:
        """End it by a signal and wait; SIGKILL after the deadline."""
        ...

    def pause(self, record: ServiceRecord) -> None:
        """Freeze it."""
        ...

    def resume(self, record: ServiceRecord) -> None:
        """Continue a paused service."""
        ...

    def remove(self, record: ServiceRecord) -> None:
        """Remove a stopped service with its data."""
        ...

    def tail(self, record: ServiceRecord, lines: int) -> list[str]:
        """Its last log lines."""
        ...


class Given:
    """A service from the environment: used, but never started or stopped."""

    def create(
        self, service: StackService, record: ServiceRecord, save: Callable[[], None], say: Say
    ) -> None:
        """Nothing to start: the service should run already."""
        del service, record, save, say

    def running(self, record: ServiceRecord) -> bool:
        """Assumed; the probe shows whether it answers."""
        del record
        return True

    def paused(self, record: ServiceRecord) -> bool:
        """Never: it cannot be paused here."""
        del record
        return False

    def stop(self, record: ServiceRecord, sig: signal.Signals, deadline_seconds: float) -> None:
        """Refused."""
        del sig, deadline_seconds
        _refuse(record)

    def pause(self, record: ServiceRecord) -> None:
        """Refused."""
        _refuse(record)

    def resume(self, record: ServiceRecord) -> None:
        """Refused."""
        _refuse(record)

    def remove(self, record: ServiceRecord) -> None:
        """Nothing to remove."""

    def tail(self, record: ServiceRecord, lines: int) -> list[str]:
        """A note that its log is not available."""
        del lines
        return [f"{record.name} was given by the environment; its log is not available"]


def _refuse(record: ServiceRecord) -> NoReturn:
    raise StackError(
        f"{record.name} was given by the environment; the stack does not control it",
        where={"host": record.host},
    )

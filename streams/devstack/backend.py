"""How a service is run: as a process of ours, in a container, or by somebody else."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import NoReturn, Protocol

from streams.devstack.service import StackService
from streams.devstack.state import ServiceRecord
from streams.errors import StackError

Say = Callable[[str], None]


class Backend(Protocol):
    """Starts and ends one service at a time; all it knows is in the record."""

    def create(
        self, service: StackService, record: ServiceRecord, save: Callable[[], None], say: Say
    ) -> None:
        """Start a service that does not run, with the data it had.

        Calls `save` whenever something was started that the state file must know of.
        """
        ...

    def running(self, record: ServiceRecord) -> bool:
        """Whether it runs, paused or not; says nothing of its health."""
        ...

    def paused(self, record: ServiceRecord) -> bool:
        """Whether it was paused."""
        ...

    def stop(self, record: ServiceRecord, sig: signal.Signals, deadline_seconds: float) -> None:
        """End it by a signal and wait; SIGKILL after the deadline."""
        ...

    def pause(self, record: ServiceRecord) -> None:
        """Freeze it."""
        ...

    def resume(self, record: ServiceRecord) -> None:
        """Let it go on."""
        ...

    def remove(self, record: ServiceRecord) -> None:
        """Remove what is left of a stopped service, its data too."""
        ...

    def tail(self, record: ServiceRecord, lines: int) -> list[str]:
        """Its last log lines."""
        ...


class Given:
    """A service from the environment: used, never touched."""

    def create(
        self, service: StackService, record: ServiceRecord, save: Callable[[], None], say: Say
    ) -> None:
        """Nothing to start: it should be there."""
        del service, record, save, say

    def running(self, record: ServiceRecord) -> bool:
        """The probe will tell."""
        del record
        return True

    def paused(self, record: ServiceRecord) -> bool:
        """Never by us."""
        del record
        return False

    def stop(self, record: ServiceRecord, sig: signal.Signals, deadline_seconds: float) -> None:
        """Not ours to end."""
        del sig, deadline_seconds
        _refuse(record)

    def pause(self, record: ServiceRecord) -> None:
        """Not ours to pause."""
        _refuse(record)

    def resume(self, record: ServiceRecord) -> None:
        """Not ours to resume."""
        _refuse(record)

    def remove(self, record: ServiceRecord) -> None:
        """Nothing of ours is there."""

    def tail(self, record: ServiceRecord, lines: int) -> list[str]:
        """Its log is elsewhere."""
        del lines
        return [f"{record.name} was given by the environment; its log is not here"]


def _refuse(record: ServiceRecord) -> NoReturn:
    raise StackError(
        f"{record.name} was given by the environment and is not ours to touch",
        where={"host": record.host},
    )

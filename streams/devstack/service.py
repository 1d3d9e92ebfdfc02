"""What the stack needs to know about a service.

One implementation per service; none of them starts anything itself.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from streams.devstack.certificates import Certificates
from streams.devstack.packages import Need
from streams.devstack.process import Command
from streams.devstack.state import ServiceRecord


@dataclass(frozen=True)
class Image:
    """How to run a service in a container."""

    name: str
    environment: dict[str, str]
    ports: dict[str, int]
    """Port inside the container by role."""
    command: list[str] = field(default_factory=list)


class StackService(Protocol):
    """A service of the stack. Constructors and attributes are cheap and without side effects."""

    name: str
    title: str
    ports: tuple[str, ...]
    """Roles of the ports it listens on; the first is the one clients use."""
    stop_signal: signal.Signals
    """Graceful stop: all data on disk, connections closed properly."""
    abandon_signal: signal.Signals
    """Fastest stop that leaves nothing outside the data folder, which is removed."""

    def given(self, stack_id: str, environ: Mapping[str, str]) -> ServiceRecord | None:
        """The service given by the environment; None if it is not."""
        ...

    def options(self) -> dict[str, str]:
        """User, password and the like for a service that the stack starts."""
        ...

    def needs(self) -> Sequence[Need]:
        """Programs that a native start needs."""
        ...

    def prepare(self, record: ServiceRecord, say: Callable[[str], None]) -> None:
        """Create data folder and configuration; keeps existing usable data."""
        ...

    def commands(self, record: ServiceRecord) -> list[Command]:
        """Processes of a native service, in order of start."""
        ...

    def image(self, record: ServiceRecord) -> Image:
        """The same service as a container."""
        ...

    def probe(self, record: ServiceRecord) -> None:
        """Raise :class:`streams.devstack.probes.NotReady` unless the service answers."""
        ...

    def env(self, record: ServiceRecord) -> dict[str, str]:
        """Environment variables by which Scrutin finds the service."""
        ...

    def links(self, record: ServiceRecord) -> dict[str, str]:
        """Addresses for people: name to URL, without passwords."""
        ...


def certificates_of(record: ServiceRecord) -> Certificates | None:
    """The certificates of a service that is encrypted."""
    place = record.options.get("tls")
    return None if place is None else Certificates(Path(place))


def folder(record: ServiceRecord) -> Path:
    """The service's own folder: configuration, log and (mostly) data."""
    return Path(record.log).parent

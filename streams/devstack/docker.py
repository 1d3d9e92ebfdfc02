"""Services as containers, through testcontainers.

The stack chooses host ports, not the engine, so that a restarted container keeps its address.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from streams.devstack.backend import Say
from streams.devstack.ports import LOOPBACK
from streams.devstack.service import StackService
from streams.devstack.state import ServiceRecord
from streams.errors import StackError

_SOCKET = Path("/var/run/docker.sock")
LABEL = "scrutin.stack"


def engine() -> Any | None:
    """A client of a Docker engine that answers within 2 s, or None."""
    if "DOCKER_HOST" not in os.environ and not _SOCKET.exists():
        return None
    try:
        library = import_module("docker")
        import_module("testcontainers.core.container")
    except ImportError:
        return None
    client = None
    try:
        client = library.from_env(timeout=2)
        client.ping()
    except Exception:  # noqa: BLE001 - any error makes the engine unusable
        return None
    finally:
        if client is not None:
            client.close()
    return library.from_env(timeout=60)


def host() -> str:
    """Host on which container ports are published: loopback, unless the engine is remote."""
    engine_url = urlsplit(os.environ.get("DOCKER_HOST", "unix://"))
    return LOOPBACK if engine_url.scheme in {"unix", "npipe"} else engine_url.hostname or LOOPBACK


class Docker:
    """See :class:`streams.devstack.backend.Backend`.

    Args:
        client: of an engine; by default found at first use.
    """

    def __init__(self, client: Any | None = None) -> None:
        self._client = client

    def _engine(self) -> Any:
        if self._client is None:
            self._client = engine()
        if self._client is None:
            raise StackError(
                "The Docker engine that runs this stack does not answer",
                todo="Start the engine (or set DOCKER_HOST) and try again",
            )
        return self._client

    def _container(self, record: ServiceRecord) -> Any | None:
        if not record.container:
            return None
        missing = import_module("docker.errors").NotFound
        try:
            return self._engine().containers.get(record.container)
        except missing:
            return None

    def create(
        self, service: StackService, record: ServiceRecord, save: Callable[[], None], say: Say
    ) -> None:
        """Start the existing container, or create one."""
        container = self._container(record)
        if container is not None:
            say("restarting its container")
            container.start()
            return
        image = service.image(record)
        name = f"scrutin-{record.stack}-{service.name}"
        self._discard(name)
        say(f"starting {image.name}")
        # Ryuk would remove the containers as soon as this process ends.
        import_module("testcontainers.core.config").testcontainers_config.ryuk_disabled = True
        new = import_module("testcontainers.core.container").DockerContainer(image.name)
        new = new.with_name(name).with_kwargs(labels={LABEL: record.stack})
        address = LOOPBACK if record.host == LOOPBACK else ""
        for role, inside in image.ports.items():
            new.ports[f"{inside}/tcp"] = (address, record.ports[role])
        for variable, value in image.environment.items():
            new = new.with_env(variable, value)
        if image.command:
            new = new.with_command(image.command)
        try:
            new.start()
        except import_module("docker.errors").DockerException as error:
            self._discard(name)
            raise StackError(
                f"The container of {service.title} could not be started: {error}",
                where={"image": image.name},
                todo="Check the image, or run native processes: scrutin stack up --native",
            ) from error
        record.container = new.get_wrapped_container().id
        save()

    def _discard(self, name: str) -> None:
        """Remove a container of this stack that an interrupted start left unrecorded."""
        with suppress(import_module("docker.errors").NotFound):
            left = self._engine().containers.get(name)
            if LABEL in left.labels:
                left.remove(force=True, v=True)

    def running(self, record: ServiceRecord) -> bool:
        """Whether the container runs or is paused."""
        container = self._container(record)
        return container is not None and container.status in {"running", "paused"}

    def paused(self, record: ServiceRecord) -> bool:
        """Whether the engine reports it as paused."""
        container = self._container(record)
        return container is not None and container.status == "paused"

    def stop(self, record: ServiceRecord, sig: signal.Signals, deadline_seconds: float) -> None:
        """Signal the container's first process."""
        container = self._container(record)
        if container is None or container.status not in {"running", "paused"}:
            return
        if container.status == "paused":
            container.unpause()
        container.kill(signal=sig.name)
        try:
            container.wait(timeout=deadline_seconds)
        except Exception:  # noqa: BLE001 - timeouts come as errors of several libraries
            container.kill(signal="SIGKILL")
            container.wait(timeout=10)

    def pause(self, record: ServiceRecord) -> None:
        """Pause by the engine."""
        if (container := self._container(record)) is not None and container.status == "running":
            container.pause()

    def resume(self, record: ServiceRecord) -> None:
        """Unpause by the engine."""
        if (container := self._container(record)) is not None and container.status == "paused":
            container.unpause()

    def remove(self, record: ServiceRecord) -> None:
        """Remove container and volumes."""
        if (container := self._container(record)) is not None:
            container.remove(force=True, v=True)
        record.container = ""

    def tail(self, record: ServiceRecord, lines: int) -> list[str]:
        """The container's log."""
        container = self._container(record)
        if container is None:
            return []
        text: bytes = container.logs(tail=lines)
        return text.decode(errors="replace").splitlines()

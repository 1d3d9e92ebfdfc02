"""Services as processes on this machine."""

from __future__ import annotations

import shutil
import signal
from collections import deque
from collections.abc import Callable
from pathlib import Path

from streams.devstack import ports, process
from streams.devstack.backend import Say
from streams.devstack.kafka import VOTERS
from streams.devstack.service import StackService
from streams.devstack.state import ServiceRecord
from streams.errors import PortTaken, StackError


class Native:
    """See :class:`streams.devstack.backend.Backend`."""

    def create(
        self, service: StackService, record: ServiceRecord, save: Callable[[], None], say: Say
    ) -> None:
        """Prepare the data folder and start the processes in order."""
        for left in record.processes:
            process.end(left, signal.SIGKILL, 10.0)
        record.processes = []
        _secure_ports(service, record, say)
        try:
            service.prepare(record, say)
        except OSError as error:
            raise StackError(
                f"The folder of {service.title} cannot be prepared: {error}",
                where={"folder": record.data},
                todo="`scrutin stack down` removes it, then `scrutin stack up` creates it again",
            ) from error
        save()
        say("starting")
        for command in service.commands(record):
            record.processes.append(process.spawn(command, Path(record.log)))
            save()

    def running(self, record: ServiceRecord) -> bool:
        """Whether all its processes run."""
        return bool(record.processes) and all(process.alive(one) for one in record.processes)

    def paused(self, record: ServiceRecord) -> bool:
        """Whether its processes are stopped by SIGSTOP."""
        return self.running(record) and all(process.paused(one) for one in record.processes)

    def stop(self, record: ServiceRecord, sig: signal.Signals, deadline_seconds: float) -> None:
        """End the main process, which is the last, then its helpers."""
        for one in reversed(record.processes):
            process.end(one, sig, deadline_seconds)
        record.processes = []

    def pause(self, record: ServiceRecord) -> None:
        """SIGSTOP to all."""
        for one in record.processes:
            process.send_tree(one, signal.SIGSTOP)

    def resume(self, record: ServiceRecord) -> None:
        """SIGCONT to all."""
        for one in record.processes:
            process.send_tree(one, signal.SIGCONT)

    def remove(self, record: ServiceRecord) -> None:
        """Remove data, configuration and log."""
        own = Path(record.log).parent
        data = Path(record.data)
        if own not in data.parents:
            # The server's user cannot reach the stack's folder, so the data has a separate folder.
            shutil.rmtree(data.parent, ignore_errors=True)
        shutil.rmtree(own, ignore_errors=True)

    def tail(self, record: ServiceRecord, lines: int) -> list[str]:
        """The end of the log file."""
        try:
            with Path(record.log).open(errors="replace") as file:
                return [line.rstrip("\n") for line in deque(file, maxlen=lines)]
        except FileNotFoundError:
            return []


def _secure_ports(service: StackService, record: ServiceRecord, say: Say) -> None:
    """Make sure that the ports are free.

    A service that never ran gets other ports if they were taken since they were chosen. One that
    ran keeps its address, and so does a cluster member.
    """
    try:
        ports.require_free(service.title, record.ports)
    except PortTaken as error:
        if Path(record.data).exists() or VOTERS in record.options:
            raise
        say(f"{error.what}; choosing others")
        record.ports = dict(zip(record.ports, ports.choose(len(record.ports)), strict=True))

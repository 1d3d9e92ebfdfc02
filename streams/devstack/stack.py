"""One local stack: brings the services up, knows how they are, ends what it started."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from streams.devstack import docker, packages, ports
from streams.devstack.backend import Backend, Given
from streams.devstack.kafka import Kafka
from streams.devstack.native import Native
from streams.devstack.postgres import PostgreSQL
from streams.devstack.probes import NotReady
from streams.devstack.rabbitmq import RabbitMQ
from streams.devstack.redis import Redis
from streams.devstack.service import Service
from streams.devstack.state import Kind, ServiceRecord, StackRecord, StateFile
from streams.errors import ServiceUnavailable, StackError

Condition = Literal["up", "paused", "unwell", "stopped"]
Say = Callable[[str, str], None]
"""Called with a service's name (or "stack") and what happens to it."""

DEFAULT_DIRECTORY = ".stack"
_POLL_SECONDS = 0.05
_LOG_LINES_IN_ERRORS = 12


@dataclass(frozen=True)
class ServiceStatus:
    """How one service is."""

    name: str
    title: str
    kind: Kind
    condition: Condition
    detail: str
    """What the probe saw if it is not up."""
    links: dict[str, str]
    pids: list[int]
    log: str


class Stack:
    """The stack of one folder.

    Args:
        directory: where its state lives; default SCRUTIN_STACK_DIR, else `.stack`.
        environ: where addresses of services that run already are looked up. The default is the
            process's own environment; `{}` makes a stack that is all its own.
        say: told what happens.
        kafka_heap: of Kafka's virtual machine, in Java's notation.
    """

    def __init__(
        self,
        directory: Path | str | None = None,
        *,
        environ: Mapping[str, str] | None = None,
        say: Say | None = None,
        kafka_heap: str = "512m",
    ) -> None:
        chosen = directory or os.environ.get("SCRUTIN_STACK_DIR") or DEFAULT_DIRECTORY
        self._file = StateFile(Path(chosen))
        self._environ = os.environ if environ is None else environ
        self._say: Say = say or (lambda _name, _text: None)
        services: list[Service] = [Kafka(kafka_heap), RabbitMQ(), PostgreSQL(), Redis()]
        self._services = {service.name: service for service in services}
        self._backends: dict[Kind, Backend] = {
            "given": Given(),
            "native": Native(),
            "docker": docker.Docker(),
        }
        self._saving = threading.Lock()

    @property
    def directory(self) -> Path:
        """Where the state lives, absolute."""
        return self._file.directory

    # Bringing up -----------------------------------------------------------------------------

    def up(
        self, *, prefer: Literal["docker", "native"] | None = None, deadline_seconds: float = 90.0
    ) -> list[str]:
        """Bring up what is not up yet.

        Args:
            prefer: how to run services of our own; default Docker if an engine answers.
            deadline_seconds: for each service, from its start until it answers.

        Returns:
            Names of the services that had to be started; empty if all were well.
        """
        with self._file.locked():
            record = self._file.load() or self._file.new()
            self._choose(record, prefer)
            dead = [name for name, one in record.services.items() if not self._well(one)]
            if not dead:
                return []
            needs = [
                need
                for name in dead
                if record.services[name].kind == "native"
                for need in self._services[name].needs()
            ]
            packages.ensure(needs, lambda text: self._say("stack", text))
            self._file.save(record)
            self._start_all(record, dead, deadline_seconds)
            return dead

    def _choose(self, record: StackRecord, prefer: Kind | None) -> None:
        """Decide for services that the state does not know: given, Docker or native."""
        own = [name for name in self._services if name not in record.services]
        for name in own.copy():
            given = _given(self._services[name], record.id, self._environ)
            if given is not None:
                record.services[name] = given
                own.remove(name)
        if not own:
            return
        kind = prefer or ("docker" if docker.engine() is not None else "native")
        if kind == "native" and not sys.platform.startswith("linux"):
            raise StackError(
                "Without a Docker engine the stack runs on Linux only",
                where={"platform": sys.platform},
                todo="Start a Docker engine, or give the services' addresses in the environment",
            )
        used = {port for one in record.services.values() for port in one.ports.values()}
        for name in own:
            service = self._services[name]
            chosen = dict(zip(service.ports, ports.choose(len(service.ports), used), strict=True))
            used |= set(chosen.values())
            home = self.directory / name
            record.services[name] = ServiceRecord(
                name=name,
                stack=record.id,
                kind=kind,
                host=ports.LOOPBACK,
                ports=chosen,
                options=service.options(),
                data=str(home / "data") if kind == "native" else "",
                log=str(home / f"{name}.log") if kind == "native" else "",
            )

    def _start_all(self, record: StackRecord, names: list[str], deadline_seconds: float) -> None:
        """Start services side by side; if one fails, end those that were started with it."""
        give_up = threading.Event()
        with ThreadPoolExecutor(len(names)) as pool:
            running = [
                pool.submit(
                    self._start_one, record, record.services[name], deadline_seconds, give_up
                )
                for name in names
            ]
            try:
                done, _ = wait(running, return_when=FIRST_EXCEPTION)
                failed = [error for one in done if (error := one.exception()) is not None]
            except BaseException:
                give_up.set()
                wait(running)
                self._abandon(record, names)
                raise
            if failed:
                give_up.set()
                wait(running)
                self._abandon(record, names)
                raise failed[0]

    def _abandon(self, record: StackRecord, names: list[str]) -> None:
        for name in names:
            one = record.services[name]
            if one.kind != "given" and self._backends[one.kind].running(one):
                service = self._services[name]
                self._backends[one.kind].stop(one, service.stop_signal, 20.0)
        self._save(record)

    def _start_one(
        self,
        stack: StackRecord,
        record: ServiceRecord,
        deadline_seconds: float,
        give_up: threading.Event,
    ) -> None:
        service = self._services[record.name]
        backend = self._backends[record.kind]

        def say(text: str) -> None:
            self._say(record.name, text)

        if backend.running(record) and backend.paused(record):
            say("resuming")
            backend.resume(record)
        elif not backend.running(record):
            backend.create(service, record, lambda: self._save(stack), say)
        begin = time.monotonic()
        if self._await_ready(service, record, deadline_seconds, give_up):
            say(f"ready after {time.monotonic() - begin:.1f} s")

    def _await_ready(
        self,
        service: Service,
        record: ServiceRecord,
        deadline_seconds: float,
        give_up: threading.Event,
    ) -> bool:
        backend = self._backends[record.kind]
        end = time.monotonic() + deadline_seconds
        while True:
            if give_up.is_set():
                return False
            try:
                service.probe(record)
                return True
            except NotReady as error:
                seen = str(error)
            if not backend.running(record):
                raise self._failure(f"{service.title} ended while starting", record)
            if time.monotonic() > end:
                if record.kind == "given":
                    raise ServiceUnavailable(
                        f"{service.title} does not answer: {seen}",
                        where={"host": record.host, "port": record.ports[service.ports[0]]},
                        todo="See to the address in the environment, or unset it",
                    )
                what = f"{service.title} was not ready within {deadline_seconds:.0f} s: {seen}"
                raise self._failure(what, record)
            give_up.wait(_POLL_SECONDS)

    def _failure(self, what: str, record: ServiceRecord) -> StackError:
        lines = self._backends[record.kind].tail(record, _LOG_LINES_IN_ERRORS)
        quoted = "\n".join(f"  | {line}" for line in lines)
        return StackError(
            what,
            where={"service": record.name, "log": record.log or record.container[:12]},
            todo=f"Its last log lines:\n{quoted}" if quoted else "Its log is empty",
        )

    # Looking ---------------------------------------------------------------------------------

    def status(self) -> list[ServiceStatus]:
        """How each service is; empty if no stack was brought up here."""
        record = self._file.load()
        if record is None:
            return []
        return [self._status(one) for one in record.services.values()]

    def env(self) -> dict[str, str]:
        """Environment variables by which Scrutin finds the services."""
        record = self._required()
        names: dict[str, str] = {}
        for one in record.services.values():
            names |= self._services[one.name].env(one)
        return names

    def log_lines(self, service: str, lines: int) -> list[str]:
        """The last lines of a service's log."""
        one = self._record(self._required(), service)
        return self._backends[one.kind].tail(one, lines)

    def log_files(self) -> dict[str, Path]:
        """Log files of the services that have one."""
        return {one.name: Path(one.log) for one in self._required().services.values() if one.log}

    def _status(self, one: ServiceRecord) -> ServiceStatus:
        service, backend = self._services[one.name], self._backends[one.kind]
        condition: Condition = "up"
        detail = ""
        if not backend.running(one):
            condition = "stopped"
        elif backend.paused(one):
            condition = "paused"
        else:
            try:
                service.probe(one)
            except NotReady as error:
                condition, detail = "unwell", str(error)
        return ServiceStatus(
            name=one.name,
            title=service.title,
            kind=one.kind,
            condition=condition,
            detail=detail,
            links=service.links(one),
            pids=[process.pid for process in one.processes],
            log=one.log,
        )

    def _well(self, one: ServiceRecord) -> bool:
        return self._status(one).condition == "up"

    # Ending ----------------------------------------------------------------------------------

    def down(self, *, keep: bool = False) -> list[str]:
        """End what `up` started, and remove its data unless told to keep it.

        Returns:
            Names of the services that ran.
        """
        if self._file.load() is None:
            return []
        with self._file.locked():
            record = self._file.load()
            if record is None:
                return []
            with ThreadPoolExecutor(len(self._services)) as pool:
                ends = {
                    name: pool.submit(self._end_one, one, keep)
                    for name, one in record.services.items()
                }
                wait(ends.values())
            ended = [name for name, end in ends.items() if end.result()]
            if keep:
                self._file.save(record)
                return ended
            self._file.path.unlink(missing_ok=True)
        (self.directory / "lock").unlink(missing_ok=True)
        if self.directory.is_dir() and not any(self.directory.iterdir()):
            self.directory.rmdir()
        return ended

    def _end_one(self, one: ServiceRecord, keep: bool) -> bool:
        if one.kind == "given":
            return False
        service, backend = self._services[one.name], self._backends[one.kind]
        ran = backend.running(one)
        sig = service.stop_signal if keep else service.abandon_signal
        backend.stop(one, sig, 30.0)
        if not keep:
            backend.remove(one)
        self._say(one.name, "stopped" if keep else "removed")
        return ran

    # One service -----------------------------------------------------------------------------

    def stop(
        self, service: str, sig: signal.Signals | None = None, *, deadline_seconds: float = 30.0
    ) -> None:
        """End one service and wait; its address and data stay.

        Args:
            sig: default is the service's own orderly end; SIGKILL is a crash.
            deadline_seconds: after which SIGKILL follows.
        """
        with self._file.locked():
            record = self._required()
            one = self._record(record, service)
            spec = self._services[service]
            self._backends[one.kind].stop(one, sig or spec.stop_signal, deadline_seconds)
            self._file.save(record)

    def start(self, service: str, *, deadline_seconds: float = 90.0) -> None:
        """Start one service again, at the same address with the same data."""
        with self._file.locked():
            record = self._required()
            one = self._record(record, service)
            if not self._well(one):
                self._start_all(record, [one.name], deadline_seconds)

    def pause(self, service: str) -> None:
        """Freeze one service: its connections stay, nothing answers."""
        one = self._record(self._required(), service)
        self._backends[one.kind].pause(one)

    def resume(self, service: str) -> None:
        """Let a paused service go on."""
        one = self._record(self._required(), service)
        self._backends[one.kind].resume(one)

    # State -----------------------------------------------------------------------------------

    def _save(self, record: StackRecord) -> None:
        with self._saving:
            self._file.save(record)

    def _required(self) -> StackRecord:
        record = self._file.load()
        if record is None:
            raise StackError(
                "No stack was brought up here",
                where={"folder": self.directory},
                todo="`scrutin stack up` brings one up; SCRUTIN_STACK_DIR chooses another folder",
            )
        return record

    def _record(self, record: StackRecord, service: str) -> ServiceRecord:
        try:
            return record.services[service]
        except KeyError:
            raise StackError(
                f"There is no service {service!r}",
                where={"services": ", ".join(record.services)},
            ) from None


def _given(service: Service, stack_id: str, environ: Mapping[str, str]) -> ServiceRecord | None:
    try:
        return service.given(stack_id, environ)
    except ValueError as error:
        raise StackError(
            f"The address of {service.title} in the environment is malformed: {error}",
            todo="See to its *_PORT or KAFKA_BOOTSTRAP_SERVERS",
        ) from error

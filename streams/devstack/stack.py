"""One local stack: starts the services, reports their state, ends what it started."""

from __future__ import annotations

import os
import shutil
import signal
import threading
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from streams.devstack import cluster, docker, packages
from streams.devstack.backend import Backend, Given
from streams.devstack.certificates import Certificates
from streams.devstack.choosing import choose
from streams.devstack.kafka import PROXIED
from streams.devstack.native import Native
from streams.devstack.postgres import PostgreSQL
from streams.devstack.probes import NotReady
from streams.devstack.rabbitmq import QueueType, RabbitMQ
from streams.devstack.redis import Redis
from streams.devstack.service import StackService, certificates_of
from streams.devstack.starting import Starter
from streams.devstack.state import Kind, ServiceRecord, StackRecord, StateFile
from streams.errors import StackError

Condition = Literal["up", "paused", "unwell", "stopped"]
Say = Callable[[str, str], None]
"""Called with a service's name (or "stack") and what happens to it."""

DEFAULT_DIRECTORY = ".stack"


@dataclass(frozen=True)
class ServiceStatus:
    """State of one service."""

    name: str
    title: str
    kind: Kind
    condition: Condition
    detail: str
    """Response to the probe if it is not up."""
    links: dict[str, str]
    pids: list[int]
    log: str


@dataclass(frozen=True)
class ProxiedKafka:
    """Kafka's listener for clients that connect through a proxy."""

    host: str
    port: int
    """Port to which the proxy forwards."""
    proxy_port: int
    """Port on which the proxy listens; clients use it in KAFKA_BOOTSTRAP_SERVERS."""


class Stack:
    """The stack of one folder.

    Args:
        directory: folder for its state; default SCRUTIN_STACK_DIR, else `.stack`.
        environ: may name addresses of running services to use. The default is the process's
            environment; `{}` makes the stack start all services itself.
        say: called with what happens.
        kafka_heap: of Kafka's virtual machine, in Java's notation.
        kafka_proxy_port: of a proxy that a test puts in front of Kafka, see
            :class:`streams.devstack.kafka.Kafka`; :meth:`proxied_kafka` has the addresses. Only for
            a Kafka that `up` creates.
        brokers: of a Kafka that `up` creates: 1, or 3 with all data on each (native only).
        tls: services that `up` creates are native, use TLS with the stack's own authority, and
            require passwords.
        queue_type: of durable queues that are declared without one, in a RabbitMQ that `up`
            creates.
    """

    def __init__(
        self,
        directory: Path | str | None = None,
        *,
        environ: Mapping[str, str] | None = None,
        say: Say | None = None,
        kafka_heap: str = "512m",
        kafka_proxy_port: int | None = None,
        brokers: int = 1,
        tls: bool = False,
        queue_type: QueueType = "classic",
    ) -> None:
        chosen = directory or os.environ.get("SCRUTIN_STACK_DIR") or DEFAULT_DIRECTORY
        self._file = StateFile(Path(chosen))
        self._environ = os.environ if environ is None else environ
        self._say: Say = say or (lambda _name, _text: None)
        kafkas = cluster.members(kafka_heap, kafka_proxy_port)
        self._kafka = kafkas[0]
        services: list[StackService] = [*kafkas, RabbitMQ(queue_type), PostgreSQL(), Redis()]
        self._services = {service.name: service for service in services}
        self._brokers = brokers
        self._backends: dict[Kind, Backend] = {
            "given": Given(),
            "native": Native(),
            "docker": docker.Docker(),
        }
        self._saving = threading.Lock()
        self._tls = tls

    @property
    def directory(self) -> Path:
        """Folder of the state, absolute."""
        return self._file.directory

    # Starting --------------------------------------------------------------------------------

    def install(self) -> None:
        """Install and fetch the needs of a native stack, so that `up` takes seconds.

        `up` does this itself; a caller with a deadline may want it done before.
        """
        if docker.engine() is None:
            self._ensure(self._services)
            self._kafka.fetch(lambda text: self._say("kafka", text))

    def _ensure(self, names: Iterable[str]) -> None:
        needs = [need for name in names for need in self._services[name].needs()]
        packages.ensure(needs, lambda text: self._say("stack", text))

    def up(
        self,
        *,
        only: Iterable[str] | None = None,
        prefer: Literal["docker", "native"] | None = None,
        deadline_seconds: float = 90.0,
    ) -> list[str]:
        """Start the services that are not up.

        Args:
            only: names of the services to start; default all.
            prefer: backend of services that are not given; default Docker if an engine answers.
            deadline_seconds: for each service, from its start until it answers.

        Returns:
            Names of the services that had to be started; empty if all were up.
        """
        with self._file.locked():
            record = self._file.load() or self._file.new()
            cluster.check(record, self._brokers, self._environ)
            wanted = self._default(record) if only is None else [self._name(one) for one in only]
            services = [self._services[name] for name in wanted]
            certificates = Certificates(self.directory / "tls") if self._tls else None
            if certificates is not None:
                certificates.make()
            if certificates is not None or self._brokers > 1:
                prefer = "native"
            choose(
                record, self.directory, services, self._environ, prefer, certificates=certificates
            )
            cluster.join(record)
            dead = [name for name in wanted if not self._is_up(record.services[name])]
            if not dead:
                self._file.save(record)
                return []
            self._ensure(name for name in dead if record.services[name].kind == "native")
            self._file.save(record)
            try:
                self._start(record, dead, deadline_seconds)
            except BaseException:
                self._forget_given(record, dead)
                raise
            return dead

    def _forget_given(self, record: StackRecord, dead: Iterable[str]) -> None:
        """Keep no address of the environment that did not answer: later commands would use it."""
        for name in dead:
            if record.services[name].kind == "given":
                del record.services[name]
        if record.services:
            self._save(record)
        else:
            self._file.path.unlink(missing_ok=True)

    def _default(self, record: StackRecord) -> list[str]:
        """Every service; as many brokers as requested or already recorded."""
        others = cluster.wanted(cluster.LARGEST) - cluster.wanted(self._brokers)
        return [name for name in self._services if name not in others or name in record.services]

    def _start(self, record: StackRecord, names: list[str], deadline_seconds: float) -> None:
        starter = Starter(
            self._services,
            self._backends,
            save=lambda: self._save(record),
            say=self._say,
            deadline_seconds=deadline_seconds,
        )
        starter.start([record.services[name] for name in names])

    # Status ----------------------------------------------------------------------------------

    def status(self) -> list[ServiceStatus]:
        """State of each service; empty if there is no stack in this folder."""
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
            if (certificates := certificates_of(one)) is not None:
                names["SCRUTIN_TLS_CA_FILE"] = str(certificates.ca)
        return names

    def proxied_kafka(self) -> ProxiedKafka | None:
        """Addresses for a proxy in front of Kafka; None if this stack's Kafka expects none."""
        record = self._record(self._required(), "kafka")
        if PROXIED not in record.ports:
            return None
        return ProxiedKafka(record.host, record.ports[PROXIED], int(record.options["proxy_port"]))

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

    def _is_up(self, one: ServiceRecord) -> bool:
        return self._status(one).condition == "up"

    # Ending ----------------------------------------------------------------------------------

    def down(self, *, keep: bool = False) -> list[str]:
        """End what `up` started, and remove its data unless `keep`.

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
            shutil.rmtree(self.directory / "tls", ignore_errors=True)
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
            sig: default is the service's graceful stop; SIGKILL simulates a crash.
            deadline_seconds: after which SIGKILL follows.
        """
        with self._file.locked():
            record = self._required()
            one = self._record(record, service)
            spec = self._services[service]
            self._backends[one.kind].stop(one, sig or spec.stop_signal, deadline_seconds)
            self._file.save(record)

    def start(self, service: str, *, deadline_seconds: float = 90.0) -> None:
        """Start a stopped service at the same address with the same data."""
        with self._file.locked():
            record = self._required()
            one = self._record(record, service)
            if not self._is_up(one):
                self._start(record, [one.name], deadline_seconds)

    def pause(self, service: str) -> None:
        """Freeze one service: its connections stay open, but nothing answers."""
        one = self._record(self._required(), service)
        self._backends[one.kind].pause(one)

    def resume(self, service: str) -> None:
        """Continue a paused service."""
        one = self._record(self._required(), service)
        self._backends[one.kind].resume(one)

    # State -----------------------------------------------------------------------------------

    def _save(self, record: StackRecord) -> None:
        with self._saving:
            self._file.save(record)

    def _name(self, service: str) -> str:
        if service not in self._services:
            raise StackError(
                f"There is no service {service!r}",
                todo=f"Choose from {', '.join(self._services)}",
            )
        return service

    def _required(self) -> StackRecord:
        record = self._file.load()
        if record is None:
            raise StackError(
                "There is no stack in this folder",
                where={"folder": self.directory},
                todo="`scrutin stack up` starts one; SCRUTIN_STACK_DIR chooses another folder",
            )
        return record

    def _record(self, record: StackRecord, service: str) -> ServiceRecord:
        try:
            return record.services[self._name(service)]
        except KeyError:
            raise StackError(
                f"{service} is not part of this stack", where={"folder": self.directory}
            ) from None

"""Start services concurrently and wait until they answer."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import KW_ONLY, dataclass

from streams.devstack.backend import Backend
from streams.devstack.probes import NotReady
from streams.devstack.service import StackService
from streams.devstack.state import Kind, ServiceRecord
from streams.errors import ServiceUnavailable, StackError

_POLL_SECONDS = 0.05
_GIVEN_DEADLINE_SECONDS = 30.0
_STOP_SECONDS = 5.0
"""A starting service may ignore a graceful stop."""
_LOG_LINES_IN_ERRORS = 12


@dataclass
class Starter:
    """Starts the services of records."""

    services: Mapping[str, StackService]
    """By name."""
    backends: Mapping[Kind, Backend]
    """By the kind in the record."""
    _: KW_ONLY
    save: Callable[[], None]
    """Called whenever a record has changed."""
    say: Callable[[str, str], None]
    """Called with a service's name and what happens to it, from several threads."""
    deadline_seconds: float
    """For each service, from its start until it answers."""

    def __post_init__(self) -> None:
        self._give_up = threading.Event()

    def start(self, records: Sequence[ServiceRecord]) -> None:
        """Start all services; if one fails, end those started with it."""
        ran = [one.name for one in records if self.backends[one.kind].running(one)]
        with ThreadPoolExecutor(len(records)) as pool:
            running = [pool.submit(self._start_one, record) for record in records]
            try:
                done, _ = wait(running, return_when=FIRST_EXCEPTION)
                failed = [error for one in done if (error := one.exception()) is not None]
                if failed:
                    raise failed[0]
            except BaseException:
                self._give_up.set()
                wait(running)
                self._end([one for one in records if one.name not in ran])
                raise

    def _end(self, records: Sequence[ServiceRecord]) -> None:
        for one in records:
            if one.processes or one.container:
                sig = self.services[one.name].stop_signal
                self.backends[one.kind].stop(one, sig, _STOP_SECONDS)
        self.save()

    def _start_one(self, record: ServiceRecord) -> None:
        service = self.services[record.name]
        backend = self.backends[record.kind]

        def say(text: str) -> None:
            self.say(record.name, text)

        if not backend.running(record):
            backend.create(service, record, self.save, say)
        elif backend.paused(record):
            say("resuming")
            backend.resume(record)
        begin = time.monotonic()
        if self._await_ready(service, record):
            say(f"ready after {time.monotonic() - begin:.1f} s")

    def _await_ready(self, service: StackService, record: ServiceRecord) -> bool:
        backend = self.backends[record.kind]
        seconds = self.deadline_seconds
        if record.kind == "given":
            seconds = min(seconds, _GIVEN_DEADLINE_SECONDS)
        end = time.monotonic() + seconds
        while not self._give_up.wait(_POLL_SECONDS):
            try:
                service.probe(record)
                return True
            except NotReady as error:
                seen = str(error)
            if not backend.running(record):
                raise self._failure(f"{service.title} ended while starting", record)
            if time.monotonic() < end:
                continue
            if record.kind == "given":
                raise ServiceUnavailable(
                    f"{service.title} does not answer: {seen}",
                    where={"host": record.host, "port": record.ports[service.ports[0]]},
                    todo="Check the address in the environment, or unset it",
                )
            what = f"{service.title} was not ready within {seconds:.0f} s: {seen}"
            raise self._failure(what, record)
        return False

    def _failure(self, what: str, record: ServiceRecord) -> StackError:
        lines = self.backends[record.kind].tail(record, _LOG_LINES_IN_ERRORS)
        quoted = "\n".join(f"  | {line}" for line in lines)
        return StackError(
            what,
            where={"service": record.name, "log": record.log or record.container[:12]},
            todo=f"Its last log lines:\n{quoted}" if quoted else "Its log is empty",
        )

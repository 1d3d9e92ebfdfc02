"""Bridges and workers as processes under a supervisor, which starts again what ends by itself."""

from __future__ import annotations

import asyncio
import signal
import time
from collections import Counter
from collections.abc import Coroutine
from pathlib import Path
from types import TracebackType
from typing import Any

from streams.devstack import Stack
from streams.load.programs import Program
from tests.faults.oracle import Finding
from tests.faults.registry import Scenario
from tests.faults.surroundings import Surroundings
from tests.harness import Chain

READY_S = 120.0
STOP_S = 30.0
_POLL_S = 0.25


class Supervised(Chain):
    """Wiped services and processes on them.

    Programs that end by themselves are noted and started again, as a supervisor would; those that
    a scenario ends stay down until it starts them.

    Args:
        stack: is up; its data is removed.
        directory: for logs.
        scenario: how many processes, with which settings, and how they may end.
        around: what the processes find.
    """

    def __init__(
        self, stack: Stack, directory: Path, *, scenario: Scenario, around: Surroundings
    ) -> None:
        super().__init__(
            stack,
            directory,
            workers=scenario.workers,
            bridges=scenario.bridges,
            settings={
                "SCRUTIN_LOG_FORMAT": "console",
                # A crash of C code leaves a trace in the log.
                "PYTHONFAULTHANDLER": "1",
                **scenario.settings,
                **around.settings,
            },
            cwd=around.cwd,
        )
        self.exits: Counter[int] = Counter()
        """Exit codes of programs that ended by themselves."""
        self.findings: list[Finding] = []
        """What is wrong apart from the count."""
        self._allowed_exits = scenario.exits
        self._wanted: set[Program] = set()
        self._tasks: list[asyncio.Task[None]] = []

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._end(kill=error is not None)

    async def start_supervised(self) -> None:
        """Start everything, wait until it is ready, and watch it from then on."""
        try:
            await self.start()
        except BaseException:
            await self._end(kill=True)
            raise
        self._wanted = set(self.programs)
        self.spawn(self._supervise())

    async def _end(self, *, kill: bool) -> None:
        self._wanted.clear()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        running = [program for program in self.programs if program.running]
        if kill:
            await asyncio.gather(*(program.kill() for program in running))
            return
        await asyncio.gather(*(self.terminate(program) for program in running))

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run something beside, until the world ends."""
        task = asyncio.create_task(work)
        self._tasks.append(task)
        return task

    async def _supervise(self) -> None:
        while True:
            await asyncio.sleep(_POLL_S)
            for program in list(self._wanted):
                if not program.running:
                    assert program.returncode is not None
                    self.exits[program.returncode] += 1
                    if program.returncode not in self._allowed_exits:
                        what = f"{program.name} ended by itself with {program.returncode}"
                        self.findings.append(Finding("unexpected_exit", f"{what}, {program.log}"))
                    program.start()

    async def kill(self, program: Program) -> None:
        """SIGKILL; it stays down until :meth:`begin`."""
        self._wanted.discard(program)
        await program.kill()

    async def terminate(self, program: Program) -> None:
        """SIGTERM; it must end in time with exit code 0, and stays down until :meth:`begin`.

        One that does not listen yet has taken nothing in, and may end by the signal itself.
        """
        self._wanted.discard(program)
        allowed = {0} if await _listens(program) else {0, -signal.SIGTERM}
        program.send(signal.SIGTERM)
        try:
            async with asyncio.timeout(STOP_S):
                code = await program.ended()
        except TimeoutError:
            code = None
            await program.dump_and_kill()
        if code not in allowed:
            what = f"did not end within {STOP_S:.0f} s" if code is None else f"ended with {code}"
            detail = f"{program.name} {what} after SIGTERM, {program.log}"
            self.findings.append(Finding("unclean_stop", detail))

    def begin(self, program: Program, **more: str) -> None:
        """Start a program that is down; it need not be ready.

        Args:
            program: is up already, or not.
            more: environment variables for this start only.
        """
        if not program.running:
            program.start(**more)
        self._wanted.add(program)

    async def freeze(self, program: Program, seconds: float) -> None:
        """SIGSTOP, and SIGCONT after a while."""
        program.send(signal.SIGSTOP)
        try:
            await asyncio.sleep(seconds)
        finally:
            program.send(signal.SIGCONT)

    async def restart_all(self) -> None:
        """Start whatever is down and wait until everything is ready."""
        for program in self.programs:
            self.begin(program)
        for program in self.programs:
            await self.ready(program)

    async def ready(self, program: Program, within_s: float = READY_S) -> None:
        """Wait until a program that may still end and be started again is ready."""
        deadline_s = time.monotonic() + within_s
        while True:
            try:
                await program.ready(within_s=max(0.1, deadline_s - time.monotonic()))
                return
            except Exception:
                if time.monotonic() > deadline_s:
                    raise
                await asyncio.sleep(_POLL_S)

    async def all_ready(self) -> None:
        """Wait until everything that is to run is ready."""
        for program in self.programs:
            if program in self._wanted:
                await self.ready(program)


async def _listens(program: Program) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", program.port)
    except OSError:
        return False
    writer.close()
    return True

"""A running count that faults strike: bridges, workers, voters, and a supervisor.

async with World(stack, directory, votes=Votes(20_000, seed=1), scenario=one) as world:
    await one.run(world)
    await world.drained()
    evidence = await world.evidence()
"""

from __future__ import annotations

import asyncio
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from streams.devstack import Stack
from streams.load.programs import Program
from tests.faults.observer import Observer
from tests.faults.oracle import Evidence, Finding
from tests.faults.proxy import Proxy
from tests.faults.publishing import Publisher
from tests.faults.reading import Addresses
from tests.faults.registry import Scenario
from tests.faults.surroundings import Surroundings
from tests.faults.votes import Votes
from tests.harness import Chain, until

READY_S = 120.0
STOP_S = 15.0
_POLL_S = 0.25


class World(Chain):
    """Wiped services, processes on them, and votes to be published.

    Programs that end by themselves are noted and started again, as a supervisor would; those that
    a scenario ends stay down until it starts them.

    Args:
        stack: is up; its data is removed.
        directory: for logs.
        votes: to publish.
        scenario: how many processes, and with which settings.
        short: outages last as long as their short form says.
        around: what the processes find.
    """

    def __init__(
        self,
        stack: Stack,
        directory: Path,
        *,
        votes: Votes,
        scenario: Scenario,
        short: bool,
        around: Surroundings,
    ) -> None:
        super().__init__(
            stack,
            directory,
            workers=scenario.workers,
            bridges=scenario.bridges,
            settings={
                "SCRUTIN_LOG_FORMAT": "console",
                **scenario.settings,
                **around.settings,
            },
            cwd=around.cwd,
        )
        self._proxy = around.proxy
        self.votes = votes
        self.scenario = scenario
        self.short = short
        self.random = random.Random(f"{scenario.name} {votes.seed}")
        self.addresses = Addresses(stack.env())
        self.observer = Observer(self.addresses)
        self.publisher = Publisher(self.addresses.amqp(), votes, rate=scenario.rate)
        self.exits: Counter[int] = Counter()
        """Exit codes of programs that ended by themselves."""
        self.findings: list[Finding] = []
        """What is wrong apart from the count."""
        self.recovered_s: float | None = None
        """From healing until the last vote that had been sent was counted."""
        self._wanted: set[Program] = set()
        self._tasks: list[asyncio.Task[None]] = []
        self._healed_s: float | None = None

    # Lifecycle ---------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        await super().__aenter__()
        await self.fill_roll()
        try:
            await super().start()
        except BaseException:
            await self._end(kill=True)
            raise
        self._wanted = set(self.programs)
        self.spawn(self._supervise())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._end(kill=error is not None)

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
                    if program.returncode not in self.scenario.exits:
                        what = f"{program.name} ended by itself with {program.returncode}"
                        self.findings.append(Finding("unexpected_exit", f"{what}, {program.log}"))
                    program.start()

    # Processes ---------------------------------------------------------------------------------

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
            await program.kill()
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

    @property
    def proxy(self) -> Proxy:
        """Between the processes and a service, where the scenario asked for one."""
        assert self._proxy is not None
        return self._proxy

    # Services ----------------------------------------------------------------------------------

    async def fill_roll(self) -> None:
        """Fill `valid_hashes`, at one stroke: half a roll would refuse the others."""
        redis = self.addresses.redis()
        members = sorted(self.votes.roll)
        for first in range(0, len(members), 5000):
            await redis.sadd("loading", *members[first : first + 5000])
        await redis.rename("loading", "valid_hashes")
        await redis.aclose()

    @asynccontextmanager
    async def fence_locked(self) -> AsyncIterator[None]:
        """Every flush waits meanwhile."""
        connection = await self.addresses.postgres()
        try:
            async with connection.transaction():
                await connection.execute("SELECT FROM sink_offsets FOR UPDATE")
                yield
        finally:
            await connection.close()

    async def cut_connections(self) -> None:
        """Every service is stopped and started, and with it every connection ends."""
        services = ("redis", "postgres", "rabbitmq", "kafka")
        for service in services:
            await self.stop_service(service)
        for service in services:
            await self.start_service(service)

    async def stop_service(self, name: str, *, crash: bool = False) -> None:
        """End a service of the stack; SIGKILL if it is to crash."""
        await asyncio.to_thread(self.stack.stop, name, signal.SIGKILL if crash else None)

    async def start_service(self, name: str) -> None:
        """Start a service again, with the data it has."""
        await asyncio.to_thread(self.stack.start, name)

    async def pause_service(self, name: str, seconds: float) -> None:
        """Freeze a service for a while."""
        await asyncio.to_thread(self.stack.pause, name)
        try:
            await asyncio.sleep(seconds)
        finally:
            await asyncio.to_thread(self.stack.resume, name)

    # Time --------------------------------------------------------------------------------------

    def span_s(self, full: float, short: float) -> float:
        """How long something lasts: in a full run or in `make test`."""
        return short if self.short else full

    @property
    def all_sent(self) -> bool:
        """Whether every message was sent at least once."""
        return self.publisher.sent == len(self.votes.order)

    @asynccontextmanager
    async def voting(self) -> AsyncIterator[None]:
        """Publish in the background; at the end heal, if that was not said, and await all confirms.

        A block that ends early costs nothing: the rest of the votes is published after it.
        """
        publishing = asyncio.create_task(self.publisher.run())
        try:
            yield
            await self.healed()
            remaining_s = len(self.votes.order) / self.scenario.rate
            async with asyncio.timeout(remaining_s + self.scenario.drain_s):
                await publishing
        finally:
            publishing.cancel()
            await asyncio.gather(publishing, return_exceptions=True)

    async def counted(self, share: float, within_s: float = 120.0) -> None:
        """Wait until a share of all messages is counted or rejected."""
        wanted = int(share * self.votes.count)

        async def enough() -> bool:
            return await self.observer.rows() >= wanted

        await until(enough, f"{wanted} messages dealt with", within_s=within_s, poll_s=_POLL_S)

    async def published(self, share: float, within_s: float = 300.0) -> None:
        """Wait until a share of all publications has begun."""
        wanted = int(share * len(self.votes.order))

        async def enough() -> bool:
            return self.publisher.sent >= wanted

        await until(enough, f"{wanted} publications", within_s=within_s, poll_s=_POLL_S)

    async def healed(self) -> None:
        """The fault is over: from now on time to recover is measured."""
        if self._healed_s is None:
            self._healed_s = time.monotonic()
            self.spawn(self._measure_recovery())

    async def _measure_recovery(self) -> None:
        latest = self.publisher.latest
        assert self._healed_s is not None
        if latest is None:
            return
        number = f"m-{latest.number}"
        query = (
            "SELECT EXISTS (SELECT 1 FROM vote_audit WHERE voter_hash = $1)"
            " OR EXISTS (SELECT 1 FROM rejected_votes WHERE citizen_id = $2)"
        )
        assert latest.ballot is not None
        while not await self.observer.ask(query, False, latest.ballot.voter, number):  # noqa: ASYNC110
            await asyncio.sleep(_POLL_S)
        self.recovered_s = time.monotonic() - self._healed_s

    # The end -----------------------------------------------------------------------------------

    async def drained(self) -> float:
        """Wait until all processes are ready and all confirmed messages dealt with and committed.

        Returns:
            Seconds it took; a pipeline that does not drain in time is a finding.
        """
        start_s = time.monotonic()
        for program in [one for one in self.programs if one in self._wanted]:
            await self.ready(program)
        state = "nothing looked at"
        while (took_s := time.monotonic() - start_s) < self.scenario.drain_s:
            rows = await self.observer.rows()
            state = f"{rows} of {len(self.publisher.confirmed)} messages dealt with"
            if rows >= len(self.publisher.confirmed):
                try:
                    lag = await self.observer.lag()
                except Exception as error:  # noqa: BLE001 - Kafka may still be coming up
                    state = f"Kafka: {error}"
                else:
                    state = f"lag {lag}"
                    if not any(lag.values()):
                        return took_s
            await asyncio.sleep(_POLL_S)
        self.findings.append(Finding("not_drained", f"after {took_s:.0f} s: {state}"))
        return took_s

    async def rebuild_mirror(self) -> None:
        """`scrutin mirror rebuild`."""
        script = str(Path(sys.executable).with_name("scrutin"))
        process = await asyncio.create_subprocess_exec(
            *(script, "mirror", "rebuild"),
            env=self.env,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output, _ = await asyncio.wait_for(process.communicate(), 60)
        if process.returncode != 0:
            self.findings.append(Finding("mirror_rebuild", output.decode(errors="replace")))

    async def evidence(self) -> Evidence:
        """All that the oracle looks at."""
        return await self.observer.evidence(
            self.votes,
            confirmed=self.publisher.confirmed,
            uncertain=self.publisher.uncertain,
            window_ms=self.settings.window_ms,
        )


async def _listens(program: Program) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", program.port)
    except OSError:
        return False
    writer.close()
    return True

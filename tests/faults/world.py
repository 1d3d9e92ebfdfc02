"""A running count that faults strike: bridges, workers, voters, and a supervisor.

async with World(stack, directory, votes=Votes(20_000, seed=1), scenario=one) as world:
    await one.run(world)
    await world.drained()
    evidence = await world.evidence()
"""

from __future__ import annotations

import asyncio
import json
import random
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Self

from streams.devstack import Stack
from streams.errors import StackError
from tests.faults.assembly import announced
from tests.faults.observer import Observer
from tests.faults.oracle import Evidence, Finding
from tests.faults.proxy import Proxy
from tests.faults.publishing import Publisher
from tests.faults.reading import Addresses
from tests.faults.registry import Scenario
from tests.faults.services import VALIDATION, Rabbit
from tests.faults.supervisor import Supervised
from tests.faults.surroundings import Surroundings
from tests.faults.votes import Votes
from tests.harness import until

PUBLISHED_S = 90.0
"""Longest delay of the last publication on a machine that is busy."""
_POLL_S = 0.25


class World(Supervised):
    """A wiped stack, processes under a supervisor, and votes to be published.

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
        super().__init__(stack, directory, scenario=scenario, around=around)
        self._proxy = around.proxy
        self._queue = around.queue
        self.votes = votes
        self.scenario = scenario
        self.short = short
        self.random = random.Random(f"{scenario.name} {votes.seed}")
        self.addresses = Addresses(stack.env())
        self.observer = Observer(self.addresses)
        self.publisher = Publisher(
            self.addresses.amqp(), votes, rate=scenario.rate, priorities=scenario.priorities
        )
        self.recovered_s: float | None = None
        """From healing until the last vote that had been sent was counted."""
        self._healed_s: float | None = None

    async def __aenter__(self) -> Self:
        await super().__aenter__()
        if self._queue is not None:
            await Rabbit(self.stack).declare(VALIDATION, self._queue)
        await self.fill_roll()
        await self.start_supervised()
        if self.votes.assembly:
            try:
                await announced(self.env, self.directory, self.votes.weights)
            except BaseException:
                await self._end(kill=True)
                raise
        return self

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
            async with asyncio.timeout(remaining_s + max(PUBLISHED_S, self.scenario.drain_s)):
                await publishing
        finally:
            publishing.cancel()
            await asyncio.gather(publishing, return_exceptions=True)

    async def counted(self, share: float, within_s: float = 300.0) -> None:
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
        start_s = changed_s = time.monotonic()
        try:
            await self.all_ready()
        except StackError as error:
            # The oracle may know why.
            self.findings.append(Finding("not_ready", str(error).partition("\n")[0]))
            return time.monotonic() - start_s
        state = ""
        while time.monotonic() - changed_s < self.scenario.drain_s:
            before, (state, done) = state, await self._progress()
            if done:
                return time.monotonic() - start_s
            if state != before:
                changed_s = time.monotonic()
            await asyncio.sleep(_POLL_S)
        self.findings.append(
            Finding("not_drained", f"nothing moved for {self.scenario.drain_s:.0f} s: {state}")
        )
        return time.monotonic() - start_s

    async def _progress(self) -> tuple[str, bool]:
        """How far the pipeline is, and whether it is at the end."""
        rows = await self.observer.rows()
        state = f"{rows} of {len(self.publisher.confirmed)} messages dealt with"
        if rows < len(self.publisher.confirmed):
            return state, False
        try:
            lag = (await self.observer.lag()).records
        except Exception as error:  # noqa: BLE001 - Kafka may still be coming up
            return f"Kafka: {error}", False
        return f"lag {lag}", not any(lag.values())

    async def rebuild_mirror(self) -> None:
        """`scrutin mirror rebuild`."""
        code, output = await self._typed("mirror", "rebuild")
        if code != 0:
            self.findings.append(Finding("mirror_rebuild", output))

    async def compare_trees(self) -> None:
        """`scrutin audit verify`: trees, rows, totals and changelog are those of the log."""
        code, output = await self._typed("audit", "verify", "--json", "--processes", "1")
        if code not in {0, 3}:
            self.findings.append(Finding("audit_verify", output))
            return
        for one in json.loads(output[output.index("{") :])["differences"]:
            self.findings.append(Finding("recount", str(one)))

    async def _typed(self, *words: str) -> tuple[int, str]:
        """Exit code and output of `scrutin`."""
        script = str(Path(sys.executable).with_name("scrutin"))
        process = await asyncio.create_subprocess_exec(
            *(script, *words),
            env=self.env,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output, _ = await asyncio.wait_for(process.communicate(), 120)
        return process.returncode or 0, output.decode(errors="replace")

    async def evidence(self) -> Evidence:
        """All that the oracle looks at."""
        return await self.observer.evidence(
            self.votes,
            confirmed=self.publisher.confirmed,
            uncertain=self.publisher.uncertain,
            window_ms=self.settings.window_ms,
        )

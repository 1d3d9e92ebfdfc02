"""Runs the real chain on the real stack: bridge and workers as processes, wiped data, faults.

async with Chain(stack, tmp_path, workers=2) as chain:
    expected = await chain.publish(Plan(votes=20_000))
    await chain.workers[0].kill()
    chain.workers[0].start()
    await chain.verify(expected)
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp
import asyncpg
from aiokafka.admin import AIOKafkaAdminClient
from redis.asyncio import Redis

from streams.adapters.postgres.stretches import read_state
from streams.adapters.rabbitmq.client import connected
from streams.adapters.redis.roll import load_roll
from streams.devstack import Stack
from streams.load.checks import Report
from streams.load.election import LoadPlan, SyntheticElection
from streams.load.expected import read_expected
from streams.load.play import play
from streams.load.programs import Program, bridge, child_environment, worker
from streams.load.verification import verify, wait_until_counted
from streams.settings.build import deployment_config
from streams.settings.kafka_security import client
from streams.settings.load import load_settings
from streams.settings.model import Settings
from streams.worker.stretch_filters import Stretches

QUEUES = (
    "votes.validation",
    "votes.aggregation",
    "votes.review",
    "poll_vote_updates",
    "votes.receipts",
)


async def until(
    condition: Callable[[], Awaitable[object]],
    what: str,
    within_s: float = 60.0,
    poll_s: float = 0.05,
) -> None:
    """Wait until a condition holds; its last answer is in the error.

    The condition is the event that makes what follows true, not one that usually comes later. A
    loaded machine takes seconds over what takes milliseconds on a quiet one.
    """
    deadline = time.monotonic() + within_s
    answer: object = None
    while time.monotonic() < deadline:
        answer = await condition()
        if answer:
            return
        await asyncio.sleep(poll_s)
    raise AssertionError(f"{what}: not within {within_s} s (last answer: {answer!r})")


async def until_reached(
    measure: Callable[[], Awaitable[int]], goal: int, what: str, still_s: float = 60.0
) -> None:
    """Wait until a figure reaches its goal; fail when it has not risen for `still_s`.

    A loaded machine may be slow at anything; a test can only judge missing progress.
    """
    best = await measure()
    risen_at_s = time.monotonic()
    while best < goal:
        if time.monotonic() - risen_at_s > still_s:
            raise AssertionError(f"{what}: {best} of {goal}, and none more in {still_s} s")
        await asyncio.sleep(0.05)
        if (found := await measure()) > best:
            best, risen_at_s = found, time.monotonic()


async def wipe(addresses: Mapping[str, str]) -> None:
    """Empty a stack: no topics, no tables, no keys, no queues. No process of Scrutin may run."""
    settings = load_settings(addresses)
    admin = AIOKafkaAdminClient(**client(settings.kafka.servers))
    await admin.start()
    try:
        # The broker drops the groups' offsets with the topics.
        ours = [name for name in await admin.list_topics() if not name.startswith("__")]
        if ours:
            await admin.delete_topics(ours)

        async def gone() -> bool:
            return not set(ours) & set(await admin.list_topics())

        await until(gone, "topics deleted")
    finally:
        await admin.close()
    connection = await database(settings)
    try:
        schemas = await connection.fetch(
            "SELECT nspname FROM pg_namespace"
            " WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'"
        )
        for schema in schemas:
            await connection.execute(f'DROP SCHEMA "{schema[0]}" CASCADE')
        await connection.execute("CREATE SCHEMA public")
    finally:
        await connection.close()
    redis = redis_of(settings)
    await redis.flushdb()
    await redis.aclose()
    async with connected(settings.rabbit, "scrutin test") as connection:
        channel = await connection.channel()
        for queue in QUEUES:
            channel.raw.queue_delete(queue)


async def database(settings: Settings) -> asyncpg.Connection:
    """A connection to the stack's PostgreSQL."""
    return await asyncpg.connect(
        host=settings.postgres_host,
        port=settings.postgres_port,
        user=settings.postgres_user,
        password=settings.postgres_password.get_secret_value(),
        database=settings.postgres_db,
    )


def redis_of(settings: Settings) -> Redis:
    """A client of the stack's Redis."""
    return Redis(
        host=settings.redis_host,
        port=settings.redis_port,
        db=settings.redis_db,
        decode_responses=True,
    )


class Chain:
    """Bridges and workers on a wiped stack.

    Args:
        stack: is up; its data is removed.
        directory: for logs and expected outcomes.
        workers: how many.
        bridges: how many.
        settings: environment variables of all processes, beside the stack's addresses.
        cwd: where the processes run.
        queue: arguments of `votes.validation`, if it is to be there before the processes start.
    """

    def __init__(
        self,
        stack: Stack,
        directory: Path,
        *,
        workers: int = 1,
        bridges: int = 1,
        settings: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        queue: Mapping[str, Any] | None = None,
    ) -> None:
        self.stack = stack
        self.directory = directory
        self._queue = queue
        self.env = child_environment(stack.env(), **(settings or {}))
        self.settings = load_settings(self.env)
        self.deployment = deployment_config(self.settings)
        self.workers = [worker(self.env, directory, f"worker-{n}", cwd=cwd) for n in range(workers)]
        self.bridges = [bridge(self.env, directory, f"bridge-{n}", cwd=cwd) for n in range(bridges)]

    @property
    def programs(self) -> list[Program]:
        """All processes."""
        return [*self.workers, *self.bridges]

    async def __aenter__(self) -> Self:
        await wipe(self.stack.env())
        if self._queue is not None:
            async with connected(self.settings.rabbit, "scrutin test") as connection:
                await (await connection.channel()).declare(QUEUES[0], self._queue)
        return self

    async def start(self) -> Self:
        """Start all processes and wait until each is ready (which takes a roll)."""
        for program in self.programs:
            program.start()
        for program in self.programs:
            # Generous: tests run beside others.
            await program.ready(within_s=120)
        return self

    async def start_workers(self, within_s: float = 120.0) -> None:
        """Start the workers alone and wait until each is ready."""
        for program in self.workers:
            program.start()
        await asyncio.gather(*(program.ready(within_s) for program in self.workers))

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        running = [program for program in self.programs if program.running]
        if error is not None:
            for program in self.programs:
                print(f"--- {program.name}: exit code {program.returncode}, {program.log}")
                print("\n".join(program.tail()))
            await asyncio.gather(*(program.kill() for program in running))
            return
        codes = await asyncio.gather(*(program.terminate() for program in running))
        assert not any(codes), dict(zip([p.name for p in running], codes, strict=True))

    async def load_roll(self, plan: LoadPlan) -> None:
        """Fill `valid_hashes`."""
        await load_roll(self.settings.redis, SyntheticElection(plan).roll())

    async def publish(
        self,
        plan: LoadPlan,
        *,
        rate: float | None = None,
        advance: Callable[[int], None] | None = None,
    ) -> Path:
        """Publish an election; returns the file with the expected outcome."""
        path = self.directory / f"expected-{plan.seed}.json"
        await play(
            self.deployment,
            SyntheticElection(plan),
            expected=path,
            rate=rate,
            advance=advance or (lambda _: None),
        )
        return path

    async def verify(self, path: Path, *, patience_s: float = 60.0) -> Report:
        """Wait until an election was counted, and fail unless everything is exact."""
        expected = read_expected(path)
        arrived = await wait_until_counted(
            self.deployment, expected, patience_s=patience_s, review=True
        )
        report = await verify(self.deployment, expected, path, review=True)
        faults = [str(figure) for figure in report.figures if not figure.ok]
        faults += [str(difference) for difference in report.differences]
        assert report.equal, "\n".join(faults)
        assert arrived, "equal, but the pipeline is not drained"
        return report

    def all_running(self) -> None:
        """Fail, with the log, if a process has ended."""
        for program in self.programs:
            program.check()


def stopped(program: Program) -> bool:
    """Whether a process is stopped by SIGSTOP."""
    stat = Path(f"/proc/{program.pid}/stat").read_text()
    return stat.rpartition(")")[2].split()[0] == "T"


async def metrics(program: Program) -> dict[str, float]:
    """Samples of a process: `name{label="value"}` -> value."""
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://127.0.0.1:{program.port}/metrics") as answer,
    ):
        text = await answer.text()
    samples = (line.rpartition(" ") for line in text.splitlines() if not line.startswith("#"))
    return {name: float(value) for name, _, value in samples}


async def keep_stretches_up(connection: asyncpg.Connection) -> None:
    """Sum up stretches and build their filters, as the worker of partition 0 between flushes."""
    stretches, state = Stretches(), await read_state(connection)
    await stretches.load(connection, state)
    while await stretches.step(connection, state):
        pass

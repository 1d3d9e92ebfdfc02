"""One run of the whole chain on real services: start, publish, compare, stop.

Each run has its own services and data, whatever addresses the environment names. A stack that an
interrupted run left behind is removed. On request a run uses the services that the environment
names; they must hold no count.
"""

from __future__ import annotations

import asyncio
import fcntl
import secrets
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import KW_ONLY, InitVar, dataclass, field
from pathlib import Path

import asyncpg

from streams.adapters.postgres.connection import connected
from streams.adapters.postgres.migrations import migrate
from streams.adapters.redis.client import redis_connection
from streams.adapters.redis.keys import (
    COUNTER_PREFIX,
    PATTERN_OFFSETS,
    PATTERN_PREFIX,
    PATTERNS_SEEN,
    VOTED_HASHES,
)
from streams.adapters.redis.roll import VALID_HASHES, load_roll
from streams.devstack import Stack
from streams.devstack.state import StateFile
from streams.errors import ScrutinError, StackError
from streams.load import observed
from streams.load.checks import Report
from streams.load.election import AGGREGATION, LoadPlan, SyntheticElection
from streams.load.expected import Expected
from streams.load.play import play
from streams.load.programs import Program, bridge, child_environment, gateway, worker
from streams.load.verification import VerificationProgress, verify, wait_until_counted
from streams.settings.configs import DeploymentConfig

Advance = Callable[[int], None]

_POLL_S = 0.05
_PATIENCE_S = 60.0


@dataclass
class DemoReport:
    """Outcome of a run."""

    expected: Expected
    report: Report
    exit_codes: dict[str, int] = field(default_factory=dict)
    counted_s: float | None = None
    """Time from the first message sent to the commit of all votes; None if they never were."""

    @property
    def rate(self) -> float | None:
        """Votes a second through the whole chain."""
        return self.expected.counted / self.counted_s if self.counted_s else None

    @property
    def good(self) -> bool:
        """Whether everything is equal and every process exited with 0."""
        return self.report.equal and not any(self.exit_codes.values())


@dataclass
class Demo:
    """One run."""

    directory: Path
    """For the stack's data, logs, and the expected outcome."""
    plan: LoadPlan
    """The election."""
    _: KW_ONLY
    workers: int
    """How many to run."""
    say: Callable[[str, str], None]
    """Called with (service or step, what happens)."""
    configure: Callable[[Mapping[str, str]], DeploymentConfig]
    """Reads what the environment of the processes says."""
    tls: InitVar[bool] = False
    """Use TLS for the services of the demo's own stack."""
    given: bool = False
    """Use services whose addresses the environment names."""

    def __post_init__(self, tls: bool) -> None:
        self.directory = self.directory.resolve()
        # A demo writes into no service that it did not start, unless it is told to.
        environ: dict[str, str] | None = None if self.given else {}
        self.stack = Stack(self.directory / "stack", say=self.say, tls=tls, environ=environ)
        self.expected_path = self.directory / "expected.json"
        self._env: dict[str, str] = {}
        self.programs: list[Program] = []
        self._gateway: Program | None = None

    @property
    def logs(self) -> Path:
        """Folder for logs of the processes."""
        return self.directory / "logs"

    @property
    def deployment(self) -> DeploymentConfig:
        """The demo's services, once they are up."""
        return self.configure(self._env)

    @asynccontextmanager
    async def services(self) -> AsyncIterator[None]:
        """Run the services during the block, with nothing in them but the schema."""
        self.directory.mkdir(parents=True, exist_ok=True)
        with self._lock():
            try:
                await asyncio.to_thread(self._bring_up)
                ingress = {"SCRUTIN_INGRESS": self.plan.queue}
                secret = {"SCRUTIN_SECRET": secrets.token_hex(32)}
                self._env = child_environment(self.stack.env(), **ingress, **secret)
                await self._prepare_database()
                async with self._own_redis():
                    yield
            finally:
                await asyncio.to_thread(self.stack.down)

    @asynccontextmanager
    async def _own_redis(self) -> AsyncIterator[None]:
        """Leave nothing in a given Redis, where a later count would take it for its roll."""
        if not self.given:
            yield
            return
        redis_config = self.deployment.redis
        async with redis_connection(redis_config) as redis:
            if await redis.dbsize():
                raise StackError(
                    "The Redis database given in the environment is not empty",
                    where={"REDIS_HOST": redis_config.host, "REDIS_PORT": redis_config.port},
                    todo="Set REDIS_DB to an empty one, or leave out --given-services",
                )
        try:
            yield
        finally:
            async with redis_connection(redis_config) as redis:
                await redis.delete(VALID_HASHES, VOTED_HASHES, PATTERNS_SEEN, PATTERN_OFFSETS)
                for prefix in (COUNTER_PREFIX, PATTERN_PREFIX):
                    async for key in redis.scan_iter(match=prefix + "*", count=2000):
                        await redis.delete(key)

    @contextmanager
    def _lock(self) -> Iterator[None]:
        with (self.directory / "demo.lock").open("a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise StackError(
                    "Another demo runs in this folder",
                    where={"folder": self.directory},
                    todo="Stop it with Ctrl-C, or choose another SCRUTIN_STACK_DIR",
                ) from None
            yield

    def _bring_up(self) -> None:
        if StateFile(self.stack.directory).load() is not None:
            self.say("stack", "removing the remains of an earlier run")
            self.stack.down()
        self.stack.up()

    async def _prepare_database(self) -> None:
        if await observed.log_ends(self.deployment.kafka):
            raise StackError(
                "The services given in the environment already hold a log of votes",
                where={"KAFKA_BOOTSTRAP_SERVERS": ",".join(self.deployment.kafka.addresses)},
                todo="Leave out --given-services, so that the demo starts its own services",
            )
        async with connected(self.deployment.postgres) as connection:
            applied = await migrate(connection)
        self.say("schema", f"{len(applied)} migrations applied")

    async def load_roll(self, advance: Advance) -> int:
        """Fill the roll; returns its size."""
        return await load_roll(self.deployment.redis, SyntheticElection(self.plan).roll(), advance)

    @asynccontextmanager
    async def processes(self) -> AsyncIterator[None]:
        """Run bridge, workers and gateway during the block; enter it once they are ready."""
        for log in self.logs.glob("*.log"):
            log.unlink()
        names = [f"worker-{n + 1}" for n in range(self.workers)]
        self.programs = [bridge(self._env, self.logs)]
        self.programs += [worker(self._env, self.logs, name) for name in names]
        self._gateway = gateway(self._env, self.logs)
        self.programs.append(self._gateway)
        try:
            for program in self.programs:
                program.start()
            await asyncio.gather(*(program.ready() for program in self.programs))
            yield
        except BaseException:
            await asyncio.gather(*(p.kill() for p in self.programs if p.running))
            raise

    async def end_processes(self) -> dict[str, int]:
        """Send SIGTERM to all processes; returns their exit codes."""
        codes = await asyncio.gather(*(program.terminate() for program in self.programs))
        return dict(zip((p.name for p in self.programs), codes, strict=True))

    async def count(
        self, *, published: Advance, counted: Advance, look: Callable[[VerificationProgress], None]
    ) -> DemoReport:
        """Publish, wait until everything is counted, and compare.

        Args:
            published: called with the number of newly confirmed messages.
            counted: called with the number of newly committed votes.
            look: called with the progress of the chain.
        """
        watching = asyncio.create_task(self._watch(counted))
        try:
            document = await play(
                self.deployment,
                SyntheticElection(self.plan),
                expected=self.expected_path,
                advance=published,
            )
            for program in self.programs:
                program.check()
            arrived = await wait_until_counted(
                self.deployment, document, patience_s=_PATIENCE_S, review=True, show=look
            )
            report = await verify(
                self.deployment, document, self.expected_path, review=True, sample=10
            )
            if not arrived:
                report.notes.append(f"The count is incomplete: no progress for {_PATIENCE_S:g} s")
            done_us = await watching if arrived else None
        finally:
            watching.cancel()
        seconds = None if done_us is None else (done_us - document.started_us) / 1e6
        return DemoReport(document, report, counted_s=seconds)

    async def _watch(self, counted: Advance) -> int:
        """Poll the committed votes until all are there; returns the Unix time in microseconds."""
        async with connected(self.deployment.postgres) as connection:
            seen = 0
            wanted = votes_to_count(self.plan)
            while True:
                now = await _committed(connection)
                at = time.time_ns() // 1000
                counted(now - seen)
                seen = now
                if seen >= wanted:
                    return at
                await asyncio.sleep(_POLL_S)

    @property
    def page(self) -> str:
        """Address of the web pages."""
        assert self._gateway is not None, "no process was started"
        return f"http://127.0.0.1:{self._gateway.port}/"

    def addresses(self) -> dict[str, str]:
        """Addresses of interest while it runs, by name."""
        links = {
            name: link for status in self.stack.status() for name, link in status.links.items()
        }
        links["pages"] = self.page
        for program in self.programs:
            links[f"{program.name} metrics"] = f"http://127.0.0.1:{program.port}/metrics"
        postgres = self.deployment.postgres
        links["psql"] = (
            f"PGPASSWORD={postgres.password} psql -h {postgres.host} -p {postgres.port} "
            f"-U {postgres.user} {postgres.database}"
        )
        links["environment"] = (
            f'eval "$(SCRUTIN_STACK_DIR={_short(self.stack.directory)} scrutin stack env)"'
        )
        return links


def votes_to_count(plan: LoadPlan) -> int:
    """Rows of `vote_audit` that a plan leads to."""
    strangers = plan.count(plan.unknown) if plan.queue == AGGREGATION else 0
    return plan.votes + strangers


async def _committed(connection: asyncpg.Connection) -> int:
    try:
        return int(
            await connection.fetchval("SELECT coalesce(sum(votes), 0)::bigint FROM contest_results")
        )
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
        raise ScrutinError(f"PostgreSQL does not answer any more: {error}") from error


def _short(path: Path) -> str:
    """A path relative to the current folder, if possible."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)

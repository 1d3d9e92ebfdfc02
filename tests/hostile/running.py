"""Plays attacks against a running chain, and measures what honest voters and watchers see."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import aiohttp
import msgspec

from streams.devstack import Stack
from tests.harness import redis_of, until
from tests.hostile.attacks import Attack, Target
from tests.integration.gateway_harness import GatewayChain, ballot, hash_of

_KIB_PER_MIB: Final = 1024


@dataclass
class Honest:
    """What honest clients have seen."""

    times_s: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    accepted: int = 0

    @property
    def p99_s(self) -> float:
        """Time to the answer of a vote."""
        ranked = sorted(self.times_s)
        return ranked[int(len(ranked) * 0.99)] if ranked else 0.0


@dataclass(frozen=True)
class Result:
    """Of one attack."""

    attack: str
    connections: int
    p99_alone_ms: float
    p99_ms: float
    memory_mib: int
    """By which the gateway's memory has grown."""
    honest_errors: list[str]
    lost: int
    """Votes that were answered with 202 and not counted."""
    longest_s: float
    """Life of the hostile connection that was closed last."""
    left: int
    """Hostile connections that were not closed by their deadline."""
    told: list[str]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


class Ground:
    """A chain with honest voters and watchers.

    Args:
        chain: runs.
        voters: who may vote, once each.
        watchers: number of open sockets.
        votes_per_s: rate of honest votes.
    """

    def __init__(
        self, chain: GatewayChain, *, voters: int, watchers: int, votes_per_s: int
    ) -> None:
        self.chain = chain
        self.accepted = 0
        self._voters = iter(range(voters))
        self._watchers = watchers
        self._votes_per_s = votes_per_s
        self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
        self._watching: list[asyncio.Task[None]] = []
        self._errors: list[str] = []
        self._base = f"http://127.0.0.1:{chain.gateways[0].port}"

    async def open(self) -> None:
        """Let the watchers come."""
        opened = asyncio.Semaphore(20)
        ready: list[asyncio.Future[None]] = []
        for _ in range(self._watchers):
            came: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            ready.append(came)
            self._watching.append(asyncio.create_task(self._watch(opened, came)))
        await asyncio.gather(*ready)

    async def close(self) -> None:
        """Let the watchers go."""
        for task in self._watching:
            task.cancel()
        await asyncio.gather(*self._watching, return_exceptions=True)
        await self._session.close()

    async def _watch(self, opened: asyncio.Semaphore, came: asyncio.Future[None]) -> None:
        async with opened:
            socket = await self._session.ws_connect(f"{self._base}/ws/laws/L-1")
        async for _ in socket:
            if not came.done():
                came.set_result(None)
        self._errors.append(f"a watcher was closed with {socket.close_code}")
        if not came.done():
            came.set_result(None)

    async def vote(self, honest: Honest, enough: asyncio.Event) -> None:
        """Cast honest votes at the rate, until it is enough."""
        casting: set[asyncio.Task[None]] = set()
        began_s = time.monotonic()
        for n in range(10**9):
            if enough.is_set():
                break
            task = asyncio.create_task(self._cast(honest, next(self._voters)))
            casting.add(task)
            task.add_done_callback(casting.discard)
            await asyncio.sleep(max(0.0, began_s + (n + 1) / self._votes_per_s - time.monotonic()))
        await asyncio.gather(*casting)
        self.accepted += honest.accepted
        honest.errors += self._errors
        self._errors = []

    async def _cast(self, honest: Honest, voter: int) -> None:
        began_s = time.perf_counter()
        try:
            async with self._session.post(
                f"{self._base}/api/v1/vote", json=ballot(voter)
            ) as answer:
                await answer.read()
        except (aiohttp.ClientError, OSError) as error:
            honest.errors.append(type(error).__name__)
            return
        honest.times_s.append(time.perf_counter() - began_s)
        if answer.status == 202:
            honest.accepted += 1
        else:
            honest.errors.append(f"status {answer.status}")

    async def counted(self) -> int:
        """Votes of honest voters that are counted."""
        async with self._session.get(f"{self._base}/api/v1/results/L-1") as answer:
            return int((await answer.json())["total_votes"]) if answer.status == 200 else 0

    async def alone(self, seconds: float) -> float:
        """The p99 of honest votes without an attack, in seconds."""
        honest, enough = Honest(), asyncio.Event()
        asyncio.get_running_loop().call_later(seconds, enough.set)
        await self.vote(honest, enough)
        assert not honest.errors, honest.errors[:3]
        return honest.p99_s

    async def play(
        self, attacks: list[Attack], alone_s: float, clients: int | None = None
    ) -> Result:
        """Play attacks at the same time, until the last of their connections is gone."""
        program = self.chain.gateways[0]
        target = Target(self.chain.settings, program.port)
        before = _memory_mib(program.pid)
        honest, enough = Honest(), asyncio.Event()
        voting = asyncio.create_task(self.vote(honest, enough))
        hostile = [
            asyncio.create_task(attack.run(target))
            for attack in attacks
            for _ in range(clients or attack.clients)
        ]
        _, left = await asyncio.wait(hostile, timeout=max(a.deadline_s for a in attacks))
        after = _memory_mib(program.pid)
        enough.set()
        await voting
        for task in left:
            task.cancel()
        ended = await asyncio.gather(*hostile, return_exceptions=True)
        target.told += [repr(e) for e in ended if isinstance(e, Exception)][:3]
        wanted = self.accepted

        async def all_counted() -> bool:
            return await self.counted() >= wanted

        try:
            await until(all_counted, "the accepted votes are counted")
        except AssertionError:
            target.told.append("accepted votes are not counted")
        return Result(
            attack=attacks[0].name if len(attacks) == 1 else "all at once",
            connections=len(hostile),
            p99_alone_ms=round(alone_s * 1000, 1),
            p99_ms=round(honest.p99_s * 1000, 1),
            memory_mib=after - before,
            honest_errors=honest.errors[:5],
            lost=wanted - await self.counted(),
            longest_s=round(max(target.lives_s, default=0.0), 1),
            left=len(left),
            told=target.told,
        )


@asynccontextmanager
async def ground(
    stack: Stack, directory: Path, *, voters: int, watchers: int, votes_per_s: int
) -> AsyncIterator[Ground]:
    """A chain with honest clients while the block runs."""
    async with GatewayChain(stack, directory) as chain:
        redis = redis_of(chain.settings)
        await redis.sadd("valid_hashes", *(hash_of(n) for n in range(voters)))
        await redis.aclose()
        await chain.start()
        found = Ground(chain, voters=voters, watchers=watchers, votes_per_s=votes_per_s)
        try:
            await found.open()
            yield found
        finally:
            await found.close()


def table(results: list[Result]) -> str:
    """The results in Markdown."""
    lines = [
        "| attack | connections | honest p99 alone, beside it | memory | errors, lost votes"
        " | last one gone after |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    lines += [
        f"| {r.attack} | {r.connections} | {r.p99_alone_ms:.0f} ms, {r.p99_ms:.0f} ms"
        f" | {r.memory_mib:+} MiB | {len(r.honest_errors)}, {r.lost}"
        f" | {r.longest_s:.0f} s{f', **{r.left} left**' if r.left else ''} |"
        for r in results
    ]
    return "\n".join(lines)


def as_json(results: list[Result]) -> str:
    """The results as JSON."""
    return msgspec.json.encode([result.as_dict() for result in results]).decode()


def _memory_mib(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    [line] = [each for each in status.splitlines() if each.startswith("VmRSS:")]
    return int(line.split()[1]) // _KIB_PER_MIB

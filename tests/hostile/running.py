"""Plays attacks against a running chain, and measures what honest voters and watchers see."""

from __future__ import annotations

import asyncio
import itertools
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import aiohttp
import msgspec

from streams.load.programs import Program
from tests.harness import redis_of, until
from tests.hostile.honest import Seen, Voters, Watchers, p99_ms
from tests.hostile.playing import MARGIN_S, Order, play, player
from tests.integration.gateway_harness import GatewayChain, hash_of

_KIB_PER_MIB: Final = 1024

MEMORY_MIB: Final = 128
"""By which an attack may let the gateway, or the bridge, grow."""
BROKER_MIB: Final = 512
"""By which it may let RabbitMQ grow."""
SLOWDOWN: Final = 3.0
"""By which an attack may lengthen the time to the answer of an honest vote."""


@dataclass(frozen=True)
class Result:
    """Of attacks that were played at the same time."""

    attack: str
    connections: int
    votes: int
    """Honest ones, answered while it was played."""
    p99_alone_ms: float
    p99_ms: float
    memory_mib: dict[str, int]
    """By which each process has grown at its highest."""
    cpu_percent: dict[str, float]
    """Of a core: each process while it was played, and the hostile clients."""
    hostile_mib: float
    """Sent by the hostile clients."""
    honest_errors: list[str]
    lost: int
    """Votes that were answered with 202 and not counted."""
    longest_s: float
    """Life of the hostile connection that was closed last."""
    left: int
    """Hostile connections that were not closed by their deadline."""
    told: list[str]
    without: str = ""
    """The bound that the attacked gateway lacked."""

    @property
    def name(self) -> str:
        """For people."""
        if not self.without:
            return self.attack
        noticed = "noticed" if self.noticed else "not noticed"
        return f"{self.attack}, without the bound of {self.without}: {noticed}"

    @property
    def noticed(self) -> bool:
        """Whether the attack showed that a bound is missing."""
        return bool(self.left or self.told)

    def findings(self, slowdown: float | None = SLOWDOWN) -> list[str]:
        """What is not as it must be.

        Where a bound was missing, only not to notice it is a finding.

        Args:
            slowdown: that is allowed; None on a machine whose times say nothing.
        """
        if self.without:
            return [] if self.noticed else [f"the missing bound of {self.without} was not noticed"]
        found = [*self.honest_errors, *self.told]
        if not self.votes:
            found.append("no honest vote was answered")
        if self.lost or self.left:
            found.append(f"{self.lost} votes lost, {self.left} connections left")
        for name, mib in self.memory_mib.items():
            if mib > (BROKER_MIB if name == "rabbitmq" else MEMORY_MIB):
                found.append(f"{name} grew by {mib} MiB")
        if slowdown is not None and self.p99_ms > slowdown * self.p99_alone_ms:
            found.append(f"honest p99 {self.p99_ms} ms instead of {self.p99_alone_ms} ms")
        return found


class Ground:
    """A chain with honest voters and watchers.

    Args:
        chain: runs.
        persons: on the roll, who may vote once each.
        voters: connections that they use.
        watchers: open sockets and event streams.
        votes_per_s: rate of honest votes.
        niceness: of the hostile clients.
    """

    def __init__(
        self,
        chain: GatewayChain,
        *,
        persons: int,
        voters: int,
        watchers: int,
        votes_per_s: int,
        niceness: int,
    ) -> None:
        self.chain = chain
        self.alone_s: list[float] = []
        """Times of votes beside which nothing was played."""
        self._base = f"http://127.0.0.1:{chain.gateways[0].port}"
        self._accepted = 0
        self._orders = itertools.count(1)
        self._voters = Voters(self._base, voters, votes_per_s, iter(range(persons)))
        self._watchers = Watchers(self._base, watchers)
        self._player = player(niceness)

    async def open(self) -> None:
        """Let the watchers come."""
        await self._watchers.open()

    async def close(self) -> None:
        """Let all go."""
        await asyncio.gather(self._watchers.close(), self._voters.close())
        self._player.shutdown(cancel_futures=True)

    async def counted(self) -> int:
        """Votes of honest voters that are counted."""
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"{self._base}/api/v1/results/L-1") as answer,
        ):
            return int((await answer.json())["total_votes"]) if answer.status == 200 else 0

    async def alone(self, seconds: float) -> None:
        """Measure honest votes without an attack."""
        seen, enough = Seen(), asyncio.Event()
        asyncio.get_running_loop().call_later(seconds, enough.set)
        await self._voters.vote(seen, enough)
        self._accepted += seen.accepted
        self.alone_s += seen.times_s
        errors = [*seen.errors, *self._watchers.errors()]
        assert not errors, errors[:3]

    async def play(
        self,
        *attacks: str,
        lasts_s: float,
        clients: int | None = None,
        gateway: Program | None = None,
        margin_s: float = MARGIN_S,
    ) -> Result:
        """Play attacks at the same time, until the last of their connections is gone.

        Args:
            attacks: their names.
            lasts_s: their clients come back so long.
            clients: of each attack; None: as many as it has.
            gateway: that is attacked; None: the one of the honest clients.
            margin_s: added to the deadlines.
        """
        port = (gateway or self.chain.gateways[0]).port
        order = Order(next(self._orders), attacks, self.chain.env, port, lasts_s, clients, margin_s)
        seen, enough, pids = Seen(), asyncio.Event(), self._pids()
        voting = asyncio.create_task(self._voters.vote(seen, enough))
        growing = asyncio.create_task(_growth(pids, enough))
        began_s, began_cpu_s = time.monotonic(), _cpu_s(pids)
        try:
            loop = asyncio.get_running_loop()
            played = await loop.run_in_executor(self._player, play, order)
        finally:
            took_s = time.monotonic() - began_s
            cpu_s = {name: used - began_cpu_s[name] for name, used in _cpu_s(pids).items()}
            enough.set()
            await voting
        self._accepted += seen.accepted
        told = list(played.told)

        async def all_counted() -> bool:
            return await self.counted() >= self._accepted

        try:
            await until(all_counted, "the accepted votes are counted")
        except AssertionError:
            told.append("accepted votes are not counted")
        return Result(
            attack=", ".join(attacks),
            connections=played.connections,
            votes=len(seen.times_s),
            p99_alone_ms=p99_ms(self.alone_s),
            p99_ms=p99_ms(seen.times_s),
            memory_mib=await growing,
            cpu_percent={
                name: round(100 * used / took_s, 1)
                for name, used in {**cpu_s, "hostile": played.cpu_s}.items()
            },
            hostile_mib=round(played.sent_bytes / 2**20, 1),
            honest_errors=[*dict.fromkeys([*seen.errors, *self._watchers.errors()])][:5],
            lost=self._accepted - await self.counted(),
            longest_s=round(played.longest_s, 1),
            left=played.left,
            told=told,
        )

    def _pids(self) -> dict[str, list[int]]:
        [broker] = [each for each in self.chain.stack.status() if each.name == "rabbitmq"]
        return {
            "gateway": [self.chain.gateways[0].pid],
            "bridge": [self.chain.bridges[0].pid],
            "rabbitmq": broker.pids,
        }


@asynccontextmanager
async def ground(
    chain: GatewayChain,
    *,
    persons: int,
    voters: int,
    watchers: int,
    votes_per_s: int,
    niceness: int = 0,
) -> AsyncIterator[Ground]:
    """A chain with honest clients while the block runs."""
    async with chain:
        redis = redis_of(chain.settings)
        await redis.sadd("valid_hashes", *(hash_of(n) for n in range(persons)))
        await redis.aclose()
        await chain.start()
        found = Ground(
            chain,
            persons=persons,
            voters=voters,
            watchers=watchers,
            votes_per_s=votes_per_s,
            niceness=niceness,
        )
        try:
            await found.open()
            yield found
        finally:
            await found.close()


def table(results: list[Result]) -> str:
    """The results in Markdown."""
    lines = [
        "| attack | connections, sent | honest p99 alone, beside it"
        " | CPU of gateway, bridge, RabbitMQ, hostile clients | memory of gateway, bridge, RabbitMQ"
        " | errors, lost votes | last one gone after |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    lines += [
        f"| {r.name} | {r.connections:,}, {r.hostile_mib:,.1f} MiB"
        f" | {r.p99_alone_ms:.0f} ms, {r.p99_ms:.0f} ms"
        f" | {', '.join(f'{used:.0f}' for used in r.cpu_percent.values())} %"
        f" | {', '.join(f'{mib:+}' for mib in r.memory_mib.values())} MiB"
        f" | {len(r.honest_errors)}, {r.lost}"
        f" | {r.longest_s:.0f} s{f', **{r.left} left**' if r.left else ''} |"
        for r in results
    ]
    return "\n".join(lines)


def as_json(results: list[Result]) -> bytes:
    """The results as JSON."""
    found: list[dict[str, Any]] = [{**asdict(r), "findings": r.findings()} for r in results]
    return msgspec.json.format(msgspec.json.encode(found))


async def _growth(pids: dict[str, list[int]], enough: asyncio.Event) -> dict[str, int]:
    """By which processes grow at their highest, until it is enough."""
    before = {name: _memory_mib(each) for name, each in pids.items()}
    highest = dict(before)
    while not enough.is_set():
        for name, each in pids.items():
            highest[name] = max(highest[name], _memory_mib(each))
        try:
            async with asyncio.timeout(0.5):
                await enough.wait()
        except TimeoutError:
            pass
    return {name: highest[name] - before[name] for name in pids}


def _cpu_s(pids: dict[str, list[int]]) -> dict[str, float]:
    ticks = {
        name: sum(
            int(ticks)
            for pid in each
            # Behind the name of the program, which may have blanks: user and system time.
            for ticks in Path(f"/proc/{pid}/stat")
            .read_text("ascii")
            .rpartition(")")[2]
            .split()[11:13]
        )
        for name, each in pids.items()
    }
    return {name: used / os.sysconf("SC_CLK_TCK") for name, used in ticks.items()}


def _memory_mib(pids: list[int]) -> int:
    found = 0
    for pid in pids:
        status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
        found += sum(
            int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS:")
        )
    return found // _KIB_PER_MIB

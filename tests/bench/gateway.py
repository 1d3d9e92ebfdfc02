"""A gateway beside all the rest: confirmed votes a second, and how soon watchers see them.

Clients share the two cores with everything they measure.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import math
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from streams.load.programs import Program, gateway
from tests.bench.cpu import by_process, per_vote_us
from tests.bench.figure import Figure, Found, Row, Run
from tests.bench.gateway_clients import PATIENCE_S, Child
from tests.harness import database, until
from tests.integration.gateway_harness import NO_LIMITS, Client, GatewayChain, client_of

CLIENTS: Final = 2
AT_ONCE: Final = 256
"""Connections of all clients: a confirm takes its time, and many vote meanwhile."""
GOAL_VOTES_PER_S: Final = 3000
GOAL_SEEN_P99_S: Final = 0.3
GOAL_SOCKETS: Final = 10_000
POLLS: Final = 10
"""That the sockets watch in turn."""
AT_LEAST_PER_S: Final = 6000
"""Voters that are prepared for each second; nobody is as fast."""
SEEN_S: Final = 25.0
"""Longest time to vote and watch; a slow machine sees fewer votes."""
SEEN_AT_ONCE: Final = 5
"""Polls in which somebody votes and somebody else watches."""


@asynccontextmanager
async def chain_of(run: Run, **settings: str) -> AsyncIterator[GatewayChain]:
    """A whole chain with a gateway before it; everybody may vote."""
    env = {"SCRUTIN_ROLL": "open", **settings}
    async with GatewayChain(run.stack, run.directory, settings=env) as chain:
        await chain.start()
        yield chain


def poll_form() -> dict[str, object]:
    """A poll that stays open for a day."""
    return {
        "title": "Bench",
        "creator_name": "Bench",
        "end_time": (datetime.now(UTC) + timedelta(days=1)).isoformat(),
        "options": [{"text": "Yes"}, {"text": "No"}],
    }


def quantiles(seconds: Sequence[float]) -> dict[str, float]:
    """Median, 99th percentile and longest."""
    ordered = sorted(seconds)
    last = len(ordered) - 1
    at = {"p50_s": 0.5, "p99_s": 0.99, "max_s": 1.0}
    return {
        name: round(ordered[min(last, math.floor(len(ordered) * share))], 4)
        for name, share in at.items()
    }


# Votes ---------------------------------------------------------------------------------------


async def measure_votes(run: Run) -> Found:
    """Votes on a law and in a poll, from closed loops; with limits and without."""
    seconds = 3 if run.quick else 8
    found: Found = {}
    async with chain_of(run, **NO_LIMITS) as chain, client_of(chain.gateways[0]) as client:
        _, made = await client.post("/polls/", poll_form())
        free = chain.gateways[0]
        direct = gateway({**chain.env, "SCRUTIN_CONFIRM": "kafka"}, run.directory, "gateway-direct")
        limits = {name: value for name, value in chain.env.items() if name not in NO_LIMITS}
        limited = gateway(limits, run.directory, "gateway-limited")
        for each in (direct, limited):
            chain.gateways.append(each.start())
        for each in (direct, limited):
            await each.ready(within_s=120)
        for each in chain.gateways:
            await _cast(run, chain, each, 1)
        run.say(f"votes on a law for {seconds} s, no limits")
        found["law"] = await _cast(run, chain, free, seconds)
        run.say(f"votes in a poll for {seconds} s, no limits")
        found["poll"] = await _cast(run, chain, free, seconds, poll=made["id"])
        run.say(f"votes on a law for {seconds} s, no limits, confirmed by Kafka")
        found["law_kafka"] = await _cast(run, chain, direct, seconds)
        run.say(f"votes on a law for {seconds} s, the limits as they are by default")
        found["law_throttled"] = await _cast(run, chain, limited, seconds)
    return found


_voters: Final = itertools.count()
"""So that nobody votes twice."""


async def _cast(
    run: Run, chain: GatewayChain, program: Program, seconds: float, *, poll: int | None = None
) -> dict[str, Any]:
    prepared = int(AT_LEAST_PER_S * seconds) // CLIENTS
    before = _cpu(run, chain, program)
    shares = [
        await Child.start(
            "cast",
            port=program.port,
            first=(first := next(_voters) * 10**6),
            last=first + prepared,
            at_once=AT_ONCE // CLIENTS,
            seconds=seconds,
            poll=poll,
        )
        for _ in range(CLIENTS)
    ]
    try:
        parts = await asyncio.gather(*(share.figures() for share in shares))
    finally:
        for share in shares:
            await share.end()
    after = _cpu(run, chain, program)
    took_s = max(p["ended_s"] for p in parts) - min(p["began_s"] for p in parts)
    statuses: dict[str, int] = {}
    for part in parts:
        for status, count in part["statuses"].items():
            statuses[status] = statuses.get(status, 0) + count
    votes = sum(statuses.values())
    assert statuses == {"202": votes}, statuses
    await _all_counted(chain)
    after["clients"] = sum(part["cpu_s"] for part in parts)
    return {
        "votes": votes,
        "per_s": round(votes / took_s),
        **quantiles([time_s for part in parts for time_s in part["times_s"]]),
        "cpu_us_per_vote": per_vote_us(before, after, votes),
    }


async def _all_counted(chain: GatewayChain) -> None:
    """Wait until RabbitMQ and Kafka have nothing left, so that the next figure begins alone."""
    db = await database(chain.settings)
    last = -1

    async def settled() -> bool:
        nonlocal last
        before, last = last, await db.fetchval("SELECT count(*) FROM vote_audit")
        return before == last

    try:
        await until(settled, "all is counted", within_s=PATIENCE_S, poll_s=1.5)
    finally:
        await db.close()


def _cpu(run: Run, chain: GatewayChain, program: Program) -> dict[str, float]:
    return {**by_process(run.stack, chain), "gateway": program.cpu_s()}


# Seen elsewhere --------------------------------------------------------------------------------


async def measure_seen(run: Run) -> Found:
    """From a voter's click until another client is told, beside other votes and without them."""
    votes = 10 if run.quick else 60
    async with chain_of(run, **NO_LIMITS) as chain, client_of(chain.gateways[0]) as client:
        run.say(f"{votes} votes in a poll that somebody else watches, nobody else votes")
        idle = await _seen(client, votes)
        async with crowd(run, chain):
            run.say(
                f"the same in {SEEN_AT_ONCE} polls beside {run.rate_per_s:,} votes/s, after "
                f"{run.warm_up_s} s of them"
            )
            await asyncio.sleep(run.warm_up_s)
            parts = await asyncio.gather(*(_seen(client, votes) for _ in range(SEEN_AT_ONCE)))
    beside = [took_s for part in parts for took_s in part]
    return {
        "rate_per_s": run.rate_per_s,
        "votes": len(beside),
        "idle": {"votes": len(idle), **quantiles(idle)},
        **quantiles(beside),
    }


@asynccontextmanager
async def crowd(run: Run, chain: GatewayChain) -> AsyncIterator[None]:
    """Others vote at a fixed rate while the block runs, election after election."""

    async def vote() -> None:
        for seed in itertools.count(1):
            process = await asyncio.create_subprocess_exec(
                str(Path(sys.executable).with_name("scrutin")),
                *("publish", "--no-load-roll", "--json", "--rate", str(run.rate_per_s)),
                *("--votes", str(run.rate_per_s * 60), "--seed", str(seed)),
                *("--expected", str(run.directory / "crowd.json")),
                env=chain.env,
                stdout=asyncio.subprocess.DEVNULL,
            )
            try:
                assert await process.wait() == 0, "the others could not vote"
            finally:
                if process.returncode is None:
                    process.kill()
                    await process.wait()

    voting = asyncio.create_task(vote())
    try:
        yield
        assert not voting.done(), "the others have stopped"
    finally:
        voting.cancel()
        await asyncio.wait([voting])


async def _seen(client: Client, votes: int) -> list[float]:
    _, made = await client.post("/polls/", poll_form())
    took_s: list[float] = []
    over_s = time.monotonic() + SEEN_S
    async with client.session.ws_connect(f"{client.base}/ws/polls/{made['id']}/") as socket:
        total = json.loads((await socket.receive()).data)["total"]
        for number in range(votes):
            began_s = time.perf_counter()
            ballot = {
                "poll_id": made["id"],
                "option_id": number % 2 + 1,
                "voter_name": f"Voter {number}",
            }
            status, _ = await client.post("/votes/", ballot)
            assert status == 202
            while total <= number:
                message = await socket.receive(timeout=PATIENCE_S)
                total = json.loads(message.data)["total"]
            took_s.append(time.perf_counter() - began_s)
            # Not in step with anything that happens at fixed times.
            await asyncio.sleep(0.05 + number * 0.618 % 0.1)
            if time.monotonic() > over_s:
                break
    # The first finds connections that were never used.
    return took_s[1:]


# Sockets ---------------------------------------------------------------------------------------


async def measure_sockets(run: Run) -> Found:
    """Sockets on polls in which people vote, until each has the final result."""
    sockets = 500 if run.quick else GOAL_SOCKETS
    votes = 10 if run.quick else 20
    async with chain_of(run, **NO_LIMITS) as chain, client_of(chain.gateways[0]) as client:
        program = chain.gateways[0]
        run.say(f"opening {sockets:,} sockets on {POLLS} polls")
        made = [await client.post("/polls/", poll_form()) for _ in range(POLLS)]
        polls = [body["id"] for _, body in made]
        # It has its connections to Kafka now.
        empty = memory_of(program)
        opening_s = time.perf_counter()
        watching = [
            await Child.start(
                "watch",
                port=program.port,
                address=f"127.0.0.{n + 1}",
                polls=polls,
                sockets=sockets // CLIENTS,
            )
            for n in range(CLIENTS)
        ]
        try:
            await asyncio.gather(*(child.ready() for child in watching))
            opening_s = time.perf_counter() - opening_s
            memory, before_s = memory_of(program), program.cpu_s()
            run.say(f"opened in {opening_s:.1f} s; {votes} votes in each poll, then they close")
            cast_s = await _vote_in_turn(client, polls, votes)
            await _let_end(chain, polls)
            parts = await asyncio.gather(*(child.figures() for child in watching))
        finally:
            for child in watching:
                await child.end()
        spent_s = program.cpu_s() - before_s
        truth = {}
        for poll in polls:
            truth[str(poll)] = (await client.get(f"/results/poll:{poll}"))[1]["choices"]
    return {
        "sockets": sockets,
        "final": sum(part["sockets"] for part in parts),
        "wrong": _wrong(parts, truth),
        "gaps": sum(part["gaps"] for part in parts),
        "lost": sum(len(part["lost"]) for part in parts),
        "messages": sum(part["messages"] for part in parts),
        "votes": len(cast_s) * votes,
        "opened_in_s": round(opening_s, 1),
        "seen": quantiles(_delays(parts, cast_s)),
        "final_spread": quantiles(_spread(parts)),
        "memory_mib": round(memory / 2**20),
        "memory_kib_per_socket": round((memory - empty) / sockets / 1024, 1),
        "gateway_cpu_s": round(spent_s, 1),
    }


async def _vote_in_turn(client: Client, polls: list[int], votes: int) -> dict[str, list[float]]:
    """Vote in all polls, again and again; poll -> Unix times of its votes."""
    cast_s: dict[str, list[float]] = {str(poll): [] for poll in polls}
    for number in range(votes):
        for poll in polls:
            cast_s[str(poll)].append(time.time())
            ballot = {"poll_id": poll, "option_id": number % 2 + 1, "voter_name": f"V {number}"}
            status, _ = await client.post("/votes/", ballot)
            assert status == 202
            await asyncio.sleep(0.05)
    return cast_s


async def _let_end(chain: GatewayChain, polls: list[int]) -> None:
    """Let the polls' end be now; they close by themselves."""
    db = await database(chain.settings)
    names = [f"poll:{poll}" for poll in polls]
    try:
        await db.execute(
            "UPDATE contests SET closes_at = now() WHERE contest_id = ANY($1::text[])", names
        )
    finally:
        await db.close()


def _delays(parts: list[Found], cast_s: Mapping[str, list[float]]) -> list[float]:
    """Of every vote to every socket: from the voter's request to the message, in seconds."""
    delays = []
    for poll, voted_s in cast_s.items():
        seen_s = sorted(time_s for part in parts for time_s in part["seen_s"].get(poll, []))
        # The sockets of a poll receive its first vote, then its second, ….
        each = len(seen_s) // len(voted_s)
        for number, began_s in enumerate(voted_s):
            delays += [s - began_s for s in seen_s[number * each : (number + 1) * each]]
    return delays


def _spread(parts: list[Found]) -> list[float]:
    """Of every socket: how long after the first of its poll it had the final result."""
    found = []
    for poll in {poll for part in parts for poll in part["final_s"]}:
        told_s = [time_s for part in parts for time_s in part["final_s"].get(poll, [])]
        found += [time_s - min(told_s) for time_s in told_s]
    return found


def _wrong(parts: list[Found], truth: Mapping[str, dict[str, int]]) -> int:
    """Polls whose sockets ended with other totals than the database has."""
    return sum(
        any(totals != truth[poll] for totals in part["final_totals"].get(poll, []))
        for part in parts
        for poll in truth
    )


def memory_of(program: Program) -> int:
    """Resident bytes of a process."""
    status = Path(f"/proc/{program.pid}/status").read_text()
    [line] = [line for line in status.splitlines() if line.startswith("VmRSS:")]
    return int(line.split()[1]) * 1024


# For people ------------------------------------------------------------------------------------


def rows_of_votes(found: Found) -> list[Row]:
    """Lines for people."""
    names = {
        "law": "law",
        "poll": "poll",
        "law_kafka": "law, confirmed by Kafka",
        "law_throttled": "law, default limits",
    }
    return [
        Row(
            f"gateway, votes/s ({what})",
            f"{found[name]['per_s']:,} (p99 {found[name]['p99_s'] * 1000:,.0f} ms)",
            f"{GOAL_VOTES_PER_S:,}" if "limits" not in what else "",
        )
        for name, what in names.items()
    ]


def rows_of_seen(found: Found) -> list[Row]:
    """Lines for people."""
    return [
        Row(f"vote seen elsewhere beside {found['rate_per_s']:,}/s, p50", _ms(found["p50_s"])),
        Row("vote seen elsewhere, p99", _ms(found["p99_s"]), _ms(GOAL_SEEN_P99_S)),
        Row("the same, nobody else votes, p99", _ms(found["idle"]["p99_s"])),
    ]


def rows_of_sockets(found: Found) -> list[Row]:
    """Lines for people."""
    return [
        Row("sockets with the final result", f"{found['final']:,}", f"{found['sockets']:,}"),
        Row("polls with other totals; gaps", f"{found['wrong']}; {found['gaps']}", "0; 0"),
        Row("vote to every socket, p99", _ms(found["seen"]["p99_s"])),
        Row("first to last socket of a poll", _ms(found["final_spread"]["max_s"])),
        Row("memory of the gateway", f"{found['memory_mib']:,} MiB"),
    ]


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:,.0f} ms"


VOTES = Figure("gateway-votes", measure_votes, rows_of_votes, usual=False)
SEEN = Figure("gateway-seen", measure_seen, rows_of_seen, usual=False)
SOCKETS = Figure("gateway-sockets", measure_sockets, rows_of_sockets, usual=False)

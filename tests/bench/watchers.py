"""Watchers of the live result of a large election beside votes in it: how soon they see them.

The loop is open: each vote has a scheduled time, and a watcher has seen it once its total has as
many votes. Watchers are in processes of their own, on the cores of everything they measure.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec

from streams.adapters.rabbitmq.client import connected
from streams.adapters.rabbitmq.queues import ensure_queue
from streams.load.publisher import Schedule
from tests.bench.cpu import by_process, per_vote_us
from tests.bench.figure import Figure, Found, Row, Run
from tests.bench.gateway import chain_of, memory_of
from tests.bench.gateway_clients import PATIENCE_S, Child
from tests.harness import database, until
from tests.integration.bridge_harness import scrutin
from tests.integration.gateway_harness import NO_LIMITS, GatewayChain

PROCESSES: Final = 2
SOCKETS: Final = 2000
REGIONS: Final = 600
PARTIES: Final = 5
CONTEST: Final = "election:1"
GOAL_SEEN_P99_S: Final = 0.4
_TICK_S: Final = 0.005
_EVERY: Final = 20
"""One vote of so many is followed to each watcher."""


def large_election() -> dict[str, list[dict[str, Any]]]:
    """An assembly with a seat for each region; its parties stand in all of them."""
    regions, parties = range(1, REGIONS + 1), range(1, PARTIES + 1)
    return {
        "political_parties": [
            {"id": k, "party_code": f"P{k}", "party_name": f"Party {k}", "color": f"#{k}a2233"}
            for k in parties
        ],
        "regions": [
            {"id": n, "region_code": f"R{n}", "region_name": f"Region {n}"} for n in regions
        ],
        "elections": [{"id": 1, "election_name": "Assembly", "voting_method": "single_choice"}],
        "candidates": [
            {
                "id": 10 * n + k,
                "election_id": 1,
                "region_id": n,
                "party_id": k,
                "first_name": "Candidate",
                "last_name": f"{n}-{k}",
            }
            for n in regions
            for k in parties
        ],
    }


async def measure(run: Run) -> Found:
    """Open all sockets, vote, and follow every socket to the last vote."""
    sockets = 200 if run.quick else SOCKETS
    rate, votes = run.rate_per_s, run.rate_per_s * (run.warm_up_s + run.seconds)
    async with chain_of(run, **NO_LIMITS) as chain:
        await _open_election(run, chain)
        program = chain.gateways[0]
        empty = memory_of(program)
        run.say(f"opening {sockets:,} sockets on an election with {REGIONS} regions")
        watching = [
            await Child.start(
                "watch_result",
                port=program.port,
                address=f"127.0.0.{n + 1}",
                contest=CONTEST,
                sockets=sockets // PROCESSES,
                until_total=votes,
            )
            for n in range(PROCESSES)
        ]
        try:
            await asyncio.gather(*(child.ready() for child in watching))
            opened = memory_of(program)
            run.say(f"{rate:,} votes/s for {run.warm_up_s} and {run.seconds} s")
            before = {**by_process(run.stack, chain), "gateway": program.cpu_s()}
            schedule = await _vote(chain, rate, votes)
            late_s = time.time() - schedule.time_us(votes) / 1e6
            parts = await asyncio.gather(*(child.figures() for child in watching))
            peak = memory_of(program)
        finally:
            for child in watching:
                await child.end()
        after = {**by_process(run.stack, chain), "gateway": program.cpu_s()}
    after["watchers"] = sum(part["cpu_s"] for part in parts)
    steady = range(rate * run.warm_up_s, votes, _EVERY)
    seen = [socket for part in parts for socket in part["seen"]]
    return {
        "sockets": sockets,
        "complete": sum(bool(each) and each[-1][1] == votes for each in seen),
        "regions": REGIONS,
        "rate_per_s": rate,
        "votes": votes,
        "published_late_s": round(max(0.0, late_s), 2),
        "messages": sum(part["messages"] for part in parts),
        "checked": sum(part["checked"] for part in parts),
        "wrong": sum(part["wrong"] for part in parts),
        "lost": [why for part in parts for why in part["lost"]][:3],
        "seen": quantiles_of(delays_ms(seen, schedule, steady)),
        "read_before": quantiles_of(_summed(part["ages_ms"] for part in parts)),
        "bytes_per_socket_and_s": round(
            sum(part["bytes"] / part["seconds"] for part in parts) / sockets
        ),
        "memory_kib_per_socket": round((opened - empty) / sockets / 1024, 1),
        "memory_mib": round(peak / 2**20),
        "cpu_us_per_vote": per_vote_us(before, after, votes),
    }


async def _open_election(run: Run, chain: GatewayChain) -> None:
    file = run.directory / "large.json"
    file.write_text(json.dumps(large_election()))
    for words in (("election", "import", str(file)), ("contest", "open", CONTEST)):
        done = await asyncio.to_thread(scrutin, chain.env, *words, "--wait", "120", timeout_s=180)
        assert done.returncode == 0, done.stderr
    db = await database(chain.settings)

    async def is_open() -> bool:
        query = "SELECT state = 'open' FROM contests WHERE contest_id = $1"
        return bool(await db.fetchval(query, CONTEST))

    try:
        await until(is_open, "the election is open", within_s=PATIENCE_S)
    finally:
        await db.close()


async def _vote(chain: GatewayChain, rate: int, votes: int) -> Schedule:
    """Publish votes at a rate, late rather than not at all."""
    settings = chain.settings
    async with connected(settings.rabbit, "scrutin bench") as connection:
        channel, _ = await ensure_queue(connection, settings.validation_queue)
        publish = channel.publisher(settings.validation_queue)
        schedule = Schedule(time.time_ns() // 1000, rate)
        sent = 0
        while sent < votes:
            due = min(votes, schedule.due(time.time_ns() // 1000))
            for number in range(sent, due):
                # Every region and candidate in turn, in no step with each other.
                candidate = 10 * (1 + number * 7 % REGIONS) + 1 + number * number % PARTIES
                vote = {
                    "voter_hash": f"{number:064x}",
                    "election_id": 1,
                    "candidate_id": candidate,
                    "region_id": candidate // 10,
                }
                publish(f"watchers-{number}", msgspec.json.encode(vote))
            sent = due
            await asyncio.sleep(_TICK_S)
    return schedule


def delays_ms(
    seen: Iterable[Sequence[tuple[float, int]]], schedule: Schedule, votes: range
) -> Counter[int]:
    """Milliseconds from each of some votes to each watcher -> how often.

    Args:
        seen: of each watcher, when it knew of how many votes.
        schedule: of the votes.
        votes: their numbers.
    """
    found: Counter[int] = Counter()
    for socket in seen:
        at = iter(votes)
        number = next(at, None)
        for time_s, total in socket:
            while number is not None and number < total:
                found[round(1000 * time_s - schedule.time_us(number) / 1000)] += 1
                number = next(at, None)
    return found


def _summed(parts: Iterable[Mapping[str, int]]) -> Counter[int]:
    """What processes counted, from their JSON."""
    found: Counter[int] = Counter()
    for part in parts:
        found.update({int(ms): times for ms, times in part.items()})
    return found


def quantiles_of(delays: Counter[int]) -> dict[str, float]:
    """Median, 99th percentile and longest, in seconds."""
    left = {"p50_s": 0.5, "p99_s": 0.99, "max_s": 1.0}
    total, passed = delays.total(), 0
    result = dict.fromkeys(left, 0.0) if not total else {}
    for delay_ms in sorted(delays):
        passed += delays[delay_ms]
        for name, share in left.items():
            if name not in result and passed >= share * total:
                result[name] = delay_ms / 1000
    return result


def rows(found: Found) -> list[Row]:
    """Lines for people."""
    seen = found["seen"]
    return [
        Row("watchers with every vote", f"{found['complete']:,}", f"{found['sockets']:,}"),
        Row("vote to every watcher, p50", f"{1000 * seen['p50_s']:,.0f} ms"),
        Row(
            f"the same, p99, beside {found['rate_per_s']:,} votes/s",
            f"{1000 * seen['p99_s']:,.0f} ms",
            f"{1000 * GOAL_SEEN_P99_S:,.0f} ms",
        ),
        Row(
            "of this since the database was read, p50 and p99",
            f"{1000 * found['read_before']['p50_s']:,.0f}"
            f" and {1000 * found['read_before']['p99_s']:,.0f} ms",
        ),
        Row("messages whose regions do not add up", f"{found['wrong']}", "0"),
        Row("bytes a watcher and second", f"{found['bytes_per_socket_and_s']:,}"),
        Row("memory a watcher", f"{found['memory_kib_per_socket']} KiB"),
    ]


FIGURE = Figure("gateway-watchers", measure, rows, usual=False)

"""From the moment a vote was to be published until its row is seen committed, at a fixed rate.

The loop is open: a message that is sent late counts from its scheduled time. The end is the first
moment a poller sees the transaction of its row, by this process's clock, so the figures are upper
bounds. So is the time until a live total in Redis counts it: totals have no names, so a vote is in
them once they add up to all that was seen committed with it or before. The first seconds of a
broker that was just started are reported apart. Afterwards the log tells how long each vote took
to the bridge's seal and to its verdict.
"""

from __future__ import annotations

import asyncio
import bisect
import json
import time
from collections.abc import Sequence
from dataclasses import replace

from schemas.codec import decode_input, decode_verdicts
from schemas.votes import VoteBatch
from streams.adapters.kafka.reader import LogReader
from streams.adapters.redis.client import redis_client
from streams.core.live_totals import CHANNEL, Totals, merge, read_message
from streams.core.topics import VALIDATED_TOPIC
from streams.load.election import LoadPlan, SyntheticElection
from streams.load.expected import read_expected
from streams.load.publisher import Schedule
from streams.load.script import messages
from tests.bench.cpu import by_process, cpu_of_ended_s, per_vote_us
from tests.bench.figure import Figure, Found, Row, Run
from tests.bench.publishing import publishing
from tests.harness import Chain, database

_POLL_S = 0.01
_SETTLED_S = 1.0
_PATIENCE_S = 60.0
GOALS_P99_S = {2000: 0.5, 5000: 0.12}
"""By votes a second."""
RATES_PER_S = (1000, 5000, 10_000)
GOAL_TIMES = {5000: 1.6, 10_000: 3.0}
"""p99 by votes a second, as a multiple of that at the lowest rate."""
_PARTS = ("until the bridge seals it", "until its verdict is sent", "until its row is seen")

_Place = tuple[int, int]
"""Input partition and offset."""

_Step = tuple[int, int]
"""How far something was, and when that was first seen: Unix microseconds."""


async def measure(run: Run) -> Found:
    """Publish at a rate, in a process of its own, and watch the rows appear."""
    stack, directory, say, workers = run.stack, run.directory, run.say, run.workers
    rate, seconds, warm_up_s = run.rate_per_s, run.seconds, run.warm_up_s
    plan = LoadPlan(
        votes=rate * (warm_up_s + seconds),
        seed=2,
        duplicates=0,
        repeats=0,
        unknown=0,
        bad_choice=0,
        malformed=0,
        mixture=True,
    )
    path = directory / "latency.json"
    async with Chain(stack, directory, workers=workers, cwd=run.cwd, queue=run.queue) as chain:
        await chain.load_roll(plan)
        await chain.start()
        say(f"publishing {rate:,}/s for {warm_up_s} and {seconds} s")
        before, ended_s = by_process(stack, chain), cpu_of_ended_s()
        async with publishing(chain, plan, rate_per_s=rate, expected=path, ahead=True) as publisher:
            totals: list[_Step] = []
            listening = asyncio.create_task(_listen(chain, totals))
            try:
                steps = await _watch(chain, plan.votes)
                output, _ = await publisher.communicate()
            finally:
                listening.cancel()
                await asyncio.wait([listening])
        after = by_process(stack, chain)
        publisher_s = cpu_of_ended_s() - ended_s
        say("comparing every line")
        await chain.verify(path)
        places = await _places(chain)
        passed = await _passed(chain)
    summary = json.loads(output)
    schedule = Schedule(read_expected(path).started_us, rate)
    first: list[int] = []
    steady: list[int] = []
    told: list[int] = []
    parts: dict[str, list[int]] = {name: [] for name in _PARTS}
    seen = {place: _seen_us(steps[place[0]], place[1]) for place in places.values()}
    in_order_us = sorted(seen[place] for place in places.values())
    for number, message in enumerate(messages(SyntheticElection(plan), schedule.time_us)):
        due_us = schedule.time_us(number)
        place = places[message.stored]
        seen_us = seen[place]
        if number < rate * warm_up_s:
            first.append(seen_us - due_us)
            continue
        steady.append(seen_us - due_us)
        told.append(_seen_us(totals, bisect.bisect_right(in_order_us, seen_us)) - due_us)
        sealed_us, decided_us = passed[place]
        took = (sealed_us - due_us, decided_us - sealed_us, seen_us - decided_us)
        for name, part_us in zip(_PARTS, took, strict=True):
            parts[name].append(part_us)
    return {
        "rate_per_s": rate,
        "published_per_s": summary["rate"],
        "votes": plan.votes,
        "workers": workers,
        "warm_up_s": warm_up_s,
        "first": _quantiles(first),
        **_quantiles(steady),
        "live": _quantiles(told),
        "parts": {name: _quantiles(found) for name, found in parts.items()},
        "cpu_us_per_vote": per_vote_us(before, after, plan.votes),
        "publisher_cpu_us_per_vote": round(publisher_s * 1e6 / plan.votes, 1),
    }


def _quantiles(latencies_us: list[int]) -> dict[str, float]:
    """Seconds."""
    ordered = sorted(latencies_us)
    last = len(ordered) - 1
    shares = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p999": 0.999, "max": 1.0}
    return {
        f"{name}_s": round(ordered[min(last, int(len(ordered) * share))] / 1e6, 4)
        for name, share in shares.items()
        if ordered
    }


async def measure_rates(run: Run) -> Found:
    """The same at several rates."""
    rates = [await measure(replace(run, rate_per_s=rate)) for rate in RATES_PER_S]
    p99_s = {one["rate_per_s"]: (one["p99_s"], one["first"].get("p99_s")) for one in rates}
    base_s, _ = p99_s[RATES_PER_S[0]]
    return {
        "rates": rates,
        "p99_times_slowest": {
            str(rate): {
                "steady": round(steady_s / base_s, 2),
                "first": None if first_s is None else round(first_s / base_s, 2),
            }
            for rate, (steady_s, first_s) in p99_s.items()
        },
    }


def rate_rows(found: Found) -> list[Row]:
    """Lines for people."""
    lines = [row for one in found["rates"] for row in rows(one)]
    for rate, times in found["p99_times_slowest"].items():
        if (goal := GOAL_TIMES.get(int(rate))) is not None:
            what = f"p99 at {int(rate):,}/s beside p99 at {RATES_PER_S[0]:,}/s"
            lines.append(Row(what, f"{times['steady']:.2f} times", f"{goal:.1f}"))
            if times["first"] is not None:
                first = f"{times['first']:.2f} times"
                lines.append(Row("  the same, first seconds", first, f"{goal:.1f}"))
    return lines


async def _listen(chain: Chain, totals: list[_Step]) -> None:
    """Note what the live totals add up to, and when that was published."""
    known: Totals = {}
    async with redis_client(chain.settings.redis) as redis, redis.pubsub() as pubsub:
        await pubsub.subscribe(CHANNEL)
        while True:
            message = await pubsub.get_message(ignore_subscribe_messages=True, timeout=60)
            if message is None:
                continue
            now_us = time.time_ns() // 1000
            told = read_message(message["data"]).contests
            merge(known, {(c, choice): n for c in told for choice, n in told[c].items()})
            votes = sum(n for choices in known.values() for n in choices.values())
            totals.append((votes, now_us))


async def _watch(chain: Chain, votes: int) -> dict[int, list[_Step]]:
    """When the fence of each partition was first seen where: offsets and Unix microseconds.

    While votes flow only the fences are read: four rows that say up to which offset of its
    partition everything is committed. The rows themselves would cost the measured machine a good
    part of what it measures.
    """
    connection = await database(chain.settings)
    fences = await connection.prepare("SELECT partition, source_offset FROM sink_offsets")
    counted = await connection.prepare(
        "SELECT coalesce(sum(votes), 0)::bigint FROM contest_results"
    )
    moved: dict[int, list[_Step]] = {}
    changed_s = time.monotonic()
    try:
        while True:
            found = await fences.fetch()
            now_us = time.time_ns() // 1000
            for partition, offset in found:
                steps = moved.setdefault(partition, [])
                if not steps or steps[-1][0] < offset:
                    steps.append((offset, now_us))
                    changed_s = time.monotonic()
            if time.monotonic() - changed_s > _SETTLED_S:
                there = await counted.fetchval()
                if there >= votes:
                    return moved
                if time.monotonic() - changed_s > _PATIENCE_S:
                    raise AssertionError(f"{there:,} of {votes:,} rows there, then nothing more")
            await asyncio.sleep(_POLL_S)
    finally:
        await connection.close()


async def _places(chain: Chain) -> dict[str, _Place]:
    """Where in the input log each counted vote is."""
    connection = await database(chain.settings)
    try:
        rows = await connection.fetch(
            "SELECT vote_hash, source_partition, source_offset FROM vote_audit"
        )
    finally:
        await connection.close()
    return {row["vote_hash"]: (row["source_partition"], row["source_offset"]) for row in rows}


async def _passed(chain: Chain) -> dict[_Place, tuple[int, int]]:
    """When the bridge sealed each record, and when its verdicts were sent: Unix microseconds."""
    settings = chain.settings
    reader = LogReader(settings.kafka.servers)
    found: dict[_Place, tuple[int, int]] = {}
    for partition in range(settings.partitions):
        end = await reader.end_offset(VALIDATED_TOPIC, partition)
        async for record in reader.read(VALIDATED_TOPIC, partition, 0, end):
            verdicts = decode_verdicts(record.value)
            batch = decode_input(verdicts.record)
            if isinstance(batch, VoteBatch):
                times_us = batch.ingest_ms * 1000, record.timestamp * 1000
                found[verdicts.partition, verdicts.offset] = times_us
    return found


def _seen_us(steps: Sequence[_Step], at: int) -> int:
    """When something was first seen to be there or further."""
    return steps[bisect.bisect_left(steps, (at, 0))][1]


def rows(found: Found) -> list[Row]:
    """Lines for people."""
    goal_s = GOALS_P99_S.get(found["rate_per_s"])
    goal = "" if goal_s is None else f"{goal_s * 1000:.0f} ms"
    lines = [
        Row(f"latency at {found['rate_per_s']:,}/s, p50", f"{found['p50_s'] * 1000:,.0f} ms"),
        Row("latency p99", f"{found['p99_s'] * 1000:,.0f} ms", goal),
        Row("latency max", f"{found['max_s'] * 1000:,.0f} ms"),
    ]
    live = (found["live"][f"{name}_s"] * 1000 for name in ("p50", "p99", "max"))
    lines.append(
        Row("until a live total counts it", ", ".join(f"{ms:,.0f}" for ms in live) + " ms")
    )
    for name, part in found["parts"].items():
        took = f"{part['p50_s'] * 1000:,.0f}, {part['p99_s'] * 1000:,.0f} ms"
        lines.append(Row(f"  of it {name}, p50, p99", took))
    if first := found["first"]:
        what = f"latency p99 of the first {found['warm_up_s']} s (all just started)"
        lines.append(Row(what, f"{first['p99_s'] * 1000:,.0f} ms"))
    publisher = f"{found['publisher_cpu_us_per_vote']:.0f} µs CPU a vote"
    lines.append(Row("publisher, of the mixture", publisher))
    return lines


FIGURE = Figure("latency", measure, rows)
RATES = Figure("rates", measure_rates, rate_rows, usual=False)

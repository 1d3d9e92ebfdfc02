"""From the moment a vote was to be published until its row is seen committed, at a fixed rate.

The loop is open: a message that is sent late counts from its scheduled time. The end is the first
moment a poller sees the row, by this process's clock, so the figures are upper bounds. The first
seconds of a broker that was just started are reported apart.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path

from streams.load.election import Election, Plan
from streams.load.expected import read_expected
from streams.load.publisher import Schedule
from streams.load.script import messages
from tests.bench.cpu import by_process, per_vote_us
from tests.bench.figure import Figure, Found, Row, Run
from tests.harness import Chain, database

_POLL_S = 0.01
_PATIENCE_S = 60.0
GOAL_P99_S = 0.5


async def measure(run: Run) -> Found:
    """Publish at a rate, in a process of its own, and watch the rows appear."""
    stack, directory, say, workers = run.stack, run.directory, run.say, run.workers
    rate, seconds, warm_up_s = run.rate_per_s, run.seconds, run.warm_up_s
    plan = Plan(
        votes=rate * (warm_up_s + seconds),
        seed=2,
        duplicates=0,
        repeats=0,
        unknown=0,
        bad_choice=0,
        malformed=0,
    )
    path = directory / "latency.json"
    async with Chain(stack, directory, workers=workers) as chain:
        await chain.load_roll(plan)
        await chain.start()
        say(f"publishing {rate:,}/s for {warm_up_s} and {seconds} s")
        before = by_process(stack, chain)
        publisher = await asyncio.create_subprocess_exec(
            str(Path(sys.executable).with_name("scrutin")),
            *("publish", "--no-load-roll", "--json", "--rate", str(rate)),
            *("--votes", str(plan.votes), "--seed", str(plan.seed), "--expected", str(path)),
            *("--duplicates", "0", "--repeats", "0", "--unknown", "0"),
            *("--invalid-choice", "0", "--malformed", "0"),
            env=chain.env,
            stdout=asyncio.subprocess.PIPE,
        )
        try:
            seen_us = await _watch(chain, plan.votes)
            output, _ = await publisher.communicate()
        finally:
            if publisher.returncode is None:
                publisher.kill()
        after = by_process(stack, chain)
        say("comparing every line")
        await chain.verify(path)
    summary = json.loads(output)
    schedule = Schedule(read_expected(path).started_us, rate)
    first: list[int] = []
    steady: list[int] = []
    for number, message in enumerate(messages(Election(plan), schedule.time_us)):
        latency_us = seen_us[message.stored] - schedule.time_us(number)
        (first if number < rate * warm_up_s else steady).append(latency_us)
    return {
        "rate_per_s": rate,
        "published_per_s": summary["rate"],
        "votes": plan.votes,
        "workers": workers,
        "warm_up_s": warm_up_s,
        "first": _quantiles(first),
        **_quantiles(steady),
        "cpu_us_per_vote": per_vote_us(before, after, plan.votes),
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


async def _watch(chain: Chain, votes: int) -> dict[str, int]:
    """When each row was first seen: hash -> Unix time in microseconds."""
    connection = await database(chain.settings)
    query = await connection.prepare("SELECT id, vote_hash FROM vote_audit WHERE id > $1")
    seen: dict[str, int] = {}
    low = 0
    changed = time.monotonic()
    try:
        while len(seen) < votes:
            # Sinks of several workers may commit out of the order of their ids: look back a bit.
            rows = await query.fetch(low)
            now = time.time_ns() // 1000
            fresh = 0
            for row in rows:
                if seen.setdefault(row["vote_hash"], now) == now:
                    fresh += 1
            if fresh:
                changed = time.monotonic()
                low = max(
                    low, max(row["id"] for row in rows) - (0 if len(chain.workers) == 1 else 5000)
                )
            elif time.monotonic() - changed > _PATIENCE_S:
                raise AssertionError(f"{len(seen):,} of {votes:,} rows seen, then nothing more")
            await asyncio.sleep(_POLL_S)
    finally:
        await connection.close()
    return seen


def rows(found: Found) -> list[Row]:
    """Lines for people."""
    lines = [
        Row(f"latency at {found['rate_per_s']:,}/s, p50", f"{found['p50_s'] * 1000:,.0f} ms"),
        Row("latency p99", f"{found['p99_s'] * 1000:,.0f} ms", f"{GOAL_P99_S * 1000:.0f} ms"),
        Row("latency max", f"{found['max_s'] * 1000:,.0f} ms"),
    ]
    if first := found["first"]:
        what = f"latency p99 of the first {found['warm_up_s']} s (all just started)"
        lines.append(Row(what, f"{first['p99_s'] * 1000:,.0f} ms"))
    return lines


FIGURE = Figure("latency", measure, rows)

"""What a vote costs when millions are counted: CPU, bytes, log and look-ups by size.

The rows before are written by one statement after another inside PostgreSQL, in the shape that a
worker gives the documented message, in the same stretches, summed up and with the same filters.
Their places are in partitions that the log does not have, where no worker looks for them, and the
worker's own voted table does not hold their voters.

What a vote costs rises until its stretch is full, and falls with the next one. With `--long` as
many votes are counted as a stretch has, so each size meets all of it.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from statistics import median
from typing import Any, Final

from streams.adapters.postgres.stretches import (
    STRETCH_VOTES,
    open_next_stretch,
)
from streams.load.election import LoadPlan
from tests.bench import throughput
from tests.bench.figure import Figure, Found, Row, Run
from tests.bench.spread import plan_of
from tests.harness import Chain, database, keep_stretches_up

MILLION: Final = 1_000_000
SIZES: Final = (MILLION,)
LONG_SIZES: Final = (MILLION, 10 * MILLION, 50 * MILLION)
GOAL_RATIO: Final = 1.15
GOAL_BYTES: Final = 250
ROUNDS: Final = 3
"""Of counting into an empty database and into the largest one."""
QUEUES: Final = 2
"""Full queues of a round, one after the other."""
WARM_UP_VOTES: Final = 50_000
_AT_ONCE: Final = 100_000
_LOOKUPS: Final = 25
_WITHIN_S: Final = 3600.0

_FILL: Final = """
INSERT INTO counted_votes (law, vote_key, contest, choice, citizen_id, timestamp,
    processed_timestamp, source_partition, source_offset, source_index, stretch)
SELECT true, sha256(int8send(n)), 'L2025-00' || n % 5, CASE n % 3 WHEN 0 THEN 'non' ELSE 'oui' END,
    'citizen-' || n, at, at, 1000 + n % 4, n / 1280, n / 4 % 320,
    (SELECT open_stretch())
FROM generate_series($1::bigint, $2::bigint) AS n,
    LATERAL (SELECT timestamptz '2026-01-01' + n * interval '100 microseconds') AS t (at)
"""
_SIZE: Final = """
SELECT sum(pg_total_relation_size(c.oid))::bigint FROM pg_class AS c
WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r'
"""
_PARTS: Final = """
SELECT relname::text, pg_relation_size(oid) FROM pg_class
WHERE relname LIKE 'counted\\_law\\_votes%' AND relkind IN ('r', 'i')
    OR relname LIKE 'proof\\_leaves%' AND relkind = 'r'
"""
_LOG: Final = "SELECT pg_current_wal_lsn() - '0/0'::pg_lsn"
_HASH: Final = "SELECT encode(sha256(int8send($1)), 'hex')"
_TIME: Final = "SELECT timestamp '2026-01-01' + $1::bigint * interval '100 microseconds'"
LOOKUPS: Final = {
    "vote_hash": ("SELECT * FROM vote_audit WHERE vote_hash = $1", _HASH),
    "voter_hash": ("SELECT * FROM vote_audit WHERE voter_hash = $1", _HASH),
    "time": (
        "SELECT count(*) FROM vote_audit"
        " WHERE vote_timestamp BETWEEN $1 AND $1 + interval '10 milliseconds'",
        _TIME,
    ),
    "status": ("SELECT * FROM vote_audit WHERE status <> 'accepted' AND $1 > 0", "SELECT 1"),
    "latest": ("SELECT * FROM vote_audit WHERE $1 > 0 ORDER BY id DESC LIMIT 100", "SELECT 1"),
}


async def measure(run: Run) -> Found:
    """Count full queues into tables of several sizes."""
    rounds = ROUNDS if run.long else 1
    counting = _Counting(run, STRETCH_VOTES // QUEUES if run.long else run.votes)
    sizes: dict[int, list[Found]] = {0: []}
    before = rounds // 2 + 1
    for number in range(rounds + 1):
        async with Chain(run.stack, run.directory) as chain:
            # Some votes first: a worker counts in no database whose votes its log does not have.
            run.say(f"warming up with {WARM_UP_VOTES:,} votes")
            await _count(run, chain, replace(plan_of(WARM_UP_VOTES), seed=2))
            await _end(chain)
            connection = await database(chain.settings)
            try:
                if number != before:
                    sizes[0].append(await counting.stretch(chain, connection, 0))
                    continue
                written, counted = 0, WARM_UP_VOTES
                for size in LONG_SIZES if run.long else SIZES:
                    await fill(connection, written, size - counted, run.say)
                    written = size - counted
                    sizes[size] = []
                    for _ in range(rounds if size == LONG_SIZES[-1] else 1):
                        sizes[size].append(await counting.stretch(chain, connection, written))
                        counted += counting.votes
            finally:
                await connection.close()
    return {
        "votes": counting.votes,
        "sizes": [{"size": size, **_medians(found)} for size, found in sorted(sizes.items())],
    }


@dataclass
class _Counting:
    run: Run
    each: int
    """Votes in a queue."""
    _seed: int = 2

    @property
    def votes(self) -> int:
        return self.each * QUEUES

    async def stretch(self, chain: Chain, connection: Any, written: int) -> Found:
        """Count as many votes as a stretch has, beside those that :func:`fill` wrote."""
        start = await _stored(connection)
        queues = []
        for number in range(QUEUES):
            self.run.say(f"counting full queue {number + 1} of {QUEUES}")
            self._seed += 1
            plan = replace(plan_of(self.each, mixture=False), seed=self._seed)
            queues.append(await _count(self.run, chain, plan))
            await _end(chain)
        end = await _stored(connection)
        cpu = [cpu_us for _, cpu_us in queues]
        return {
            "votes_per_s": round(self.votes / sum(seconds for seconds, _ in queues)),
            "cpu_us_per_vote": {n: round(sum(one[n] for one in cpu) / QUEUES, 1) for n in cpu[0]},
            "queues": cpu,
            "log_bytes_per_vote": round((end["log"] - start["log"]) / self.votes),
            "bytes_per_vote": round(end["bytes"] / end["votes"], 1),
            "bytes": dict(await connection.fetch(_PARTS)),
            "lookup_ms": await lookups(connection, written),
        }


def _medians(rounds: list[Found]) -> Found:
    """Of each figure, and the rounds."""

    def of(name: str) -> Any:
        values = [one[name] for one in rounds]
        if isinstance(values[0], dict):
            return {key: round(median(one[key] for one in values), 2) for key in values[0]}
        return median(values)

    names = ("votes_per_s", "cpu_us_per_vote", "log_bytes_per_vote", "bytes_per_vote", "lookup_ms")
    return {**{name: of(name) for name in names}, "rounds": rounds}


async def _count(run: Run, chain: Chain, plan: LoadPlan) -> tuple[float, dict[str, float]]:
    await chain.load_roll(plan)
    await chain.publish(plan)
    await chain.start_workers()
    return await throughput.count(run.stack, chain, plan)


async def _end(chain: Chain) -> None:
    for program in (*chain.bridges, *chain.workers):
        await program.terminate()


async def fill(connection: Any, after: int, size: int, say: Callable[[str], None]) -> None:
    """Write more rows in the shape of counted votes, a transaction for each hundred thousand."""
    for first in range(after + 1, size + 1, _AT_ONCE):
        last = min(first + _AT_ONCE - 1, size)
        await connection.execute(_FILL, first, last, timeout=_WITHIN_S)
        if last // MILLION > (first - 1) // MILLION:
            say(f"wrote {last:,} of {size:,} counted votes")
            if not await open_next_stretch(connection):
                raise RuntimeError("another program holds the stretches")
    say("building filters")
    await keep_stretches_up(connection)
    await connection.execute("VACUUM ANALYZE counted_votes", timeout=_WITHIN_S)
    await connection.execute("CHECKPOINT", timeout=_WITHIN_S)
    # What the kernel still has to write of it would be done beside the votes.
    await asyncio.to_thread(os.sync)


async def lookups(connection: Any, size: int) -> dict[str, float]:
    """Milliseconds of each kind of look-up, the median of some."""
    # As `scrutin roles` sets the database.
    await connection.execute("SET jit = off")
    found = {}
    for name, (query, argument) in LOOKUPS.items():
        took = []
        for number in range(_LOOKUPS):
            at = 1 + number * (size // _LOOKUPS)
            value = await connection.fetchval(argument, *([at] if "$1" in argument else []))
            started = time.perf_counter()
            await connection.fetch(query, value, timeout=_WITHIN_S)
            took.append(time.perf_counter() - started)
        found[name] = round(median(took) * 1000, 2)
    return found


async def _stored(connection: Any) -> dict[str, int]:
    return {
        "log": int(await connection.fetchval(_LOG)),
        "bytes": int(await connection.fetchval(_SIZE)),
        "votes": int(await connection.fetchval("SELECT count(*) FROM counted_votes")),
    }


def rows(found: Found) -> list[Row]:
    """Lines for people."""
    first, lines = found["sizes"][0], []
    for one in found["sizes"]:
        name = f"{one['size']:,} votes counted before"
        cpu, empty = (each["cpu_us_per_vote"] for each in (one, first))
        ratios = (sum(cpu.values()) / sum(empty.values()), cpu["postgres"] / empty["postgres"])
        lines.append(
            Row(
                f"{name}: CPU a vote, all and PostgreSQL",
                f"{sum(cpu.values()):.1f} and {cpu['postgres']:.1f} µs,"
                f" {ratios[0]:.2f} and {ratios[1]:.2f} times",
                f"{GOAL_RATIO:.2f}",
            )
        )
        lines.append(
            Row(
                f"{name}: bytes a vote, stored and in the log",
                f"{one['bytes_per_vote']:.0f} and {one['log_bytes_per_vote']}",
                f"{GOAL_BYTES}",
            )
        )
        lines.append(
            Row(
                f"{name}: look-ups",
                ", ".join(f"{kind} {ms:.2f} ms" for kind, ms in one["lookup_ms"].items()),
            )
        )
    return lines


FIGURE = Figure("growth", measure, rows, usual=False)

"""What a vote costs when millions are counted: CPU, bytes, log and look-ups by size.

The rows before are written by one statement after another inside PostgreSQL, in the shape that a
worker gives the documented message, in the same stretches, summed up and with the same filters.
Their places are in partitions that the log does not have, where no worker looks for them. The voted
table is filled with as many other voters, as :mod:`tests.bench.voters` does it.

What a vote costs rises until its stretch is full, and falls with the next one. With `--long` as
many votes are counted as a stretch has, so each size meets all of it.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any, Final

from streams.adapters.postgres.stretches import (
    STRETCH_VOTES,
    open_next_stretch,
)
from streams.devstack import Stack
from streams.load.election import LoadPlan
from tests.bench import throughput
from tests.bench.figure import Figure, Found, Row, Run
from tests.bench.restore import VOTERS_A_RECORD
from tests.bench.spread import plan_of
from tests.bench.voters import Voters, write_voted
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
    """Count full queues into tables of several sizes, and by turns into an empty one.

    The empty one has a stack of its own: a machine that becomes slower is so for both.
    """
    directory = run.directory / "empty"
    directory.mkdir()
    stack = Stack(directory / "stack", environ={}, queue_type=run.queue_type)
    counting = _Counting(run.say, STRETCH_VOTES // QUEUES if run.long else run.votes)
    sizes: list[Found] = []
    try:
        run.say("bringing up a second stack")
        await asyncio.to_thread(stack.up)
        async with Chain(run.stack, run.directory) as chain:
            await counting.warm_up(chain)
            written, counted = 0, WARM_UP_VOTES
            for size in LONG_SIZES if run.long else SIZES:
                more = size - counted - written
                await _fill(chain, written, more, run.say)
                written += more
                pairs: dict[str, list[Found]] = {"filled": [], "empty": []}
                for number in range(ROUNDS if run.long and size == LONG_SIZES[-1] else 1):
                    for kind in sorted(pairs, reverse=number % 2 == 1):
                        run.say(f"{size:,} votes, round {number + 1}, {kind}")
                        if kind == "filled":
                            pairs[kind].append(await counting.stretch(chain, written))
                            counted += counting.votes
                        else:
                            pairs[kind].append(await _empty(stack, directory, counting))
                sizes.append({"size": size, **_medians(pairs["filled"]), "empty": pairs["empty"]})
    finally:
        await asyncio.to_thread(stack.down)
    empty = [one for size in sizes for one in size["empty"]]
    return {"votes": counting.votes, "sizes": [{"size": 0, **_medians(empty)}, *sizes]}


async def _empty(stack: Stack, directory: Path, counting: _Counting) -> Found:
    async with Chain(stack, directory) as chain:
        await counting.warm_up(chain)
        return await counting.stretch(chain, 0)


async def _fill(chain: Chain, written: int, more: int, say: Callable[[str], None]) -> None:
    say(f"writing {more:,} counted votes, and the changelog of as many voters")
    connection = await database(chain.settings)
    try:
        await asyncio.gather(
            write_voted(chain.settings, Voters(more, VOTERS_A_RECORD)),
            fill(connection, written, written + more, say),
        )
    finally:
        await connection.close()


@dataclass
class _Counting:
    say: Callable[[str], None]
    each: int
    """Votes in a queue."""
    _seed: int = 2

    @property
    def votes(self) -> int:
        return self.each * QUEUES

    async def warm_up(self, chain: Chain) -> None:
        """Count some votes: a worker counts in no database whose votes its log does not have."""
        self.say(f"warming up with {WARM_UP_VOTES:,} votes")
        await _count(chain, replace(plan_of(WARM_UP_VOTES), seed=2))

    async def stretch(self, chain: Chain, written: int) -> Found:
        """Count as many votes as a stretch has, beside those that :func:`fill` wrote."""
        connection = await database(chain.settings)
        try:
            start = await _stored(connection)
            queues = []
            for number in range(QUEUES):
                self.say(f"counting full queue {number + 1} of {QUEUES}")
                self._seed += 1
                plan = replace(plan_of(self.each, mixture=False), seed=self._seed)
                queues.append(await _count(chain, plan))
            end = await _stored(connection)
            parts = dict(await connection.fetch(_PARTS))
            lookup_ms = await lookups(connection, written)
        finally:
            await connection.close()
        cpu = [cpu_us for _, cpu_us in queues]
        return {
            "votes_per_s": round(self.votes / sum(seconds for seconds, _ in queues)),
            "cpu_us_per_vote": {n: round(sum(one[n] for one in cpu) / QUEUES, 1) for n in cpu[0]},
            "queues": cpu,
            "log_bytes_per_vote": round((end["log"] - start["log"]) / self.votes),
            "bytes_per_vote": round(end["bytes"] / end["votes"], 1),
            "bytes": parts,
            "lookup_ms": lookup_ms,
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


async def _count(chain: Chain, plan: LoadPlan) -> tuple[float, dict[str, float]]:
    await chain.load_roll(plan)
    await chain.publish(plan)
    await chain.start_workers(_WITHIN_S)
    counted = await throughput.count(chain.stack, chain, plan)
    for program in (*chain.bridges, *chain.workers):
        await program.terminate()
    return counted


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


def ratios(size: Found) -> tuple[float, float]:
    """CPU a vote beside that of the empty table by turns: of all and of PostgreSQL, medians."""
    pairs = [
        (filled["cpu_us_per_vote"], empty["cpu_us_per_vote"])
        for filled, empty in zip(size["rounds"], size["empty"], strict=True)
    ]
    return (
        median(sum(filled.values()) / sum(empty.values()) for filled, empty in pairs),
        median(filled["postgres"] / empty["postgres"] for filled, empty in pairs),
    )


def rows(found: Found) -> list[Row]:
    """Lines for people."""
    lines = []
    for one in found["sizes"]:
        name = f"{one['size']:,} votes counted before"
        cpu = one["cpu_us_per_vote"]
        told, goal = f"{sum(cpu.values()):.1f} and {cpu['postgres']:.1f} µs", ""
        if "empty" in one:
            whole, postgres = ratios(one)
            told, goal = f"{told}, {whole:.2f} and {postgres:.2f} times", f"{GOAL_RATIO:.2f}"
        lines.append(Row(f"{name}: CPU a vote, all and PostgreSQL", told, goal))
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

"""`python -m tests.bench.leaves`: what the trees cost where they are made, by turns in one process.

Trees take CPU in the sink, which hashes, and in PostgreSQL, which stores the hashes; no other
process knows of them. So one sink applies the same kind of flushes to one database, some with trees
and some without, in the order with, without, without, with. That is a difference of a few percent
of two processes, which two runs of the whole chain (:mod:`tests.bench.trees`) hardly show.
"""

from __future__ import annotations

import gc
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any, Final

import typer
import uvloop
from rich.console import Console

from schemas.votes import Vote, VoteBatch
from streams.core.leaves import secret_of
from streams.core.records import VerdictEvent
from streams.core.tree_growth import Growth, Tree, grow
from streams.devstack import Stack
from streams.worker.postgres_sink import PostgresSink
from tests.bench.cpu import tree_seconds
from tests.bench.stage import SIZES
from tests.integration.sink_harness import Log, OneSink, own_database
from tests.strategies import law_hash, make_vote

PARTITIONS: Final = 12
RECORD: Final = SIZES["scrutin"]
FLUSHES: Final = 10
SLICE: Final = PARTITIONS * RECORD * FLUSHES
GOAL: Final = 0.05
PROCESSES: Final = ("sink", "postgres")
ALONE: Final = "trees alone"
_AGAIN_EVERY: Final = 100
_LAWS: Final = 5

Slices = dict[str, list[dict[str, float]]]
"""µs of CPU a vote by process, of each slice with trees and without."""


class _TreelessSink(PostgresSink):
    """A sink whose trees can be kept from growing."""

    with_trees = True

    def _grow(self, *work: Any) -> list[Growth]:
        return super()._grow(*work) if self.with_trees else []


def leaves(
    *,
    votes: Annotated[int, typer.Option(min=SLICE, help="Votes, of which half get leaves.")] = (
        52 * SLICE
    ),
    chain_us: Annotated[float, typer.Option(help="CPU of the whole chain, µs a vote.")] = 60.0,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write figures here.")] = None,
) -> None:
    """Print the CPU a vote of sink and PostgreSQL with trees and without, and its share."""
    out = Console(highlight=False)
    with tempfile.TemporaryDirectory(prefix="scrutin-bench-") as folder:
        stack = Stack(Path(folder) / "stack", environ={})
        try:
            stack.up(only=["postgres"])
            found = uvloop.run(_measure(stack, votes // SLICE // 4 * 4))
        finally:
            stack.down()
    for name in (*PROCESSES, ALONE):
        values = [sorted(one[name] for one in found[kind]) for kind in ("with", "without")]
        told = (f"{v[len(v) // 2]:.2f} ({v[0]:.2f} to {v[-1]:.2f})" for v in values)
        out.print(f"{name}, µs of CPU a vote: {next(told)} with trees, {next(told)} without")
    # Beside load, the lowest say more than the middle.
    costs_us = {
        "median": sum(_more(found, name, statistics.median) for name in PROCESSES),
        "lowest": sum(_more(found, name, min) for name in PROCESSES),
    }
    for name, cost_us in costs_us.items():
        share = 100 * cost_us / chain_us
        out.print(
            f"Trees, {name}: {cost_us:.2f} µs of CPU a vote, {share:.1f} % of a chain of"
            f" {chain_us:.0f} µs (goal {100 * GOAL:.0f} %)"
        )
    if json_file is not None:
        json_file.write_text(json.dumps({"slices": found, "costs_us": costs_us}, indent=2) + "\n")


def _more(found: Slices, name: str, of: Callable[[list[float]], float]) -> float:
    """What a process needs more with trees."""
    given, left = ([one[name] for one in found[kind]] for kind in ("with", "without"))
    return of(given) - of(left)


async def _measure(stack: Stack, slices: int) -> Slices:
    found: Slices = {"with": [], "without": []}
    postgres = next(status for status in stack.status() if status.name == "postgres").pids
    logs = [Log(partition) for partition in range(PARTITIONS)]
    async with (
        own_database(stack) as settings,
        OneSink(settings, kind=_TreelessSink).sink as sink,
    ):
        # The first does not count.
        for number in range(-1, slices):
            flushes = [_flush(logs, number, flush) for flush in range(FLUSHES)]
            _TreelessSink.with_trees = number % 4 in {0, 3}
            gc.collect()
            gc.freeze()
            before = time.process_time(), tree_seconds(postgres)
            for events in flushes:
                await sink.flush(events)
            used = time.process_time() - before[0], tree_seconds(postgres) - before[1]
            if number >= 0:
                found["with" if _TreelessSink.with_trees else "without"].append(
                    {
                        "sink": used[0] * 1e6 / SLICE,
                        "postgres": used[1] * 1e6 / SLICE,
                        ALONE: _alone(flushes),
                    }
                )
    return found


def _flush(logs: Sequence[Log], number: int, flush: int) -> list[VerdictEvent]:
    """A record of each partition, as of a full queue; some voters come again."""
    events = []
    for log in logs:
        first = ((number + 1) * FLUSHES + flush) * RECORD
        votes = [_vote(log.partition, first + n - (n % _AGAIN_EVERY == 1)) for n in range(RECORD)]
        events += log.decide(VoteBatch(1_760_000_000_000, "bench", votes, []))
    return events


def _vote(partition: int, number: int) -> Vote:
    name = number * PARTITIONS + partition
    return make_vote(
        law_hash(name),
        contest=f"L2025-{name % _LAWS:03}",
        choice=("oui", "non")[name // _LAWS % 2],
    )


def _alone(flushes: Iterable[Sequence[VerdictEvent]]) -> float:
    """Hashes and trees of the same verdicts, without anything else."""
    secret, trees = secret_of("bench"), [Tree()] * PARTITIONS
    started = time.process_time()
    for events in flushes:
        for event in events:
            assert isinstance(event.record, VoteBatch)
            growth = grow(secret, trees[event.verdicts.partition], [(event.verdicts, event.record)])
            assert growth is not None
            trees[event.verdicts.partition] = growth.tree
    return (time.process_time() - started) * 1e6 / SLICE


if __name__ == "__main__":
    typer.run(leaves)

"""`python -m tests.bench.trees`: what the trees of the proof cost, with and without, by turns.

"Without" is a copy of this revision whose sink does not grow trees; there is no such setting. What
else falls on the machine falls on both, as in :mod:`tests.bench.compare`. The goal of the proof is
a CPU a vote, of all processes together, of at most 1.05 times that without. Runs differ by more
than that; :mod:`tests.bench.leaves` measures the difference where it is made.
"""

from __future__ import annotations

import json
import signal
import statistics
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from tests.bench.__main__ import end_once
from tests.bench.compare import by_turns, ratios, show, tree_of
from tests.bench.spread import plan_of

SINK = "streams/worker/postgres_sink.py"
GROWN = "grown = self._grow(work, fences)"


def trees(
    *,
    rounds: Annotated[int, typer.Option(min=1, help="Runs of each.")] = 6,
    votes: Annotated[int, typer.Option(min=1000, help="Votes in the full queue.")] = 100_000,
    rate: Annotated[int, typer.Option(min=1, help="Votes a second for the latency.")] = 2000,
    seconds: Annotated[int, typer.Option(min=0, help="How long; 0: no latency.")] = 10,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write figures here.")] = None,
) -> None:
    """Run a full queue and a steady rate with trees and without; print ratios and bytes a vote."""
    out = Console(highlight=False)
    with tree_of("HEAD") as other:
        sink = other / SINK
        text = sink.read_text()
        assert text.count(GROWN) == 1, f"{SINK} grows its trees in another way"
        sink.write_text(text.replace(GROWN, "grown: list[Growth] = []"))
        # With some that do not count, as everywhere.
        plan = replace(plan_of(votes), duplicates=0.01)
        found = by_turns(out, other, plan, rounds=rounds, rate=rate, seconds=seconds)
    assert not any(one["proof_bytes_per_vote"] > 1 for one in found["other"]), "trees have grown"
    figures = ratios(found)
    show(out, "the same without trees", figures)
    of_both = {
        name: statistics.median(sum(one["cpu_us_per_vote"].values()) for one in runs)
        for name, runs in found.items()
    }
    out.print(f"CPU a vote: {of_both['this']:.1f} µs with trees, {of_both['other']:.1f} without")
    # What varies in processes that know of no trees says nothing of them.
    runs = ([one["cpu_us_per_vote"] for one in found[name]] for name in ("this", "other"))
    more = [
        sum(a[name] - b[name] for name in ("worker", "postgres"))
        for a, b in zip(*runs, strict=True)
    ]
    spread = f"{min(more):.1f} to {max(more):.1f}"
    out.print(f"Worker and PostgreSQL with trees: {statistics.median(more):+.1f} µs ({spread})")
    stored = statistics.median(one["proof_bytes_per_vote"] for one in found["this"])
    out.print(f"In the database: {stored:.0f} bytes a vote, indexes included")
    if json_file is not None:
        json_file.write_text(json.dumps({"runs": found, "ratios": figures}, indent=2) + "\n")


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, end_once)
    sys.exit(typer.run(trees))

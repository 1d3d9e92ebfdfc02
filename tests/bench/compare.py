"""`python -m tests.bench.compare REV`: this tree beside another revision, on one stack, by turns.

Both run with this tree's packages and get the same votes; which goes first changes every round. A
ratio is of two runs that follow each other, so what else the machine does falls on both. Each round
begins with a raw drain of a queue with the same messages, of the type that this tree's queue has.
"""

from __future__ import annotations

import json
import signal
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
import uvloop
from rich.console import Console
from rich.table import Table

from streams.devstack import Stack
from streams.devstack.rabbitmq import QueueType
from streams.load.election import LoadPlan
from streams.settings.load import load_settings
from tests.bench import latency, throughput
from tests.bench.__main__ import end_once
from tests.bench.figure import Found, Run
from tests.bench.spread import full_queue, plan_of

HERE = Path(__file__).parents[2]
QUANTILES = ("p50", "p99")
ALIKE: Mapping[str, QueueType] = {"this": "classic", "other": "classic"}


def compare(
    revision: Annotated[str, typer.Argument(help="A commit, branch or tag to compare with.")],
    *,
    rounds: Annotated[int, typer.Option(min=1, help="Runs of each.")] = 5,
    votes: Annotated[int, typer.Option(min=1000, help="Votes in the full queue.")] = 100_000,
    rate: Annotated[int, typer.Option(min=1, help="Votes a second for the latency.")] = 2000,
    seconds: Annotated[int, typer.Option(min=0, help="How long; 0: no latency.")] = 10,
    usual: Annotated[
        bool,
        typer.Option("--usual", help="The forms of deployed senders instead of the mixture."),
    ] = False,
    queue_type: Annotated[
        QueueType, typer.Option(help="Of queues that are declared without a type.")
    ] = "classic",
    other_queue_type: Annotated[
        QueueType | None,
        typer.Option(help="Of the other revision's queue of votes, if it is not the same."),
    ] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write figures here.")] = None,
) -> None:
    """Run a full queue and a steady rate with both revisions; print ratios with their spread."""
    out = Console(highlight=False)
    types: dict[str, QueueType] = {"this": queue_type, "other": other_queue_type or queue_type}
    with tree_of(revision) as other:
        plan = plan_of(votes, mixture=not usual)
        found = by_turns(out, other, plan, types, rounds=rounds, rate=rate, seconds=seconds)
    figures = ratios(found)
    show(out, f"{revision}; queues: {types['this']}, its own {types['other']}", figures)
    if json_file is not None:
        told = {"queue_types": types, "runs": found, "ratios": figures}
        json_file.write_text(json.dumps(told, indent=2) + "\n")


def by_turns(
    out: Console,
    other: Path,
    plan: LoadPlan,
    types: Mapping[str, QueueType] = ALIKE,
    *,
    rounds: int,
    rate: int,
    seconds: int,
) -> dict[str, list[Found]]:
    """Runs of this tree and of another one, a full queue and a steady rate each."""
    found: dict[str, list[Found]] = {"this": [], "other": []}
    with tempfile.TemporaryDirectory(prefix="scrutin-bench-") as folder:
        stack = Stack(Path(folder) / "stack", environ={}, queue_type=types["this"])
        run = Run(
            stack,
            Path(folder),
            out.print,
            quick=False,
            long=False,
            votes=plan.votes,
            rate_per_s=rate,
            seconds=seconds,
            warm_up_s=3,
            workers=1,
        )
        runs = {
            "this": replace(run, cwd=HERE),
            "other": replace(run, cwd=other, queue={"x-queue-type": types["other"]}),
        }
        try:
            stack.up()
            out.print("warming up")
            uvloop.run(full_queue(runs["this"], replace(plan, votes=plan.votes // 2)))
            rabbit = load_settings(stack.env()).rabbit
            for number in range(rounds):
                uvloop.run(throughput.fill(rabbit, plan))
                drained_s = uvloop.run(throughput.drain(rabbit, plan.messages))
                raw_per_s = round(plan.messages / drained_s)
                out.print(f"round {number + 1}, raw drain: {raw_per_s:,} messages/s")
                for name in sorted(runs, reverse=number % 2 == 0):
                    one = uvloop.run(full_queue(runs[name], plan))
                    one["raw_drain_per_s"] = raw_per_s
                    cpu_us = sum(one["cpu_us_per_vote"].values())
                    told = f"round {number + 1}, {name}: {one['votes_per_s']:,} votes/s"
                    told += f", {cpu_us:.1f} µs of CPU a vote"
                    if seconds:
                        steady = uvloop.run(latency.measure(runs[name]))
                        one["latency"] = {q: steady[f"{q}_s"] for q in QUANTILES}
                        told += f", p99 {steady['p99_s'] * 1000:,.0f} ms at {rate:,}/s"
                    found[name].append(one)
                    out.print(told)
        finally:
            stack.down()
    return found


def ratios(found: dict[str, list[Found]]) -> dict[str, list[float]]:
    """This tree's figure over the other's, of each round."""
    pairs = list(zip(found["this"], found["other"], strict=True))
    answer = {"votes a second": [a["votes_per_s"] / b["votes_per_s"] for a, b in pairs]}
    of_raw = [(a["votes_per_s"], b["votes_per_s"], a["raw_drain_per_s"]) for a, b in pairs]
    answer["this tree's votes a second beside the raw drain"] = [a / raw for a, _, raw in of_raw]
    answer["the other's beside the raw drain"] = [b / raw for _, b, raw in of_raw]
    if "latency" in pairs[0][0]:
        for q in QUANTILES:
            answer[f"latency, {q}"] = [a["latency"][q] / b["latency"][q] for a, b in pairs]
    for process in pairs[0][0]["cpu_us_per_vote"]:
        of_both = [(a["cpu_us_per_vote"][process], b["cpu_us_per_vote"][process]) for a, b in pairs]
        answer[f"CPU a vote, {process}"] = [a / b for a, b in of_both if b]
    totals = [
        (sum(a["cpu_us_per_vote"].values()), sum(b["cpu_us_per_vote"].values())) for a, b in pairs
    ]
    answer["CPU a vote, all"] = [a / b for a, b in totals]
    return answer


def show(out: Console, revision: str, figures: dict[str, list[float]]) -> None:
    """Print the ratios for people."""
    out.print(f"\nThis tree as a multiple of {revision}")
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("figure")
    for name in ("median", "lowest", "highest"):
        table.add_column(name, justify="right")
    for name, values in figures.items():
        if values:
            spread = statistics.median(values), min(values), max(values)
            table.add_row(name, *(f"{value:.3f}" for value in spread))
    out.print(table)


@contextmanager
def tree_of(revision: str) -> Iterator[Path]:
    """A git worktree of the revision."""
    git = ["git", "-C", str(HERE), "worktree"]
    with tempfile.TemporaryDirectory(prefix="scrutin-tree-") as parent:
        folder = Path(parent) / "other"
        try:
            subprocess.run(
                [*git, "add", "--detach", "--quiet", str(folder), revision],
                check=True, capture_output=True, text=True,
            )  # fmt: skip
        except subprocess.CalledProcessError as error:
            raise typer.BadParameter(error.stderr.strip()) from error
        try:
            yield folder
        finally:
            subprocess.run([*git, "remove", "--force", str(folder)], check=True)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, end_once)
    sys.exit(typer.run(compare))

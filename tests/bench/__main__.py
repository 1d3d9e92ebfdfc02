"""`python -m tests.bench`: throughput and latency of the chain, on a stack of its own."""

from __future__ import annotations

import json
import os
import platform
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any

import typer
import uvloop
from rich.console import Console
from rich.table import Table

from streams.devstack import Stack
from streams.load.election import Plan
from tests.bench import latency, throughput

GOAL_PER_S = 15_000
GOAL_P99_S = 0.5


def bench(
    *,
    votes: Annotated[int, typer.Option(min=1000, help="Votes in the full queue.")] = 200_000,
    rate: Annotated[int, typer.Option(min=1, help="Votes a second for the latency.")] = 2000,
    seconds: Annotated[int, typer.Option(min=1, help="How long to measure latency.")] = 20,
    warm_up: Annotated[
        int, typer.Option(min=0, help="Seconds before, reported apart: a new broker is slow.")
    ] = 5,
    workers: Annotated[int, typer.Option(min=1, max=8, help="Workers to run.")] = 1,
    quick: Annotated[bool, typer.Option("--quick", help="20,000 votes, 5 s.")] = False,
    only: Annotated[str, typer.Option(help="throughput or latency; both if not given.")] = "",
    json_file: Annotated[Path | None, typer.Option("--json", help="Write figures here.")] = None,
) -> None:
    """Measure the chain: a full queue to committed rows, and latency at a fixed rate."""
    if quick:
        votes, seconds = 20_000, 5
    out = Console(highlight=False)
    figures: dict[str, Any] = {
        "machine": {
            "cores": os.cpu_count(),
            "load_before": round(os.getloadavg()[0], 2),
            "python": platform.python_version(),
        }
    }
    begin = time.monotonic()

    def say(text: str) -> None:
        out.print(f"[dim]{time.monotonic() - begin:6.1f} s  {text}[/]")

    with tempfile.TemporaryDirectory(prefix="scrutin-bench-") as folder:
        directory = Path(folder)
        stack = Stack(directory / "stack", environ={})
        try:
            say("bringing up a stack")
            stack.up()
            if only != "latency":
                plan = Plan(
                    votes=votes, duplicates=0.01, repeats=0, unknown=0, bad_choice=0, malformed=0
                )
                figures["throughput"] = uvloop.run(
                    throughput.measure(stack, directory, plan, workers=workers, say=say)
                )
            if only != "throughput":
                figures["latency"] = uvloop.run(
                    latency.measure(
                        stack,
                        directory,
                        rate=rate,
                        seconds=seconds,
                        warm_up_s=warm_up,
                        workers=workers,
                        say=say,
                    )
                )
        finally:
            stack.down()
    show(out, figures)
    if json_file is not None:
        json_file.write_text(json.dumps(figures, indent=2) + "\n")
        out.print(f"Figures in {json_file}")


def show(out: Console, figures: dict[str, Any]) -> None:
    """Print the figures for people."""
    machine = figures["machine"]
    out.print(
        f"\n{machine['cores']} cores with all services on them, "
        f"load {machine['load_before']} before, Python {machine['python']}\n"
    )
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for name in ("figure", "found", "goal"):
        table.add_column(name, justify="left" if name == "figure" else "right")
    if found := figures.get("throughput"):
        table.add_row(
            f"chain: full queue of {found['messages']:,} to committed rows",
            f"{found['chain_per_s']:,} votes/s",
            f"{GOAL_PER_S:,}",
        )
        table.add_row("raw drain of the same queue", f"{found['raw_drain_per_s']:,}/s", "")
        table.add_row("bare COPY of the same rows", f"{found['copy_per_s']:,}/s", "")
        table.add_row("publish with confirms, flat out", f"{found['publish_per_s']:,}/s", "20,000")
    if found := figures.get("latency"):
        table.add_row(
            f"latency at {found['rate_per_s']:,}/s, p50", f"{found['p50_s'] * 1000:,.0f} ms", ""
        )
        table.add_row(
            "latency p99", f"{found['p99_s'] * 1000:,.0f} ms", f"{GOAL_P99_S * 1000:.0f} ms"
        )
        table.add_row("latency max", f"{found['max_s'] * 1000:,.0f} ms", "")
        if first := found["first"]:
            table.add_row(
                f"latency p99 of the first {found['warm_up_s']} s (all just started)",
                f"{first['p99_s'] * 1000:,.0f} ms",
                "",
            )
    out.print(table)
    parts = [part for part in ("throughput", "latency") if part in figures]
    out.print("\nCPU per vote, µs")
    cpu = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    cpu.add_column("process")
    for part in parts:
        cpu.add_column("full queue" if part == "throughput" else "fixed rate", justify="right")
    for process in figures[parts[0]]["cpu_us_per_vote"]:
        cpu.add_row(
            process, *(f"{figures[part]['cpu_us_per_vote'][process]:,.1f}" for part in parts)
        )
    sums = (sum(figures[part]["cpu_us_per_vote"].values()) for part in parts)
    cpu.add_row("[bold]all[/]", *(f"{total:,.1f}" for total in sums))
    out.print(cpu)


def _end(*_: object) -> None:
    """Take everything down once; a second signal must not stop that."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.exit(143)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _end)
    sys.exit(typer.run(bench))

"""`python -m tests.bench`: figures of the chain and its parts, on a stack of its own."""

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
from streams.devstack.rabbitmq import QueueType
from tests.bench import (
    endurance,
    first_figure,
    gateway,
    growth,
    job,
    latency,
    queues,
    recount,
    restore,
    spread,
    stage,
    takeover,
    throughput,
    watchers,
)
from tests.bench.figure import Figure, Run

FIGURES = {
    figure.name: figure
    for figure in (
        throughput.FIGURE,
        latency.FIGURE,
        latency.RATES,
        restore.FIGURE,
        stage.FIGURE,
        job.FIGURE,
        spread.WORKERS,
        spread.LAWS,
        takeover.FIGURE,
        queues.FIGURE,
        endurance.FIGURE,
        recount.FIGURE,
        growth.FIGURE,
        gateway.VOTES,
        gateway.SEEN,
        gateway.SOCKETS,
        watchers.FIGURE,
        first_figure.FIGURE,
    )
}


def bench(
    *,
    votes: Annotated[int, typer.Option(min=1000, help="Votes in the full queue.")] = 200_000,
    rate: Annotated[int, typer.Option(min=1, help="Votes a second for the latency.")] = 2000,
    seconds: Annotated[int, typer.Option(min=1, help="How long to measure latency.")] = 20,
    warm_up: Annotated[
        int, typer.Option(min=0, help="Seconds before, reported apart: a new broker is slow.")
    ] = 5,
    workers: Annotated[int, typer.Option(min=1, max=8, help="Workers to run.")] = 1,
    quick: Annotated[bool, typer.Option("--quick", help="Small numbers: does it work?")] = False,
    long: Annotated[bool, typer.Option("--long", help="Every figure, however long.")] = False,
    only: Annotated[
        list[str] | None, typer.Option(help=f"One of {', '.join(FIGURES)}; may be repeated.")
    ] = None,
    queue_type: Annotated[
        QueueType, typer.Option(help="Of queues that are declared without a type.")
    ] = "classic",
    json_file: Annotated[Path | None, typer.Option("--json", help="Write figures here.")] = None,
) -> None:
    """Measure the chain: a full queue to committed rows, latency at a fixed rate, and its parts."""
    if quick:
        votes, seconds = 20_000, 5
    chosen = choose(only or [], long=long)
    out = Console(highlight=False)
    figures: dict[str, Any] = {
        "machine": {
            "cores": os.cpu_count(),
            "load_before": round(os.getloadavg()[0], 2),
            "python": platform.python_version(),
            "queue_type": queue_type,
        }
    }
    begin = time.monotonic()

    def say(text: str) -> None:
        out.print(f"[dim]{time.monotonic() - begin:6.1f} s  {text}[/]")

    with tempfile.TemporaryDirectory(prefix="scrutin-bench-") as folder:
        directory = Path(folder)
        stack = Stack(directory / "stack", environ={}, queue_type=queue_type)
        try:
            say("bringing up a stack")
            stack.up()
            run = Run(
                stack,
                directory,
                say,
                quick=quick,
                long=long,
                votes=votes,
                rate_per_s=rate,
                seconds=seconds,
                warm_up_s=warm_up,
                workers=workers,
                queue_type=queue_type,
            )
            for figure in chosen:
                say(f"[bold]{figure.name}[/]")
                figures[figure.name] = uvloop.run(figure.measure(run))
                if json_file is not None:
                    json_file.parent.mkdir(parents=True, exist_ok=True)
                    # After each: what comes later may take long, or fail.
                    json_file.write_text(json.dumps(figures, indent=2) + "\n")
        finally:
            stack.down()
    show(out, figures, chosen)
    if json_file is not None:
        out.print(f"\nFigures in {json_file}")


def choose(names: list[str], *, long: bool) -> list[Figure]:
    """Figures by name; the usual ones if none is named, with `long` all.

    Raises:
        typer.BadParameter: there is no such figure.
    """
    if unknown := [name for name in names if name not in FIGURES]:
        raise typer.BadParameter(f"no figure {unknown[0]!r}; there are {', '.join(FIGURES)}")
    if names:
        return [FIGURES[name] for name in names]
    return [figure for figure in FIGURES.values() if figure.usual or long]


def show(out: Console, figures: dict[str, Any], chosen: list[Figure]) -> None:
    """Print the figures for people."""
    machine = figures["machine"]
    out.print(
        f"\n{machine['cores']} cores with all services on them, "
        f"load {machine['load_before']} before, Python {machine['python']}, "
        f"{machine['queue_type']} queues unless the figure says otherwise\n"
    )
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for name in ("figure", "found", "goal"):
        table.add_column(name, justify="left" if name == "figure" else "right")
    for figure in chosen:
        for row in figure.rows(figures[figure.name]):
            table.add_row(*row)
    out.print(table)
    for figure in chosen:
        if note := figures[figure.name].get("note"):
            out.print(f"\n{figure.name}: {note}")
    parts = [f.name for f in chosen if "cpu_us_per_vote" in figures[f.name]]
    if not parts:
        return
    out.print("\nCPU per vote, µs")
    cpu = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    cpu.add_column("process")
    for part in parts:
        cpu.add_column(part, justify="right")
    for process in figures[parts[0]]["cpu_us_per_vote"]:
        cpu.add_row(
            process,
            *(f"{figures[part]['cpu_us_per_vote'].get(process, 0):,.1f}" for part in parts),
        )
    sums = (sum(figures[part]["cpu_us_per_vote"].values()) for part in parts)
    cpu.add_row("[bold]all[/]", *(f"{total:,.1f}" for total in sums))
    out.print(cpu)


def end_once(*_: object) -> None:
    """Take everything down once; a second signal must not stop that."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.exit(143)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, end_once)
    sys.exit(typer.run(bench))

"""`python -m tests.faults`: every scenario, full length, on a stack of its own.

Results are appended as JSON lines to a folder as they come; with `--resume` what is there is not
run again. `SHARD=i/n` (or `--shard`) runs the i-th of n parts.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer
import uvloop
from rich.console import Console
from rich.table import Table

from streams.devstack import Stack, ports
from tests.faults.registry import Scenario, scenarios
from tests.faults.running import Result, play

RESULTS = Path("build/chaos")
_FILE = "results.jsonl"


@dataclass(frozen=True)
class Task:
    """A scenario to run with a seed."""

    scenario: Scenario
    seed: int
    votes: int

    @property
    def key(self) -> tuple[str, int, int]:
        """As in :attr:`Result.key`."""
        return self.scenario.name, self.seed, self.votes


def chaos(
    *,
    only: Annotated[
        list[str] | None, typer.Option(help="A scenario or a group; may be repeated.")
    ] = None,
    shard: Annotated[
        str, typer.Option(envvar="SHARD", help="`i/n`: the i-th of n parts, from 1.")
    ] = "1/1",
    seeds: Annotated[int, typer.Option(help="Seeds of each scenario; 0 = its own number.")] = 0,
    first_seed: Annotated[int, typer.Option(help="The first seed.")] = 1,
    votes: Annotated[int, typer.Option(help="Votes of each run; 0 = its own number.")] = 0,
    results: Annotated[Path, typer.Option(help="Folder for results and logs.")] = RESULTS,
    resume: Annotated[bool, typer.Option("--resume", help="Leave out what has a result.")] = False,
    minutes: Annotated[
        float, typer.Option(help="Begin nothing after so many minutes; 0 = no limit.")
    ] = 0,
    listing: Annotated[bool, typer.Option("--list", help="List the scenarios and end.")] = False,
) -> None:
    """Strike a running count with every fault, and let an independent oracle judge.

    Exit code 0 if every run was exact, 3 if one was not, 130 if interrupted.

    Examples:

      python -m tests.faults --only worker-frozen --seeds 1

      SHARD=2/4 python -m tests.faults --resume
    """
    out = Console(highlight=False, soft_wrap=True)
    tasks = plan(scenarios(), only or [], seeds=seeds, first_seed=first_seed, votes=votes)
    if listing:
        show_list(out, [task.scenario for task in tasks])
        return
    part, parts = shard_of(shard)
    tasks = tasks[part - 1 :: parts]
    # Products that are broken on purpose run in a folder of their own.
    results = results.resolve()
    file = results / _FILE
    done = {} if not resume else read(file)
    if not resume and results.exists():
        shutil.rmtree(results)
    results.mkdir(parents=True, exist_ok=True)
    found = run(out, tasks, file, done, minutes * 60)
    show(out, found)
    left = len(tasks) - len(found)
    if left:
        out.print(f"{left} runs are left; `--resume` goes on with them.")
        raise typer.Exit(130)
    if not all(result.good for result in found):
        raise typer.Exit(3)


def plan(
    known: list[Scenario], only: list[str], *, seeds: int, first_seed: int, votes: int
) -> list[Task]:
    """What is to be run: all scenarios with their first seed, then with the others."""
    names = {one.name for one in known} | {one.group for one in known}
    if unknown := sorted(set(only) - names):
        raise typer.BadParameter(f"no scenario or group {', '.join(unknown)}; see --list")
    chosen = [one for one in known if not only or {one.name, one.group} & set(only)]
    most = max((seeds or one.seeds() for one in chosen), default=0)
    return [
        Task(one, first_seed + number, votes or one.size())
        for number in range(most)
        for one in chosen
        if number < (seeds or one.seeds())
    ]


def run(
    out: Console,
    tasks: list[Task],
    file: Path,
    done: dict[tuple[str, int, int], Result],
    limit_s: float,
) -> list[Result]:
    """Run what is not done yet, one after another on one stack."""
    begin_s = time.monotonic()
    found: list[Result] = []
    # A stack has short paths: sockets in it have a limit.
    [proxy_port] = ports.choose(1)
    stack = Stack(file.parent / "stack", environ={}, kafka_proxy_port=proxy_port)
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        for number, task in enumerate(tasks, start=1):
            if (result := done.get(task.key)) is None:
                if limit_s and time.monotonic() - begin_s > limit_s:
                    continue
                name = f"{task.scenario.name}-{task.seed}"
                directory = file.parent / "logs" / name
                shutil.rmtree(directory, ignore_errors=True)
                directory.mkdir(parents=True)
                result = uvloop.run(
                    play(stack, directory, task.scenario, seed=task.seed, votes=task.votes)
                )
                with file.open("a") as lines:
                    lines.write(result.to_json() + "\n")
                if result.good:
                    shutil.rmtree(directory, ignore_errors=True)
            found.append(result)
            _say(out, number, len(tasks), result, time.monotonic() - begin_s)
    except KeyboardInterrupt:
        out.print("interrupted; what has a result is kept")
    finally:
        stack.down()
    return found


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def read(file: Path) -> dict[tuple[str, int, int], Result]:
    """Results of an earlier run; a line that was cut off is left out."""
    found: dict[tuple[str, int, int], Result] = {}
    if file.exists():
        for line in file.read_text().splitlines():
            if line.endswith("}"):
                result = Result.from_json(line)
                found[result.key] = result
    return found


def shard_of(text: str) -> tuple[int, int]:
    """`i/n` as numbers."""
    part, _, parts = text.partition("/")
    if not (part.isdecimal() and parts.isdecimal() and 1 <= int(part) <= int(parts)):
        raise typer.BadParameter(f"{text!r} is not `i/n` with 1 <= i <= n", param_hint="SHARD")
    return int(part), int(parts)


_COLOURS = {
    "exact": "green",
    "caught": "green",
    "skipped": "yellow",
    "wrong": "bold red",
    "missed": "bold red",
    "error": "bold magenta",
}


def _say(out: Console, number: int, total: int, result: Result, passed_s: float) -> None:
    colour = _COLOURS[result.outcome]
    out.print(
        f"[dim]{passed_s / 60:5.1f} min {number:3}/{total}[/] {result.scenario} {result.seed}: "
        f"[{colour}]{result.outcome}[/] in {result.took_s:.0f} s"
    )
    for finding in result.findings[:5]:
        out.print(f"    {finding[:400]}", markup=False)


def show(out: Console, results: list[Result]) -> None:
    """The table at the end."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("scenario")
    for name in ("seed", "votes", "counted"):
        table.add_column(name, justify="right")
    table.add_column("outcome")
    for name in ("recovered s", "drained s", "replays", "duplicate egress", "uncertain", "took s"):
        table.add_column(name, justify="right")
    table.add_column("ended by itself")
    for result in sorted(results, key=lambda one: one.key):
        table.add_row(
            result.scenario,
            str(result.seed),
            f"{result.votes:,}",
            f"{result.counted:,}",
            f"[{_COLOURS[result.outcome]}]{result.outcome}[/]",
            _seconds(result.recovered_s),
            _seconds(result.drained_s),
            f"{result.replays:,}",
            f"{result.duplicate_egress:,}",
            str(result.uncertain),
            f"{result.took_s:.0f}",
            ", ".join(f"{times} x {code}" for code, times in sorted(result.exits.items())),
        )
    # On a narrow terminal a cut table is worth less than a wide one.
    Console(width=max(out.width, 160), highlight=False, file=out.file).print(table)
    outcomes = Counter(result.outcome for result in results)
    told = ", ".join(f"{times} {outcome}" for outcome, times in outcomes.items())
    out.print(f"{len(results)} runs: {told}; {sum(result.votes for result in results):,} votes.")


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


def show_list(out: Console, chosen: list[Scenario]) -> None:
    """Name, group, size and what happens."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for name in ("scenario", "group", "votes", "seeds", "what happens"):
        table.add_column(name)
    for one in {one.name: one for one in chosen}.values():
        seeds = str(one.seeds())
        table.add_row(one.name, one.group, f"{one.size():,}", seeds, one.about)
    out.print(table)


if __name__ == "__main__":
    if not sys.stdout.isatty():
        os.environ.setdefault("COLUMNS", "160")
    typer.run(chaos)

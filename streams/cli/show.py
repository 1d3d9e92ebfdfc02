"""Shared by the commands: consoles, JSON, progress, and running a coroutine."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Annotated, Any, Final, TypeVar

import stamina
import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

T = TypeVar("T")

_PIPED_COLUMNS: Final = 200

JsonOption = Annotated[
    bool, typer.Option("--json", help="Print only JSON on standard output, for programs.")
]


def console() -> Console:
    """Console on standard output; a pipe gets wide lines, so that nothing is truncated."""
    if sys.stdout.isatty() or "COLUMNS" in os.environ:
        return Console(highlight=False)
    return Console(highlight=False, width=_PIPED_COLUMNS)


def quiet_drivers() -> None:
    """Silence the drivers' logs: their errors are raised as Scrutin's errors."""
    for driver in ("aiokafka", "kafka", "pika", "asyncio"):
        logging.getLogger(driver).setLevel(logging.CRITICAL)


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run a command's coroutine."""
    quiet_drivers()
    stamina.instrumentation.set_on_retry_hooks([])
    return asyncio.run(work)


def write_json(value: object, *, indent: bool = True) -> None:
    """Write one JSON document, or one line of JSON, to standard output."""
    text = json.dumps(value, ensure_ascii=False, indent=2 if indent else None, default=str)
    sys.stdout.write(f"{text}\n")


def answer(document: object, show: Callable[[], object], *, as_json: bool) -> None:
    """Write what a command found as JSON, or show it."""
    if as_json:
        write_json(document)
    else:
        show()


def plain(value: object) -> Text:
    """Untrusted text without markup and control characters."""
    return Text("".join(c if c.isprintable() else "\ufffd" for c in str(value)))


def grid(*columns: str, right: tuple[str, ...] = ()) -> Table:
    """A table without borders; the columns named in `right` hold numbers."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for name in columns:
        number = name in right
        table.add_column(name, justify="right" if number else "left", overflow="fold")
    return table


def facts() -> Table:
    """A table of names and values without header."""
    table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    return table


class _Rate(ProgressColumn):
    """Units a second."""

    def render(self, task: Task) -> Text:
        """Text of the column."""
        speed = task.finished_speed or task.speed
        return Text(f"{speed:,.0f}/s" if speed else "", style="cyan")


@contextmanager
def counting(label: str, total: int | None) -> Iterator[Callable[[int], None]]:
    """Show a progress bar on a terminal's standard error; yields a function that advances it.

    Args:
        label: description of the work.
        total: number of steps; None: it is not known.
    """
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _Rate(),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    hidden = not sys.stderr.isatty()
    with Progress(*columns, console=console, transient=True, disable=hidden) as progress:
        task = progress.add_task(label, total=total)
        yield lambda count: progress.advance(task, count)


def size(count: float) -> str:
    """Readable size in binary units."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


def moment(ms: float) -> str:
    """Unix time in milliseconds as UTC with milliseconds."""
    at = datetime.fromtimestamp(ms / 1000, UTC)
    return f"{at:%Y-%m-%d %H:%M:%S}.{at.microsecond // 1000:03d} UTC"


def iso(ms: float) -> str:
    """Unix time in milliseconds as ISO 8601 in UTC."""
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat().replace("+00:00", "Z")

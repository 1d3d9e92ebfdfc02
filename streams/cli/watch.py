"""Repeat a view until interrupted."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Awaitable, Callable, Coroutine
from typing import Annotated, Any, TypeVar

import typer
from rich.console import Group, RenderableType
from rich.live import Live
from rich.text import Text

from streams.cli.show import answer, console, run, write_json
from streams.cli.values import finite
from streams.errors import ServiceUnavailable

T = TypeVar("T")

WatchOption = Annotated[
    bool,
    typer.Option("--watch", "-w", help="Refresh until Ctrl-C; with --json one line each time."),
]
IntervalOption = Annotated[
    float,
    typer.Option(
        "--interval", callback=finite, min=0.1, metavar="SECONDS", help="Interval of --watch."
    ),
]


def watch(
    look: Callable[[], Awaitable[T]],
    render: Callable[[T], RenderableType],
    *,
    as_dict: Callable[[T], object] | None,
    interval_s: float,
) -> None:
    """Refresh every `interval_s` seconds until Ctrl-C; outages are shown and retried.

    Args:
        look: fetches the data.
        render: renders it.
        as_dict: if given, write a line of JSON each time instead.
        interval_s: pause in seconds.
    """
    with contextlib.suppress(KeyboardInterrupt):
        if as_dict is not None:
            run(_lines(look, as_dict, interval_s))
        else:
            run(_live(look, render, interval_s))


def show_or_watch(
    look: Callable[[], Coroutine[Any, Any, T]],
    render: Callable[[T], RenderableType],
    *,
    as_dict: Callable[[T], object],
    as_json: bool,
    watch_it: bool,
    interval_s: float,
) -> T | None:
    """Show a view once, which is returned, or :func:`watch` it."""
    if watch_it:
        watch(look, render, as_dict=as_dict if as_json else None, interval_s=interval_s)
        return None
    found = run(look())
    answer(as_dict(found), lambda: console().print(render(found)), as_json=as_json)
    return found


async def _lines(
    look: Callable[[], Awaitable[T]], as_dict: Callable[[T], object], interval_s: float
) -> None:
    while True:
        try:
            write_json(as_dict(await look()), indent=False)
        except ServiceUnavailable as error:
            write_json({"error": str(error)}, indent=False)
        sys.stdout.flush()
        await asyncio.sleep(interval_s)


async def _live(
    look: Callable[[], Awaitable[T]], render: Callable[[T], RenderableType], interval_s: float
) -> None:
    shown: RenderableType = Text("…")
    with Live(shown, console=console(), auto_refresh=False, vertical_overflow="crop") as live:
        while True:
            try:
                shown = render(await look())
                live.update(shown, refresh=True)
            except ServiceUnavailable as error:
                live.update(Group(shown, Text(str(error), style="bold red")), refresh=True)
            await asyncio.sleep(interval_s)

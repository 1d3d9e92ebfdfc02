"""`scrutin compare`: the totals of two counts, for a shadow run."""

from __future__ import annotations

import asyncio
import time
from typing import Annotated

import typer
from rich.console import Group, RenderableType
from rich.text import Text

from streams.adopt.compare import SourceTotals, TotalsComparison, compare
from streams.adopt.counts import parse_source, read_count
from streams.cli.show import JsonOption, console, grid, plain, run, write_json
from streams.cli.values import finite
from streams.cli.watch import IntervalOption, WatchOption, watch
from streams.errors import ExitCode, SettingsError
from streams.settings.load import load_settings

_POLL_S = 0.5
_MAX_ROWS = 40


def register(app: typer.Typer) -> None:
    """Add `scrutin compare`."""
    app.command("compare")(command)


def command(
    old: Annotated[
        str,
        typer.Argument(
            metavar="OLD",
            help="DATABASE or DATABASE/SCHEMA on the same server, a postgresql:// address, or the"
            " http:// address of an API.",
        ),
    ],
    new: Annotated[
        str, typer.Argument(metavar="NEW", help="The same; default: Scrutin's database.")
    ] = "",
    *,
    wait: Annotated[
        float,
        typer.Option(callback=finite, help="Seconds to wait until both counts are equal.", min=0),
    ] = 0.0,
    watch_it: WatchOption = False,
    interval: IntervalOption = 2.0,
    as_json: JsonOption = False,
) -> None:
    """Compare the totals of two counts by contest and choice, for example in a shadow run.

    Reads the tables of the replaced services in any of their documented forms, Scrutin's own, or
    the results that an API shows, and changes nothing. While votes come in, each count is a little
    behind what was sent: a difference that stays after the last vote is a real one.

    Exit code 3: the totals differ, or there are none that both have.

    Examples:

        scrutin compare voting --wait 60

        scrutin compare http://old-api:8000 http://localhost:8000 --watch
    """
    settings = load_settings()
    if watch_it and wait:
        raise SettingsError("--watch excludes --wait", todo="Use one of them")
    sources = [parse_source(given, settings.postgres) for given in (old, new)]

    async def look() -> TotalsComparison:
        found = await asyncio.gather(
            *(read_count(source, settings.default_election) for source in sources)
        )
        return compare(*found)

    if watch_it:
        as_dict = TotalsComparison.as_dict if as_json else None
        watch(look, render, as_dict=as_dict, interval_s=interval)
        return

    async def until_equal() -> TotalsComparison:
        deadline = time.monotonic() + wait
        while True:
            found = await look()
            if found.equal or time.monotonic() >= deadline:
                return found
            await asyncio.sleep(_POLL_S)

    found = run(until_equal())
    if as_json:
        write_json(found.as_dict())
    else:
        console().print(render(found))
    if not found.equal:
        raise typer.Exit(ExitCode.DIFFERENT)


def render(found: TotalsComparison) -> RenderableType:
    """Both counts, the choices that differ first, and what was not compared."""
    numbers = ("old", "new", "difference")
    table = grid("Contest", "Choice", *numbers, right=numbers)
    rows = sorted(found.rows, key=lambda row: row.more == 0)
    for row in rows[:_MAX_ROWS]:
        more = Text(f"{row.more:+,}", style="bold red") if row.more else Text("0", style="dim")
        table.add_row(plain(row.contest), plain(row.choice), f"{row.old:,}", f"{row.new:,}", more)
    parts: list[RenderableType] = [_side("old", found.old), _side("new", found.new), table]
    if len(rows) > _MAX_ROWS:
        equal = sum(not row.more for row in rows[_MAX_ROWS:])
        parts.append(Text(f"and {len(rows) - _MAX_ROWS:,} more, {equal:,} of them equal"))
    parts += [_verdict(found), Text("Not compared:", style="dim")]
    parts += [plain(f"  {what}") for what in found.not_compared]
    return Group(*parts)


def _side(name: str, count: SourceTotals) -> Text:
    age = "never changed" if count.age_s is None else f"changed {count.age_s:,.0f} s ago"
    read = "; ".join(f"{kind}: {what}" for kind, what in count.read.items())
    text = Text(f"{name}  ", style="bold")
    text.append_text(plain(f"{count.source}, {sum(count.totals.values()):,} votes, {age}"))
    return text.append_text(plain(f" ({read})"))


def _verdict(found: TotalsComparison) -> Text:
    if found.equal:
        return Text(f"Equal: {len(found.rows):,} totals are the same.", style="green")
    if not found.differences:
        return Text("No kind of contest has totals on both sides.", style="bold red")
    return Text(
        f"{len(found.differences):,} of {len(found.rows):,} totals differ.", style="bold red"
    )

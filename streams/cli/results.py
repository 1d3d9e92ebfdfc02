"""`scrutin results`: the count in PostgreSQL."""

from __future__ import annotations

from itertools import cycle
from typing import Annotated

import msgspec
import typer
from rich.bar import Bar
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from streams.adapters.postgres.connection import connected, translated
from streams.cli.election.show import render_result
from streams.cli.show import JsonOption, plain
from streams.cli.values import contest_name
from streams.cli.watch import IntervalOption, WatchOption, show_or_watch
from streams.elections.contest_result import ContestResult
from streams.elections.contest_store import read_contest_result
from streams.elections.results import ElectionResult
from streams.elections.store import find, read_definitions, read_result
from streams.inspect.results import ResultTotals, fetch_results, require_known, select, share
from streams.settings.load import load_settings
from streams.settings.model import Settings

Found = tuple[list[ResultTotals], ElectionResult | None, ContestResult | None]
"""All contests; of the requested one also its rounds, if it is an election, and what pages get."""

_BAR = 40
_COLOURS = ("cyan", "magenta", "yellow", "blue", "green", "red")


def command(
    law: Annotated[
        str | None,
        typer.Argument(
            metavar="LAW", callback=contest_name, help="Id of a law or an election; default all."
        ),
    ] = None,
    *,
    watch_it: WatchOption = False,
    interval: IntervalOption = 1.0,
    as_json: JsonOption = False,
) -> None:
    """Show the results: votes and shares of every choice; of an election, seats and rounds.

    Exit 1 if there is no such law or election.

    scrutin results C-42 --watch

    scrutin results --json | jq '.laws[] | select(.total_votes > 1000)'
    """
    settings = load_settings()

    def as_dict(found: Found) -> object:
        tallies, election, result = found
        if law is not None:
            counted = {"election": election.as_dict()} if election is not None else {}
            if result is not None:
                counted["result"] = msgspec.to_builtins(result)
            name = law if election is None else election.election.contest
            return select(tallies, name).as_dict() | counted
        return {
            "laws": [tally.as_dict() for tally in tallies if tally.is_law],
            "contests": [tally.as_dict() for tally in tallies if not tally.is_law],
        }

    def show(found: Found) -> RenderableType:
        tallies, election, result = found
        moment = [] if result is None else [_moment(result)]
        if election is not None:
            chosen = select(tallies, election.election.contest)
            return Group(_heading(chosen), *moment, render_result(election))
        return Group(render(tallies if law is None else [select(tallies, law)]), *moment)

    show_or_watch(
        lambda: _fetch(settings, law),
        show,
        as_dict=as_dict,
        as_json=as_json,
        watch_it=watch_it,
        interval_s=interval,
    )


async def _fetch(settings: Settings, name: str | None) -> Found:
    async with connected(settings.postgres) as connection:
        where = settings.postgres.where()
        if name is None:
            return await fetch_results(connection, where), None, None
        # One moment for everything that is shown.
        async with (
            translated(where),
            connection.transaction(isolation="repeatable_read", readonly=True),
        ):
            tallies = await fetch_results(connection, where)
            definitions = await read_definitions(connection)
            election = None
            if not any(tally.is_law and tally.contest == name for tally in tallies):
                election = find(definitions, name)
                if election is None:
                    await require_known(connection, tallies, name)
            contest = select(tallies, name).contest if election is None else election.contest
            result = await read_contest_result(connection, contest, definitions)
            counted = (
                None if election is None else await read_result(connection, definitions, election)
            )
            return tallies, counted, result


def _moment(result: ContestResult) -> Text:
    """How far the contest is, and how old the figures are."""
    text = Text(f"{result.phase.replace('_', ' ')}, as of {result.read_at:%H:%M:%S} UTC", "dim")
    if result.updated_at is not None:
        age_s = max((result.read_at - result.updated_at).total_seconds(), 0)
        text.append(f", last change {age_s:,.0f} s before")
    return text


def render(tallies: list[ResultTotals]) -> RenderableType:
    """Bars, votes and percentages of each contest."""
    if not tallies:
        return Text("No votes were counted yet.")
    parts: list[RenderableType] = []
    width = max((len(plain(choice)) for t in tallies for choice, _ in t.choices), default=3)
    for tally in tallies:
        if parts:
            parts.append(Text())
        parts.append(_heading(tally))
        if tally.total:
            parts.append(_bars(tally, min(width, 30)))
    return Group(*parts)


def _heading(tally: ResultTotals) -> Text:
    text = plain(tally.contest)
    text.stylize("bold")
    closing = tally.closing
    if closing is not None and closing.final:
        places = ", ".join(f"{part['partition']}:{part['offset']}" for part in closing.vector)
        text.append(f"  final, closed at {places}", style="not bold green")
    elif closing is not None and not closing.enforced:
        text.append("  not enforced", style="not bold yellow")
    elif closing is not None:
        done = f"{closing.passed} of {closing.partitions}"
        text.append(f"  closed, {done} partitions complete", style="not bold yellow")
    if not tally.total:
        return text.append("  no votes were counted yet", style="not bold dim")
    text.append(f"  {tally.total:,} votes", style="not bold")
    if tally.ranked:
        text.append(", first choices only: ask for this election by name", style="not bold yellow")
    if tally.updated:
        text.append(f", updated {tally.updated:%Y-%m-%d %H:%M:%S} UTC", style="not bold dim")
    return text


def _bars(tally: ResultTotals, name_width: int) -> Table:
    table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(width=name_width + 2, overflow="fold")
    table.add_column(width=_BAR)
    table.add_column(justify="right", min_width=10)
    table.add_column(justify="right", min_width=7)
    colours = cycle(("green", "red") if tally.is_law else _COLOURS)
    for (choice, votes), colour in zip(tally.choices, colours, strict=False):
        name = Text("  ").append_text(plain(choice))
        bar = Bar(tally.total, 0, votes, width=_BAR, color=colour)
        table.add_row(name, bar, f"{votes:,}", f"{share(votes, tally.total):.1f} %")
    return table

"""`scrutin results`: the result of each contest, as pages and the API have it."""

from __future__ import annotations

from itertools import cycle
from typing import Annotated, Any, NamedTuple

import msgspec
import typer
from rich.bar import Bar
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from schemas.control import ContestKind, ContestMethod
from streams.adapters.postgres.connection import connected, translated
from streams.cli.election.show import render_result
from streams.cli.show import JsonOption, plain
from streams.cli.values import contest_name
from streams.cli.watch import IntervalOption, WatchOption, show_or_watch
from streams.core.keys import ELECTION_PREFIX
from streams.core.polls import POLL_PREFIX
from streams.elections.contest_result import ContestPhase, ContestResult
from streams.elections.contest_store import ContestReading, contests_with_results, read_contests
from streams.elections.definitions import METHODS
from streams.elections.overview import choices_of, votes_of
from streams.elections.store import find, read_definitions
from streams.errors import ScrutinError
from streams.inspect.contests import Closing, fetch_finals
from streams.settings.load import load_settings
from streams.settings.model import Settings

_BAR = 40
_COLOURS = ("cyan", "magenta", "yellow", "blue", "green", "red")


class Found(NamedTuple):
    """Results as of one moment."""

    readings: list[ContestReading]
    closings: dict[str, Closing]


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
        if law is not None:
            [read] = found.readings
            counted = {} if read.counted is None else {"election": read.counted.as_dict()}
            return {
                **_brief(read.result, found.closings),
                **counted,
                "result": msgspec.to_builtins(read.result),
            }
        results = [read.result for read in found.readings]
        return {
            "laws": [_brief(one, found.closings) for one in results if _is_law(one)],
            "contests": [_brief(one, found.closings) for one in results if not _is_law(one)],
        }

    def show(found: Found) -> RenderableType:
        if law is None:
            return render([read.result for read in found.readings])
        [read] = found.readings
        if read.counted is None:
            return render([read.result])
        return Group(heading(read.result), render_result(read.counted))

    show_or_watch(
        lambda: _fetch(settings, law),
        show,
        as_dict=as_dict,
        as_json=as_json,
        watch_it=watch_it,
        interval_s=interval,
    )


async def _fetch(settings: Settings, name: str | None) -> Found:
    # One moment for everything that is shown.
    async with (
        connected(settings.postgres) as connection,
        translated(settings.postgres.where()),
        connection.transaction(isolation="repeatable_read", readonly=True),
    ):
        contests = await contests_with_results(connection)
        definitions = await read_definitions(connection)
        if name is not None:
            # A law may have the id of an election.
            election = None if name in contests else find(definitions, name)
            contests = [name, ELECTION_PREFIX + name] if election is None else [election.contest]
        found = await read_contests(connection, contests, definitions)
        if name is not None and not found:
            raise ScrutinError(
                "There is no such contest: it was not announced, and no vote is counted for it",
                where={"contest": name},
                todo="See `scrutin results`, and `scrutin contest list --all`",
            )
        closings = await fetch_finals(connection)
    return Found(found[:1] if name is not None else found, closings)


def _is_law(result: ContestResult) -> bool:
    return result.kind == ContestKind.LAW or (
        result.kind is None and not result.id.startswith((ELECTION_PREFIX, POLL_PREFIX))
    )


def is_ranked(result: ContestResult) -> bool:
    """Whether first choices are not the result."""
    return METHODS.get(result.method or "") == ContestMethod.RANKED


def _brief(result: ContestResult, closings: dict[str, Closing]) -> dict[str, Any]:
    """For JSON; a law with the column names of `vote_results`."""
    votes, closing = votes_of(result), closings.get(result.id)
    updated = result.updated_at.isoformat() if result.updated_at and result.total_votes else None
    final = {"final": closing.as_dict()} if closing else {}
    if _is_law(result):
        return {
            **final,
            "law_id": result.id,
            "oui_count": votes.get("oui", 0),
            "non_count": votes.get("non", 0),
            "total_votes": result.total_votes,
            "updated_at": updated,
        }
    return {
        **final,
        **({"ranked": True} if is_ranked(result) else {}),
        "contest_id": result.id,
        "choices": votes,
        "total_votes": result.total_votes,
        "updated_at": updated,
    }


def render(results: list[ContestResult]) -> RenderableType:
    """Bars, votes and percentages of each contest."""
    if not results:
        return Text("No votes were counted yet.")
    parts: list[RenderableType] = []
    shown = [(one, _named(one)) for one in results]
    width = max((len(plain(name)) for _, rows in shown for name, _, _ in rows), default=3)
    for result, rows in shown:
        if parts:
            parts.append(Text())
        parts.append(heading(result))
        if result.total_votes:
            parts.append(_bars(result, rows, min(width, 30)))
    return Group(*parts)


def heading(result: ContestResult) -> Text:
    """Title, phase, votes, and how old the figures are."""
    text = plain(result.id)
    text.stylize("bold")
    if result.title not in {None, result.id}:
        text.append_text(Text("  ").append_text(plain(result.title)))
    style = {ContestPhase.FINAL: "green", ContestPhase.VOTING: "cyan"}
    text.append(
        f"  {result.phase.replace('_', ' ')}",
        style=f"not bold {style.get(_phase(result), 'yellow')}",
    )
    proof = result.proof
    if proof is not None and proof["final"]:
        places = ", ".join(f"{part['partition']}:{part['offset']}" for part in proof["vector"])
        text.append(f", closed at {places}", style="not bold green")
    elif proof is not None:
        done = f"{proof['passed']} of {proof['partitions']}"
        text.append(f", {done} partitions complete", style="not bold yellow")
    if not result.total_votes:
        return text.append("  no votes were counted yet", style="not bold dim")
    text.append(f"  {result.total_votes:,} votes", style="not bold")
    if is_ranked(result):
        text.append(", first choices only: ask for this election by name", style="not bold yellow")
    return text.append(f", {age_of(result)}", style="not bold dim")


def _phase(result: ContestResult) -> ContestPhase:
    return ContestPhase(result.phase)


def age_of(result: ContestResult) -> str:
    """How old the figures are."""
    text = f"as of {result.read_at:%H:%M:%S} UTC"
    if result.updated_at is None:
        return text
    age_s = max((result.read_at - result.updated_at).total_seconds(), 0)
    return f"{text}, last change {age_s:,.0f} s before"


def _named(result: ContestResult) -> list[tuple[str, int, float]]:
    """Name, votes and share of each choice."""
    if result.hidden:
        return [("hidden", result.total_votes, 1.0)]
    return [(one.name, one.votes, one.share or 0.0) for one in choices_of(result)]


def _bars(result: ContestResult, rows: list[tuple[str, int, float]], name_width: int) -> Table:
    table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(width=name_width + 2, overflow="fold")
    table.add_column(width=_BAR)
    table.add_column(justify="right", min_width=10)
    table.add_column(justify="right", min_width=7)
    by_choice = {"oui": "green", "non": "red"} if _is_law(result) else {}
    for (name, votes, share), colour in zip(rows, cycle(_COLOURS), strict=False):
        shown = Text("  ").append_text(plain(name))
        bar = Bar(result.total_votes, 0, votes, width=_BAR, color=by_choice.get(name, colour))
        table.add_row(shown, bar, f"{votes:,}", f"{100 * share:.1f} %")
    return table

"""`scrutin contest list` and `show`."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.table import Table

from streams.adapters.postgres.connection import connected
from streams.cli.show import JsonOption, answer, console, facts, grid, plain, run
from streams.cli.values import contest_name
from streams.cli.watch import IntervalOption, WatchOption, show_or_watch
from streams.core.contests import contest_id
from streams.core.dates import described
from streams.elections.contest_store import read_contests
from streams.elections.overview import votes_of
from streams.elections.store import read_definitions
from streams.errors import ScrutinError
from streams.inspect.contests import NOT_ENFORCED, ContestRow, fetch_contests, fetch_finals
from streams.runtime.zones import zone_of
from streams.settings.load import load_settings
from streams.settings.model import Settings

_COLOURS = {
    "draft": "yellow",
    "open": "green",
    "closed": "cyan",
    "archived": "dim",
    NOT_ENFORCED: "yellow",
}


def list_contests(
    *,
    everything: Annotated[bool, typer.Option("--all", help="Include archived contests.")] = False,
    watch_it: WatchOption = False,
    interval: IntervalOption = 1.0,
    as_json: JsonOption = False,
) -> None:
    """List the contests with their state and the number of partitions where it applies.

    Example: `scrutin contest list --watch`
    """
    settings = load_settings()

    async def look() -> list[ContestRow]:
        async with connected(settings.postgres) as connection:
            found = await fetch_contests(connection, settings.postgres.where())
        return [row for row in found if everything or row.state != "archived"]

    show_or_watch(
        look,
        _table,
        as_dict=lambda rows: [row.as_dict() for row in rows],
        as_json=as_json,
        watch_it=watch_it,
        interval_s=interval,
    )


def show_contest(
    name: Annotated[str, typer.Argument(metavar="CONTEST", callback=contest_name, help="Its id.")],
    *,
    as_json: JsonOption = False,
) -> None:
    """Show one contest: state, times, votes and, once closed, the proof of completeness.

    Example: `scrutin contest show C-42 --json | jq .final`
    """
    found = run(details(load_settings(), [contest_id(name)]))
    answer(found[0], lambda: print_details(found[0]), as_json=as_json)


async def details(settings: Settings, names: list[str]) -> list[dict[str, Any]]:
    """Contests with their results and the proof of closed ones.

    Raises:
        ScrutinError: a contest does not exist.
    """
    where = settings.postgres.where()
    async with connected(settings.postgres) as connection:
        found = []
        rows = {row.contest: row for row in await fetch_contests(connection, where)}
        finals = await fetch_finals(connection)
        definitions = await read_definitions(connection)
        read = await read_contests(connection, names, definitions)
        votes = {one.result.id: votes_of(one.result) for one in read}
        for name in names:
            if name not in rows:
                raise ScrutinError(
                    "The contest does not exist",
                    where={"contest": name},
                    todo="See `scrutin contest list --all`",
                )
            closing = finals.get(name)
            row = rows[name]
            found.append(
                {
                    **row.as_dict(),
                    "opens": _said(settings, row.opens_at, end=False),
                    "closes": _said(settings, row.closes_at, end=True),
                    "result": votes[name],
                    "final": closing.as_dict() if closing else None,
                }
            )
        return found


def _said(settings: Settings, at: datetime | None, *, end: bool) -> str | None:
    if at is None:
        return None
    return described(round(at.timestamp() * 1000), zone_of(settings.time_zone), end=end)


def print_details(one: dict[str, Any]) -> None:
    """Print a contest."""
    table = facts()
    table.add_row("contest", plain(one["contest_id"]))
    table.add_row("title", plain(one["title"]))
    table.add_row("state", f"[{_COLOURS[one['state']]}]{_state(one)}[/]")
    table.add_row("choices", plain(", ".join(one["choices"]) if one["choices"] else "any"))
    table.add_row("roll", one["roll"])
    table.add_row("opens", plain(one["opens"] or "by command"))
    table.add_row("closes", plain(one["closes"] or "by command"))
    for name, value in one["conduct"].items():
        table.add_row(name.replace("_", " "), plain(_conduct(value)))
    for choice, votes in one["result"].items():
        table.add_row("votes", plain(f"{votes:,} {choice or 'hidden'}"))
    final = one["final"]
    if final:
        table.add_row("result", _finality(final))
        for part in final["vector"]:
            text = f"partition {part['partition']}: offset {part['offset']} of log {part['log_id']}"
            table.add_row("closed at", text)
    console().print(table)


def _conduct(value: Any) -> str:
    """A setting or a fact of how an election is held, such as each candidate who withdrew."""
    if isinstance(value, list):
        return "; ".join(map(_conduct, value))
    if not isinstance(value, dict):
        return "yes" if value is True else str(value)
    if "drawn" in value:
        what = "elected" if value["elects"] else "eliminated"
        return f"of {', '.join(value['tied'])}: {value['drawn']} {what}"
    if "choice" in value:
        return f"{value['choice']} ({value['reason']})"
    return ", ".join(f"{name.replace('_', ' ')} {_conduct(each)}" for name, each in value.items())


def _state(one: dict[str, Any]) -> str:
    command = one["command"]
    state = _named(one["state"])
    if command["partitions_passed"] >= command["partitions"]:
        return state
    done = f"{command['partitions_passed']} of {command['partitions']} partitions"
    return f"{state} (in {done} so far)"


def _named(state: str) -> str:
    return state.replace("_", " ")


def _finality(final: dict[str, Any]) -> str:
    if not final["enforced"]:
        return "[yellow]not final: contests are not enforced (SCRUTIN_ENFORCE_CONTESTS)[/]"
    if not final["final"]:
        done = f"{final['partitions_passed']} of {final['partitions']}"
        return f"[yellow]not complete: {done} partitions have passed the closing[/]"
    return f"[green]final[/] since {final['final_at']}"


def _table(rows: list[ContestRow]) -> Table:
    table = grid(
        "Contest", "Title", "State", "Partitions", "Opens", "Closes", "Votes", right=_RIGHT
    )
    for row in rows:
        table.add_row(
            plain(row.contest),
            plain(row.title),
            f"[{_COLOURS[row.state]}]{_named(row.state)}[/]",
            f"{row.passed}/{row.partitions}",
            _short(row.opens_at),
            _short(row.closes_at),
            f"{row.votes:,}",
        )
    return table


_RIGHT = ("Votes", "Partitions")


def _short(at: datetime | None) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC" if at else ""

"""`scrutin contest`: laws, elections and polls from their announcement to the final result."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from typing import Annotated, Final

import typer

from schemas.control import Contest, ContestKind, ContestRoll
from streams.cli.contest.changes import issue_change, read_table, show_changed
from streams.cli.contest.confirm import YesOption, ask
from streams.cli.contest.show import (
    list_contests,
    show_contest,
)
from streams.cli.issuing import WaitOption
from streams.cli.show import JsonOption
from streams.cli.values import contest_name
from streams.core.contests import (
    archive,
    close_now,
    contest_id,
    create,
    draft,
    extend,
    from_table,
    open_now,
)
from streams.core.dates import parse_begin, parse_end
from streams.errors import SettingsError
from streams.runtime.zones import zone_of
from streams.settings.load import load_settings

app = typer.Typer(
    help="Laws, elections and polls: draft, open, closed, archived.\n\n"
    "Each command becomes a record in every partition of the log. With SCRUTIN_ENFORCE_CONTESTS, "
    "the rules for a vote depend on its position before or after that record.\n\n"
    "Example: `scrutin contest create C-42 --closes 2026-06-01T20:00:00Z && "
    "scrutin contest open C-42`",
    no_args_is_help=True,
)

NameArgument = Annotated[
    str,
    typer.Argument(
        metavar="CONTEST", callback=contest_name, help="A law's id, election:ID or poll:ID."
    ),
]

_STEP: Final = re.compile(r"^(\d+)(s|m|h|d)$")
_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}

Change = Callable[[dict[str, Contest], int], list[Contest]]


@app.command("create")
def create_contest(
    name: NameArgument,
    *,
    kind: Annotated[
        ContestKind | None, typer.Option(help="Default: by the prefix of CONTEST.")
    ] = None,
    title: Annotated[str, typer.Option(help="Shown to people.")] = "",
    choices: Annotated[
        str | None,
        typer.Option(help="Comma-separated; a law has oui,non. Default: any choice counts."),
    ] = None,
    roll: Annotated[
        ContestRoll,
        typer.Option(help="Who may vote: by SCRUTIN_ROLL, the log's roll, or anybody."),
    ] = ContestRoll.DEFAULT,
    opens: Annotated[str | None, typer.Option(help="Opens automatically at this time.")] = None,
    closes: Annotated[str | None, typer.Option(help="Closes automatically at this time.")] = None,
    wait: WaitOption = 10.0,
    as_json: JsonOption = False,
) -> None:
    """Create a contest as a draft, which a command or its time opens.

    Example: `scrutin contest create election:1 --choices 7,42 --closes 2026-06-01T20:00:00Z`
    """
    new = draft(
        contest_id(name, kind),
        title=title,
        choices=None if choices is None else [c.strip() for c in choices.split(",") if c.strip()],
        roll=roll,
        opens_ms=_time("--opens", opens, parse_begin),
        closes_ms=_time("--closes", closes, parse_end),
    )
    _change(lambda known, _: create(known, [new]), [new.id], wait, as_json=as_json)


@app.command("import")
def import_contests(
    file: Annotated[
        Path, typer.Argument(help="JSON (a list of objects), CSV or Parquet with a header.")
    ],
    *,
    wait: WaitOption = 10.0,
    as_json: JsonOption = False,
) -> None:
    """Create many contests: id, and any of kind, title, choices, roll, opens, closes.

    All or none, in one command. Drafts that differ are replaced; equal contests stay unchanged.

    Example: `scrutin contest import contests.csv`
    """
    drafts = from_table(read_table(file), zone_of(load_settings().time_zone))
    _change(lambda known, _: create(known, drafts), [d.id for d in drafts], wait, as_json=as_json)


@app.command("open")
def open_contest(
    name: NameArgument, *, wait: WaitOption = 10.0, as_json: JsonOption = False
) -> None:
    """Let votes count from now on.

    Example: `scrutin contest open C-42`
    """
    wanted = contest_id(name)
    _change(lambda known, now_ms: open_now(known, wanted, now_ms), [wanted], wait, as_json=as_json)


@app.command("close")
def close_contest(
    name: NameArgument,
    *,
    yes: YesOption = False,
    wait: WaitOption = 10.0,
    as_json: JsonOption = False,
) -> None:
    """Close permanently, and wait until the result is final.

    Votes before the closing record of their partition count, however late they are processed;
    votes after it are rejected as contest_closed.

    Example: `scrutin contest close C-42 --yes --json | jq .final.vector`
    """
    wanted = contest_id(name)
    ask(load_settings(), wanted, "close", yes=yes)
    _change(lambda known, _: close_now(known, wanted), [wanted], wait, as_json=as_json)


@app.command("extend")
def extend_contest(
    name: NameArgument,
    *,
    until: Annotated[str | None, typer.Option(help="The new closing time, ISO 8601.")] = None,
    by: Annotated[str | None, typer.Option(help="Extend by: 90s, 30m, 2h, 1d.")] = None,
    open_ended: Annotated[bool, typer.Option(help="Close by command only.")] = False,
    wait: WaitOption = 10.0,
    as_json: JsonOption = False,
) -> None:
    """Move the closing time of a draft or an open contest.

    Example: `scrutin contest extend C-42 --by 30m`
    """
    if sum((until is not None, by is not None, open_ended)) != 1:
        raise SettingsError(
            "The new closing time is not clear",
            todo="Give exactly one of --until, --by and --open-ended",
        )
    wanted = contest_id(name)
    closes_ms = _time("--until", until, parse_end)
    step = None if by is None else _step(by)

    def change(known: dict[str, Contest], now_ms: int) -> list[Contest]:
        if step is None:
            return extend(known, wanted, closes_ms, now_ms)
        old = known.get(wanted)
        start_ms = old.closes_ms if old is not None and old.closes_ms is not None else now_ms
        return extend(known, wanted, start_ms + int(step.total_seconds() * 1000), now_ms)

    _change(change, [wanted], wait, as_json=as_json)


@app.command("archive")
def archive_contest(
    name: NameArgument,
    *,
    yes: YesOption = False,
    wait: WaitOption = 10.0,
    as_json: JsonOption = False,
) -> None:
    """Archive a closed contest: `list` shows it only with --all. Its result stays.

    Example: `scrutin contest archive C-42 --yes`
    """
    wanted = contest_id(name)
    ask(load_settings(), wanted, "archive", yes=yes)
    _change(lambda known, _: archive(known, wanted), [wanted], wait, as_json=as_json)


def _change(change: Change, names: list[str], wait_s: float, *, as_json: bool) -> None:
    settings = load_settings()
    changed = issue_change(settings, change, names, wait_s)
    show_changed(settings, names, changed, as_json=as_json)


def _time(
    option: str, text: str | None, parse: Callable[[object, tzinfo], int | None]
) -> int | None:
    try:
        return parse(text, zone_of(load_settings().time_zone))
    except ValueError as error:
        raise SettingsError(
            f"{text!r} is not a time",
            where={"option": option},
            todo=f"Write it like {datetime.now(UTC).replace(microsecond=0).isoformat()}",
        ) from error


def _step(text: str) -> timedelta:
    match = _STEP.match(text)
    if match is None:
        raise SettingsError(
            f"{text!r} is not a duration",
            where={"option": "--by"},
            todo="Write 90s, 30m, 2h or 1d",
        )
    return timedelta(**{_UNITS[match[2]]: int(match[1])})


app.command("list")(list_contests)
app.command("show")(show_contest)

"""`scrutin tables scan` and `export`: rows of the tables."""

from __future__ import annotations

from contextlib import aclosing
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from streams.adapters.kafka.view import LogView
from streams.cli.show import (
    JsonOption,
    console,
    counting,
    grid,
    iso,
    moment,
    plain,
    run,
    size,
    write_json,
)
from streams.cli.since import parse_since
from streams.cli.values import MAX_NUMBER, contest_name
from streams.core.keys import ELECTION_PREFIX
from streams.core.topics import WINDOWS_TOPIC, changelog_topic
from streams.errors import ScrutinError
from streams.inspect import report
from streams.inspect.export import Format, open_writer
from streams.inspect.voted import VoterRow
from streams.inspect.windows import Window, read_windows
from streams.runtime.zones import zone_of
from streams.settings.load import load_settings
from streams.settings.model import Settings


class TableName(StrEnum):
    """The tables."""

    VOTED = "voted"
    WINDOWS = "windows"


Law = Annotated[
    str | None, typer.Option("--law", metavar="ID", callback=contest_name, help="Only this law.")
]
Election = Annotated[
    str | None,
    typer.Option("--election", metavar="ID", callback=contest_name, help="Only this election."),
]
Since = Annotated[
    str | None,
    typer.Option(
        "--since",
        metavar="TIME",
        help="Windows only: from this time; 10m, 2h, 3d or ISO 8601 (`SCRUTIN_TIME_ZONE`).",
    ),
]


def _since(settings: Settings, since: str | None) -> int | None:
    return None if since is None else parse_since(since, zone_of(settings.time_zone))


def _require(count: int, contest: str | None) -> None:
    """Refuse a contest without entries: nobody voted in it, or its name is mistyped."""
    if contest is not None and not count:
        raise ScrutinError(
            "The table has no entries of this contest",
            where={"contest": contest},
            todo="See `scrutin tables stats` for the contests that have some",
        )


def _contest(law: str | None, election: str | None) -> str | None:
    if law is not None and election is not None:
        raise typer.BadParameter("--law and --election exclude each other")
    return f"{ELECTION_PREFIX}{election}" if election is not None else law


def scan(
    table: Annotated[TableName, typer.Argument(help="Name of the table.")],
    *,
    law: Law = None,
    election: Election = None,
    since: Since = None,
    limit: Annotated[
        int,
        typer.Option(
            "--limit",
            min=0,
            max=MAX_NUMBER,
            metavar="N",
            help="Maximum number of rows; for windows the latest; 0: all.",
        ),
    ] = 20,
    as_json: JsonOption = False,
) -> None:
    """Show a table's entries. With --json: one object per line. Exit 1 if a contest has none.

    scrutin tables scan voted --law C-42 --limit 100

    scrutin tables scan windows --law C-42 --since 10m
    """
    contest = _contest(law, election)
    settings = load_settings()
    if table is TableName.WINDOWS:
        run(_scan_windows(settings, contest, _since(settings, since), limit, as_json=as_json))
        return
    if since is not None:
        raise typer.BadParameter("--since is for windows")
    run(_scan_voted(settings, contest, limit, as_json=as_json))


async def _scan_voted(
    settings: Settings, contest: str | None, limit: int, *, as_json: bool
) -> None:
    topic = changelog_topic(settings.app_id)
    shown: list[VoterRow] = []
    count = 0
    async with LogView(settings.kafka.servers) as reader:
        spans = await reader.spans(topic)
        with counting("voted", report.steps(spans)) as advance:
            async with aclosing(report.all_entries(reader, topic, spans, advance)) as batches:
                async for batch in batches:
                    for entry in batch:
                        if contest is not None and entry.contest != contest:
                            continue
                        count += 1
                        if as_json:
                            write_json(report.voted_row(entry), indent=False)
                        else:
                            shown.append(entry)
                        if count == limit:
                            break
                    if limit and count >= limit:
                        break
    _require(count, contest)
    if as_json:
        return
    table = grid("Key", "Contest", "Position", "Again", right=("Again",))
    table.columns[0].no_wrap = True
    for e in shown:
        place = f"{e.partition}/{e.offset}/{e.item}"
        table.add_row(e.key.hex(), plain(e.contest or "?"), place, f"{e.attempts:,}")
    out = console()
    if not count:
        out.print("No entries.")
        return
    out.print(table)
    cut = f" Stopped at --limit {limit}; 0 shows all." if count == limit else ""
    out.print(f"[dim]{count:,} entries. Position: partition/offset/vote.{cut}[/]")


async def _scan_windows(
    settings: Settings, contest: str | None, since_ms: int | None, limit: int, *, as_json: bool
) -> None:
    rows = await _windows(settings, contest, since_ms)
    if since_ms is None:
        _require(len(rows), contest)
    shown = rows[-limit:] if limit else rows
    if as_json:
        for row in shown:
            write_json(_window_row(row), indent=False)
        return
    table = grid("Window", "Contest", "Choice", "Votes", right=("Votes",))
    for w in shown:
        start = moment(w.window_start_ms)
        table.add_row(start, plain(w.contest), plain(w.choice), f"{w.votes:,}")
    out = console()
    if not rows:
        out.print("No windows.")
        return
    out.print(table)
    cut = "" if len(shown) == len(rows) else f"The last {len(shown):,} of "
    out.print(f"[dim]{cut}{len(rows):,} windows.[/]")


async def _windows(settings: Settings, contest: str | None, since_ms: int | None) -> list[Window]:
    async with LogView(settings.kafka.servers) as reader:
        spans = await reader.spans(WINDOWS_TOPIC)
        with counting("windows", report.width(spans)) as advance:
            latest = await read_windows(reader, advance)
    return latest.rows(contest=contest, since_ms=since_ms)


def _window_row(window: Window) -> dict[str, str | int | None]:
    return {
        "contest": window.contest,
        "choice": window.choice,
        "window_start": iso(window.window_start_ms),
        "votes": window.votes,
    }


def export(
    table: Annotated[TableName, typer.Argument(help="Name of the table.")],
    *,
    file_format: Annotated[Format, typer.Option("--format", "-f", help="File format.")],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="File; default: standard output."),
    ] = None,
    law: Law = None,
    election: Election = None,
    since: Since = None,
) -> None:
    """Export a table to a file in constant memory. Exit 1 if a contest has no entries.

    scrutin tables export voted --format parquet -o voted.parquet

    scrutin tables export windows --format csv --law C-42 > windows.csv
    """
    contest = _contest(law, election)
    settings = load_settings()
    target = None if output is None or str(output) == "-" else output
    if target is None and file_format is Format.PARQUET:
        raise typer.BadParameter("Parquet needs a file; name one with --output FILE")
    if table is TableName.WINDOWS:
        rows = run(_windows(settings, contest, _since(settings, since)))
        if since is None:
            _require(len(rows), contest)
        with open_writer(target, file_format, report.WINDOW_COLUMNS) as writer:
            writer.write([_window_row(row) for row in rows])
        count = len(rows)
    else:
        if since is not None:
            raise typer.BadParameter("--since is for windows")
        count = run(_export_voted(settings, contest, target, file_format))
    if target is not None:
        console().print(f"{count:,} rows in {target} ({size(target.stat().st_size)})")


async def _export_voted(
    settings: Settings, contest: str | None, target: Path | None, file_format: Format
) -> int:
    topic = changelog_topic(settings.app_id)
    count = 0
    async with LogView(settings.kafka.servers) as reader:
        spans = await reader.spans(topic)
        with (
            open_writer(target, file_format, report.VOTED_COLUMNS) as writer,
            counting("voted", report.steps(spans)) as advance,
        ):
            async for batch in report.all_entries(reader, topic, spans, advance):
                rows = [
                    report.voted_row(e) for e in batch if contest is None or e.contest == contest
                ]
                writer.write(rows)
                count += len(rows)
    _require(count, contest)
    return count

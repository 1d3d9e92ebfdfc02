"""`scrutin election`: parties, regions, elections and candidates, and the count by rounds."""

from __future__ import annotations

import csv
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final

import asyncpg
import typer

from schemas.control import Contest
from streams.adapters.postgres.connection import connected, translated
from streams.cli.contest.changes import show_changed
from streams.cli.election import allot, ballots, compare, export, region_map, tabulate
from streams.cli.election.facts import (
    enter_lot,
    enter_number,
    seeds,
    withdraw_candidate,
)
from streams.cli.election.show import render_result
from streams.cli.issuing import WaitOption, issuing, passed
from streams.cli.show import JsonOption, console, grid, plain, run, write_json
from streams.cli.table_files import read_csv
from streams.cli.values import contest_name
from streams.core.contests import create
from streams.elections.definitions import (
    TABLES,
    Definitions,
    ElectionsRefused,
    contest_of,
    merged,
    read,
)
from streams.elections.results import ElectionResult
from streams.elections.store import count, named, read_definitions, write_definitions
from streams.errors import SettingsError
from streams.runtime.zones import zone_of
from streams.settings.load import load_settings
from streams.settings.model import Settings

app = typer.Typer(
    help="Elections: parties, regions, candidates, windows, and the count by rounds.\n\n"
    "An election with id 1 is the contest `election:1`: `scrutin contest` opens, extends and "
    "closes it, `scrutin results 1` shows it.\n\n"
    "Example: `scrutin election import elections.json && scrutin contest open election:1`",
    no_args_is_help=True,
)

Tables = dict[str, list[dict[str, Any]]]

_SUFFIXES: Final = (".json", ".csv", ".parquet")

app.command("ballots")(ballots.command)
app.command("tabulate")(tabulate.command)
app.command("allot")(allot.command)
app.command("export")(export.command)
app.command("compare")(compare.command)
app.command("map")(region_map.command)


@app.command("import")
def import_elections(
    files: Annotated[
        list[Path] | None,
        typer.Argument(
            help="JSON files with tables by name; CSV or Parquet files named after their table; "
            "or folders of them."
        ),
    ] = None,
    *,
    from_schema: Annotated[
        str | None,
        typer.Option(help="Read the tables of this schema, such as scrutin_replaced."),
    ] = None,
    wait: WaitOption = 10.0,
    as_json: JsonOption = False,
) -> None:
    """Import descriptions of elections, and create their contests as drafts.

    Tables are political_parties, regions, elections and candidates. All or nothing. An election's
    candidates are replaced as a whole; once it is open they cannot change.

    Example: `scrutin election import elections.json`
    """
    if bool(files) == (from_schema is not None):
        raise SettingsError("Nothing to import", todo="Name files, or --from-schema")
    settings = load_settings()
    tables = None if files is None else read_tables(files)
    names, changed = run(_import(settings, tables, from_schema, wait))
    if names:
        show_changed(settings, names, changed, as_json=as_json)
    elif as_json:
        write_json([])
    else:
        console().print("No election has candidates yet.")


async def _import(
    settings: Settings, tables: Tables | None, schema: str | None, wait_s: float
) -> tuple[list[str], bool]:
    async with issuing(settings) as issuer:
        connection = issuer.connection
        async with issuer.turn():
            known = await read_definitions(connection)
            given = tables if tables is not None else await _tables_of(connection, schema or "")
            new = read(given, known, zone_of(settings.time_zone))
            every = merged(known, new)
            touched = set(new.elections) | {c.election_id for c in new.candidates.values()}
            drafts = [
                contest
                for each in sorted(touched)
                if (contest := contest_of(every, every.elections[each])) is not None
            ]

            def change(contests: dict[str, Contest], _now_ms: int) -> list[Contest]:
                return create(contests, drafts)

            async def also() -> None:
                await write_definitions(connection, new)

            command = await issuer.change_contests(change, also)
        if command is not None and wait_s:
            await passed(connection, command.command_id, issuer.partitions, wait_s)
        return [contest.id for contest in drafts], command is not None


async def _tables_of(connection: asyncpg.Connection, schema: str) -> Tables:
    async with translated({"schema": schema}):
        rows = await connection.fetch(
            "SELECT table_name::text FROM information_schema.tables"
            " WHERE table_schema = $1 AND table_name = ANY($2)",
            schema,
            list(TABLES),
        )
        if not rows:
            raise ElectionsRefused(
                "The schema has no election tables",
                where={"schema": schema},
                todo=f"Looked for {', '.join(sorted(TABLES))}",
            )
        quoted = '"' + schema.replace('"', '""') + '"'
        return {
            row[0]: [
                dict(one)
                for one in await connection.fetch(f"SELECT * FROM {quoted}.{row[0]}")  # noqa: S608
            ]
            for row in rows
        }


def read_tables(paths: list[Path]) -> Tables:
    """Tables by name, from files and folders.

    Raises:
        SettingsError: a file cannot be read, or has another format.
    """
    tables: Tables = {}
    for path in paths:
        found = (
            sorted(p for p in path.iterdir() if p.suffix.lower() in _SUFFIXES)
            if path.is_dir()
            else [path]
        )
        for file in found:
            for name, rows in _read_file(file).items():
                tables.setdefault(name, []).extend(rows)
    return tables


def _read_file(file: Path) -> Tables:
    suffix = file.suffix.lower()
    try:
        if suffix == ".json":
            given = json.loads(file.read_text(encoding="utf-8-sig"))
            if isinstance(given, list):
                given = {file.stem: given}
            rows = given.values() if isinstance(given, dict) else [None]
            if not all(isinstance(t, list) and all(isinstance(r, dict) for r in t) for t in rows):
                raise ValueError("lists of objects by table name are required")
            tables: Tables = given
            return tables
        if suffix == ".parquet":
            from pyarrow import parquet  # noqa: PLC0415 - slow to load

            return {file.stem: parquet.read_table(file).to_pylist()}
        return {file.stem: list(read_csv(file))}
    except (OSError, ValueError, RecursionError, csv.Error) as error:
        raise SettingsError(
            f"The file cannot be read: {error}",
            where={"file": file},
            todo="JSON with tables by name, or CSV or Parquet named after the table",
        ) from error


@app.command("list")
def list_elections(*, as_json: JsonOption = False) -> None:
    """List the elections with their windows, regions and candidates.

    Example: `scrutin election list`
    """
    settings = load_settings()
    found = run(_definitions(settings))
    rows = []
    for one in sorted(found.elections.values(), key=lambda each: each.id):
        candidates = found.standing(one.id)
        regions = {c.region_id for c in candidates} - {None}
        rows.append(
            {
                "id": one.id,
                "election_code": one.code,
                "election_name": one.name,
                "contest_id": one.contest,
                "voting_method": one.method,
                "starts_at": _iso(one.starts_ms),
                "ends_at": _iso(one.ends_ms),
                "regions": len(regions),
                "candidates": len(candidates),
            }
        )
    if as_json:
        write_json(rows)
        return
    table = grid(
        *("Id", "Code", "Name", "Contest", "Method", "Opens", "Closes", "Regions", "Candidates"),
        right=("Id", "Regions", "Candidates"),
    )
    for row in rows:
        table.add_row(*(plain("" if value is None else value) for value in row.values()))
    console().print(table)


@app.command("count")
def count_election(
    name: Annotated[
        str,
        typer.Argument(metavar="ELECTION", callback=contest_name, help="Its id, code or contest."),
    ],
    *,
    as_json: JsonOption = False,
) -> None:
    """Count an election from the rows of `vote_audit`, and store every round in the database.

    Stored in election_counts, election_rounds and election_round_votes. A count is final once the
    contest is (`scrutin contest show`); it can be repeated at any time.

    Example: `scrutin election count 1 --json | jq '.seats[].elected'`
    """
    settings = load_settings()

    async def work() -> ElectionResult:
        async with connected(settings.postgres) as connection:
            definitions = await read_definitions(connection)
            return await count(connection, named(definitions, name).id)

    result = run(work())
    if as_json:
        write_json(result.as_dict())
        return
    console().print(render_result(result))


app.command("withdraw")(withdraw_candidate)
app.command("lot")(enter_lot)
app.command("eligible")(enter_number)
app.add_typer(seeds, name="seed")


async def _definitions(settings: Settings) -> Definitions:
    async with connected(settings.postgres) as connection:
        return await read_definitions(connection)


def _iso(ms: int | None) -> str | None:
    return None if ms is None else datetime.fromtimestamp(ms / 1000, UTC).isoformat()

"""`scrutin adopt`: take an election over from the replaced services."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Annotated, Any

import typer
from rich.console import Console

from streams.adopt import statements as sql
from streams.adopt.accounts import OUTCOMES
from streams.adopt.adoption import (
    Adoption,
    begin,
    end,
    examine,
    uncounted,
    undo,
    write_items,
)
from streams.adopt.counts import parse_database
from streams.adopt.old_system import OldSystem
from streams.cli.show import JsonOption, console, counting, grid, plain, run, write_json
from streams.cli.values import finite
from streams.errors import ExitCode, SettingsError
from streams.runtime import failpoints
from streams.settings.build import deployment_config
from streams.settings.configs import DeploymentConfig
from streams.settings.load import load_settings

_POLL_S = 0.5


def command(
    *,
    from_database: Annotated[
        str,
        typer.Option(
            help="DATABASE or DATABASE/SCHEMA of the old system on the same server, or a"
            " postgresql:// address; default: Scrutin's."
        ),
    ] = "",
    from_schema: Annotated[
        str, typer.Option(help="Schema of its tables.", show_default="public")
    ] = "",
    vote_service: Annotated[
        str,
        typer.Option(help="Polls: the same for the vote service's table votes_votelog."),
    ] = "",
    no_redis: Annotated[
        bool,
        typer.Option(
            "--no-redis", help="Do not read the old system's Redis, because it no longer exists."
        ),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Report what would be done, and change nothing.")
    ] = False,
    accept_differences: Annotated[
        bool, typer.Option("--accept-differences", help="Adopt despite inconsistent data.")
    ] = False,
    wait: Annotated[
        float,
        typer.Option(
            callback=finite, help="Seconds to wait until workers have counted everything.", min=0
        ),
    ] = 0.0,
    undo_it: Annotated[bool, typer.Option("--undo", help="Move the old tables back.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Take over an election from the replaced services, including the votes already cast.

    Reads vote_audit, election_votes, duplicate_attempts, vote_results and election_results in any
    of their documented forms, polls with polls_votelog and votes_votelog, and in Redis
    voted_hashes, duplicate_count:* and poll:*:voters. The report says
    the outcome of each row, and names tables that may hold votes and are not read. Writes every
    vote to the log, where it counts as its voter's first, with its own time. Can be killed and
    repeated. Stop the old worker and aggregator before, and start bridges after. Old tables whose
    names Scrutin needs are moved to the schema scrutin_replaced; --undo moves them back.

    Exit code 3: the old data is inconsistent or, with --wait, the count differs from it.

    Examples:

        scrutin adopt --dry-run

        scrutin adopt --from-database voting --accept-differences --wait 600

        scrutin adopt --from-database poll_db --vote-service vote_db --wait 600

        scrutin adopt --undo
    """
    settings = load_settings()
    deployment = deployment_config(settings)
    failpoints.arm(failpoints.parse(settings.test_failpoints))
    if undo_it:
        if dry_run or accept_differences:
            raise SettingsError("--undo excludes other options", todo="`scrutin adopt --undo`")
        _undo(deployment, as_json=as_json)
        return
    old = _old_system(deployment, from_database, from_schema, vote_service, redis=not no_redis)
    stderr = Console(stderr=True, highlight=False)

    def step(what: str) -> None:
        if stderr.is_terminal:
            stderr.print(f"[dim]{what} ...[/]")

    if dry_run:
        found = run(examine(deployment, old, step))
        _report(found, as_json=as_json, dry_run=True)
        if found.serious:
            raise typer.Exit(ExitCode.DIFFERENT)
        return
    found = run(begin(deployment, old, step, accept_differences=accept_differences))
    if not found.finished:
        with counting("adopting", found.items) as advance:
            found = run(write_items(deployment, advance))
    else:
        run(end(deployment))
    left = run(_counted(deployment, wait)) if wait else None
    _report(found, as_json=as_json, dry_run=False, left=left)
    if left is not None and any(left):
        raise typer.Exit(ExitCode.DIFFERENT)


def _old_system(
    deployment: DeploymentConfig, database: str, schema: str, vote_service: str, *, redis: bool
) -> OldSystem:
    source = parse_database(database, deployment.postgres)
    votes = parse_database(vote_service, deployment.postgres) if vote_service else None
    return OldSystem(
        source.postgres,
        schema or source.schema,
        redis,
        None if votes is None else votes.postgres,
        "public" if votes is None else votes.schema,
    )


async def _counted(deployment: DeploymentConfig, wait_s: float) -> tuple[int, int]:
    deadline = time.monotonic() + wait_s
    while True:
        left = await uncounted(deployment)
        if not any(left) or time.monotonic() > deadline:
            return left
        await asyncio.sleep(_POLL_S)


def _undo(deployment: DeploymentConfig, *, as_json: bool) -> None:
    found = run(undo(deployment))
    if as_json:
        write_json({"restored": found.moved, "ours": sql.UNDONE})
        return
    console().print(
        f"{len(found.moved)} old tables and views are back in public; Scrutin's are in"
        f" {sql.UNDONE}.\nThe log keeps the adopted votes: delete the topic votes.validation"
        " before another adoption."
    )


def _report(
    found: Adoption, *, as_json: bool, dry_run: bool, left: tuple[int, int] | None = None
) -> None:
    if as_json:
        write_json(_document(found, dry_run=dry_run, left=left))
        return
    out = console()
    table = grid("Contest", "Choice", "in totals", "in votes", right=("in totals", "in votes"))
    for row in found.by_choice[:40]:
        table.add_row(
            plain(row["contest"]),
            plain(row["choice"]),
            f"{row['in_totals']:,}" if row.get("compared", row["law"]) else "",
            f"{row['in_audit']:,}",
        )
    out.print(table)
    if len(found.by_choice) > 40:
        out.print(f"[dim]and {len(found.by_choice) - 40:,} more[/]")
    _say_accounts(found)
    for finding in found.findings:
        colour = "bold red" if finding.serious else "yellow"
        out.print(f"[{colour}]{finding.count:,} {finding.name}[/]: {finding.what}")
        for line in finding.details:
            out.print("  ", plain(line))
    if not found.findings:
        out.print("[green]The old system's data is consistent.[/]")
    _say_moved(found, dry_run=dry_run)
    if dry_run:
        out.print(f"\nNothing was changed. {found.items:,} items would be written to the log.")
        return
    out.print(f"\n{found.done:,} of {found.items:,} items are in the log.")
    if left is not None and any(left):
        out.print(
            f"[bold red]{left[0]:,} adopted votes and {left[1]:,} duplicate rows are not counted"
            " unchanged.[/] Is a worker running?"
        )
    elif left is not None:
        _say_counted(found)


def _say_accounts(found: Adoption) -> None:
    out = console()
    table = grid("Source", "Rows", "", "Of them", right=("Rows", ""))
    for account in found.accounts:
        table.add_row(plain(account.source), f"{account.rows:,}", "", "")
        for outcome, rows in sorted(account.outcomes.items(), key=lambda each: -each[1]):
            table.add_row("", "", f"{rows:,}", OUTCOMES.get(outcome, outcome))
        if account.unaccounted:
            table.add_row("", "", f"{account.unaccounted:,}", "[bold red]without an outcome[/]")
    out.print(table)


def _say_counted(found: Adoption) -> None:
    out = console()
    votes = f"{found.facts['votes'] - found.facts.get('uncountable', 0):,}"
    left_out, unknown = found.left_out, found.unknown_tables
    if not left_out and not unknown:
        out.print(f"[green]Every adopted vote is counted unchanged: {votes}.[/]")
        return
    out.print(f"{votes} adopted votes are counted unchanged. Not everything was adopted:")
    for outcome, rows in left_out.items():
        out.print(f"  [yellow]{rows:,}[/] {OUTCOMES[outcome]}")
    for line in unknown:
        out.print("  [yellow]not read[/]", plain(line))


def _say_moved(found: Adoption, *, dry_run: bool) -> None:
    out = console()
    verb = "would move" if dry_run else "moved"
    if found.moved:
        out.print(
            f"\nThese {verb} from public to {sql.REPLACED}, with their indexes;"
            f" `scrutin adopt --undo` moves them back:\n  {', '.join(found.moved)}"
        )
    if not found.reader_schemas:
        return
    out.print(f"\nReaders of the old columns use {', '.join(found.reader_schemas)}:")
    for role in found.readers or ["READER"]:
        for statement in _for_reader(found, role):
            out.print("  ", plain(statement))
        for statement in _alternative(found, role):
            out.print("Instead, for other statuses of vote_audit (docs/compatibility.md):")
            out.print("  ", plain(statement))
    if "elections" in found.moved:
        out.print(
            "reader_elections has rows once the elections are imported:"
            f" `scrutin election import --from-schema {sql.REPLACED}`"
        )


def _for_reader(found: Adoption, role: str, path: Sequence[str] | None = None) -> list[str]:
    granted = list(found.reader_schemas)
    if {"reader_voting", "reader_api"} & {*granted}:
        granted = list(dict.fromkeys(["reader_voting", "reader_api", *granted]))
    schemas, path = ", ".join(granted), ", ".join(path or found.reader_schemas)
    name = '"' + role.replace('"', '""') + '"'
    return [
        f"GRANT USAGE ON SCHEMA {schemas} TO {name};"
        f" GRANT SELECT ON ALL TABLES IN SCHEMA {schemas}, public TO {name};",
        f"ALTER ROLE {name} SET search_path = {path}, public;",
    ]


def _alternative(found: Adoption, role: str) -> list[str]:
    """For readers that expect other statuses of `vote_audit` than the services wrote."""
    other = {"reader_voting": "reader_api", "reader_api": "reader_voting"}
    schemas = [other.get(schema, schema) for schema in found.reader_schemas]
    return _for_reader(found, role, schemas)[1:] if schemas != found.reader_schemas else []


def _document(found: Adoption, *, dry_run: bool, left: tuple[int, int] | None) -> dict[str, Any]:
    return {
        "source": found.source,
        "dry_run": dry_run,
        "items": found.items,
        "done": found.done,
        "finished": found.finished,
        "facts": found.facts,
        "contests": found.by_choice,
        "findings": [
            {
                "name": finding.name,
                "count": finding.count,
                "serious": finding.serious,
                "what": finding.what,
                "details": finding.details,
            }
            for finding in found.findings
        ],
        "moved": found.moved,
        "moved_to": sql.REPLACED if found.moved else None,
        "accounts": [
            {
                "source": account.source,
                "rows": account.rows,
                "outcomes": account.outcomes,
                "unaccounted": account.unaccounted,
            }
            for account in found.accounts
        ],
        "left_out": found.left_out,
        "unknown_tables": found.unknown_tables,
        "reader_schemas": found.reader_schemas,
        "reader_statements": [
            statement for role in found.readers for statement in _for_reader(found, role)
        ],
        "reader_alternatives": [
            statement for role in found.readers for statement in _alternative(found, role)
        ],
        "uncounted": None if left is None else left[0],
        "unnoted_attempts": None if left is None else left[1],
    }

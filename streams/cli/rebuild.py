"""`scrutin rebuild`: everything from the log again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from streams.adapters.kafka.view import LogView
from streams.cli.show import JsonOption, console, counting, grid, run, write_json
from streams.errors import ExitCode
from streams.maintenance import postgres as of_postgres
from streams.maintenance import topics as of_topics
from streams.maintenance.audit import rebuild_from_audit
from streams.maintenance.guard import require_stopped
from streams.maintenance.log import LogRebuild
from streams.maintenance.postgres import PostgresRebuild
from streams.maintenance.sources import ValidatedSource
from streams.maintenance.topics import TopicRebuild
from streams.settings.build import deployment_config
from streams.settings.configs import DeploymentConfig
from streams.settings.load import load_settings

rebuild = typer.Typer(
    name="rebuild",
    help="Make what was lost or spoilt anew from what is left.\n\n"
    "`votes.validation` is the log. `voted` and `validated` are made from it, `postgres` from "
    "`votes.validated`, and the log itself from `votes.validated` or from the database. Each "
    "compares first, changes only what differs, and verifies what it did; `--dry-run` ends after "
    "the comparison. One that was interrupted goes on when it is started again. Workers must be "
    "stopped.\n\n"
    "Redis has `scrutin mirror rebuild`.\n\n"
    "Example: `scrutin rebuild voted --dry-run`",
    no_args_is_help=True,
    rich_markup_mode="rich",
)

DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Compare and change nothing. Exit code 3: it differs.")
]
Wait = Annotated[
    float, typer.Option("--wait", min=0, help="Seconds that processes get to leave their group.")
]


def register(app: typer.Typer) -> None:
    """Add `scrutin rebuild`."""
    app.add_typer(rebuild)


@rebuild.command("voted")
def voted(*, dry_run: DryRun = False, wait: Wait = 15.0, as_json: JsonOption = False) -> None:
    """Make the voted table's changelog anew from the input log.

    For a changelog that was deleted, lost records, or holds one that cannot be decoded. What only
    lacks records gets them; anything else is deleted and written anew, as far as verdicts are out.

    Example: `scrutin rebuild voted`
    """
    made = run(_topic(deployment_config(load_settings()), "voted", dry_run=dry_run, wait_s=wait))
    _end_topic(made, as_json=as_json)


@rebuild.command("validated")
def validated(*, dry_run: DryRun = False, wait: Wait = 15.0, as_json: JsonOption = False) -> None:
    """Make `votes.validated` anew from the input log. Bridges must be stopped too.

    For a topic that was deleted, lost records, or holds one that cannot be decoded. The database
    keeps what it counted, and the bridges go on where they were.

    Example: `scrutin rebuild validated`
    """
    made = run(
        _topic(deployment_config(load_settings()), "validated", dry_run=dry_run, wait_s=wait)
    )
    _end_topic(made, as_json=as_json)


@rebuild.command("postgres")
def postgres(
    *,
    dry_run: DryRun = False,
    restart: Annotated[
        bool, typer.Option("--restart", help="Do not go on where an interrupted run has ended.")
    ] = False,
    drop_unknown: Annotated[
        bool,
        typer.Option(
            "--drop-unknown", help="Also if the database holds votes that the log does not."
        ),
    ] = False,
    wait: Wait = 15.0,
    as_json: JsonOption = False,
) -> None:
    """Make the result tables and `votes.windows` anew from `votes.validated`.

    Counts everything once more, through the same sink, into tables beside those in use, compares
    them row by row, and replaces the rows in one transaction: results stay readable throughout.
    A database that is merely behind needs none of this; a worker brings it up to date.

    Examples:

        scrutin rebuild postgres --dry-run

        scrutin rebuild postgres
    """
    made = run(
        _postgres(
            deployment_config(load_settings()),
            dry_run=dry_run,
            restart=restart,
            drop_unknown=drop_unknown,
            wait_s=wait,
        )
    )
    if as_json:
        write_json(made.as_dict())
    else:
        _show_tables(made, dry_run=dry_run)
    if dry_run and not made.equal:
        raise typer.Exit(ExitCode.DIFFERENT)


@rebuild.command("log")
def log(
    *,
    from_audit: Annotated[
        bool, typer.Option("--from-audit", help="From the database: all of Kafka's is gone.")
    ] = False,
    dry_run: DryRun = False,
    wait: Wait = 15.0,
    as_json: JsonOption = False,
) -> None:
    """Make the input log anew where its topic was lost, recreated or cut off.

    From `votes.validated`, which holds every record that was validated, the log comes back as it
    was: same identity, same offsets. With `--from-audit` a new log is written from the counted and
    rejected votes in the database, and `votes.validated`, changelog and tables are made from it;
    totals stay what they are. Votes that came into the log since the loss follow behind.

    Votes that were in the lost topic and nowhere else yet are lost. Bridges must be stopped too.

    Examples:

        scrutin rebuild log --dry-run

        scrutin rebuild log --from-audit
    """
    config = deployment_config(load_settings())
    made = run(
        _log_from_audit(config, dry_run=dry_run, wait_s=wait)
        if from_audit
        else _log(config, dry_run=dry_run, wait_s=wait)
    )
    if as_json:
        write_json({name: part.as_dict() for name, part in made.items()})
    else:
        _show_log(made)
    if not made["log"].right:
        raise typer.Exit(ExitCode.DIFFERENT)


async def _topic(
    config: DeploymentConfig, which: str, *, dry_run: bool, wait_s: float
) -> of_topics.TopicRebuildReport:
    bridges = which == "validated"
    await require_stopped(config.kafka, bridges=bridges, wait_s=wait_s, bars=counting)
    work = TopicRebuild(config, counting)
    return await (work.validated if bridges else work.voted)(dry_run=dry_run)


async def _postgres(
    config: DeploymentConfig, *, dry_run: bool, restart: bool, drop_unknown: bool, wait_s: float
) -> of_postgres.PostgresRebuildReport:
    await require_stopped(config.kafka, bridges=False, wait_s=wait_s, bars=counting)
    return await PostgresRebuild(config, counting).run(
        dry_run=dry_run, restart=restart, drop_unknown=drop_unknown
    )


async def _log(config: DeploymentConfig, *, dry_run: bool, wait_s: float) -> dict[str, Any]:
    await require_stopped(config.kafka, bridges=True, wait_s=wait_s, bars=counting)
    async with LogView(config.kafka.servers) as view:
        made = LogRebuild(config, ValidatedSource(view), counting)
        return {"log": await made.run(dry_run=dry_run)}


async def _log_from_audit(
    config: DeploymentConfig, *, dry_run: bool, wait_s: float
) -> dict[str, Any]:
    await require_stopped(config.kafka, bridges=True, wait_s=wait_s, bars=counting)
    return dict(await rebuild_from_audit(config, counting, dry_run=dry_run))


def _show_log(made: Mapping[str, Any]) -> None:
    log = made["log"]
    numbers = ("Partition", "Known", "In place", "Came since")
    table = grid(*numbers, right=numbers)
    for f in log.found:
        table.add_row(*(f"{count:,}" for count in (f.partition, f.known, f.present, f.since)))
    console().print(table)
    if not log.right:
        told = "[bold red]The log does not hold all that is known.[/]"
    elif log.written:
        told = f"[green]The log was made anew:[/] {log.written:,} records, verified."
    else:
        told = "[green]The log holds all that is known;[/] nothing was written."
    console().print(told)
    for name in ("voted", "validated"):
        if name in made:
            _show_topic(made[name])
    if "postgres" in made:
        _show_tables(made["postgres"], dry_run=False)


def _end_topic(made: of_topics.TopicRebuildReport, *, as_json: bool) -> None:
    if as_json:
        write_json(made.as_dict())
    else:
        _show_topic(made)
    if not made.right:
        raise typer.Exit(ExitCode.DIFFERENT)


def _show_topic(made: of_topics.TopicRebuildReport) -> None:
    numbers = ("Partition", "Expected", "Missing", "Wrong", "Accepted votes")
    table = grid(*numbers, right=numbers)
    for f in made.found:
        counts = (f.expected, f.missing, f.wrong, f.votes)
        table.add_row(str(f.partition), *(f"{count:,}" for count in counts))
    console().print(table)
    if not made.right:
        told = f"[bold red]{made.topic} is not what the log says.[/]"
    elif made.recreated:
        told = f"[green]{made.topic} was made anew:[/] {made.written:,} records, verified."
    elif made.written:
        told = f"[green]{made.topic} has what it lacked:[/] {made.written:,} records, verified."
    else:
        told = f"[green]{made.topic} is what the log says;[/] nothing was changed."
    console().print(told)


def _show_tables(made: of_postgres.PostgresRebuildReport, *, dry_run: bool) -> None:
    numbers = ("From the log", "In the database", "Missing", "Surplus")
    table = grid("Table", *numbers, right=numbers)
    for d in made.differences:
        counts = (d.in_log, d.in_database, d.missing, d.surplus)
        table.add_row(d.table, *(f"{count:,}" for count in counts))
    console().print(table)
    if made.replaced:
        told = "[green]The tables were replaced by what the log says.[/]"
    elif made.equal:
        told = "[green]The database says what the log says;[/] no table was changed."
    else:
        told = "[bold red]The database differs from the log.[/] Nothing was changed."
    console().print(told)
    if not dry_run:
        console().print(f"{made.windows_written:,} windows written to votes.windows.")

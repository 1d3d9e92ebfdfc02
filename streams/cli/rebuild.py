"""`scrutin rebuild`: rebuild topics, database or log."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Annotated, Any, TypeVar

import typer

from streams.adapters.kafka.view import LogView
from streams.cli.show import JsonOption, answer, console, counting, grid, run
from streams.cli.values import finite
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

T = TypeVar("T")

app = typer.Typer(
    help="Rebuild lost or damaged data from what remains.\n\n"
    "`votes.validation` is the log. `voted` and `validated` are derived from it, `postgres` from "
    "`votes.validated`, and the log itself from `votes.validated` or the database. Each command "
    "compares first, changes only what differs, and verifies the result; `--dry-run` ends after "
    "the comparison. An interrupted rebuild continues when it is started again. Workers must be "
    "stopped.\n\n"
    "For Redis use `scrutin mirror rebuild`.\n\n"
    "Example: `scrutin rebuild voted --dry-run`",
    no_args_is_help=True,
)

DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Compare and change nothing. Exit code 3: it differs.")
]
Wait = Annotated[
    float,
    typer.Option(
        "--wait", callback=finite, min=0, help="Seconds to wait for processes to leave their group."
    ),
]


@app.command("voted")
def voted(*, dry_run: DryRun = False, wait: Wait = 15.0, as_json: JsonOption = False) -> None:
    """Rebuild the voted table's changelog from the input log.

    For a changelog that was deleted, lost records, or holds one that cannot be decoded. If it only
    lacks records, they are added; otherwise it is deleted and rewritten, up to the last verdict.

    Example: `scrutin rebuild voted`
    """
    _topic("voted", dry_run=dry_run, wait_s=wait, as_json=as_json)


@app.command("validated")
def validated(*, dry_run: DryRun = False, wait: Wait = 15.0, as_json: JsonOption = False) -> None:
    """Rebuild `votes.validated` from the input log. Bridges must be stopped too.

    For a topic that was deleted, lost records, or holds one that cannot be decoded. The database
    keeps what it counted, and the bridges continue at their positions.

    Example: `scrutin rebuild validated`
    """
    _topic("validated", dry_run=dry_run, wait_s=wait, as_json=as_json)


@app.command("postgres")
def postgres(
    *,
    dry_run: DryRun = False,
    restart: Annotated[
        bool, typer.Option("--restart", help="Discard the work of an interrupted run.")
    ] = False,
    drop_unknown: Annotated[
        bool,
        typer.Option("--drop-unknown", help="Replace tables that hold votes which the log lacks."),
    ] = False,
    wait: Wait = 15.0,
    as_json: JsonOption = False,
) -> None:
    """Rebuild the result tables and `votes.windows` from `votes.validated`.

    Counts everything again, through the same sink, into separate tables, compares them with those
    in use row by row, and replaces the rows in one transaction: results stay readable throughout.
    A database that only lags behind needs no rebuild; a worker brings it up to date.

    Examples:

        scrutin rebuild postgres --dry-run

        scrutin rebuild postgres
    """
    config = deployment_config(load_settings())
    options = {"dry_run": dry_run, "restart": restart, "drop_unknown": drop_unknown}
    work = partial(PostgresRebuild(config, counting).run, **options)
    report = run(_when_stopped(config, work, bridges=False, wait_s=wait))
    answer(report.as_dict(), lambda: _show_tables(report, dry_run=dry_run), as_json=as_json)
    if dry_run and not report.equal:
        raise typer.Exit(ExitCode.DIFFERENT)


@app.command("log")
def log(
    *,
    from_audit: Annotated[
        bool, typer.Option("--from-audit", help="From the database, if Kafka lost everything.")
    ] = False,
    dry_run: DryRun = False,
    wait: Wait = 15.0,
    as_json: JsonOption = False,
) -> None:
    """Rebuild the input log after its topic was lost, recreated or truncated.

    From `votes.validated`, which holds every validated record, the log is restored with the same
    identity and offsets. With `--from-audit` a new log is written from the counted and rejected
    votes in the database, and `votes.validated`, changelog and tables are rebuilt from it; totals
    do not change. Votes written to the log since the loss follow the restored records.

    Votes that only the lost topic held are lost. Bridges must be stopped too.

    Examples:

        scrutin rebuild log --dry-run

        scrutin rebuild log --from-audit
    """
    config = deployment_config(load_settings())

    async def work() -> Mapping[str, Any]:
        if from_audit:
            return await rebuild_from_audit(config, counting, dry_run=dry_run)
        async with LogView(config.kafka.servers) as view:
            rebuilding = LogRebuild(config, ValidatedSource(view), counting)
            return {"log": await rebuilding.run(dry_run=dry_run)}

    report = run(_when_stopped(config, work, bridges=True, wait_s=wait))
    document = {name: part.as_dict() for name, part in report.items()}
    answer(document, lambda: _show_log(report), as_json=as_json)
    if not report["log"].right:
        raise typer.Exit(ExitCode.DIFFERENT)


async def _when_stopped(
    config: DeploymentConfig, work: Callable[[], Awaitable[T]], *, bridges: bool, wait_s: float
) -> T:
    await require_stopped(config.kafka, bridges=bridges, wait_s=wait_s, bars=counting)
    return await work()


def _topic(which: str, *, dry_run: bool, wait_s: float, as_json: bool) -> None:
    config = deployment_config(load_settings())
    bridges = which == "validated"
    rebuilding = TopicRebuild(config, counting)
    work = partial(rebuilding.validated if bridges else rebuilding.voted, dry_run=dry_run)
    report = run(_when_stopped(config, work, bridges=bridges, wait_s=wait_s))
    answer(report.as_dict(), lambda: _show_topic(report), as_json=as_json)
    if not report.right:
        raise typer.Exit(ExitCode.DIFFERENT)


def _show_log(report: Mapping[str, Any]) -> None:
    log = report["log"]
    numbers = ("Partition", "Known", "In place", "Written since")
    table = grid(*numbers, right=numbers)
    for f in log.found:
        table.add_row(*(f"{count:,}" for count in (f.partition, f.known, f.present, f.since)))
    console().print(table)
    if not log.right:
        message = "[bold red]The log lacks known records.[/]"
    elif log.written:
        message = f"[green]The log was rebuilt:[/] {log.written:,} records, verified."
    else:
        message = "[green]The log holds every known record;[/] nothing was written."
    console().print(message)
    for name in ("voted", "validated"):
        if name in report:
            _show_topic(report[name])
    if "postgres" in report:
        _show_tables(report["postgres"], dry_run=False)


def _show_topic(report: of_topics.TopicRebuildReport) -> None:
    numbers = ("Partition", "Expected", "Missing", "Wrong", "Accepted votes")
    table = grid(*numbers, right=numbers)
    for f in report.found:
        counts = (f.expected, f.missing, f.wrong, f.votes)
        table.add_row(str(f.partition), *(f"{count:,}" for count in counts))
    console().print(table)
    if not report.right:
        message = f"[bold red]{report.topic} differs from the log.[/]"
    elif report.recreated:
        message = f"[green]{report.topic} was rebuilt:[/] {report.written:,} records, verified."
    elif report.written:
        message = f"[green]{report.topic} was completed:[/] {report.written:,} records, verified."
    else:
        message = f"[green]{report.topic} agrees with the log;[/] nothing was changed."
    console().print(message)


def _show_tables(report: of_postgres.PostgresRebuildReport, *, dry_run: bool) -> None:
    numbers = ("From the log", "In the database", "Missing", "Surplus")
    table = grid("Table", *numbers, right=numbers)
    for d in report.differences:
        counts = (d.in_log, d.in_database, d.missing, d.surplus)
        table.add_row(d.table, *(f"{count:,}" for count in counts))
    console().print(table)
    if report.replaced:
        message = "[green]The tables were replaced by the count from the log.[/]"
    elif report.equal:
        message = "[green]The database agrees with the log;[/] no table was changed."
    else:
        message = "[bold red]The database differs from the log.[/] Nothing was changed."
    console().print(message)
    if not dry_run:
        console().print(f"{report.windows_written:,} windows written to votes.windows.")

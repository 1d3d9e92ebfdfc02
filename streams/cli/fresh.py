"""`scrutin fresh`: archive another log's results, so that a new count can begin."""

from __future__ import annotations

from typing import Annotated

import typer

from streams.cli.show import JsonOption, console, counting, run, write_json
from streams.cli.values import finite
from streams.maintenance.archive import ArchiveReport, archive_other_log
from streams.maintenance.guard import require_stopped
from streams.settings.build import deployment_config
from streams.settings.configs import DeploymentConfig
from streams.settings.load import load_settings


def command(
    *,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Report what would be archived, and change nothing.")
    ] = False,
    wait: Annotated[
        float,
        typer.Option(
            callback=finite, min=0, help="Seconds to wait for processes to leave their group."
        ),
    ] = 15.0,
    as_json: JsonOption = False,
) -> None:
    """Archive the results of another log, or of an older system, for a new count.

    Tables move to a schema `archive_...` of the same database, where they can still be read.
    Topics derived from the other log are emptied, and the Redis mirror is rebuilt from the present
    log, which stays unchanged. Workers and bridges must be stopped.

    If the log was lost and the results should be kept, use `scrutin rebuild log`.

    Example: `scrutin fresh --dry-run`
    """
    report = run(_begin(deployment_config(load_settings()), dry_run=dry_run, wait_s=wait))
    if as_json:
        write_json(report.as_dict())
        return
    verb = "would be" if dry_run else "were"
    if report.tables:
        console().print(f"{len(report.tables)} tables and views {verb} moved to {report.schema}.")
    if report.topics:
        console().print(f"Topics that {verb} emptied: {', '.join(report.topics)}.")
    if not dry_run:
        console().print(f"The mirror has {report.voters:,} voters. A new count can begin.")


async def _begin(config: DeploymentConfig, *, dry_run: bool, wait_s: float) -> ArchiveReport:
    await require_stopped(config.kafka, bridges=True, wait_s=wait_s, bars=counting)
    return await archive_other_log(config, dry_run=dry_run)

"""`scrutin fresh`: begin a new count on purpose."""

from __future__ import annotations

from typing import Annotated

import typer

from streams.cli.show import JsonOption, console, counting, run, write_json
from streams.maintenance.archive import ArchiveReport, archive_other_log
from streams.maintenance.guard import require_stopped
from streams.settings.build import deployment_config
from streams.settings.configs import DeploymentConfig
from streams.settings.load import load_settings


def register(app: typer.Typer) -> None:
    """Attach the command."""
    app.command("fresh")(command)


def command(
    *,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Tell what would be put away, and change nothing.")
    ] = False,
    wait: Annotated[
        float, typer.Option(min=0, help="Seconds that processes get to leave their group.")
    ] = 15.0,
    as_json: JsonOption = False,
) -> None:
    """Put the results of another log, or of an older system, away for a new count.

    Tables move into a schema `archive_...` of the same database, where they can still be read.
    Topics that were made from the other log are emptied, and the Redis mirror is made anew from the
    present log, which stays as it is. Workers and bridges must be stopped.

    If results should be kept instead, because the log was lost: `scrutin rebuild log`.

    Example: `scrutin fresh --dry-run`
    """
    made = run(_begin(deployment_config(load_settings()), dry_run=dry_run, wait_s=wait))
    if as_json:
        write_json(made.as_dict())
        return
    told = "would be" if dry_run else "were"
    if made.tables:
        console().print(f"{len(made.tables)} tables and views {told} moved to {made.schema}.")
    if made.topics:
        console().print(f"Topics that {told} emptied: {', '.join(made.topics)}.")
    if not dry_run:
        console().print(f"The mirror has {made.voters:,} voters. A new count may begin.")


async def _begin(config: DeploymentConfig, *, dry_run: bool, wait_s: float) -> ArchiveReport:
    await require_stopped(config.kafka, bridges=True, wait_s=wait_s, bars=counting)
    return await archive_other_log(config, dry_run=dry_run)

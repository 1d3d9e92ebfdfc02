"""`scrutin migrate`: bring the database to this version."""

from __future__ import annotations

import asyncio
import json
from typing import Annotated

import typer
from rich.console import Console

from streams.adapters.postgres.connection import connected
from streams.adapters.postgres.migrations import Migration, migrate
from streams.settings.load import load_settings
from streams.settings.model import Settings


def command(
    as_json: Annotated[
        bool, typer.Option("--json", help="Print what was applied as JSON.")
    ] = False,
) -> None:
    """Apply the migrations in `sql/` that the database lacks.

    Safe to run twice and at the same time as workers, which do the same when they start.

    Examples:

        scrutin migrate

        POSTGRES_DB=election_db scrutin migrate --json
    """
    settings = load_settings()
    applied = asyncio.run(_migrate(settings))
    if as_json:
        typer.echo(json.dumps([{"version": m.version, "name": m.name} for m in applied]))
        return
    console = Console(highlight=False)
    where = settings.postgres.where()
    for migration in applied:
        console.print(f"applied {migration.version:04d} {migration.name}")
    console.print(
        f"{where['database']} on {where['host']}:{where['port']} is up to date"
        + ("" if applied else ", nothing to do")
    )


async def _migrate(settings: Settings) -> list[Migration]:
    async with connected(settings.postgres) as connection:
        return await migrate(connection)

"""`scrutin migrate`: bring the database to this version."""

from __future__ import annotations

import asyncio
import time
from typing import Annotated, Final

import typer

from streams.adapters.postgres.connection import connected
from streams.adapters.postgres.migrations import Migration, is_current, migrate, move_votes
from streams.cli.show import JsonOption, answer, console, run
from streams.cli.values import finite
from streams.errors import ServiceUnavailable
from streams.settings.load import load_settings
from streams.settings.model import Settings

_POLL_S: Final = 1.0


def command(
    *,
    wait: Annotated[
        float | None,
        typer.Option(
            callback=lambda given: None if given is None else finite(given),
            min=0,
            metavar="SECONDS",
            help="Apply nothing: wait so long until somebody else has. For the start of processes.",
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Apply the migrations in `sql/` that the database lacks.

    Safe to run twice and at the same time as workers, which do the same when they start. Votes that
    a version before 24 counted are then moved to the compact table, which workers leave to this
    command; they go on counting, and a move that was interrupted continues.

    Examples:

        scrutin migrate

        scrutin migrate --wait 600

        POSTGRES_DB=election_db scrutin migrate --json
    """
    settings = load_settings()
    applied, moved = run(_migrate(settings)) if wait is None else (run(_wait(settings, wait)), 0)

    def show() -> None:
        for migration in applied:
            console().print(f"applied {migration.version:04d} {migration.name}")
        if moved:
            console().print(f"moved {moved:,} counted votes to the compact table")
        where = settings.postgres.where()
        console().print(
            f"{where['database']} on {where['host']}:{where['port']} is up to date"
            + ("" if applied or wait is not None else ", nothing to do")
        )

    answer([{"version": m.version, "name": m.name} for m in applied], show, as_json=as_json)


async def _migrate(settings: Settings) -> tuple[list[Migration], int]:
    async with connected(settings.postgres) as connection:
        return await migrate(connection), await move_votes(connection)


async def _wait(settings: Settings, wait_s: float) -> list[Migration]:
    """Wait for the migrations of this version; outages are waited for too.

    Raises:
        ServiceUnavailable: they were not applied in time.
    """
    deadline = time.monotonic() + wait_s
    while True:
        fault = ServiceUnavailable(
            f"The database has not the migrations of this version after {wait_s:.0f} s",
            where=settings.postgres.where(),
            todo="Run `scrutin migrate` as the owner of the tables",
        )
        try:
            async with connected(settings.postgres) as connection:
                if await is_current(connection):
                    return []
        except ServiceUnavailable as error:
            fault = error
        if time.monotonic() >= deadline:
            raise fault
        await asyncio.sleep(_POLL_S)

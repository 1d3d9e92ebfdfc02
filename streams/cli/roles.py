"""`scrutin roles`: least-privilege roles in the database."""

from __future__ import annotations

import asyncio
from importlib.resources import files
from typing import Annotated

import typer

from streams.adapters.postgres.connection import connected
from streams.settings.load import load_settings
from streams.settings.model import Settings


def command(
    apply: Annotated[
        bool, typer.Option("--apply", help="Run the SQL as POSTGRES_USER instead of printing it.")
    ] = False,
) -> None:
    """Create database roles with least privilege: `scrutin_sink`, `_operator` and `_reader`.

    Prints the SQL. `scrutin_sink` is for workers, bridges and gateways: it adds to the audit and
    to rejected votes, but cannot change or remove rows there. `scrutin_operator` is for commands
    about contests, elections, rolls and encrypted tallies, and writes no vote and no total.
    `scrutin_reader` reads. It also sets `jit` off for the database: to compile a look-up by time
    takes longer than to run it. The user that ran `scrutin migrate` owns the tables; run this
    again as that user after each migration.

    Examples:

        scrutin migrate && scrutin roles --apply

        scrutin roles | psql election_votes
    """
    text = files("sql").joinpath("roles.sql").read_text(encoding="utf-8")
    if not apply:
        typer.echo(text, nl=False)
        return
    settings = load_settings()
    asyncio.run(_apply(settings, text))
    typer.echo(
        "scrutin_sink, scrutin_operator and scrutin_reader have their rights;"
        " grant them to your users"
    )


async def _apply(settings: Settings, text: str) -> None:
    async with connected(settings.postgres) as connection, connection.transaction():
        await connection.execute(text)

"""`scrutin audit trail`: what operators did."""

from __future__ import annotations

from typing import Annotated

import typer

from streams.adapters.postgres.connection import connected
from streams.cli.show import JsonOption, answer, console, grid, moment, plain, run
from streams.cli.values import contest_name
from streams.control.trail import OperatorAction, read_trail
from streams.core.contests import contest_id
from streams.settings.load import load_settings
from streams.settings.model import Settings


def trail(
    contest: Annotated[
        str | None,
        typer.Argument(metavar="CONTEST", callback=contest_name, help="Only what concerned it."),
    ] = None,
    *,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="The latest ones.")] = 100,
    as_json: JsonOption = False,
) -> None:
    """Show who did what at the console and on the command line, the latest first.

    Contests that open or close by schedule are not in it: `contest show` has their times.

    Example: `scrutin audit trail C-42 --json | jq '.[].actor'`
    """
    found = run(_read(load_settings(), contest and contest_id(contest), limit))

    def show() -> None:
        table = grid("When", "Who", "Action", "Subject", "Answers", right=("Answers",))
        for one in found:
            table.add_row(
                moment(one.at.timestamp() * 1000),
                plain(one.actor),
                plain(one.action),
                plain(one.subject),
                "" if one.answers is None else str(one.answers),
            )
        console().print(table if found else "Nobody did anything yet.")

    answer([one.as_dict() for one in found], show, as_json=as_json)


async def _read(settings: Settings, contest: str | None, limit: int) -> list[OperatorAction]:
    async with connected(settings.postgres) as connection:
        return await read_trail(connection, limit, contest)

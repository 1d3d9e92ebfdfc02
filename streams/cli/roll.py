"""`scrutin roll`: who may vote."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from streams.cli.progress import counting
from streams.cli.show import JsonOption, console, write_json
from streams.errors import SettingsError
from streams.load.election import Election, Plan
from streams.load.expected import read_expected
from streams.load.roll import VALID_HASHES, load_roll, read_roll
from streams.settings import load_settings

app = typer.Typer(no_args_is_help=True, help="Who may vote: the Redis set `valid_hashes`.")


def register(parent: typer.Typer) -> None:
    """Attach `scrutin roll`."""
    parent.add_typer(app, name="roll")


@app.callback()
def _group() -> None:
    """Who may vote: the Redis set `valid_hashes`."""


@app.command()
def load(
    *,
    file: Annotated[
        Path | None,
        typer.Argument(help='One hash a line (`#` comments), or JSON: a list, {"hashes": []}.'),
    ] = None,
    from_expected: Annotated[
        Path | None, typer.Option(help="Roll of a published election, by its expected outcome.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Add hashes to the roll; those that are there already stay.

    Examples:

        scrutin roll load hashes.txt

        scrutin roll load --from-expected expected.json
    """
    settings = load_settings()
    hashes: Iterable[str]
    if from_expected is not None and file is None:
        election = Election(Plan(**read_expected(from_expected).plan))
        hashes, total = election.roll(), election.plan.roll_size
    elif file is not None and from_expected is None:
        entries = list(read_roll(file))
        hashes, total = entries, len(entries)
    else:
        raise SettingsError(
            "Name a roll file, or an expected outcome, but one of them",
            todo="`scrutin roll load FILE` or `scrutin roll load --from-expected FILE`",
        )
    with counting("loading the roll", total) as advance:
        size = asyncio.run(load_roll(settings, hashes, advance))
    if as_json:
        write_json({"set": VALID_HASHES, "read": total, "size": size})
    else:
        console().print(f"{total:,} hashes read; {size:,} on the roll")

"""Shared by the commands of `scrutin tally`: the group, queries and output."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from streams.cli.show import console, plain, run
from streams.errors import SettingsError
from streams.settings.build import tally_config
from streams.settings.load import load_settings
from streams.tally.commands import TallyCommands, tally

app = typer.Typer(
    no_args_is_help=True, help="Encrypted tallies, with proofs that anyone can check."
)

ElectionArgument = Annotated[str, typer.Argument(help="The election's id.")]

T = TypeVar("T")


@app.callback()
def _group() -> None:
    """Encrypted tallies, with proofs that anyone can check.

    `setup` and `admit` store an election and its ballots in the database; `create`, `decrypt` and
    `combine` request work from the workers (SCRUTIN_STAGES=tally); `export` and `verify` are for
    everybody. The cryptography is ElectionGuard's and has not been audited.
    """


def ask(operation: Callable[[TallyCommands], Awaitable[T]]) -> T:
    """Run one operation on the tally."""

    async def work() -> T:
        async with tally(tally_config(load_settings())) as asked:
            return await operation(asked)

    return run(work())


def lines_of(file: Path) -> Iterator[bytes]:
    """The lines of a file, one at a time.

    Raises:
        SettingsError: it cannot be read.
    """
    try:
        with file.open("rb") as lines:
            yield from lines
    except OSError as error:
        raise SettingsError(
            f"A file cannot be read: {error.strerror}", where={"file": file}
        ) from error


def say(text: str) -> None:
    """Print one line of possibly untrusted text."""
    console().print(plain(text))

"""What the commands of `scrutin tally` share: the group, how to ask, how to say."""

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

    `setup` and `admit` put an election and its ballots into the database; `create`, `decrypt` and
    `combine` ask the workers (SCRUTIN_STAGES=tally) for the work; `export` and `verify` are for
    everybody. The cryptography is ElectionGuard's and has not been audited.
    """


def ask(question: Callable[[TallyCommands], Awaitable[T]]) -> T:
    """Ask the tally one thing."""

    async def work() -> T:
        async with tally(tally_config(load_settings())) as asked:
            return await question(asked)

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
    """One line of text from inside or outside."""
    console().print(plain(text))

"""`scrutin audit key` and `scrutin audit checkpoint`: signed statements of what the count holds."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from streams.adapters.postgres.connection import connected
from streams.cli.audit.fetching import Destinations
from streams.cli.show import console, plain, run
from streams.errors import SettingsError
from streams.settings.load import load_settings
from streams.settings.model import Settings

if TYPE_CHECKING:
    from streams.proof.checkpoints import Checkpoint
    from streams.proof.notes import Signer, Verifier


_LOOK_S: Final = 0.5
"""How often closings are looked for: one is signed within a second."""

_FINAL: Final = "SELECT count(*) FROM contest_finals WHERE final"


def key(
    name: Annotated[str, typer.Argument(help="Of the log, e.g. votes.example.org/2026.")],
    file: Annotated[Path, typer.Argument(help="New file for the private key.")],
) -> None:
    """Make a key that signs checkpoints, and print its public half.

    Publish that half before the first vote: all who check the count begin with it.

    Example: `scrutin audit key votes.example.org/2026 log.key`
    """
    from streams.proof.notes import BadNote, Signer  # noqa: PLC0415 - samples need no signatures

    try:
        signer = write_key(file, Signer.new(name))
    except (BadNote, OSError) as error:
        raise SettingsError(
            f"The key cannot be made: {error}",
            where={"file": str(file)},
            todo="Give a name without blanks and a file that does not exist",
        ) from error
    console().print(plain(signer.verifier.text))


def write_key(file: Path, signer: Signer) -> Signer:
    """Write a private key into a new file that only its owner can read."""
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as opened:
        opened.write(f"{signer.text}\n")
    return signer


def checkpoint(
    *,
    key_file: Annotated[Path, typer.Option("--key", help="File of the log's private key.")],
    following: Annotated[
        list[str] | None,
        typer.Option("--next", help="Public key that may sign the next one; may be repeated."),
    ] = None,
    every_s: Annotated[
        float, typer.Option("--every", min=0, max=86_400, help="Seconds; 0 = once, then end.")
    ] = 0,
    out: Annotated[
        Path | None, typer.Option(help="Folder for a file of each checkpoint, SIZE.txt.")
    ] = None,
    post_to: Annotated[
        list[str] | None, typer.Option("--post", help="Address that gets each; may be repeated.")
    ] = None,
) -> None:
    """Sign what the count holds: tree heads, totals and closing points of one moment.

    Nothing is signed while nothing changes. With --every a closing that becomes final is signed
    within a second. Needs the rights of an operator.

    Example: `scrutin audit checkpoint --key log.key --every 10 --out checkpoints`
    """
    from streams.proof.notes import BadNote, Signer, Verifier  # noqa: PLC0415 - as above

    try:
        signer = Signer.parse(key_file.read_text(encoding="utf-8"))
        keys = [Verifier.parse(text) for text in following or []]
    except (BadNote, OSError, UnicodeDecodeError) as error:
        raise SettingsError(
            f"The key cannot be used: {error}",
            where={"file": str(key_file)},
            todo="Make one with `scrutin audit key`",
        ) from error
    run(_sign(load_settings(), signer, keys, every_s, Destinations(out, post_to or [])))


async def _sign(
    settings: Settings,
    signer: Signer,
    keys: list[Verifier],
    every_s: float,
    destinations: Destinations,
) -> None:
    from streams.proof.store import take_checkpoint  # noqa: PLC0415 - as above

    while True:
        async with connected(settings.postgres) as connection:
            # Before: a closing that becomes final meanwhile is then noticed by the pause.
            closed = await connection.fetchval(_FINAL)
            made = await take_checkpoint(connection, signer, keys)
        if made is not None:
            _show(made)
            await destinations.publish(made.size, made.note.text())
        if not every_s:
            return
        await _pause(settings, every_s, closed)


async def _pause(settings: Settings, every_s: float, closed: int) -> None:
    """Wait for the next checkpoint, or until another closing is final."""
    until_s = time.monotonic() + every_s
    while (left_s := until_s - time.monotonic()) > 0:
        await asyncio.sleep(min(_LOOK_S, left_s))
        async with connected(settings.postgres) as connection:
            if await connection.fetchval(_FINAL) != closed:
                return


def _show(made: Checkpoint) -> None:
    console().print(
        f"{made.size}: {made.statement.votes:,} votes, head {made.root.hex()[:16]}, "
        f"{made.statement.at:%Y-%m-%d %H:%M:%S} UTC"
    )

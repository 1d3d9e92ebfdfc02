"""`scrutin audit witness`: follow a log from outside, countersign it, and compare views."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from streams.adapters.postgres.connection import connected
from streams.cli.audit.fetching import Destinations, fetch
from streams.cli.audit.receipt import KeyOption, keys_of
from streams.cli.show import console, plain, run
from streams.errors import ExitCode, ServiceUnavailable, SettingsError
from streams.settings.load import load_settings

if TYPE_CHECKING:
    from streams.proof.checkpoints import Checkpoint
    from streams.proof.notes import Signer, Verifier
    from streams.proof.witness import Witness

_PAGE = 100


def witness(
    source: Annotated[str, typer.Argument(help="Address of a gateway, or a folder of SIZE.txt.")],
    state: Annotated[Path, typer.Argument(help="File of the witness's memory.")],
    *,
    key: KeyOption,
    sign_with: Annotated[
        Path | None,
        typer.Option("--sign", help="Private key of the witness; made if there is none."),
    ] = None,
    name: Annotated[str, typer.Option(help="Of a new key.")] = "witness",
    compare: Annotated[
        list[str] | None,
        typer.Option(help="Another source to compare with, e.g. another witness's folder."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for countersigned checkpoints.")] = None,
    post_to: Annotated[
        list[str] | None, typer.Option("--post", help="Address that gets each; may be repeated.")
    ] = None,
    every_s: Annotated[
        float, typer.Option("--every", min=0, max=86_400, help="Seconds; 0 = once, then end.")
    ] = 0,
) -> None:
    """Check that a log only grows, remember how far, and countersign its checkpoints.

    Each new checkpoint must be signed by a listed key and continue all earlier ones; from a gateway
    each tree's consistency is proved too. Runs anywhere, with access to no service but the source.

    Exit code 3: the log was rolled back, contradicts its past, or shows others something else.

    Example: `scrutin audit witness https://votes.example.org state.json --key KEY --sign my.key`
    """
    from streams.proof.chain import BrokenChain  # noqa: PLC0415 - needs signatures
    from streams.proof.notes import BadNote  # noqa: PLC0415
    from streams.proof.witness import Witness  # noqa: PLC0415

    try:
        memory = Witness.load(state, keys_of(key), _signer(sign_with, name))
        watching = Watching(
            memory, state, source, compare or [], Destinations(out, post_to or []), every_s
        )
        run(watching.run())
    except (BadNote, BrokenChain) as error:
        console().print(plain(f"Not countersigned: {error}"), style="bold red")
        raise typer.Exit(ExitCode.DIFFERENT) from error


def cosigned(
    folder: Annotated[Path, typer.Argument(help="Countersigned checkpoints, SIZE.txt.")],
    *,
    witness_key: Annotated[
        list[str], typer.Option("--witness", help="Public key of a witness; may be repeated.")
    ],
) -> None:
    """Take over what witnesses signed, so that results and checkpoints show it.

    Needs the rights of an operator. Exit code 3: a witness saw another content.

    Example: `scrutin audit cosigned witness-a --witness w.example+1b2c3d4e+BB...`
    """
    from streams.proof.notes import BadNote  # noqa: PLC0415 - needs signatures

    try:
        count = run(_take_over(folder, keys_of(witness_key)))
    except BadNote as error:
        console().print(plain(f"Not taken over: {error}"), style="bold red")
        raise typer.Exit(ExitCode.DIFFERENT) from error
    console().print(f"{count} cosignatures")


async def _take_over(folder: Path, witnesses: list[Verifier]) -> int:
    from streams.proof.checkpoints import Checkpoint  # noqa: PLC0415 - needs signatures
    from streams.proof.store import add_cosignatures  # noqa: PLC0415

    count = 0
    async with connected(load_settings().postgres) as connection:
        async for note in _notes(str(folder), 0):
            seen = Checkpoint.parse(note)
            count += len(await add_cosignatures(connection, seen, witnesses))
    return count


def _signer(file: Path | None, name: str) -> Signer | None:
    from streams.cli.audit.checkpoint import write_key  # noqa: PLC0415
    from streams.proof.notes import COSIGNATURE, Signer  # noqa: PLC0415

    if file is None:
        return None
    if not file.exists():
        signer = write_key(file, Signer.new(name, COSIGNATURE))
        console().print(plain(f"Key of the witness: {signer.verifier.text}"))
    signer = Signer.parse(file.read_text(encoding="utf-8"))
    if signer.algorithm != COSIGNATURE:
        raise SettingsError(
            "The key is not of a witness", where={"file": file}, todo="Name a new file"
        )
    return signer


@dataclass(frozen=True)
class Watching:
    """What one witness does."""

    memory: Witness
    state: Path
    source: str
    compared: list[str]
    destinations: Destinations
    every_s: float

    async def run(self) -> None:
        """Follow the source once, or for ever.

        Raises:
            BadNote, BrokenChain: the source shows what cannot be.
        """
        while True:
            try:
                await self._follow()
                for other in self.compared:
                    compared = await _compare(self.source, other)
                    console().print(plain(f"{compared} compared with {other}"))
            except ServiceUnavailable as error:
                if not self.every_s:
                    raise
                console().print(plain(error))
            if not self.every_s:
                return
            await asyncio.sleep(self.every_s)

    async def _follow(self) -> None:
        memory = self.memory
        latest = await _latest(self.source)
        memory.check_latest(latest)
        known = memory.chain.head.size
        async for note in _notes(self.source, known):
            before = memory.chain.last
            made = memory.follow(note)
            recent = latest is not None and made.size > latest.size - _PAGE
            if before is not None and recent and "://" in self.source:
                await _prove(self.source, before, made)
            # Remembered first: a witness must never sign two views.
            memory.save(self.state)
            await self.destinations.publish(made.size, memory.countersigned(made, int(time.time())))
        size = memory.chain.head.size
        console().print(f"{size} checkpoints, {size - known} new")


async def _prove(source: str, before: Checkpoint, after: Checkpoint) -> None:
    """Check that every tree continues."""
    from streams.proof.chain import BrokenChain  # noqa: PLC0415 - needs signatures
    from streams.proof.receipts import BadProof, read_consistency  # noqa: PLC0415

    later = {tree.partition: tree.size for tree in after.statement.trees}
    for tree in before.statement.trees:
        if tree.size == later[tree.partition]:
            continue
        sizes = f"from={tree.size}&to={later[tree.partition]}&tree={tree.partition}"
        status, body = await fetch(f"{source.rstrip('/')}/v2/proofs/consistency?{sizes}")
        try:
            if status != 200:
                raise BadProof(f"the log gives no proof: status {status}")
            read_consistency(body).check(before, after)
        except BadProof as error:
            place = f"checkpoint {after.size}, tree {tree.partition}"
            raise BrokenChain(f"{place}: {error}") from None


async def _compare(source: str, other: str) -> int:
    """Compare all that two sources have under the same numbers; returns how many."""
    from streams.proof.checkpoints import Checkpoint  # noqa: PLC0415 - needs signatures
    from streams.proof.witness import check_views  # noqa: PLC0415

    mine, compared = {}, 0
    async for note in _notes(source, 0):
        checkpoint = Checkpoint.parse(note)
        mine[checkpoint.size] = checkpoint
    async for note in _notes(other, 0):
        theirs = Checkpoint.parse(note)
        if theirs.size in mine:
            check_views(mine[theirs.size], theirs)
            compared += 1
    return compared


async def _latest(source: str) -> Checkpoint | None:
    from streams.proof.checkpoints import Checkpoint  # noqa: PLC0415 - needs signatures

    if "://" not in source:
        numbers = _numbers(Path(source))
        return Checkpoint.parse(_read(Path(source), numbers[-1])) if numbers else None
    status, body = await fetch(f"{source.rstrip('/')}/v2/checkpoints/latest")
    return Checkpoint.parse(_text(body)) if status == 200 else None


async def _notes(source: str, after: int) -> AsyncIterator[str]:
    """The notes of a source, in order."""
    if "://" not in source:
        for number in _numbers(Path(source)):
            if number > after:
                yield _read(Path(source), number)
        return
    while True:
        address = f"{source.rstrip('/')}/v2/checkpoints?after={after}&limit={_PAGE}"
        status, body = await fetch(address)
        try:
            listed = json.loads(body)["checkpoints"] if status == 200 else None
            notes = [(int(each["size"]), str(each["note"])) for each in listed or ()]
        except (ValueError, KeyError, TypeError, RecursionError):
            listed = None
        if listed is None:
            raise ServiceUnavailable("The source lists no checkpoints", where={"address": address})
        if not notes or notes[-1][0] <= after:
            return
        for _, note in notes:
            yield note
        after = notes[-1][0]


def _numbers(folder: Path) -> list[int]:
    if not folder.is_dir():
        # Another witness may make it later; without it nothing was compared.
        raise ServiceUnavailable("There is no such folder", where={"folder": folder})
    return sorted(int(file.stem) for file in folder.glob("*.txt") if file.stem.isdecimal())


def _read(folder: Path, number: int) -> str:
    try:
        return _text((folder / f"{number}.txt").read_bytes())
    except OSError as error:
        raise SettingsError(
            f"The checkpoint cannot be read: {error.strerror}",
            where={"file": folder / f"{number}.txt"},
        ) from error


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")

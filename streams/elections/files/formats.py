"""The formats of ballot files by name, and which one a file has."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Final

from streams.elections.files.blt import BltFile
from streams.elections.files.cvr import DominionFile, NistFile
from streams.elections.files.hart import HartFile
from streams.elections.files.items import BallotFile, FileRefused
from streams.elections.files.members import sorted_names
from streams.elections.files.preflib import PrefLibFile
from streams.elections.files.tables import CsvFile


class BallotFormat(StrEnum):
    """Formats of ballot files."""

    BLT = "blt"
    PREFLIB = "preflib"
    CSV = "csv"
    NIST = "nist"
    DOMINION = "dominion"
    HART = "hart"


_SUFFIXES: Final = {
    ".blt": BallotFormat.BLT,
    **dict.fromkeys((".soc", ".soi", ".toc", ".toi"), BallotFormat.PREFLIB),
    **dict.fromkeys((".csv", ".tsv"), BallotFormat.CSV),
    ".zip": BallotFormat.HART,
}
_ONE_CONTEST: Final[dict[BallotFormat, Callable[[Path], BallotFile]]] = {
    BallotFormat.BLT: BltFile,
    BallotFormat.PREFLIB: PrefLibFile,
    BallotFormat.CSV: CsvFile,
}
_SEVERAL: Final[dict[BallotFormat, Callable[[Path, str | None], BallotFile]]] = {
    BallotFormat.NIST: NistFile,
    BallotFormat.DOMINION: DominionFile,
    BallotFormat.HART: HartFile,
}

_HEAD_BYTES: Final = 4096
_CHUNK_BYTES: Final = 1 << 20


def open_ballots(
    path: Path, form: BallotFormat | None = None, contest: str | None = None
) -> BallotFile:
    """A reader for a file.

    Args:
        path: a file, or a folder of Hart's records.
        form: of the file; None: by suffix and first bytes.
        contest: id or name of the contest in the file; None if it has one.

    Raises:
        FileRefused: there is no such file, or its format is not known.
    """
    if not path.exists():
        raise FileRefused("There is no such file", where={"file": path})
    form = form or _form_of(path)
    if form in _SEVERAL:
        return _SEVERAL[form](path, contest)
    if contest is not None:
        raise FileRefused(
            f"A file of format {form} holds one contest", where={"file": path}, todo="Leave it out"
        )
    return _ONE_CONTEST[form](path)


def _form_of(path: Path) -> BallotFormat:
    if path.is_dir():
        return BallotFormat.HART
    found = _SUFFIXES.get(path.suffix.lower())
    if found is not None:
        return found
    with path.open("rb") as stream:
        head = stream.read(_HEAD_BYTES)
    if path.suffix.lower() == ".json":
        return BallotFormat.DOMINION if b'"Sessions"' in head else BallotFormat.NIST
    raise FileRefused(
        "The format of the file is not known",
        where={"file": path},
        todo=f"Name it with --format: {', '.join(BallotFormat)}",
    )


def digest_of(path: Path) -> str:
    """SHA-256 of a file; of a folder: of names and digests of its files."""
    whole = hashlib.sha256()
    if path.is_dir():
        for name in sorted_names(path):
            whole.update(f"{name}\0{digest_of(path / name)}\n".encode(errors="surrogateescape"))
    else:
        with path.open("rb") as stream:
            while chunk := stream.read(_CHUNK_BYTES):
                whole.update(chunk)
    return whole.hexdigest()

"""The files of a record of ElectionGuard 2.

constants.json election_config.json election_initialized.json manifest.json
encrypted_ballots/DEVICE/eballot-*.json, with ballot_chain.json where codes are chained
encrypted_tally.json tally.json challenged_ballots/dballot-*.json
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from streams.tally.crypto.documents import from_json
from streams.tally.crypto.group import Q
from streams.tally.record_files import (
    CONSTANTS,
    ENCRYPTED,
    MANIFEST,
    TALLY,
    NotARecord,
    read_document,
)
from streams.tally.refusals import RefusalCheck, Refused, require
from streams.tally.second.documents import Chain, Config, Decrypted, Initialized, SecondBallot
from streams.tally.second.group import G, P, R

T = TypeVar("T")

CONFIG: Final = "election_config.json"
INITIALIZED: Final = "election_initialized.json"
BALLOT_FOLDER: Final = "encrypted_ballots"
CHALLENGED_FOLDER: Final = "challenged_ballots"
CHAIN: Final = "ballot_chain.json"
VERSIONS: Final = ("v2.0.0", "v2.1.0")


class _Constants(msgspec.Struct):
    type: str
    protocolVersion: str  # noqa: N815 - the published name
    constants: dict[str, str]


@dataclass(frozen=True)
class SecondFiles:
    """A record of ElectionGuard 2 whose group is the standard one."""

    folder: Path
    version: str
    config: Config
    initialized: Initialized
    manifest: bytes
    notes: list[str]

    @property
    def is_tallied(self) -> bool:
        """Whether it has a tally; a record of encrypted ballots alone has none."""
        return (self.folder / TALLY).exists()

    def ballots(self) -> Iterator[SecondBallot]:
        """One at a time.

        Raises:
            Refused: `format`.
            NotARecord: a ballot was encrypted before voting.
        """
        for path in sorted((self.folder / BALLOT_FOLDER).rglob("eballot-*.json")):
            ballot = _read(SecondBallot, path)
            if ballot.is_preencrypt:
                raise NotARecord(
                    "ballots that were encrypted before voting are not verified",
                    where={"file": path},
                )
            yield ballot

    def count(self) -> int:
        """Number of ballots."""
        return sum(1 for _ in (self.folder / BALLOT_FOLDER).rglob("eballot-*.json"))

    def chains(self) -> dict[str, Chain]:
        """By device."""
        return {
            path.parent.name: _read(Chain, path)
            for path in sorted((self.folder / BALLOT_FOLDER).rglob(CHAIN))
        }

    def challenged(self) -> Iterator[Decrypted]:
        """Decrypted ballots, one at a time."""
        for path in sorted((self.folder / CHALLENGED_FOLDER).glob("*.json")):
            yield _read(Decrypted, path)


def open_second(folder: Path) -> SecondFiles | None:
    """Find a record of ElectionGuard 2, in a folder or in the only one within it.

    Returns:
        None if it is none.

    Raises:
        NotARecord: another version or group, or files are missing.
        Refused: `context` or `format`.
    """
    found = [
        path.parent for path in (folder / CONFIG, *folder.glob(f"*/{CONFIG}")) if path.exists()
    ]
    if len(found) != 1:
        return None
    folder = found[0]
    names = {path.name for path in folder.iterdir()}
    lacking = {CONSTANTS, INITIALIZED, MANIFEST, BALLOT_FOLDER} - names
    if TALLY in names:
        lacking |= {ENCRYPTED} - names
    if lacking:
        raise NotARecord(f"the record lacks {', '.join(sorted(lacking))}", where={"path": folder})
    version = _check_group(folder / CONSTANTS)
    known = {CONFIG, CONSTANTS, INITIALIZED, MANIFEST, BALLOT_FOLDER, CHALLENGED_FOLDER}
    notes = [f"{name} is not checked" for name in sorted(names - known - {TALLY, ENCRYPTED})]
    if TALLY not in names:
        notes.append("the record has no tally yet")
    return SecondFiles(
        folder,
        version,
        _read(Config, folder / CONFIG),
        _read(Initialized, folder / INITIALIZED),
        read_document(folder / MANIFEST).encode(),
        notes,
    )


def _check_group(path: Path) -> str:
    where: dict[str, object] = {"file": path}
    try:
        given = _read(_Constants, path)
    except Refused as refused:
        raise NotARecord(
            "the group is written as in versions before ElectionGuard 2", where=where
        ) from refused
    if given.type != "IntegerGroup":
        raise NotARecord(
            f"the group is of the type {given.type}, and only that of 4096 bits is read",
            where=where,
        )
    if given.protocolVersion not in VERSIONS:
        raise NotARecord(f"the version is {given.protocolVersion}", where=where)
    standard = {"largePrime": P, "smallPrime": Q, "cofactor": R, "generator": G}
    for name, right in standard.items():
        require(
            given.constants.get(name, "").lower().lstrip("0") == f"{right:x}",
            RefusalCheck.CONTEXT,
            f"{name} is not that of the standard group",
            file=path,
        )
    return given.protocolVersion


def _read(kind: type[T], path: Path) -> T:
    try:
        return from_json(kind, read_document(path))
    except Refused as refused:
        raise Refused(refused.check, refused.what, where={"file": path, **refused.where}) from None

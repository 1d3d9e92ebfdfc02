"""Files that guardians and the election office exchange: JSON, one document per file."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from streams.core.kept_body import names_secret
from streams.errors import SettingsError
from streams.tally.crypto.ceremony import (
    Backup,
    GuardianKey,
    GuardianSecret,
    joint_key,
    open_backup,
    verify_guardians,
)
from streams.tally.crypto.documents import from_json, plain_json, to_json
from streams.tally.crypto.election import CryptoElection, make_context
from streams.tally.crypto.manifest import Manifest
from streams.tally.crypto.shares import CompensatedShare, DecryptionShare
from streams.tally.crypto.tallies import EncryptedTally
from streams.tally.refusals import RefusalCheck, Refused, require
from streams.tally.work import DescribedElection

T = TypeVar("T")
_MODE: Final = 0o600


class Product(msgspec.Struct, frozen=True):
    """The tallies a guardian decrypts: a product, or a group of spoiled ballots."""

    unit: int
    kind: str
    """`total`, `chunk` or `spoiled`."""
    tallies: list[EncryptedTally]
    ballots: list[int] = []
    """Of a chunk: the places of its ballots among the published ones, from 0."""


class ToDecrypt(msgspec.Struct, frozen=True):
    """Everything a guardian needs to compute its shares; nothing in it is secret."""

    election_id: str
    manifest: str
    context: str
    guardians: str
    products: list[Product]

    def described(self) -> DescribedElection:
        """The election."""
        return DescribedElection(self.election_id, self.manifest, self.context, self.guardians)

    def keys(self) -> list[GuardianKey]:
        """The guardians' public keys."""
        return from_json(list[GuardianKey], self.guardians)


class Shares(msgspec.Struct, frozen=True):
    """A guardian's shares for :class:`ToDecrypt`: its own, and those for missing guardians."""

    election_id: str
    guardian: str
    own: dict[int, list[DecryptionShare]]
    """By unit."""
    compensated: dict[int, list[list[CompensatedShare]]]
    """By unit, a list for each missing guardian."""


def read_document(kind: type[T], path: Path) -> T:
    """Read a document from a file.

    Raises:
        SettingsError: the file cannot be read.
        Refused: `format`, if it holds another kind of document.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise SettingsError(
            f"A file cannot be read: {error.strerror}", where={"file": path}
        ) from error
    try:
        return from_json(kind, plain_json(data))
    except Refused as refused:
        raise Refused(
            refused.check, refused.what, where={"file": path, **refused.where}
        ) from refused


def write_document(document: object, path: Path, *, secret: bool = False) -> None:
    """Write a document; a secret file is readable by its owner only and never overwritten.

    Raises:
        SettingsError: the file cannot be written.
    """
    flags = os.O_WRONLY | os.O_CREAT | (os.O_EXCL if secret else os.O_TRUNC)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with os.fdopen(os.open(path, flags, _MODE if secret else 0o644), "wb") as file:
            file.write(to_json(document) + b"\n")
    except OSError as error:
        raise SettingsError(
            f"A file cannot be written: {error.strerror}", where={"file": path}
        ) from error


def ballots_beside(products: Path) -> Path:
    """The file with the ballots that belong to a file of products."""
    return products.with_suffix(".ballots.jsonl")


def describe(
    election_id: str, manifest: Manifest, keys: Sequence[GuardianKey], quorum: int
) -> DescribedElection:
    """Create an election from its manifest and its guardians' published keys.

    Raises:
        Refused: a guardian's proofs do not verify, the manifest contradicts itself, or an id in it
            looks like a voter's credentials, which the bridge removes from ballots.
    """
    names = [style.object_id for style in manifest.ballot_styles]
    for contest in manifest.contests:
        names += [contest.object_id, *(line.object_id for line in contest.ballot_selections)]
    for name in names:
        require(
            not names_secret(name),
            RefusalCheck.MANIFEST,
            "an id looks like a field `nas` or `code` with its value",
            id=name,
        )
    ordered = sorted(keys, key=lambda key: key.sequence_order)
    verify_guardians(ordered, quorum)
    public_key, commitment_hash = joint_key(ordered)
    context = make_context(
        manifest, public_key, commitment_hash, guardians=len(ordered), quorum=quorum
    )
    CryptoElection(manifest, context)
    return DescribedElection(
        election_id,
        to_json(manifest).decode(),
        to_json(context).decode(),
        to_json(ordered).decode(),
    )


def check_backups(
    secret: GuardianSecret, keys: Sequence[GuardianKey], backups: Sequence[Backup]
) -> None:
    """Check that a guardian has a valid backup from every other guardian.

    Raises:
        Refused: `backup`, with the owner of the missing or invalid backup.
    """
    mine = {
        backup.owner_id: backup for backup in backups if backup.designated_id == secret.owner_id
    }
    for key in keys:
        if key.owner_id != secret.owner_id:
            require(
                key.owner_id in mine, RefusalCheck.BACKUP, "a backup is missing", owner=key.owner_id
            )
            open_backup(mine[key.owner_id], secret, key)

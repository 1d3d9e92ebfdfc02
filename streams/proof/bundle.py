"""The published bundle: a folder that anybody can check. `proof/SPECIFICATION.md` describes it."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from schemas.codec import decode_input
from schemas.verdicts import VerdictBatch
from schemas.votes import VoteBatch
from streams.core.leaves import Leaf, OpenedLeaf, opened_leaves
from streams.core.merkle import extend, root_of
from streams.errors import LogMismatch, ScrutinError
from streams.proof.checkpoints import TreeHead

FORMAT: Final = "scrutin-bundle/1"
MANIFEST: Final = "manifest.json"
_PIECE_BYTES: Final = 1 << 20
_FLUSH_LEAVES: Final = 8192


class LineFile:
    """A file of JSON lines whose digest is computed while it is written."""

    def __init__(self, path: Path) -> None:
        self._out = path.open("wb")
        self._digest = hashlib.sha256()
        self._bytes = 0

    def write(self, *rows: object) -> None:
        """Append rows."""
        self.write_text("".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows))

    def write_text(self, text: str) -> None:
        """Append a text."""
        raw = text.encode()
        self._digest.update(raw)
        self._bytes += len(raw)
        self._out.write(raw)

    def close(self) -> dict[str, Any]:
        """Close it; returns what the manifest says of it."""
        self._out.close()
        return {"bytes": self._bytes, "sha256": self._digest.hexdigest()}


class BundleFolder:
    """A new folder, which gets its name only when it is complete.

    Args:
        path: of the folder; it must not exist.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._partial = path.with_name(f".{path.name}.{os.getpid()}.part")
        self._files: dict[str, dict[str, Any]] = {}

    def __enter__(self) -> Self:
        """Begin.

        Raises:
            ScrutinError: the folder exists, or it cannot be made.
        """
        if self.path.exists():
            raise ScrutinError(
                "The folder exists already",
                where={"folder": self.path},
                todo="Name a new one: a bundle is never changed",
            )
        try:
            self._partial.mkdir(parents=True)
        except OSError as error:
            raise ScrutinError(
                f"The folder cannot be made: {error.strerror or error}", where={"folder": self.path}
            ) from error
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Give it its name, or remove it if anything failed."""
        if error is None:
            self._partial.rename(self.path)
        else:
            shutil.rmtree(self._partial, ignore_errors=True)

    @contextmanager
    def lines(self, name: str) -> Iterator[LineFile]:
        """A new file of JSON lines."""
        out = LineFile(self.file(name))
        try:
            yield out
        finally:
            self._files[name] = out.close()

    def document(self, name: str, value: object) -> None:
        """Write a JSON document."""
        self.text(name, json.dumps(value, ensure_ascii=False, indent=1) + "\n")

    def text(self, name: str, text: str) -> None:
        """Write a text."""
        with self.lines(name) as out:
            out.write_text(text)

    def file(self, name: str) -> Path:
        """Where a file of the bundle is written; its folder is there."""
        path = self._partial / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def add(self, name: str) -> None:
        """List a file, or all files of a folder, that something else wrote."""
        path = self._partial / name
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if file.is_file():
                digest = hashlib.sha256()
                with file.open("rb") as content:
                    while piece := content.read(_PIECE_BYTES):
                        digest.update(piece)
                listed = file.relative_to(self._partial).as_posix()
                self._files[listed] = {
                    "bytes": file.stat().st_size,
                    "sha256": digest.hexdigest(),
                }

    def manifest(self, fields: dict[str, Any]) -> str:
        """Write the manifest, as the last file; returns its SHA-256."""
        files = dict(sorted(self._files.items()))
        self.document(MANIFEST, {"format": FORMAT, **fields, "files": files})
        digest: str = self._files[MANIFEST]["sha256"]
        return digest


class LeafWriter:
    """Writes the leaves of one partition up to a signed tree head.

    Args:
        head: of the last checkpoint.
        out: their file.
        secret: of the salts.
        public: contests whose leaves are opened for everybody.
        start: the first input offset with leaves.
    """

    def __init__(
        self,
        head: TreeHead,
        out: LineFile,
        *,
        secret: bytes,
        public: frozenset[str] = frozenset(),
        start: int = 0,
    ) -> None:
        self._head = head
        self._out = out
        self._secret = secret
        self._public = public
        self._last = start - 1
        self._size = 0
        self._peaks = b""
        self._hashes: list[bytes] = []

    @property
    def complete(self) -> bool:
        """Whether the last input record of the tree was added."""
        return self._last >= self._head.offset

    def add(self, verdicts: VerdictBatch) -> None:
        """Add the verdicts on one input record; those outside the tree are passed over."""
        if not self._last < verdicts.offset <= self._head.offset:
            return
        self._last = verdicts.offset
        batch = decode_input(verdicts.record)
        if not isinstance(batch, VoteBatch):
            return
        found = list(opened_leaves(self._secret, verdicts, batch))
        self._out.write(*(self._row(one) for one in found))
        self._hashes += [one.leaf.hash() for one in found]
        if len(self._hashes) >= _FLUSH_LEAVES:
            self._flush()

    def _flush(self) -> None:
        self._peaks, _ = extend(self._size, self._peaks, self._hashes)
        self._size += len(self._hashes)
        self._hashes.clear()

    def _row(self, one: OpenedLeaf) -> dict[str, Any]:
        row = leaf_row(one.leaf)
        if one.leaf.contest in self._public:
            row |= {"salt": one.salt.hex(), "opening": one.opening.hex()}
        return row

    def end(self) -> int:
        """Compare with the signed tree; returns the number of leaves.

        Raises:
            LogMismatch: they are not those that were signed.
        """
        self._flush()
        if (self._size, root_of(self._peaks)) != (self._head.size, self._head.root):
            raise LogMismatch(
                "The verdicts in the log do not give the tree that was signed",
                where={"partition": self._head.partition, "leaves": self._size},
                todo="Nothing is published. SCRUTIN_PROOF_SECRET must be that of the workers;"
                " `scrutin rebuild validated --dry-run` compares the verdicts with the log",
            )
        return self._size


def leaf_row(leaf: Leaf) -> dict[str, Any]:
    """A leaf as JSON."""
    return {
        "status": str(leaf.status),
        "epoch": leaf.epoch,
        "contest": leaf.contest,
        "reason": str(leaf.reason),
        "commitment": leaf.commitment.hex(),
    }

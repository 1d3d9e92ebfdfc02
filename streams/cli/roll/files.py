"""Roll files with the hashes of voters, in all forms that deployments use."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import IO, Any, Final

import msgspec

from streams.core.keys import normalise_hash
from streams.errors import SettingsError

COLUMNS: Final = ("hash", "vote_hash", "voter_hash")
"""Names of the hash in objects, CSV and Parquet."""

_CHUNK: Final = 1 << 20


@dataclass(frozen=True)
class RollFiles:
    """One roll in one or more files.

    `*.json`: a list, or an object with a list `hashes`, of strings or of objects with `hash`.
    `*.csv`: a header with `hash`, `vote_hash` or `voter_hash`, or one column without header.
    `*.parquet`: a column of such a name, or the only one. Anything else: one hash a line; `#`
    begins a comment. Hexadecimal hashes are returned in lower case, as the bridge writes them.

    Args:
        paths: read one after the other.
    """

    paths: Sequence[Path]

    def hashes(self) -> Iterator[str]:
        """All hashes, in the order of the files.

        Raises:
            SettingsError: a file cannot be read, or has another format.
        """
        return chain.from_iterable(map(_hashes, self.paths))

    def count(self) -> int:
        """Approximate number of hashes: lines are counted, not parsed.

        Raises:
            SettingsError: a file cannot be read.
        """
        return sum(map(_count, self.paths))

    def digest(self) -> bytes:
        """Digest of the files' content, 16 bytes.

        Raises:
            SettingsError: a file cannot be read.
        """
        digest = hashlib.blake2b(digest_size=16)
        for path in self.paths:
            _chunks(path, digest.update)
        return digest.digest()


def _hashes(path: Path) -> Iterator[str]:
    readers = {".json": _json, ".csv": _csv, ".parquet": _parquet}
    reader = readers.get(path.suffix.lower(), _lines)
    try:
        for number, entry in enumerate(reader(path), 1):
            if not isinstance(entry, str) or not entry:
                raise ValueError(f"entry {number} has no hash")
            yield normalise_hash(entry)
    except (OSError, ValueError, msgspec.DecodeError) as error:
        raise _unreadable(path, error) from error


def _count(path: Path) -> int:
    if path.suffix.lower() == ".parquet":
        from pyarrow import parquet  # noqa: PLC0415 - slow to load

        try:
            return int(parquet.read_metadata(path).num_rows)
        except (OSError, ValueError) as error:
            raise _unreadable(path, error) from error
    separators = 0
    mark = b"," if path.suffix.lower() == ".json" else b"\n"

    def look(chunk: bytes) -> None:
        nonlocal separators
        separators += chunk.count(mark)

    _chunks(path, look)
    return separators + (mark == b",")


def _chunks(path: Path, take: Callable[[bytes], object]) -> None:
    try:
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                take(chunk)
    except OSError as error:
        raise _unreadable(path, error) from error


def _lines(path: Path) -> Iterator[str]:
    with path.open(encoding="utf-8-sig") as lines:
        for line in lines:
            if entry := line.partition("#")[0].strip():
                yield entry


def _json(path: Path) -> Iterator[Any]:
    data = msgspec.json.decode(path.read_bytes().removeprefix(b"\xef\xbb\xbf"))
    entries = data.get("hashes") if isinstance(data, dict) else data
    if not isinstance(entries, list):
        raise ValueError("it has no list of hashes")
    for entry in entries:
        yield _hash_of(entry) if isinstance(entry, dict) else entry


def _hash_of(entry: dict[str, Any]) -> Any:
    return next((entry[name] for name in COLUMNS if entry.get(name)), None)


def _csv(path: Path) -> Iterator[str]:
    with path.open(encoding="utf-8-sig", newline="") as lines:
        yield from _csv_rows(lines)


def _csv_rows(lines: IO[str]) -> Iterator[str]:
    rows = csv.reader(lines)
    first = next(rows, None)
    if first is None:
        return
    names = [name.strip().lower() for name in first]
    column = next((names.index(name) for name in COLUMNS if name in names), None)
    if column is None:
        if len(first) > 1:
            raise ValueError(f"no column is called {', '.join(COLUMNS)}")
        column = 0
        yield first[0].strip()
    for row in rows:
        if row:
            yield row[column].strip() if column < len(row) else ""


def _parquet(path: Path) -> Iterator[str]:
    from pyarrow import parquet  # noqa: PLC0415 - slow to load

    file = parquet.ParquetFile(path)
    names = file.schema_arrow.names
    column = next((name for name in COLUMNS if name in names), None)
    if column is None and len(names) != 1:
        raise ValueError(f"no column is called {', '.join(COLUMNS)}")
    for batch in file.iter_batches(columns=[column or names[0]]):
        yield from batch.column(0).to_pylist()


def _unreadable(path: Path, error: Exception) -> SettingsError:
    return SettingsError(
        f"The roll cannot be read: {error}",
        where={"file": path},
        todo="A roll is one hash a line, or JSON, CSV or Parquet with `hash`",
    )

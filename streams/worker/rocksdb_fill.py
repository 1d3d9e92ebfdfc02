"""The first filling of a folder: all voters of a changelog, sorted, become RocksDB's own files.

One by one each voter would be looked up, written to a log, sorted and merged several times. Here
first votes go unsorted into bucket files by the first bits of their keys; then each bucket is
sorted in memory, and the buckets in their order are written as sorted files that RocksDB takes in
as they are. Memory holds one bucket, regardless of how many have voted.
"""

from __future__ import annotations

import struct
from array import array
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from rocksdict import IngestExternalFileOptions, Options, Rdict, SstFileWriter

from schemas.verdicts import Acceptance, Rejection
from schemas.voted import FIRST_VOTE, Repeat, TableControl
from streams.core.recent_verdicts import RECENT_RECORDS
from streams.core.voter_stores import entry_of
from streams.worker.rocksdb_voter_store import (
    FIRST,
    VOTER,
    RocksDbVoterStore,
    packed_entry,
    writing,
)

_KEY: Final = 32
_ARRIVED: Final = np.dtype(
    [("key", f"V{_KEY}"), ("index", ">u2"), ("contest", ">u2"), ("identity", "V8")]
)
"""A :data:`schemas.voted.FIRST_VOTE`."""
_STORED: Final = np.dtype(
    [
        ("prefix", "u1"),
        ("key", f"V{_KEY}"),
        ("offset", ">u8"),
        ("index", ">u2"),
        ("identity", "V8"),
    ]
)
"""Key and value in RocksDB."""
_PAIR: Final = struct.Struct(f"{1 + _KEY}s{FIRST.size}s")
_REPEAT: Final = struct.Struct(f"{1 + _KEY}sB")
"""Key, and the length of the value behind it."""
assert (_ARRIVED.itemsize, _STORED.itemsize) == (FIRST_VOTE.size, _PAIR.size)

_BUCKET_BITS: Final = 6
_CHUNK_ROWS: Final = 1 << 15
_FILE_BYTES: Final = 64 << 20
"""About the size of a sorted file."""


class FillingVoterStore:
    """Voters while a folder is filled for the first time; lookups are not possible until then.

    Args:
        db: of the partition, empty.
        options: with which `db` was opened.
        folder: empty, for the files meanwhile.
    """

    def __init__(self, db: Rdict, options: Options, folder: Path) -> None:
        self._db = db
        self._options = options
        self._folder = folder
        self._rows = bytearray()
        self._starts = array("Q")
        self._offsets = array("Q")
        self._count = 0
        self._recent: deque[tuple[int, list[Rejection], list[Acceptance]]] = deque(
            maxlen=RECENT_RECORDS
        )
        self._rest = RocksDbVoterStore(db, 0)
        self._first = [self._bucket("first", n).open("wb") for n in range(1 << _BUCKET_BITS)]
        self._repeats = [self._bucket("repeats", n).open("wb") for n in range(1 << _BUCKET_BITS)]

    def __len__(self) -> int:
        """Number of first votes."""
        return self._count

    def __iter__(self) -> Iterator[bytes]:
        """Not possible before :meth:`done`."""
        raise RuntimeError("the voted table is being read")

    def get(self, key: bytes) -> None:
        """Not possible before :meth:`done`."""
        del key
        raise RuntimeError("the voted table is being read")

    def add(self, offset: int, first_votes: bytes) -> None:
        """Add the first votes of one input record."""
        if len(first_votes) % FIRST_VOTE.size:
            raise ValueError(f"{len(first_votes)} bytes are no multiple of {FIRST_VOTE.size}")
        if not first_votes:
            return
        self._starts.append(len(self._rows) // FIRST_VOTE.size)
        self._offsets.append(offset)
        self._rows += first_votes
        self._count += len(first_votes) // FIRST_VOTE.size
        if len(self._rows) >= _CHUNK_ROWS * FIRST_VOTE.size:
            with writing(self._folder):
                self._spill()

    def repeat(self, repeat: Repeat) -> None:
        """Add an attempt after the accepted vote."""
        value = packed_entry(entry_of(repeat))
        file = self._repeats[repeat.key[0] >> 8 - _BUCKET_BITS]
        with writing(self._folder):
            file.write(_REPEAT.pack(VOTER + repeat.key, len(value)) + value)

    def reject(
        self, offset: int, rejections: list[Rejection], acceptances: list[Acceptance]
    ) -> None:
        """Add the decisions about an input record."""
        self._recent.append((offset, rejections, acceptances))

    def control(self, offset: int, control: TableControl) -> None:
        """Add a control record."""
        self._rest.control(offset, control)

    def clear(self) -> None:
        """Remove all voters."""
        for file in self._first + self._repeats:
            file.seek(0)
            file.truncate()
        self._rows.clear()
        self._starts, self._offsets = array("Q"), array("Q")
        self._count = 0

    def close(self) -> None:
        """Close the files of an unfinished filling."""
        for file in self._first + self._repeats:
            with suppress(OSError):
                file.close()

    def done(self, moved: Callable[[], None]) -> RocksDbVoterStore:
        """Put all voters into the folder; what else was added remains to be saved.

        Args:
            moved: called after each bucket.
        """
        with writing(self._folder):
            self._spill()
            for file in self._first + self._repeats:
                file.close()
            self._count = 0
            files = list(self._write_sorted(moved))
            if files:
                how = IngestExternalFileOptions()
                how.set_move_files(True)
                self._db.ingest_external_file([str(path) for path in files], how)
        for offset, rejections, acceptances in self._recent:
            self._rest.reject(offset, rejections, acceptances)
        self._rest.filled(self._count)
        return self._rest

    def _bucket(self, name: str, number: int) -> Path:
        return self._folder / f"{name}-{number:02}"

    def _spill(self) -> None:
        """Move the latest first votes to their buckets."""
        if not self._rows:
            return
        arrived = np.frombuffer(self._rows, _ARRIVED)
        stored = np.empty(len(arrived), _STORED)
        stored["prefix"] = VOTER[0]
        for name in ("key", "index", "identity"):
            stored[name] = arrived[name]
        starts = np.append(np.array(self._starts), len(arrived)).astype(np.int64)
        stored["offset"] = np.repeat(np.array(self._offsets), np.diff(starts))
        bucket_of = np.frombuffer(self._rows, np.uint8)[:: FIRST_VOTE.size] >> 8 - _BUCKET_BITS
        stored = stored[np.argsort(bucket_of, kind="stable")]
        at = 0
        counts = np.bincount(bucket_of, minlength=len(self._first))
        for file, count in zip(self._first, counts.tolist(), strict=True):
            if count:
                file.write(stored[at : at + count].tobytes())
                at += count
        self._rows = bytearray()
        self._starts, self._offsets = array("Q"), array("Q")

    def _write_sorted(self, moved: Callable[[], None]) -> Iterator[Path]:
        """Write the sorted files; yields each that is complete."""
        writer: SstFileWriter | None = None
        path = self._folder
        for number in range(len(self._first)):
            rows = _in_order(np.fromfile(self._bucket("first", number), _STORED))
            repeats = dict(_repeats(self._bucket("repeats", number).read_bytes()))
            self._count += len(rows)
            if writer is None and len(rows):
                writer, path = SstFileWriter(self._options), self._folder / f"{number:02}.sst"
                writer.open(str(path))
            for key, value in _PAIR.iter_unpack(rows.tobytes()):
                assert writer is not None
                writer[key] = repeats.get(key, value) if repeats else value
            moved()
            if writer is not None and writer.file_size() >= _FILE_BYTES:
                writer.finish()
                writer = None
                yield path
        if writer is not None:
            writer.finish()
            yield path


def _in_order(rows: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Rows by key; of several with the same key the first."""
    keys = np.ascontiguousarray(rows["key"]).view(">u8").reshape(-1, 4).astype(np.uint64)
    order = np.argsort(keys[:, 0], kind="stable")
    begins = keys[order, 0]
    if (begins[1:] == begins[:-1]).any():
        order = np.lexsort(keys.T[::-1])
        keys = keys[order]
        order = order[np.append(True, (keys[1:] != keys[:-1]).any(axis=1))]
    ordered: npt.NDArray[Any] = rows[order]
    return ordered


def _repeats(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Keys and values, the latest of a key last."""
    at = 0
    while at < len(data):
        key, length = _REPEAT.unpack_from(data, at)
        at += _REPEAT.size
        yield key, data[at : at + length]
        at += length

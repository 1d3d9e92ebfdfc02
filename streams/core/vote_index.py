"""First votes of one partition in memory: voter key -> position in the log, packed.

A dictionary takes 160 to 170 bytes a voter, two thirds of it for object headers and alignment.
This is a hash table in flat arrays, like the inside of Python's dictionary: the rows unchanged and
in their order of arrival, and a sparse index with linear probing. It takes 62 to 88 bytes a voter
and adds no objects for the garbage collector to scan.

The hash is that of `bytes`: SipHash with a random key per process, so nobody can choose voter keys
that collide.
"""

from __future__ import annotations

import struct
from array import array
from bisect import bisect_right
from collections.abc import Iterator
from typing import Final, Self

import numpy as np
import numpy.typing as npt

from schemas.voted import FIRST_VOTE
from streams.core.decide import VoterEntry

_ROW: Final = FIRST_VOTE.size
_KEY: Final = 32
_KEYS: Final = struct.Struct(f"{_KEY}s{_ROW - _KEY}x")

_SHARDS: Final = 16
_SHARD_BITS: Final = 4
# The index has 16 shards. One grows at a time, so that a pause takes milliseconds.

_HASH: Final = 0xFFFFFFFF
_FIRST_SLOTS: Final = 1024
_CHUNK_ROWS: Final = 256
_FULL: Final = 0.3
# The next shard grows when this share of all slots is in use. The last shard to grow is the
# fullest, at nearly twice this share; a chunk of rows that all fall into it still fits.


class VoteIndex:
    """Position at which each voter key was first accepted."""

    def __init__(self) -> None:
        self._rows = bytearray()
        # For each record added: the row of its first vote, and its input offset.
        self._starts = array("Q")
        self._offsets = array("Q")
        # A slot holds a row number, from 1, in its upper 32 bits, and 32 bits of the key's hash in
        # its lower ones. Each shard is its slots and their mask.
        self._shards = [_shard(_FIRST_SLOTS) for _ in range(_SHARDS)]
        self._slots = _SHARDS * _FIRST_SLOTS
        self._next_to_grow = 0
        self._count = 0

    @classmethod
    def of(cls, rows: bytearray, starts: array[int], offsets: array[int]) -> Self:
        """Build the table from many rows at once, several times as fast as :meth:`add`.

        Args:
            rows: as for :meth:`add`, of all records in order; the table takes the array over.
            starts: number of each record's first row.
            offsets: input offset of each record.
        """
        table = cls()
        table._rows, table._starts, table._offsets = rows, starts, offsets
        count = len(rows) // _ROW
        sizes = _sizes(count)
        table._slots, table._next_to_grow = sum(sizes), sizes.count(max(sizes)) % _SHARDS
        keys = (key for (key,) in _KEYS.iter_unpack(rows))
        hashes = np.fromiter(map(hash, keys), np.int64, count)
        ordered = np.sort(hashes)
        if (ordered[1:] == ordered[:-1]).any():
            # A key may occur twice: the slow path checks.
            table._shards = [_shard(size) for size in sizes]
            for row in range(0, count, _CHUNK_ROWS):
                table._index(row, rows[row * _ROW : (row + _CHUNK_ROWS) * _ROW])
            return table
        table._count = count
        hashed = hashes.view(np.uint64) & np.uint64(_HASH)
        slots = np.arange(1, count + 1, dtype=np.uint64) << np.uint64(32) | hashed
        shard_of = (hashed & np.uint64(_SHARDS - 1)).astype(np.uint8)
        table._shards = [
            _filled(slots[shard_of == number], size) for number, size in enumerate(sizes)
        ]
        return table

    def __len__(self) -> int:
        """Number of voter keys."""
        return self._count

    def __iter__(self) -> Iterator[bytes]:
        """Voter keys, in no particular order."""
        for slots, _ in self._shards:
            for slot in slots:
                if slot:
                    start = ((slot >> 32) - 1) * _ROW
                    yield bytes(self._rows[start : start + _KEY])

    def get(self, key: bytes) -> VoterEntry | None:
        """The entry of a voter key, without later attempts; None if it has not voted."""
        hashed = hash(key) & _HASH
        slots, mask = self._shards[hashed & _SHARDS - 1]
        at = hashed >> _SHARD_BITS & mask
        while slot := slots[at]:
            if slot & _HASH == hashed:
                row = (slot >> 32) - 1
                if self._rows.startswith(key, row * _ROW, row * _ROW + _KEY):
                    return self._entry(row)
            at = at + 1 & mask
        return None

    def add(self, offset: int, first_votes: bytes) -> None:
        """Add the first votes of one input record. A known key keeps its position.

        Args:
            offset: input offset of the record, higher than any before.
            first_votes: :attr:`schemas.voted.VotedRecord.first_votes`.

        Raises:
            ValueError: the length is no multiple of a row's.
        """
        if len(first_votes) % _ROW:
            raise ValueError(f"{len(first_votes)} bytes are no multiple of {_ROW}")
        if not first_votes:
            return
        row = len(self._rows) // _ROW
        self._starts.append(row)
        self._offsets.append(offset)
        self._rows += first_votes
        for start in range(0, len(first_votes), _CHUNK_ROWS * _ROW):
            self._index(row, first_votes[start : start + _CHUNK_ROWS * _ROW])
            row += _CHUNK_ROWS
            while self._count > self._slots * _FULL:
                self._grow()

    def _index(self, row: int, rows: bytes | bytearray) -> None:
        """Put rows into slots; `row` is the number of the first."""
        shards = self._shards
        for number, (key,) in enumerate(_KEYS.iter_unpack(rows), row + 1):
            hashed = hash(key) & _HASH
            slots, mask = shards[hashed & _SHARDS - 1]
            at = hashed >> _SHARD_BITS & mask
            while slot := slots[at]:
                if slot & _HASH == hashed:
                    start = ((slot >> 32) - 1) * _ROW
                    if self._rows.startswith(key, start, start + _KEY):
                        self._count -= 1
                        break
                at = at + 1 & mask
            else:
                slots[at] = number << 32 | hashed
        self._count += len(rows) // _ROW

    def _grow(self) -> None:
        """Double the slots of the next shard."""
        old, _ = self._shards[self._next_to_grow]
        values = np.frombuffer(old, np.uint64)
        self._shards[self._next_to_grow] = _filled(values[values > 0], 2 * len(old))
        self._slots += len(old)
        self._next_to_grow = (self._next_to_grow + 1) % _SHARDS

    def _entry(self, row: int) -> VoterEntry:
        _, index, _, identity = FIRST_VOTE.unpack_from(self._rows, row * _ROW)
        return VoterEntry(self._offsets[bisect_right(self._starts, row) - 1], index, identity)


def _sizes(count: int) -> list[int]:
    """Slots of each shard when rows are added one by one: some have doubled, others not yet."""
    sizes = [_FIRST_SLOTS] * _SHARDS
    next_to_grow = 0
    while sum(sizes) * _FULL < count:
        sizes[next_to_grow] *= 2
        next_to_grow = (next_to_grow + 1) % _SHARDS
    return sizes


def _filled(values: npt.NDArray[np.uint64], size: int) -> tuple[array[int], int]:
    """A shard of this many slots with all values in, as if inserted one after another."""
    slots = np.zeros(size, np.uint64)
    mask = size - 1
    at = ((values & np.uint64(_HASH)) >> np.uint64(_SHARD_BITS)).astype(np.int64) & mask
    while len(values):
        free = slots[at] == 0
        # Of several values for one slot the first must win; the last write stays, so reverse them.
        slots[at[free][::-1]] = values[free][::-1]
        left = slots[at] != values
        values, at = values[left], at[left] + 1 & mask
    return array("Q", slots.tobytes()), mask


def _shard(slots: int) -> tuple[array[int], int]:
    return array("Q", bytes(8 * slots)), slots - 1

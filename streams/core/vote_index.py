"""First votes of one partition in memory: voter key -> place in the log, packed.

A dictionary takes 160 to 170 bytes a voter, two thirds of it for the headers of its objects and
their alignment. This is a hash table in flat arrays, as Python's own dictionary is inside: the rows
in the order in which they came, as they came, and a sparse index with linear probing. It takes 62
to 88 bytes a voter, and holds nothing for a garbage collector to look at.

The hash is that of `bytes`: SipHash with a key that every process draws for itself, so nobody can
choose voter keys that collide.
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
# An index in 16 parts, of which one grows at a time: a pause of milliseconds.

_HASH: Final = 0xFFFFFFFF
_FIRST_SLOTS: Final = 1024
_CHUNK_ROWS: Final = 256
_FULL: Final = 0.3
# Part of all slots in use at which the next shard grows. Fullest is the shard that is the last to
# grow, with not quite twice as much; a chunk of rows that all fall into it still fits.


class VoteIndex:
    """Where each voter key was first accepted."""

    def __init__(self) -> None:
        self._rows = bytearray()
        # Row of the first vote of each record taken in, and the record's input offset.
        self._starts = array("Q")
        self._offsets = array("Q")
        # A slot holds the number of a row, from 1, in its upper 32 bits, and 32 bits of the key's
        # hash in the lower. Beside the slots their mask.
        self._shards = [_shard(_FIRST_SLOTS) for _ in range(_SHARDS)]
        self._slots = _SHARDS * _FIRST_SLOTS
        self._next_to_grow = 0
        self._count = 0

    @classmethod
    def of(cls, rows: bytearray, starts: array[int], offsets: array[int]) -> Self:
        """The table of many rows at once, made several times as fast as by :meth:`add`.

        Args:
            rows: as :meth:`add` takes them, of all records, in their order; becomes the table's.
            starts: number of each record's first row.
            offsets: input offset of each record.
        """
        table = cls()
        table._rows, table._starts, table._offsets = rows, starts, offsets
        count = len(rows) // _ROW
        while table._slots * _FULL < count:
            table._slots *= 2
        keys = (key for (key,) in _KEYS.iter_unpack(rows))
        hashes = np.fromiter(map(hash, keys), np.int64, count)
        ordered = np.sort(hashes)
        if (ordered[1:] == ordered[:-1]).any():
            # Perhaps a key comes twice: the slow way looks.
            table._shards = [_shard(table._slots // _SHARDS) for _ in range(_SHARDS)]
            for row in range(0, count, _CHUNK_ROWS):
                table._index(row, rows[row * _ROW : (row + _CHUNK_ROWS) * _ROW])
            return table
        table._count = count
        hashed = hashes.view(np.uint64) & np.uint64(_HASH)
        slots = np.arange(1, count + 1, dtype=np.uint64) << np.uint64(32) | hashed
        shard_of = (hashed & np.uint64(_SHARDS - 1)).astype(np.uint8)
        table._shards = [
            _filled(slots[shard_of == number], table._slots // _SHARDS) for number in range(_SHARDS)
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
        """The entry of a voter key, if it has voted; without later attempts."""
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
        """Take in the first votes of one input record. A key that is known keeps its place.

        Args:
            offset: input offset of the record, higher than any before.
            first_votes: :attr:`schemas.voted.VotedRecord.first_votes`.

        Raises:
            ValueError: they are cut off.
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
        """Find a slot for each of the rows, the first of which has this number."""
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
        slots, mask = self._shards[self._next_to_grow] = _shard(2 * len(old))
        for slot in old:
            if slot:
                at = (slot & _HASH) >> _SHARD_BITS & mask
                while slots[at]:
                    at = at + 1 & mask
                slots[at] = slot
        self._slots += len(old)
        self._next_to_grow = (self._next_to_grow + 1) % _SHARDS

    def _entry(self, row: int) -> VoterEntry:
        _, index, _, identity = FIRST_VOTE.unpack_from(self._rows, row * _ROW)
        return VoterEntry(self._offsets[bisect_right(self._starts, row) - 1], index, identity)


def _filled(values: npt.NDArray[np.uint64], size: int) -> tuple[array[int], int]:
    """A shard of this many slots with all the values in, as if put in one after another."""
    slots = np.zeros(size, np.uint64)
    mask = size - 1
    at = ((values & np.uint64(_HASH)) >> np.uint64(_SHARD_BITS)).astype(np.int64) & mask
    while len(values):
        free = slots[at] == 0
        # Of several for one slot the first is to have it: the last that is written stays.
        slots[at[free][::-1]] = values[free][::-1]
        left = slots[at] != values
        values, at = values[left], at[left] + 1 & mask
    return array("Q", slots.tobytes()), mask


def _shard(slots: int) -> tuple[array[int], int]:
    return array("Q", bytes(8 * slots)), slots - 1

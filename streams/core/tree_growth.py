"""How the tree of a partition grows by a flush. Pure."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from schemas.verdicts import VerdictBatch
from schemas.votes import VoteBatch
from streams.core.leaves import leaf_hashes
from streams.core.merkle import HASH_BYTES, Node, extend

_RECORD: Final = struct.Struct(">QI")


@dataclass(frozen=True, slots=True)
class Tree:
    """The tree of a partition, as the fence holds it."""

    size: int = 0
    peaks: bytes = b""
    start: int = 0
    """The first input offset with leaves. A database that was counted by a version without trees
    begins where it was upgraded."""


@dataclass(frozen=True, slots=True)
class Segment:
    """The leaves that one flush adds to a tree."""

    partition: int
    first: int
    """Number of the first leaf."""
    last_offset: int
    """Of the last input record with leaves."""
    records: bytes
    """Each input record's offset and number of leaves."""
    hashes: bytes


@dataclass(frozen=True, slots=True)
class Growth:
    """A tree after a flush, and what is new."""

    tree: Tree
    segment: Segment
    nodes: list[Node]


def grow(
    secret: bytes, tree: Tree, batches: Iterable[tuple[VerdictBatch, VoteBatch]]
) -> Growth | None:
    """Append the verdicts of one partition, in the order of its log; None if nothing is new."""
    hashes: list[bytes] = []
    records = bytearray()
    partition = last_offset = 0
    for verdicts, batch in batches:
        if verdicts.offset < tree.start:
            continue
        new = leaf_hashes(secret, verdicts, batch)
        if new:
            hashes += new
            records += _RECORD.pack(verdicts.offset, len(new))
            partition, last_offset = verdicts.partition, verdicts.offset
    if not hashes:
        return None
    peaks, nodes = extend(tree.size, tree.peaks, hashes)
    segment = Segment(partition, tree.size, last_offset, bytes(records), b"".join(hashes))
    return Growth(Tree(tree.size + len(hashes), peaks, tree.start), segment, nodes)


def records_of(first: int, records: bytes) -> Iterator[tuple[int, int, int]]:
    """Offset, first leaf and number of leaves of each input record of a segment."""
    for offset, count in _RECORD.iter_unpack(records):
        yield offset, first, count
        first += count


def hashes_of(joined: bytes) -> list[bytes]:
    """The hashes of a segment."""
    return [joined[i : i + HASH_BYTES] for i in range(0, len(joined), HASH_BYTES)]

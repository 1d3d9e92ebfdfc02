"""Merkle trees of RFC 9162, section 2.1, over SHA-256. Pure.

A growing tree is kept as its size and its *peaks*: the roots of its perfect subtrees, the largest
first, as many as the size has set bits. Proofs are first computed as ranges of leaves, so that
the caller can read the hashes from wherever they are.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

HASH_BYTES: Final = 32

KEPT_LEVELS: Final = 8
"""Of the inner nodes those are stored whose level is a multiple of this."""

EMPTY_ROOT: Final = hashlib.sha256(b"").digest()

_sha256 = hashlib.sha256

Range = tuple[int, int]
"""Leaves from the first number up to the second, which is not included."""


@dataclass(frozen=True, slots=True)
class Node:
    """The root of a perfect subtree of 2**level leaves."""

    level: int
    number: int
    """Counted from 0 among the nodes of its level, from the left."""
    hash: bytes


def leaf_hash(data: bytes) -> bytes:
    """The hash of a leaf."""
    return _sha256(b"\0" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of an inner node."""
    return _sha256(b"\x01" + left + right).digest()


def extend(size: int, peaks: bytes, leaves: Sequence[bytes]) -> tuple[bytes, list[Node]]:
    """Append leaves to a tree.

    Args:
        size: of the tree before.
        peaks: of the tree before, joined.
        leaves: hashes of the new leaves.

    Returns:
        The new peaks, joined, and the new nodes of the levels that are stored, by level.

    Raises:
        ValueError: there are not as many peaks as the size needs.
    """
    if len(peaks) != size.bit_count() * HASH_BYTES:
        raise ValueError(f"a tree of {size} leaves has {size.bit_count()} peaks")
    end = len(peaks)
    kept: list[Node] = []
    new_peaks: list[bytes] = []
    row = list(leaves)
    level = 0
    while row or size >> level:
        if level and level % KEPT_LEVELS == 0:
            first = size >> level
            kept += [Node(level, first + i, digest) for i, digest in enumerate(row)]
        if size >> level & 1:
            row.insert(0, peaks[end - HASH_BYTES : end])
            end -= HASH_BYTES
        if len(row) & 1:
            new_peaks.append(row.pop())
        pairs = iter(row)
        row = [_sha256(b"\x01" + a + b).digest() for a, b in zip(pairs, pairs, strict=True)]
        level += 1
    new_peaks.reverse()
    return b"".join(new_peaks), kept


def root_of(peaks: bytes) -> bytes:
    """The root of a tree, from its peaks."""
    if not peaks:
        return EMPTY_ROOT
    hashes = [peaks[i : i + HASH_BYTES] for i in range(0, len(peaks), HASH_BYTES)]
    return join(hashes)


def join(hashes: Sequence[bytes]) -> bytes:
    """The root over the roots of neighbouring perfect subtrees, of which each is smaller."""
    root = hashes[-1]
    for left in reversed(hashes[:-1]):
        root = _sha256(b"\x01" + left + root).digest()
    return root


def perfect(leaves: Range) -> list[tuple[int, int]]:
    """The perfect subtrees that a range consists of, as (level, number), from the left.

    The range is one that occurs in a proof: it begins where a subtree of its size may begin.
    """
    start, end = leaves
    found = []
    while start < end:
        level = (end - start).bit_length() - 1
        found.append((level, start >> level))
        start += 1 << level
    return found


def inclusion_ranges(index: int, size: int) -> list[Range]:
    """The ranges whose roots make up the inclusion proof of a leaf.

    Raises:
        ValueError: the tree has no such leaf.
    """
    if not 0 <= index < size:
        raise ValueError(f"a tree of {size} leaves has no leaf {index}")
    start, end = 0, size
    path = []
    while end - start > 1:
        middle = start + _left_size(end - start)
        if index < middle:
            path.append((middle, end))
            end = middle
        else:
            path.append((start, middle))
            start = middle
    path.reverse()
    return path


def consistency_ranges(first: int, second: int) -> list[Range]:
    """The ranges whose roots make up the proof that a tree continues a smaller one.

    Raises:
        ValueError: the sizes are not in order.
    """
    if not 0 <= first <= second:
        raise ValueError(f"a tree of {second} leaves does not continue one of {first}")
    if first in {0, second}:
        return []
    start, end = 0, second
    whole = True
    path = []
    while first != end:
        middle = start + _left_size(end - start)
        if first <= middle:
            path.append((middle, end))
            end = middle
        else:
            path.append((start, middle))
            start = middle
            whole = False
    if not whole:
        path.append((start, end))
    path.reverse()
    return path


def _left_size(size: int) -> int:
    """The largest power of two that is smaller than a size."""
    return 1 << ((size - 1).bit_length() - 1)


def includes(leaf: bytes, index: int, size: int, path: Sequence[bytes], root: bytes) -> bool:
    """Whether a proof shows that a tree has a leaf at a place (section 2.1.3.2)."""
    if not 0 <= index < size:
        return False
    number, last = index, size - 1
    found = leaf
    for step in path:
        if last == 0:
            return False
        if number & 1 or number == last:
            found = node_hash(step, found)
            while not number & 1 and number:
                number >>= 1
                last >>= 1
        else:
            found = node_hash(found, step)
        number >>= 1
        last >>= 1
    return last == 0 and found == root


def continues(
    first: int, first_root: bytes, second: int, second_root: bytes, path: Sequence[bytes]
) -> bool:
    """Whether a proof shows that a tree continues a smaller one (section 2.1.4.2)."""
    if not 0 <= first <= second:
        return False
    if first == 0:
        return not path and first_root == EMPTY_ROOT
    if first == second:
        return not path and first_root == second_root
    steps = list(path)
    if first & (first - 1) == 0:
        steps.insert(0, first_root)
    if not steps:
        return False
    number, last = first - 1, second - 1
    while number & 1:
        number >>= 1
        last >>= 1
    old = new = steps[0]
    for step in steps[1:]:
        if last == 0:
            return False
        if number & 1 or number == last:
            old = node_hash(step, old)
            new = node_hash(step, new)
            while not number & 1 and number:
                number >>= 1
                last >>= 1
        else:
            new = node_hash(new, step)
        number >>= 1
        last >>= 1
    return last == 0 and old == first_root and new == second_root

"""A set of 32-byte keys in some 60 bytes each, for rolls of millions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from schemas.control import KEY_BYTES

_BUCKET_BITS: Final = 18
_READ_BYTES: Final = 3
_SHIFT: Final = 8 * _READ_BYTES - _BUCKET_BITS
_KNOWN_BYTES: Final = 2
"""Bytes of a key that follow from its bucket's number."""
_KNOWN_SHIFT: Final = _BUCKET_BITS - 8 * _KNOWN_BYTES
_REST_BYTES: Final = KEY_BYTES - _KNOWN_BYTES


class KeySet:
    """Keys in 262,144 buckets by their first 18 bits; a bucket holds the rest of each key in a row.

    A Python set takes about 130 bytes for such a key. The set stores complete keys, not digests:
    voters choose what they send and must not be able to imitate the beginning of another key.
    Only the operators of the roll add keys, so nobody else can overfill a bucket.
    """

    def __init__(self) -> None:
        self._buckets: dict[int, bytes] = {}
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def __contains__(self, key: bytes) -> bool:
        return _find(self._buckets.get(_number(key), b""), key[_KNOWN_BYTES:]) >= 0

    def __iter__(self) -> Iterator[bytes]:
        for number, bucket in self._buckets.items():
            known = (number >> _KNOWN_SHIFT).to_bytes(_KNOWN_BYTES, "big")
            for start in range(0, len(bucket), _REST_BYTES):
                yield known + bucket[start : start + _REST_BYTES]

    def add(self, packed: bytes) -> int:
        """Add keys; returns how many were not there.

        Args:
            packed: keys of 32 bytes, one after the other.
        """
        before = self._size
        buckets = self._buckets
        for start in range(0, len(packed), KEY_BYTES):
            key = packed[start : start + KEY_BYTES]
            number, rest = _number(key), key[_KNOWN_BYTES:]
            bucket = buckets.get(number, b"")
            if _find(bucket, rest) < 0:
                buckets[number] = bucket + rest
                self._size += 1
        return self._size - before

    def discard(self, packed: bytes) -> int:
        """Remove keys; returns how many were there.

        Args:
            packed: keys of 32 bytes, one after the other.
        """
        before = self._size
        for start in range(0, len(packed), KEY_BYTES):
            key = packed[start : start + KEY_BYTES]
            if key in self:
                number = _number(key)
                bucket = self._buckets[number]
                place = _find(bucket, key[_KNOWN_BYTES:])
                self._buckets[number] = bucket[:place] + bucket[place + _REST_BYTES :]
                self._size -= 1
        return before - self._size


def _number(key: bytes) -> int:
    """The bucket of a key."""
    return int.from_bytes(key[:_READ_BYTES], "big") >> _SHIFT


def _find(bucket: bytes, rest: bytes) -> int:
    """Where a key's rest is in a bucket; -1 if it is not there."""
    place = bucket.find(rest)
    while place > 0 and place % _REST_BYTES:
        # The match spans two neighbours.
        place = bucket.find(rest, place + 1)
    return place

"""A set of 32-byte keys in 32 bytes each, for rolls of millions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from schemas.control import KEY_BYTES

_PREFIX_BYTES: Final = 2
_REST_BYTES: Final = KEY_BYTES - _PREFIX_BYTES


class PackedKeys:
    """Keys in buckets by their first two bytes; a bucket holds the rest of each, one after another.

    A Python set takes about 130 bytes for such a key. Whole keys are kept, no digests: voters
    choose what they send, and must not be able to imitate somebody's beginning.
    """

    def __init__(self) -> None:
        self._buckets: dict[bytes, bytearray] = {}
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def __contains__(self, key: bytes) -> bool:
        bucket = self._buckets.get(key[:_PREFIX_BYTES])
        return bucket is not None and _find(bucket, key[_PREFIX_BYTES:]) >= 0

    def __iter__(self) -> Iterator[bytes]:
        for prefix, bucket in self._buckets.items():
            for start in range(0, len(bucket), _REST_BYTES):
                yield prefix + bucket[start : start + _REST_BYTES]

    def add(self, packed: bytes) -> int:
        """Add keys; returns how many were not there.

        Args:
            packed: keys of 32 bytes, one after the other.
        """
        before = self._size
        buckets = self._buckets
        for start in range(0, len(packed), KEY_BYTES):
            prefix = packed[start : start + _PREFIX_BYTES]
            rest = packed[start + _PREFIX_BYTES : start + KEY_BYTES]
            bucket = buckets.get(prefix)
            if bucket is None:
                buckets[prefix] = bytearray(rest)
            elif _find(bucket, rest) < 0:
                bucket += rest
            else:
                continue
            self._size += 1
        return self._size - before

    def discard(self, packed: bytes) -> int:
        """Remove keys; returns how many were there.

        Args:
            packed: keys of 32 bytes, one after the other.
        """
        before = self._size
        for start in range(0, len(packed), KEY_BYTES):
            bucket = self._buckets.get(packed[start : start + _PREFIX_BYTES])
            if bucket is None:
                continue
            place = _find(bucket, packed[start + _PREFIX_BYTES : start + KEY_BYTES])
            if place >= 0:
                del bucket[place : place + _REST_BYTES]
                self._size -= 1
        return before - self._size


def _find(bucket: bytearray, rest: bytes) -> int:
    """Where a key's rest is in a bucket; -1 if it is not there."""
    place = bucket.find(rest)
    while place > 0 and place % _REST_BYTES:
        # It straddles two neighbours.
        place = bucket.find(rest, place + 1)
    return place

"""Which stretches of counted votes may hold a vote: Bloom filters, asked all at once. Pure.

Each filter is the bits of at most a million votes. In memory the same bit of eight filters is one
byte, so that a vote is asked of eight stretches by reading eight bytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

CAPACITY: Final = 1 << 20
"""Most votes of a filter. Of a full one, a vote that is not in it is found once in 25,000."""
_BITS: Final = 24 * CAPACITY
_PROBES: Final = 8
_FIRST_PROBES: Final = 3
_SLOTS: Final = 8
_KEY_BYTES: Final = 32

Positions = npt.NDArray[np.intp]


def key_of(vote_key: bytes | None, vote_text: str | None) -> bytes:
    """The 32 bytes by which filters know a vote, from its columns in `counted_votes`."""
    return vote_key or hashlib.sha256((vote_text or "").encode()).digest()


def _mixed(values: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """The last step of SplitMix64."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def _positions(keys: bytes) -> Positions:
    """Bits of each key, a row for each probe."""
    words = np.frombuffer(keys, "<u8").reshape(-1, _KEY_BYTES // 8)
    # Keys of one's own making may differ in few bits.
    hashed = np.full(len(words), 0x9E3779B97F4A7C15, np.uint64)
    for column in range(words.shape[1]):
        hashed = _mixed(hashed ^ words[:, column])
    first, step = hashed >> np.uint64(32), hashed & np.uint64(0xFFFFFFFF) | np.uint64(1)
    probes = first + np.arange(_PROBES, dtype=np.uint64)[:, None] * step & np.uint64(0xFFFFFFFF)
    return (probes * np.uint64(_BITS) >> np.uint64(32)).astype(np.intp)


class FilterBuilder:
    """Builds one filter."""

    def __init__(self) -> None:
        self._flags = np.zeros(_BITS, np.uint8)
        self.votes = 0
        """In it so far."""

    def add(self, keys: bytes) -> None:
        """Add votes by their keys, of 32 bytes each."""
        self._flags[_positions(keys)] = 1
        self.votes += len(keys) // _KEY_BYTES

    def bits(self) -> bytes:
        """As it is stored."""
        return np.packbits(self._flags).tobytes()


class VoteFilters:
    """The filters of all stretches that have them."""

    def __init__(self) -> None:
        self._groups: list[npt.NDArray[np.uint8]] = []
        self._stretches: list[int] = []

    def __len__(self) -> int:
        """Number of filters."""
        return len(self._stretches)

    def add(self, stretch: int, bits: bytes) -> None:
        """Take a stored filter of a stretch in."""
        slot = len(self._stretches) % _SLOTS
        if slot == 0:
            self._groups.append(np.zeros(_BITS, np.uint8))
        group = self._groups[-1]
        group |= np.unpackbits(np.frombuffer(bits, np.uint8)) << np.uint8(slot)
        self._stretches.append(stretch)

    def clear(self) -> None:
        """Forget all filters."""
        self._groups.clear()
        self._stretches.clear()

    def candidates(self, keys: Sequence[bytes]) -> dict[int, list[int]]:
        """Places in `keys` of the votes that a stretch may hold, by stretch."""
        found: dict[int, list[int]] = {}
        if not self._groups or not keys:
            return found
        positions = _positions(b"".join(keys))
        for number, group in enumerate(self._groups):
            held = group.take(positions[0])
            for probe in positions[1:_FIRST_PROBES]:
                held &= group.take(probe)
            # Few are left to be asked further.
            left = np.flatnonzero(held)
            held = held[left]
            for probe in positions[_FIRST_PROBES:]:
                held &= group.take(probe[left])
            there = np.flatnonzero(held)
            for place, slots in zip(left[there].tolist(), held[there].tolist(), strict=True):
                for slot in range(_SLOTS):
                    if slots >> slot & 1:
                        stretch = self._stretches[number * _SLOTS + slot]
                        places = found.setdefault(stretch, [])
                        if places[-1:] != [place]:
                            places.append(place)
        return found

"""Assigns ballots to chunks; anyone who knows the election can repeat the assignment.

Ballots in order of their ids are shuffled like Java's `Collections.shuffle(ids, new Random(seed))`.
So a ballot's chunk reveals nothing about when it was cast, and older deployments would make the
same chunks.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from hashlib import sha256
from typing import Final

_MULTIPLIER: Final = 0x5DEECE66D
_INCREMENT: Final = 0xB
_MASK: Final = (1 << 48) - 1
_LONG: Final = 1 << 64
_INT: Final = 1 << 31


def chunk_sizes(ballots: int, size: int) -> list[int]:
    """Number of ballots of each chunk: N // size chunks, the first N mod chunks get one more."""
    if ballots == 0:
        return []
    chunks = max(1, ballots // size)
    small, more = divmod(ballots, chunks)
    return [small + 1] * more + [small] * (chunks - more)


def chunk_numbers(ballots: int, size: int, seed: int) -> array[int]:
    """The chunk of each ballot, by the ballot's position in the order of ids; 4 bytes a ballot."""
    order = array("I", range(ballots))
    shuffle(order, seed)
    numbers = array("I", bytes(4 * ballots))
    place = 0
    for chunk, count in enumerate(chunk_sizes(ballots, size)):
        for index in order[place : place + count]:
            numbers[index] = chunk
        place += count
    return numbers


def shuffle_seed(seed: int, ids: Iterable[int]) -> int:
    """seed * 31 + id for each id, in signed 64-bit arithmetic; starts at the election's number."""
    for number in ids:
        seed = (seed * 31 + number) % _LONG
    return seed - _LONG if seed >= _LONG // 2 else seed


def election_number(election_id: str) -> int:
    """The id itself if it is a number, else 63 bits of its SHA-256."""
    if election_id.isascii() and election_id.isdigit() and len(election_id) < 19:
        return int(election_id)
    return int.from_bytes(sha256(election_id.encode()).digest()[:8]) >> 1


def shuffle(items: array[int], seed: int) -> None:
    """Shuffle in place as Java does with a 48-bit linear congruential generator."""
    state = (seed ^ _MULTIPLIER) & _MASK
    for bound in range(len(items), 1, -1):
        # Random.nextInt(bound)
        while True:
            state = (state * _MULTIPLIER + _INCREMENT) & _MASK
            bits = state >> 17
            if bound & -bound == bound:
                index = bound * bits >> 31
                break
            index = bits % bound
            # Java's overflow test: bits in an incomplete last range are drawn again.
            if bits - index + bound - 1 < _INT:
                break
        items[bound - 1], items[index] = items[index], items[bound - 1]

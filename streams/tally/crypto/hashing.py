"""The hash H of the specification, with the reference's encoding of arguments."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import Protocol, runtime_checkable

from gmpy2 import mpz

from streams.tally.crypto.group import Q, to_hex


@runtime_checkable
class Hashed(Protocol):
    """An object that defines its own hash."""

    def crypto_hash(self) -> mpz:
        """Hash of its content, in Z_q."""


Hashable = mpz | int | str | None | Hashed | Sequence["Hashable"]


def hash_elements(*items: Hashable) -> mpz:
    """H(items) in Z_q: SHA-256 over ``|``, then each item followed by ``|``, mod q.

    `mpz` are group elements or exponents and enter as hex, `int` as decimal digits, None and
    empty sequences as ``null``, other sequences as the hash of their items.
    """
    text = "|".join(["", *map(_encode, items), ""])
    return mpz(int.from_bytes(sha256(text.encode()).digest())) % Q


def _encode(item: Hashable) -> str:
    if isinstance(item, mpz):
        return to_hex(item)
    if isinstance(item, str):
        return item
    if isinstance(item, int):
        return str(item)
    if not item:
        return "null"
    if isinstance(item, Sequence):
        return to_hex(hash_elements(*item))
    return to_hex(item.crypto_hash())


def nonce(seed: mpz, index: int, *headers: Hashable) -> mpz:
    """Number `index` in the sequence of nonces derived from a secret seed and public headers."""
    start = hash_elements(seed, *headers) if headers else seed
    return hash_elements(start, index)

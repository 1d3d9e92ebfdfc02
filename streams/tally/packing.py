"""Packs ciphertexts as fixed-width bytes, which are faster to parse than JSON and half as long."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from gmpy2 import mpz

from streams.tally.crypto.election import CryptoElection
from streams.tally.crypto.elgamal import UNIT, Ciphertext
from streams.tally.crypto.group import P
from streams.tally.refusals import RefusalCheck, require

ELEMENT_BYTES: Final = 512
UNIT_BYTES: Final = (1).to_bytes(ELEMENT_BYTES)
"""The pad of a contest that is not on a ballot."""


def pack_lines(election: CryptoElection, lines: Mapping[str, Ciphertext]) -> bytes:
    """Pad and data of every selection of the election, in order; missing ones add nothing."""
    parts = []
    for name in election.line_names:
        ciphertext = lines.get(name, UNIT)
        parts += [pack_element(ciphertext.pad), pack_element(ciphertext.data)]
    return b"".join(parts)


def unpack_lines(election: CryptoElection, packed: bytes) -> dict[str, Ciphertext]:
    """Unpack the result of :func:`pack_lines`.

    Raises:
        Refused: `format`.
    """
    elements = _elements(election, packed)
    return {
        name: Ciphertext(elements[2 * index], elements[2 * index + 1])
        for index, name in enumerate(election.line_names)
    }


def add_packed(election: CryptoElection, product: bytes, ballots: Sequence[bytes]) -> bytes:
    """Multiply packed ballots into a packed product, which is empty at first.

    Raises:
        Refused: `format`.
    """
    sums = [mpz(1)] * (2 * len(election.line_names))
    for packed in (*([product] if product else []), *ballots):
        elements = _elements(election, packed)
        for index, element in enumerate(elements):
            sums[index] = sums[index] * element % P
    return b"".join(map(pack_element, sums))


def _elements(election: CryptoElection, packed: bytes) -> list[mpz]:
    require(
        len(packed) == 2 * ELEMENT_BYTES * len(election.line_names),
        RefusalCheck.FORMAT,
        "packed ciphertexts do not match the election's selections",
    )
    return [
        mpz(int.from_bytes(packed[at : at + ELEMENT_BYTES]))
        for at in range(0, len(packed), ELEMENT_BYTES)
    ]


def pads_of(packed: bytes) -> list[bytes]:
    """The pads of packed ciphertexts that are not neutral."""
    pads = (packed[at : at + ELEMENT_BYTES] for at in range(0, len(packed), 2 * ELEMENT_BYTES))
    return [pad for pad in pads if pad != UNIT_BYTES]


def pack_element(element: mpz) -> bytes:
    """One element, as packed ciphertexts hold it."""
    return int(element).to_bytes(ELEMENT_BYTES)

"""Exponential ElGamal, and hashed ElGamal for backups ("Ballot encryption", "Key generation")."""

from __future__ import annotations

import hmac
from collections.abc import Iterable

import msgspec
from gmpy2 import mpz

from streams.tally.crypto.group import (
    ONE,
    G,
    P,
    fixed_base,
    g_power,
    in_subgroup,
    power,
    secret_power,
    to_bytes,
    to_hex,
)
from streams.tally.crypto.hashing import hash_elements
from streams.tally.refusals import RefusalCheck, Refused, require

_BLOCK_BYTES = 32


class Ciphertext(msgspec.Struct, frozen=True, gc=False):
    """(alpha, beta) = (g^r, g^m * K^r): the message is in the exponent, so products add up."""

    pad: mpz
    """alpha"""
    data: mpz
    """beta"""

    def crypto_hash(self) -> mpz:
        """H(alpha, beta)."""
        return hash_elements(self.pad, self.data)


UNIT = Ciphertext(ONE, ONE)
"""The neutral element: the encryption of 0 with nonce 0."""


def encrypt(message: int, nonce: mpz, public_key: mpz) -> Ciphertext:
    """(g^nonce, g^message * K^nonce), by tables of g and K."""
    blinding = fixed_base(public_key).power(nonce)
    return Ciphertext(g_power(nonce), power(G, mpz(message)) * blinding % P)


def accumulate(ciphertexts: Iterable[Ciphertext]) -> Ciphertext:
    """The component-wise product, which encrypts the sum."""
    pad = data = ONE
    for ciphertext in ciphertexts:
        pad = pad * ciphertext.pad % P
        data = data * ciphertext.data % P
    return Ciphertext(pad, data)


class HashedCiphertext(msgspec.Struct, frozen=True):
    """Bytes encrypted to the receiver's key, with an authentication code."""

    pad: mpz
    data: str
    """Hex, without leading zero bytes."""
    mac: str
    """Hex, without leading zero bytes."""


def hashed_encrypt(message: bytes, nonce: mpz, public_key: mpz, seed: mpz) -> HashedCiphertext:
    """Encrypt whole 32-byte blocks: C1 = message xor k1 | k2 | ..., C2 = HMAC(k0, C0, C1).

    k_i = HMAC(H(g^nonce, K^nonce), i | seed | length in bits), numbers as 4 bytes little-endian.
    """
    pad = g_power(nonce)
    session = hash_elements(pad, secret_power(public_key, nonce))
    data = _mask(message, session, seed)
    return HashedCiphertext(pad, _short_hex(data), _short_hex(_mac(pad, data, session, seed)))


def hashed_decrypt(
    ciphertext: HashedCiphertext, secret_key: mpz, seed: mpz, *, length_bytes: int
) -> bytes:
    """Decrypt the output of :func:`hashed_encrypt` or of the reference.

    Raises:
        Refused: `backup`, if it was encrypted to another key or modified; `subgroup`.
    """
    try:
        data = bytes.fromhex(ciphertext.data).rjust(length_bytes, b"\0")
        mac = bytes.fromhex(ciphertext.mac).rjust(_BLOCK_BYTES, b"\0")
    except ValueError as error:
        raise Refused(RefusalCheck.BACKUP, "an encrypted backup is not hex") from error
    # Outside the subgroup, success or failure would reveal a bit of the key.
    require(
        in_subgroup(ciphertext.pad),
        RefusalCheck.SUBGROUP,
        "an encrypted backup is outside the group",
    )
    session = hash_elements(ciphertext.pad, secret_power(ciphertext.pad, secret_key))
    if len(data) != length_bytes or not hmac.compare_digest(
        mac, _mac(ciphertext.pad, data, session, seed)
    ):
        raise Refused(
            RefusalCheck.BACKUP, "an encrypted backup cannot be opened with this guardian's key"
        )
    return _mask(data, session, seed)


def _key(session: mpz, seed: mpz, length_bytes: int, index: int) -> bytes:
    text = index.to_bytes(4, "little") + to_bytes(seed) + (8 * length_bytes).to_bytes(4, "little")
    return hmac.digest(to_bytes(session), text, "sha256")


def _mask(data: bytes, session: mpz, seed: mpz) -> bytes:
    blocks = range(0, len(data), _BLOCK_BYTES)
    keys = (_key(session, seed, len(data), 1 + at // _BLOCK_BYTES) for at in blocks)
    return bytes(a ^ b for a, b in zip(data, b"".join(keys), strict=True))


def _mac(pad: mpz, data: bytes, session: mpz, seed: mpz) -> bytes:
    return hmac.digest(_key(session, seed, len(data), 0), to_bytes(pad) + data, "sha256")


def _short_hex(data: bytes) -> str:
    return to_hex(mpz(int.from_bytes(data)))

"""The group and the hash of ElectionGuard 2."""

from __future__ import annotations

import hmac
from functools import lru_cache
from typing import Final

import gmpy2
from gmpy2 import mpz

from streams.tally.crypto.group import FixedBase, Q
from streams.tally.refusals import RefusalCheck, require

_P_HEX = """
FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFB17217F7D1CF79ABC9E3B39803F2F6AF
40F343267298B62D8A0D175B8BAAFA2BE7B876206DEBAC98559552FB4AFA1B10ED2EAE35C138214427573B291169B825
3E96CA16224AE8C51ACBDA11317C387EB9EA9BC3B136603B256FA0EC7657F74B72CE87B19D6548CAF5DFA6BD38303248
655FA1872F20E3A2DA2D97C50F3FD5C607F4CA11FB5BFB90610D30F88FE551A2EE569D6DFC1EFA157D2E23DE1400B396
17460775DB8990E5C943E732B479CD33CCCC4E659393514C4C1A1E0BD1D6095D25669B333564A3376A9C7F8A5E148E82
074DB6015CFE7AA30C480A5417350D2C955D5179B1E17B9DAE313CDB6C606CB1078F735D1B2DB31B5F50B5185064C18B
4D162DB3B365853D7598A1951AE273EE5570B6C68F96983496D4E6D330AF889B44A02554731CDC8EA17293D1228A4EF9
8D6F5177FBCF0755268A5C1F9538B98261AFFD446B1CA3CF5E9222B88C66D3C5422183EDC99421090BBB16FAF3D949F2
36E02B20CEE886B905C128D53D0BD2F9621363196AF503020060E49908391A0C57339BA2BEBA7D052AC5B61CC4E9207C
EF2F0CE2D7373958D762265890445744FB5F2DA4B751005892D356890DEFE9CAD9B9D4B713E06162A2D8FDD0DF2FD608
FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF
"""

P: Final = mpz("".join(_P_HEX.split()), 16)
"""The 4096-bit prime, with digits of ln 2; q is that of 1.1."""
R: Final = (P - 1) // Q
"""The cofactor."""
G: Final = gmpy2.powmod(2, R, P)
"""The generator."""
ELEMENT_BYTES: Final = 512
NUMBER_BYTES: Final = 32

Hashed = mpz | int | bytes
"""Group elements are `mpz`, small numbers are `int` (4 bytes)."""


def hash_bytes(key: bytes, separator: int, *items: Hashed) -> bytes:
    """H(key; separator, items): HMAC-SHA-256."""
    return hmac.digest(key, bytes([separator]) + b"".join(map(_encode, items)), "sha256")


def hash_number(key: bytes, separator: int, *items: Hashed) -> mpz:
    """The same as a number of Z_q."""
    return mpz(int.from_bytes(hash_bytes(key, separator, *items))) % Q


def _encode(item: Hashed) -> bytes:
    if isinstance(item, bytes):
        return item
    return int(item).to_bytes(ELEMENT_BYTES if isinstance(item, mpz) else 4)


def power(base: mpz, exponent: mpz) -> mpz:
    """base^exponent mod p, for public values only."""
    return gmpy2.powmod(base, exponent, P)


@lru_cache(maxsize=2)
def table(base: mpz) -> FixedBase:
    """Powers of g, or of an election's key."""
    return FixedBase(base, P)


def element(data: bytes) -> mpz:
    """An element of the group of order q.

    Raises:
        Refused: `subgroup`, if it is none.
    """
    value = mpz(int.from_bytes(data))
    require(
        len(data) == ELEMENT_BYTES and bool(0 < value < P) and power(value, Q) == 1,
        RefusalCheck.SUBGROUP,
        "a number is outside the group",
    )
    return value


def number(data: bytes) -> mpz:
    """A number of Z_q.

    Raises:
        Refused: `range`.
    """
    value = mpz(int.from_bytes(data))
    require(
        len(data) == NUMBER_BYTES and value < Q,
        RefusalCheck.RANGE,
        "a number is outside Z_q",
    )
    return value

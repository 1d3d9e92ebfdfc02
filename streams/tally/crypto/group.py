"""The group: integers mod p, the subgroup of order q in it, and exponents mod q."""

from __future__ import annotations

import secrets
from functools import lru_cache
from typing import Final

import gmpy2
from gmpy2 import mpz

from streams.tally.crypto.constant_time import ConstantTime

_P_HEX = """
FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF93C467E37DB0C7A4D1BE3F810152CB56
A1CECC3AF65CC0190C03DF34709AFFBD8E4B59FA03A9F0EED0649CCB621057D11056AE9132135A08E43B4673D74BAFEA
58DEB878CC86D733DBE7BF38154B36CF8A96D1567899AAAE0C09D4C8B6B7B86FD2A1EA1DE62FF8643EC7C27182797722
5E6AC2F0BD61C746961542A3CE3BEA5DB54FE70E63E6D09F8FC28658E80567A47CFDE60EE741E5D85A7BD46931CED822
0365594964B839896FCAABCCC9B31959C083F22AD3EE591C32FAB2C7448F2A057DB2DB49EE52E0182741E53865F004CC
8E704B7C5C40BF304C4D8C4F13EDF6047C555302D2238D8CE11DF2424F1B66C2C5D238D0744DB679AF2890487031F9C0
AEA1C4BB6FE9554EE528FDF1B05E5B256223B2F09215F3719F9C7CCC69DDF172D0D6234217FCC0037F18B93EF5389130
B7A661E5C26E54214068BBCAFEA32A67818BD3075AD1F5C7E9CC3D1737FB28171BAF84DBB6612B7881C1A48E439CD03A
92BF52225A2B38E6542E9F722BCE15A381B5753EA842763381CCAE83512B30511B32E5E8D80362149AD030AABA5F3A57
98BB22AA7EC1B6D0F17903F4E22D840734AA85973F79A93FFB82A75C47C03D43D2F9CA02D03199BACEDDD4533A52566A
FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF
"""

P: Final = mpz("".join(_P_HEX.split()), 16)
"""The 4096-bit prime of the specification's standard parameters ("Parameter requirements")."""
Q: Final = mpz(2) ** 256 - 189
"""The order of the subgroup, a prime of 256 bits."""
R: Final = (P - 1) // Q
"""The cofactor; R / 2 is prime, so the only small subgroup is {1, -1}."""
G: Final = gmpy2.powmod(2, R, P)
"""The generator g = 2^r mod p."""

ONE: Final = mpz(1)
_OPENSSL: Final = ConstantTime.of_python(P)
_WINDOWS: Final = 26
_LEAST_WINDOWS: Final = 17
_EXPONENT_BITS: Final = 256


def power(base: mpz, exponent: mpz) -> mpz:
    """base^exponent mod p, for public values only: the time depends on them."""
    return gmpy2.powmod(base, exponent, P)


def secret_power(base: mpz, exponent: mpz) -> mpz:
    """base^exponent mod p for a secret exponent of Z_q, in time independent of the exponent.

    Uses OpenSSL if available, otherwise GMP. GMP requires a positive exponent; adding q changes
    nothing in the subgroup and also hides the exponent's length.
    """
    if _OPENSSL is not None:
        return _OPENSSL.power(base, exponent)
    return gmpy2.powmod_sec(base, exponent + Q, P)


def inverse(element: mpz) -> mpz:
    """The multiplicative inverse mod p."""
    return gmpy2.invert(element, P)


def product(elements: list[mpz]) -> mpz:
    """The product mod p; 1 for none."""
    result = ONE
    for element in elements:
        result = result * element % P
    return result


def random_exponent() -> mpz:
    """A random secret in [1, q) from the operating system's generator."""
    return mpz(1 + secrets.randbelow(int(Q) - 1))


def in_range(exponent: mpz) -> bool:
    """Whether a number is in Z_q."""
    return bool(0 <= exponent < Q)


def in_subgroup(element: mpz) -> bool:
    """Whether an element is in Z_p^r: 0 < x < p and x^q = 1 mod p."""
    return bool(0 < element < P) and power(element, Q) == 1


def to_hex(number: mpz) -> str:
    """Upper-case hex of whole bytes without leading zero bytes, as the reference writes it."""
    digits = f"{number:X}"
    return "0" + digits if len(digits) % 2 else digits


def to_bytes(number: mpz) -> bytes:
    """The bytes that :func:`to_hex` writes."""
    return bytes.fromhex(to_hex(number))


def evenly(bits: int, number: int) -> list[int]:
    """The widths of so many windows, about equal, that together have these bits."""
    least, more = divmod(bits, number)
    return [least + 1] * more + [least] * (number - more)


def windows_for(powers: int) -> int:
    """In how many windows a table and so many powers by it take the fewest products."""
    return min(
        range(_LEAST_WINDOWS, _WINDOWS + 1),
        key=lambda number: powers * number + sum(1 << w for w in evenly(_EXPONENT_BITS, number)),
    )


class FixedBase:
    """Powers of one base by table: an element for each of 26 windows of the exponent.

    The table takes 14 MiB and the time of about a hundred exponentiations. The address of a lookup
    depends on the exponent, so do not use it with long-lived secrets.
    """

    def __init__(self, base: mpz, modulus: mpz = P) -> None:
        self.base = base
        self._modulus = modulus
        self._folded_bits = 3 * int(modulus).bit_length() // 2
        self._fold = mpz(1 << self._folded_bits) % modulus
        self._fill(_WINDOWS)

    def widen(self, powers: int) -> None:
        """Take fewer windows if that saves time for so many powers, at least 17: 330 MiB."""
        windows = windows_for(powers)
        if windows < len(self._rows):
            self._fill(windows)

    def _fill(self, windows: int) -> None:
        base, modulus = self.base, self._modulus
        rows: list[tuple[int, int, list[mpz]]] = []
        for width in evenly(_EXPONENT_BITS, windows):
            row = [ONE]
            for _ in range((1 << width) - 1):
                row.append(row[-1] * base % modulus)
            rows.append((width, (1 << width) - 1, row))
            base = row[-1] * base % modulus
        self._rows = rows

    def power(self, exponent: mpz) -> mpz:
        """base^exponent, for an exponent of Z_q."""
        left, modulus, bits, fold = int(exponent), self._modulus, self._folded_bits, self._fold
        width, mask, row = self._rows[0]
        result = row[left & mask]
        left >>= width
        for width, mask, row in self._rows[1:]:
            # The upper quarter of a product by a multiplication, which is faster than to divide.
            high, low = gmpy2.t_divmod_2exp(result * row[left & mask], bits)
            result = (high * fold + low) % modulus
            left >>= width
        return result


@lru_cache(maxsize=3)
def fixed_base(base: mpz) -> FixedBase:
    """The table of a base; the least recently used are dropped (g and one or two election keys)."""
    return FixedBase(base)


def g_power(exponent: mpz) -> mpz:
    """g^exponent mod p by table."""
    return fixed_base(G).power(exponent)

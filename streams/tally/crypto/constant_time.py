"""Constant-time exponentiation with the OpenSSL that Python is linked to.

`BN_mod_exp_mont_consttime` takes about half as long as GMP's `mpn_sec_powm`. If OpenSSL is
statically linked into Python, its functions cannot be reached and GMP is used.
"""

from __future__ import annotations

import ctypes
from ctypes import c_char_p, c_int, c_void_p
from importlib.util import find_spec
from typing import Final, Self

import gmpy2
from gmpy2 import mpz

_SIGNATURES: Final = {
    # name: (result, arguments), as in the manual pages BN_new(3), BN_bn2bin(3), BN_mod_exp_mont(3).
    "BN_new": (c_void_p, []),
    "BN_clear_free": (None, [c_void_p]),
    "BN_bin2bn": (c_void_p, [c_char_p, c_int, c_void_p]),
    "BN_bn2binpad": (c_int, [c_void_p, c_char_p, c_int]),
    "BN_CTX_new": (c_void_p, []),
    "BN_CTX_free": (None, [c_void_p]),
    "BN_MONT_CTX_new": (c_void_p, []),
    "BN_MONT_CTX_set": (c_int, [c_void_p] * 3),
    "BN_mod_exp_mont_consttime": (c_int, [c_void_p] * 6),
}


class ConstantTime:
    """Powers modulo one odd number.

    Args:
        library: exports OpenSSL's functions.
        modulus: odd, of whole bytes.

    Raises:
        AttributeError: the library does not export them.
    """

    def __init__(self, library: ctypes.CDLL, modulus: mpz) -> None:
        self._functions = {name: getattr(library, name) for name in _SIGNATURES}
        for name, (result, arguments) in _SIGNATURES.items():
            self._functions[name].restype = result
            self._functions[name].argtypes = arguments
        self._length_bytes = (int(modulus).bit_length() + 7) // 8
        # Both live as long as the process, and are only read after this.
        self._modulus = self._number(modulus)
        self._montgomery = self._created("BN_MONT_CTX_new")
        context = self._created("BN_CTX_new")
        try:
            self._check(self._call("BN_MONT_CTX_set", self._montgomery, self._modulus, context))
        finally:
            self._call("BN_CTX_free", context)

    @classmethod
    def of_python(cls, modulus: mpz) -> Self | None:
        """Use the OpenSSL of Python's `hashlib`; None if it cannot be reached."""
        found = find_spec("_hashlib")
        if found is None or found.origin is None:
            return None
        try:
            made = cls(ctypes.CDLL(found.origin), modulus)
        except (AttributeError, OSError):
            return None
        base, exponent = modulus // 3, mpz(3) ** 150
        right = made.power(base, exponent) == gmpy2.powmod(base, exponent, modulus)
        return made if right else None

    def power(self, base: mpz, exponent: mpz) -> mpz:
        """base^exponent; neither may be negative.

        Its time depends on the exponent's number of 64-bit words only.
        """
        numbers: list[int] = []
        context = self._created("BN_CTX_new")
        try:
            numbers += [self._number(base), self._number(exponent), self._created("BN_new")]
            given, secret, result = numbers
            self._check(
                self._call(
                    "BN_mod_exp_mont_consttime",
                    result,
                    given,
                    secret,
                    self._modulus,
                    context,
                    self._montgomery,
                )
            )
            data = ctypes.create_string_buffer(self._length_bytes)
            written = self._call("BN_bn2binpad", result, data, self._length_bytes)
            self._check(written == self._length_bytes)
            return mpz(int.from_bytes(data.raw))
        finally:
            for number in numbers:
                self._call("BN_clear_free", number)
            self._call("BN_CTX_free", context)

    def _number(self, number: mpz) -> int:
        data = int(number).to_bytes((int(number).bit_length() + 7) // 8)
        return self._created("BN_bin2bn", data, len(data), None)

    def _call(self, name: str, *arguments: object) -> int:
        return self._functions[name](*arguments)  # type: ignore[no-any-return]

    def _created(self, name: str, *arguments: object) -> int:
        made = self._call(name, *arguments)
        if not made:
            raise MemoryError(f"OpenSSL's {name} has no memory")
        return made

    @staticmethod
    def _check(code: object) -> None:
        if not code:
            raise MemoryError("OpenSSL cannot compute a power")

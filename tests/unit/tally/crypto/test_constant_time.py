"""Powers with secret exponents: OpenSSL's and GMP's are the same."""

from __future__ import annotations

import ctypes

import gmpy2
import pytest
from gmpy2 import mpz
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.tally.crypto import group
from streams.tally.crypto.constant_time import ConstantTime
from streams.tally.crypto.group import G, P, Q, g_power, secret_power

EDGES = [0, 1, 2, int(Q) - 1, 2**255, 2**64 - 1]


@settings(max_examples=20)
@given(
    exponent=st.one_of(st.sampled_from(EDGES), st.integers(0, int(Q) - 1)),
    root=st.integers(0, int(Q) - 1),
)
def test_both_ways_give_the_same_power(exponent: int, root: int) -> None:
    openssl = ConstantTime.of_python(P)
    base = g_power(mpz(root))
    expected = gmpy2.powmod(base, exponent, P)
    assert secret_power(base, mpz(exponent)) == expected
    if openssl is not None:
        assert openssl.power(base, mpz(exponent)) == expected
        assert openssl.power(base + P, mpz(exponent)) == expected


def test_gmp_does_it_where_openssl_is_out_of_reach(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(AttributeError):
        ConstantTime(ctypes.CDLL(None), P).power(G, mpz(2))
    monkeypatch.setattr(group, "_OPENSSL", None)
    for exponent in EDGES:
        assert secret_power(G, mpz(exponent)) == gmpy2.powmod(G, exponent, P)

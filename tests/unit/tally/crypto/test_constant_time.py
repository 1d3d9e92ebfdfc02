"""Powers with secret exponents: OpenSSL's and GMP's are the same."""

from __future__ import annotations

import ctypes
import random
from datetime import UTC, datetime

import gmpy2
import pytest
from gmpy2 import mpz
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.tally.crypto import group
from streams.tally.crypto.ceremony import make_backup, make_guardian, open_backup
from streams.tally.crypto.constant_time import ConstantTime
from streams.tally.crypto.group import FixedBase, G, P, Q, g_power, secret_power
from streams.tally.crypto.manifest import plain_manifest
from streams.tally.crypto.shares import make_compensated_share, make_share
from tests.small_election import make_election

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


def test_no_secret_of_a_guardian_is_an_exponent_of_a_fast_power(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Fast powers take time that depends on the exponent; those in constant time go to GMP here."""
    fast: set[mpz] = set()
    constant: set[mpz] = set()
    powmod, powmod_sec, table = gmpy2.powmod, gmpy2.powmod_sec, FixedBase.power

    def seen_powmod(base: mpz, exponent: mpz, modulus: mpz) -> mpz:
        fast.add(mpz(exponent) % Q)
        return powmod(base, exponent, modulus)

    def seen_powmod_sec(base: mpz, exponent: mpz, modulus: mpz) -> mpz:
        constant.add(mpz(exponent) % Q)
        return powmod_sec(base, exponent, modulus)

    def seen_table(self: FixedBase, exponent: mpz) -> mpz:
        fast.add(mpz(exponent) % Q)
        return table(self, exponent)

    manifest = plain_manifest("e", {"m": ["a", "b"]}, moment=datetime(2026, 1, 1, tzinfo=UTC))
    held = make_election(manifest, random.Random(1), guardians=3, quorum=2, cast=1, spoiled=0)
    (secret, missing), (key, absent) = held.secrets[:2], held.keys[:2]
    backup = make_backup(missing, key)
    monkeypatch.setattr(group, "_OPENSSL", None)
    monkeypatch.setattr(gmpy2, "powmod", seen_powmod)
    monkeypatch.setattr(gmpy2, "powmod_sec", seen_powmod_sec)
    monkeypatch.setattr(FixedBase, "power", seen_table)

    made, _ = make_guardian("d", 4, 2)
    coordinate = open_backup(backup, secret, absent)
    extended_hash = held.election.extended_hash
    make_share(held.tally, secret, key, extended_hash)
    make_compensated_share(held.tally, coordinate, key, absent, extended_hash)

    secrets = {*made.coefficients, secret.key, coordinate}
    assert secrets <= constant
    # Keys, coordinates, and the nonces of their proofs, from which the keys would follow.
    assert len(constant) >= len(secrets) + len(made.coefficients) + 4
    assert not constant & fast

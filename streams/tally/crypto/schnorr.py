"""Proof of knowledge of a secret key ("Key generation" of the specification)."""

from __future__ import annotations

import msgspec
from gmpy2 import mpz

from streams.tally.crypto.group import G, P, Q, g_power, in_range, in_subgroup, power, secret_power
from streams.tally.crypto.hashing import hash_elements
from streams.tally.refusals import RefusalCheck, require


class SchnorrProof(msgspec.Struct, frozen=True):
    """Proves knowledge of the exponent a_ij of a commitment K_ij."""

    public_key: mpz
    commitment: mpz
    challenge: mpz
    response: mpz
    usage: str = "Prove knowledge of secret value"

    def verify(self, public_key: mpz) -> None:
        """Check c = H(K, h) and g^u = h K^c.

        Raises:
            Refused: `key`, `range`, `subgroup`, `challenge` or `equation`.
        """
        k, h, u = public_key, self.commitment, self.response
        require(self.public_key == k, RefusalCheck.KEY, "a key's proof is about another key")
        require(in_range(u), RefusalCheck.RANGE, "a key's proof has a number outside Z_q")
        for element in (k, h):
            require(
                in_subgroup(element), RefusalCheck.SUBGROUP, "a guardian's key is outside the group"
            )
        c = hash_elements(k, h)
        require(c == self.challenge, RefusalCheck.CHALLENGE, "a key's proof is about other values")
        require(
            g_power(u) == h * power(k, c) % P,
            RefusalCheck.EQUATION,
            "a guardian does not prove knowledge of its key",
        )


def prove_key(secret: mpz, public_key: mpz, nonce: mpz) -> SchnorrProof:
    """Prove knowledge of `secret` with a random secret nonce."""
    h = secret_power(G, nonce)
    c = hash_elements(public_key, h)
    return SchnorrProof(public_key, h, c, (nonce + c * secret) % Q)

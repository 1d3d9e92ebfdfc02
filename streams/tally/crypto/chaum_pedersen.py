"""Proofs about ciphertexts: a value of 0 or 1, a known sum, a share made with a known key.

Each `verify` raises :class:`Refused` with the name of the first check that fails. The equations are
in "Non-interactive zero-knowledge proofs" of the specification; field names are the reference's.
"""

from __future__ import annotations

import msgspec
from gmpy2 import mpz

from streams.tally.crypto.elgamal import Ciphertext
from streams.tally.crypto.group import (
    G,
    P,
    Q,
    fixed_base,
    g_power,
    in_range,
    in_subgroup,
    power,
    secret_power,
)
from streams.tally.crypto.hashing import hash_elements, nonce
from streams.tally.refusals import RefusalCheck, require

_DISJUNCTIVE = "disjoint-chaum-pedersen-proof"
_CONSTANT = "constant-chaum-pedersen-proof"


class DisjunctiveProof(msgspec.Struct, frozen=True, gc=False):
    """A ciphertext holds 0 or 1: one branch is proved, the other simulated, indistinguishably."""

    proof_zero_pad: mpz
    proof_zero_data: mpz
    proof_one_pad: mpz
    proof_one_data: mpz
    proof_zero_challenge: mpz
    proof_one_challenge: mpz
    challenge: mpz
    proof_zero_response: mpz
    proof_one_response: mpz
    usage: str = "Prove selection's value (0 or 1)"

    def verify_challenge(self, message: Ciphertext, extended_hash: mpz) -> None:
        """Check numbers in Z_q, and c = c0 + c1 = H(Q', alpha, beta, a0, b0, a1, b1)."""
        for number in (
            self.proof_zero_challenge,
            self.proof_one_challenge,
            self.proof_zero_response,
            self.proof_one_response,
        ):
            require(
                in_range(number), RefusalCheck.RANGE, "a selection's proof has a number outside Z_q"
            )
        expected = hash_elements(
            extended_hash,
            message.pad,
            message.data,
            self.proof_zero_pad,
            self.proof_zero_data,
            self.proof_one_pad,
            self.proof_one_data,
        )
        total = (self.proof_zero_challenge + self.proof_one_challenge) % Q
        require(
            total == self.challenge == expected,
            RefusalCheck.CHALLENGE,
            "a selection's proof is about other values",
        )

    def elements(self) -> tuple[mpz, mpz, mpz, mpz]:
        """(a0, b0, a1, b1)."""
        return (
            self.proof_zero_pad,
            self.proof_zero_data,
            self.proof_one_pad,
            self.proof_one_data,
        )

    def verify(self, message: Ciphertext, public_key: mpz, extended_hash: mpz) -> None:
        """Check g^v0 = a0 alpha^c0, g^v1 = a1 alpha^c1, K^v0 = b0 beta^c0, g^c1 K^v1 = b1 beta^c1.

        Raises:
            Refused: `range`, `challenge`, `subgroup` or `equation`.
        """
        self.verify_challenge(message, extended_hash)
        alpha, beta = message.pad, message.data
        a0, b0, a1, b1 = self.elements()
        c0, c1 = self.proof_zero_challenge, self.proof_one_challenge
        v0, v1 = self.proof_zero_response, self.proof_one_response
        for element in (alpha, beta, a0, b0, a1, b1):
            require(in_subgroup(element), RefusalCheck.SUBGROUP, "a selection is outside the group")
        k = fixed_base(public_key)
        holds = (
            g_power(v0) == a0 * power(alpha, c0) % P
            and g_power(v1) == a1 * power(alpha, c1) % P
            and k.power(v0) == b0 * power(beta, c0) % P
            and g_power(c1) * k.power(v1) % P == b1 * power(beta, c1) % P
        )
        require(holds, RefusalCheck.EQUATION, "a selection is not proved to be 0 or 1")


def prove_selection(
    message: Ciphertext,
    vote: int,
    secret: mpz,
    public_key: mpz,
    extended_hash: mpz,
    *,
    seed: mpz,
) -> DisjunctiveProof:
    """Prove that `message`, made with nonce `secret`, encrypts 0 or 1.

    The branch of the other value gets a chosen challenge w: with response v, its commitment is
    (g^v / alpha^w, ...), which the known nonce turns into powers of g and K.

    Args:
        seed: secret from which the proof's nonces derive; never use it twice.
    """
    start = hash_elements(seed, _DISJUNCTIVE)
    w, v, u = (nonce(start, index) for index in range(3))
    k = fixed_base(public_key)
    real = (g_power(u), k.power(u))
    # Simulated: (g^v, K^v g^w), for value 0 with challenge -w if 1 is true, and for value 1 with
    # challenge w if 0 is true.
    simulated = (g_power(v), k.power(v) * g_power(w) % P)
    zero, one = (real, simulated) if vote == 0 else (simulated, real)
    c = hash_elements(extended_hash, message.pad, message.data, *zero, *one)
    c0, c1 = ((c - w) % Q, w) if vote == 0 else (-w % Q, (c + w) % Q)
    u0, u1 = (u, v) if vote == 0 else (v, u)
    return DisjunctiveProof(*zero, *one, c0, c1, c, (u0 + c0 * secret) % Q, (u1 + c1 * secret) % Q)


class ConstantProof(msgspec.Struct, frozen=True, gc=False):
    """A ciphertext holds a stated number: a contest adds up to its limit."""

    pad: mpz
    data: mpz
    challenge: mpz
    response: mpz
    constant: int
    usage: str = "Prove value within selection's limit"

    def verify_challenge(self, message: Ciphertext, limit: int, extended_hash: mpz) -> None:
        """Check the stated number, numbers in Z_q, and c = H(Q', alpha, beta, a, b)."""
        require(
            self.constant == limit,
            RefusalCheck.LIMIT,
            "a contest's proof is about a different number of votes",
        )
        for number in (self.challenge, self.response):
            require(
                in_range(number), RefusalCheck.RANGE, "a contest's proof has a number outside Z_q"
            )
        require(
            self.challenge
            == hash_elements(extended_hash, message.pad, message.data, self.pad, self.data),
            RefusalCheck.CHALLENGE,
            "a contest's proof is about other values",
        )

    def verify(self, message: Ciphertext, limit: int, public_key: mpz, extended_hash: mpz) -> None:
        """Check g^v = a alpha^c and g^(L c) K^v = b beta^c.

        Raises:
            Refused: `limit`, `range`, `challenge`, `subgroup` or `equation`.
        """
        self.verify_challenge(message, limit, extended_hash)
        for element in (message.pad, message.data, self.pad, self.data):
            require(
                in_subgroup(element), RefusalCheck.SUBGROUP, "a contest's sum is outside the group"
            )
        c, v = self.challenge, self.response
        total = g_power(limit * c % Q) * fixed_base(public_key).power(v) % P
        holds = (
            g_power(v) == self.pad * power(message.pad, c) % P
            and total == self.data * power(message.data, c) % P
        )
        require(holds, RefusalCheck.EQUATION, "a contest is not proved to add up to its limit")


def prove_sum(
    message: Ciphertext, total: int, secret: mpz, public_key: mpz, extended_hash: mpz, *, seed: mpz
) -> ConstantProof:
    """Prove that `message`, made with aggregate nonce `secret`, encrypts `total`."""
    u = nonce(seed, 0, _CONSTANT)
    a, b = g_power(u), fixed_base(public_key).power(u)
    c = hash_elements(extended_hash, message.pad, message.data, a, b)
    return ConstantProof(a, b, c, (u + c * secret) % Q, total)


class ShareProof(msgspec.Struct, frozen=True, gc=False):
    """A decryption share M was made with the secret s of a public key g^s: M = A^s."""

    pad: mpz
    data: mpz
    challenge: mpz
    response: mpz
    usage: str = "Prove knowledge of secret value"

    def verify_challenge(self, message: Ciphertext, share: mpz, extended_hash: mpz) -> None:
        """Check numbers in Z_q, and c = H(Q', A, B, a, b, M)."""
        for number in (self.challenge, self.response):
            require(
                in_range(number), RefusalCheck.RANGE, "a share's proof has a number outside Z_q"
            )
        expected = hash_elements(
            extended_hash, message.pad, message.data, self.pad, self.data, share
        )
        require(
            self.challenge == expected,
            RefusalCheck.CHALLENGE,
            "a share's proof is about other values",
        )

    def verify(self, message: Ciphertext, public_key: mpz, share: mpz, extended_hash: mpz) -> None:
        """Check g^v = a K^c and A^v = b M^c.

        Raises:
            Refused: `range`, `challenge`, `subgroup` or `equation`.
        """
        self.verify_challenge(message, share, extended_hash)
        c, v, a, b = self.challenge, self.response, self.pad, self.data
        for element in (message.pad, message.data, public_key, share, a, b):
            require(in_subgroup(element), RefusalCheck.SUBGROUP, "a share is outside the group")
        holds = (
            g_power(v) == a * power(public_key, c) % P
            and power(message.pad, v) == b * power(share, c) % P
        )
        require(holds, RefusalCheck.EQUATION, "a share was not made with its guardian's key")


def prove_share(
    message: Ciphertext, share: mpz, secret: mpz, extended_hash: mpz, seed: mpz
) -> ShareProof:
    """Prove that share = alpha^secret, in constant time.

    Args:
        seed: random and secret; two proofs with one seed reveal the key.
    """
    u = nonce(seed, 0, _CONSTANT)
    a, b = secret_power(G, u), secret_power(message.pad, u)
    c = hash_elements(extended_hash, message.pad, message.data, a, b, share)
    return ShareProof(a, b, c, (u + c * secret) % Q)

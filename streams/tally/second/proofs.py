"""The proofs of ElectionGuard 2, with the equations' numbers of its specification."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gmpy2 import mpz

from streams.tally.crypto.group import Q
from streams.tally.refusals import RefusalCheck, require
from streams.tally.second.documents import (
    CoefficientProof,
    DecryptedNotes,
    RangeProof,
    SecondAnswer,
    SecondPair,
)
from streams.tally.second.group import G, P, element, hash_number, number, power, table

_COEFFICIENT, _RANGE, _SHARE, _NOTES = 0x10, 0x21, 0x30, 0x31


@dataclass(frozen=True)
class Keys:
    """What the proofs of an election are about."""

    key: mpz
    """K"""
    extended_hash: bytes
    """H_E"""


def read_pair(pair: SecondPair) -> tuple[mpz, mpz]:
    """A ciphertext.

    Raises:
        Refused: `subgroup`.
    """
    return element(pair.pad), element(pair.data)


def verify_coefficient(
    proof: CoefficientProof, parameter_hash: bytes, guardian: int, index: int
) -> mpz:
    """Check knowledge of a coefficient (2.1, 2.A to 2.C); returns its commitment.

    Raises:
        Refused: `subgroup`, `range` or `challenge`.
    """
    commitment = element(proof.public_key)
    c, v = number(proof.challenge), number(proof.response)
    h = table(G).power(v) * power(commitment, c) % P
    require(
        hash_number(parameter_hash, _COEFFICIENT, guardian, index, commitment, h) == c,
        RefusalCheck.CHALLENGE,
        "a guardian does not prove knowledge of a coefficient",
    )
    return commitment


def verify_range(proof: RangeProof, pair: tuple[mpz, mpz], limit: int, keys: Keys) -> None:
    """Check that a ciphertext holds 0 to `limit` (5.1 to 5.D, and 6).

    The record has no commitments. They are computed from the challenges, so that proofs cannot be
    checked together.

    Raises:
        Refused: `limit`, `range` or `challenge`.
    """
    require(
        len(proof.proofs) == limit + 1,
        RefusalCheck.LIMIT,
        f"a range proof has {len(proof.proofs)} parts, not {limit + 1}",
    )
    alpha, beta = pair
    commitments: list[mpz] = []
    total = mpz(0)
    for value, answer in enumerate(proof.proofs):
        c, v = number(answer.challenge), number(answer.response)
        total += c
        commitments += [
            table(G).power(v) * power(alpha, c) % P,
            table(keys.key).power((v - value * c) % Q) * power(beta, c) % P,
        ]
    require(
        total % Q == hash_number(keys.extended_hash, _RANGE, keys.key, alpha, beta, *commitments),
        RefusalCheck.CHALLENGE,
        "a range proof is about other values, or does not hold",
    )


def verify_decryption(
    proof: SecondAnswer, pair: tuple[mpz, mpz], decrypted: mpz, keys: Keys
) -> None:
    """Check that B / T is A to the power of the election's secret key (9.1 to 9.B).

    Raises:
        Refused: `range` or `challenge`.
    """
    c, v = number(proof.challenge), number(proof.response)
    pad, data = pair
    share = data * power(decrypted, Q - 1) % P
    a = table(G).power(v) * table(keys.key).power(c) % P
    b = power(pad, v) * power(share, c) % P
    require(
        hash_number(keys.extended_hash, _SHARE, keys.key, pad, data, a, b, share) == c,
        RefusalCheck.CHALLENGE,
        "a decryption is not proved",
    )


def verify_notes(notes: DecryptedNotes, keys: Keys) -> None:
    """Check the decryption of the notes on a contest (11.1 to 11.B).

    The specification hashes the bytes of C1. The published records, by egk-ec, have the digits of
    their hexadecimal form as text in the hash; both are taken.

    Raises:
        Refused: `range` or `challenge`.
    """
    c, v = number(notes.proof.challenge), number(notes.proof.response)
    c0, beta = element(notes.encrypted_contest_data.c0), element(notes.beta)
    c1, c2 = notes.encrypted_contest_data.c1, notes.encrypted_contest_data.c2
    a = table(G).power(v) * table(keys.key).power(c) % P
    b = power(c0, v) * power(beta, c) % P
    known = (
        hash_number(keys.extended_hash, _NOTES, keys.key, c0, text, c2, a, b, beta)
        for text in _forms(c1)
    )
    require(c in known, RefusalCheck.CHALLENGE, "decrypted notes on a contest are not proved")


def _forms(data: bytes) -> Sequence[bytes]:
    return data, data.hex().upper().encode()

"""Checks many proofs together, several times faster than one by one.

Every equation is raised to a random power of 128 bits and all are multiplied into one (the small
exponents test of Bellare, Garay and Rabin, "Fast batch verification for modular exponentiation and
digital signatures", 1998). That is sound if no element but 1 can have a small order. Here
(p - 1) / 2q is prime and p = 3 mod 4, so the only such element is -1, and elements of the group of
order q are squares, which -1 is not. So the Jacobi symbol of every element is checked, and a wrong
equation is missed with probability 2^-128. A batch only succeeds or fails; checks one by one then
find the wrong proof.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Final

import gmpy2
from gmpy2 import mpz

from streams.tally.crypto.ballots import EncryptedBallot
from streams.tally.crypto.chaum_pedersen import ConstantProof, DisjunctiveProof, ShareProof
from streams.tally.crypto.election import CryptoElection
from streams.tally.crypto.elgamal import Ciphertext
from streams.tally.crypto.group import ONE, P, Q, fixed_base, g_power, power
from streams.tally.crypto.verify_ballot import verify_ballot, verify_form
from streams.tally.refusals import Refused

_RANDOM_BITS: Final = 128
_POINTS_PER_BUCKET: Final = 5
"""Approximate number of elements per bucket at which the multiplications cost least."""


def multi_power(elements: Sequence[mpz], exponents: Sequence[int]) -> mpz:
    """The product of elements[i]^exponents[i] mod p, for public values (Pippenger's buckets)."""
    if not elements:
        return ONE
    width = max(1, (len(elements) // _POINTS_PER_BUCKET).bit_length())
    top = max(exponent.bit_length() for exponent in exponents)
    mask = (1 << width) - 1
    result = ONE
    for shift in range((top - 1) // width * width, -1, -width):
        for _ in range(width):
            result = result * result % P
        buckets: list[mpz | None] = [None] * (mask + 1)
        for element, exponent in zip(elements, exponents, strict=True):
            digit = exponent >> shift & mask
            if digit:
                held = buckets[digit]
                buckets[digit] = element if held is None else held * element % P
        running = total = ONE
        for held in reversed(buckets[1:]):
            if held is not None:
                running = running * held % P
            total = total * running % P
        result = result * total % P
    return result


def square_like(element: mpz) -> bool:
    """Whether an element is in Z_p with Jacobi symbol 1, as all elements of the group are."""
    return bool(0 < element < P) and gmpy2.jacobi(element, P) == 1


def all_in_subgroup(elements: Sequence[mpz]) -> bool:
    """Whether all are in the subgroup of order q; wrong with probability 2^-128."""
    if not all(map(square_like, elements)):
        return False
    return power(multi_power(elements, [_small() for _ in elements]), Q) == 1


def _small() -> int:
    return secrets.randbits(_RANDOM_BITS)


class ProofBatch:
    """Proofs of one election that are checked together.

    `add_selection` and `add_contest` check numbers and challenges immediately.
    """

    def __init__(self, public_key: mpz, extended_hash: mpz) -> None:
        self._key = public_key
        self._extended_hash = extended_hash
        self._ciphertexts: list[mpz] = []
        self._commitments: list[mpz] = []
        self._commitment_exponents: list[int] = []
        self._others: list[mpz] = []
        self._other_exponents: list[int] = []
        self._g = self._k = mpz(0)

    def add_selection(self, message: Ciphertext, proof: DisjunctiveProof) -> None:
        """Add the four equations of a selection.

        Raises:
            Refused: `range` or `challenge`.
        """
        proof.verify_challenge(message, self._extended_hash)
        c0, c1 = proof.proof_zero_challenge, proof.proof_one_challenge
        v0, v1 = proof.proof_zero_response, proof.proof_one_response
        t0, s0, t1, s1 = (_small() for _ in range(4))
        self._commitments += proof.elements()
        self._commitment_exponents += (t0, s0, t1, s1)
        self._ciphertexts += (message.pad, message.data)
        self._others += (message.pad, message.data)
        self._other_exponents += (int((t0 * c0 + t1 * c1) % Q), int((s0 * c0 + s1 * c1) % Q))
        self._g += t0 * v0 + t1 * v1 + s1 * c1
        self._k += s0 * v0 + s1 * v1

    def add_contest(self, total: Ciphertext, limit: int, proof: ConstantProof) -> None:
        """Add the two equations of a contest; its sum is the product of selections already added.

        Raises:
            Refused: `limit`, `range` or `challenge`.
        """
        proof.verify_challenge(total, limit, self._extended_hash)
        c, v = proof.challenge, proof.response
        t, s = _small(), _small()
        self._commitments += (proof.pad, proof.data)
        self._commitment_exponents += (t, s)
        self._others += (total.pad, total.data)
        self._other_exponents += (int(t * c % Q), int(s * c % Q))
        self._g += t * v + s * limit * c
        self._k += s * v

    def holds(self) -> bool:
        """Whether all ciphertexts are in the group and all equations hold.

        For commitments the symbol is enough: their equations make them powers of g and K.
        """
        if not all(map(square_like, self._commitments)) or not all_in_subgroup(self._ciphertexts):
            return False
        left = multi_power(
            self._commitments + self._others, self._commitment_exponents + self._other_exponents
        )
        right = g_power(self._g % Q) * fixed_base(self._key).power(self._k % Q) % P
        return left == right


class ShareBatch:
    """Proofs of shares that are checked together; `add` checks numbers and challenges at once."""

    def __init__(self, extended_hash: mpz) -> None:
        self._extended_hash = extended_hash
        self._members: list[mpz] = []
        self._commitments: list[mpz] = []
        self._elements: list[mpz] = []
        self._exponents: list[int] = []
        self._g = mpz(0)

    def add(self, message: Ciphertext, public_key: mpz, share: mpz, proof: ShareProof) -> None:
        """Add the equations g^v = a K^c and A^v = b M^c of one share.

        Raises:
            Refused: `range` or `challenge`.
        """
        proof.verify_challenge(message, share, self._extended_hash)
        c, v, t, s = proof.challenge, proof.response, _small(), _small()
        self._members += (message.pad, message.data, public_key, share)
        self._commitments += (proof.pad, proof.data)
        self._elements += (proof.pad, proof.data, public_key, share, message.pad)
        self._exponents += (t, s, int(t * c % Q), int(s * c % Q), int(-s * v % Q))
        self._g += t * v

    def holds(self) -> bool:
        """Whether all elements are in the group and all equations hold."""
        if not all(map(square_like, self._commitments)) or not all_in_subgroup(self._members):
            return False
        return multi_power(self._elements, self._exponents) == g_power(self._g % Q)


def verify_ballots(
    ballots: Sequence[EncryptedBallot], election: CryptoElection
) -> list[Refused | None]:
    """Check ballots like :func:`verify_ballot`, in one batch unless something is wrong.

    Returns:
        The refusal of each ballot, or None.
    """
    outcome = [_without_powers(ballot, election) for ballot in ballots]
    batch = ProofBatch(election.public_key, election.extended_hash)
    for ballot, refused in zip(ballots, outcome, strict=True):
        if refused is None:
            _add(batch, ballot, election)
    if batch.holds():
        return outcome
    return [
        refused or _verify_single(ballot, election)
        for ballot, refused in zip(ballots, outcome, strict=True)
    ]


def _without_powers(ballot: EncryptedBallot, election: CryptoElection) -> Refused | None:
    """Check everything that needs no exponentiation."""
    try:
        verify_form(ballot, election)
        _add(ProofBatch(election.public_key, election.extended_hash), ballot, election)
    except Refused as refused:
        return refused
    return None


def _add(batch: ProofBatch, ballot: EncryptedBallot, election: CryptoElection) -> None:
    for contest, description in zip(ballot.contests, election.style(ballot.style_id), strict=True):
        for selection in contest.ballot_selections:
            assert selection.proof is not None
            batch.add_selection(selection.ciphertext, selection.proof)
        assert contest.proof is not None
        batch.add_contest(contest.ciphertext_accumulation, description.limit, contest.proof)


def _verify_single(ballot: EncryptedBallot, election: CryptoElection) -> Refused | None:
    try:
        verify_ballot(ballot, election)
    except Refused as refused:
        return refused
    return None

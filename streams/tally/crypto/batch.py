"""Checks many proofs together, several times faster than one by one.

Every equation is raised to a random power of 80 bits and all are multiplied into one (the small
exponents test of Bellare, Garay and Rabin, "Fast batch verification for modular exponentiation and
digital signatures", 1998). That is sound if no element but 1 can have a small order. Here
r = (p - 1) / 2q is prime and p = 3 mod 4, so Z_p is the product of the group of order q, a group of
order r, which has 3839 bits, and {1, -1}. A batch excludes each error with its own randomness:

- A wrong equation in the group of order q: its power is a uniform number of 80 bits, so that it is
  missed with 2^-80. The same holds in the other two groups where only commitments are wrong.
- A ciphertext with a part x in the group of order r. Its exponent is e = t0 c0 + t1 c1 + ... mod q,
  and those of its commitments are t0 and t1. The product can only be 1 if e = b0 t0 + b1 t1 + b2
  mod r. Here b0 and b1, the logarithms of the commitments to the base 1/x, were fixed before
  c0 + c1, which is a hash of all three (:meth:`.DisjunctiveProof.verify_challenge`). If (t0, t1)
  and (t0 + d, t1 + d) both fulfil this, then d (c0 + c1) mod q follows from d (b0 + b1) mod r.
  There are 2^80 such d, so a hash is that unlucky with 2^-176. Else each of the 2^81 values of
  t0 - t1 has one pair at most, and the ciphertext is missed with 2^-79.
- A wrong sign: elements of the group are squares, and -1 is none. For each bit the product of the
  elements whose exponents have it is needed anyway. Its Jacobi symbol is -1 if the number of wrong
  signs among them is odd. For commitments alone that is so half the time for each of 80 bits. With
  a ciphertext, its e has to be a given number but for the low 80 bits, as t0 and t1 have no more.
  As above each t0 - t1 has one pair at most, unless d (c0 + c1) mod q is within 2^80 of 0, which
  has a probability of 2^-95 for a hash: it is missed with 2^-79.

Elements without such a proof get a random multiple of q of 80 bits added to their exponents. That
changes nothing inside the group, excludes a part of order r, and makes the low 80 bits uniform.

So a batch is wrong with at most 2^-79. The numbers are drawn when a batch is checked. Nobody can
try them beforehand, so every trial costs a published record or a submitted ballot. A batch only
succeeds or fails; its halves then find the wrong proof.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Sequence
from typing import Final

import gmpy2
from gmpy2 import mpz

from streams.tally.crypto.ballots import EncryptedBallot
from streams.tally.crypto.chaum_pedersen import ConstantProof, DisjunctiveProof, ShareProof
from streams.tally.crypto.election import CryptoElection
from streams.tally.crypto.elgamal import Ciphertext
from streams.tally.crypto.group import ONE, G, P, Q, evenly, power, product
from streams.tally.crypto.verify_ballot import verify_ballot, verify_form, verify_proofs
from streams.tally.refusals import Refused

_RANDOM_BITS: Final = 80
_HALF_BITS: Final = int(P).bit_length() // 2
_WIDEST: Final = 14
"""Bits of the widest window."""
_MOST_BUCKETS: Final = 150_000
"""Products in memory, 560 bytes each."""


def multi_power(elements: Sequence[mpz], exponents: Sequence[int]) -> mpz:
    """The product of elements[i]^exponents[i] mod p, for public values."""
    top = max((exponent.bit_length() for exponent in exponents), default=0)
    buckets = Buckets(0, top, expected=len(elements))
    buckets.add(_shifted(elements), exponents)
    return _from_bits(buckets.products())


class Buckets:
    """For each bit from `low` to `high`, the product of the elements whose exponent has it.

    Pippenger's buckets: for a window of bits, every element is multiplied into the bucket of its
    digit. At the end the buckets are folded from the highest bit down. Memory depends on the
    windows, not on the number of elements.

    Args:
        low: the first bit.
        high: the bit after the last.
        expected: number of elements, to which the windows are fitted.
    """

    def __init__(self, low: int, high: int, *, expected: int) -> None:
        self._windows: list[tuple[int, int, list[mpz]]] = []
        for width in _widths(expected, high - low):
            self._windows.append((low, (1 << width) - 1, [ONE] * (1 << width)))
            low += width

    def add(self, elements: Sequence[tuple[mpz, mpz]], exponents: Sequence[int]) -> None:
        """Multiply elements into their buckets.

        Args:
            elements: each with the same shifted by half the bits of p, mod p. Halves of a bucket
                are multiplied by the two, so that half as many bits are left to reduce.
        """
        halves, half_bits, modulus = gmpy2.t_divmod_2exp, _HALF_BITS, P
        for shift, mask, buckets in self._windows:
            for (element, shifted), exponent in zip(elements, exponents, strict=True):
                digit = exponent >> shift & mask
                if digit:
                    high, low = halves(buckets[digit], half_bits)
                    buckets[digit] = (high * shifted + low * element) % modulus

    def products(self) -> list[mpz]:
        """One product a bit, from the lowest."""
        products: list[mpz] = []
        for _, _, filled in self._windows:
            buckets, window = filled, []
            while len(buckets) > 1:
                half = len(buckets) // 2
                having, buckets = buckets[half:], buckets[:half]
                window.append(product(having))
                buckets = [a * b % P for a, b in zip(buckets, having, strict=True)]
            products += reversed(window)
        return products


def _shifted(elements: Iterable[mpz]) -> list[tuple[mpz, mpz]]:
    return [(element, (element << _HALF_BITS) % P) for element in elements]


def _widths(count: int, bits: int) -> list[int]:
    """The widths of windows, about equal, at which the multiplications cost least."""
    if bits <= 0:
        return []
    choices = [evenly(bits, number) for number in range(-(-bits // _WIDEST), bits + 1)]
    sizes = [sum(1 << width for width in widths) for widths in choices]
    costs = [
        (count * len(widths) + 2 * size, widths)
        for widths, size in zip(choices, sizes, strict=True)
        if size <= _MOST_BUCKETS
    ]
    return min(costs)[1]


def _from_bits(products: Sequence[mpz]) -> mpz:
    result = ONE
    for each in reversed(products):
        result = result * result % P * each % P
    return result


def square_like(element: mpz) -> bool:
    """Whether an element is in Z_p with Jacobi symbol 1, as all elements of the group are."""
    return bool(0 < element < P) and gmpy2.jacobi(element, P) == 1


def small() -> int:
    """A random exponent."""
    return secrets.randbits(_RANDOM_BITS)


class Equation:
    """A product of powers, of which the elements have to be in the group.

    Elements that only occur with a random power need no more; the others are members.

    Args:
        share: part of all elements that comes before the first :meth:`multiply`.
        proved: whether each member is a ciphertext, with the exponent that its proof gives it.
    """

    def __init__(self, share: float = 1.0, *, proved: bool = False) -> None:
        self._share = share
        self._proved = proved
        self._members: list[mpz] = []
        self._member_exponents: list[int] = []
        self._commitments: list[mpz] = []
        self._commitment_exponents: list[int] = []
        self._buckets: tuple[Buckets, Buckets] | None = None
        self._in_range = True

    def add_members(self, elements: Iterable[mpz], exponents: Iterable[mpz]) -> None:
        """Add elements with any exponents."""
        self._members += elements
        if self._proved:
            self._member_exponents += [int(each % Q) for each in exponents]
        else:
            self._member_exponents += [int(each % Q + Q * small()) for each in exponents]

    def add_commitments(self, elements: Iterable[mpz], exponents: Iterable[int]) -> None:
        """Add elements with exponents from :func:`small`."""
        self._commitments += elements
        self._commitment_exponents += exponents

    def multiply(self) -> tuple[Buckets, Buckets]:
        """Multiply what was added, so that it need not be kept."""
        elements = self._members + self._commitments
        if self._buckets is None:
            top = int(Q).bit_length() + (0 if self._proved else _RANDOM_BITS)
            self._buckets = (
                Buckets(0, _RANDOM_BITS, expected=int(len(elements) / self._share)),
                Buckets(_RANDOM_BITS, top, expected=int(len(self._members) / self._share)),
            )
        self._in_range = self._in_range and all(0 < element < P for element in elements)
        low, high = self._buckets
        pairs = _shifted(elements)
        low.add(pairs, self._member_exponents + self._commitment_exponents)
        high.add(pairs[: len(self._members)], self._member_exponents)
        for added in (
            self._members,
            self._member_exponents,
            self._commitments,
            self._commitment_exponents,
        ):
            added.clear()
        return self._buckets

    def equals(self, right: mpz) -> bool:
        """Whether the product is `right`, and all elements are in the group."""
        low, high = self.multiply()
        if not self._in_range:
            return False
        products = low.products() + high.products()
        return all(map(square_like, products)) and _from_bits(products) == right


class ProofBatch:
    """Equations of proofs of one election that are checked together.

    Numbers and challenges have to be checked before.

    Args:
        public_key: of the election.
        share: part of all proofs that comes before the first :meth:`multiply`.
    """

    def __init__(self, public_key: mpz, share: float = 1.0) -> None:
        self._key = public_key
        self._equation = Equation(share, proved=True)
        self._g = self._k = mpz(0)

    def add_contest(
        self,
        selections: Iterable[tuple[Ciphertext, DisjunctiveProof]],
        limit: int,
        proof: ConstantProof,
    ) -> None:
        """Add four equations of each selection, and two of their product, the contest's sum."""
        c, v = proof.challenge, proof.response
        t, s = small(), small()
        self._equation.add_commitments((proof.pad, proof.data), (t, s))
        self._g += t * v + s * limit * c
        self._k += s * v
        for message, selection in selections:
            self._add_selection(message, selection, t * c, s * c)

    def _add_selection(
        self, message: Ciphertext, proof: DisjunctiveProof, pad_power: mpz, data_power: mpz
    ) -> None:
        c0, c1 = proof.proof_zero_challenge, proof.proof_one_challenge
        v0, v1 = proof.proof_zero_response, proof.proof_one_response
        t0, s0, t1, s1 = (small() for _ in range(4))
        self._equation.add_commitments(proof.elements(), (t0, s0, t1, s1))
        self._equation.add_members(
            (message.pad, message.data),
            (t0 * c0 + t1 * c1 + pad_power, s0 * c0 + s1 * c1 + data_power),
        )
        self._g += t0 * v0 + t1 * v1 + s1 * c1
        self._k += s0 * v0 + s1 * v1

    def add_ballot(self, ballot: EncryptedBallot, election: CryptoElection) -> None:
        """Add the equations of a ballot that :func:`without_powers` accepts."""
        for contest, description in zip(
            ballot.contests, election.style(ballot.style_id), strict=True
        ):
            assert contest.proof is not None
            pairs = [(each.ciphertext, each.proof) for each in contest.ballot_selections]
            self.add_contest(
                [(message, proof) for message, proof in pairs if proof is not None],
                description.limit,
                contest.proof,
            )

    def multiply(self) -> None:
        """Multiply what was added, so that it need not be kept."""
        self._equation.multiply()

    def holds(self) -> bool:
        """Whether all ciphertexts and commitments are in the group and all equations hold."""
        # Without tables: they take longer than a batch saves by them.
        right = power(G, self._g % Q) * power(self._key, self._k % Q) % P
        return self._equation.equals(right)


class ShareBatch:
    """Proofs of shares that are checked together; `add` checks numbers and challenges at once."""

    def __init__(self, extended_hash: mpz) -> None:
        self._extended_hash = extended_hash
        self._equation = Equation()
        self._g = mpz(0)

    def add(self, message: Ciphertext, public_key: mpz, share: mpz, proof: ShareProof) -> None:
        """Add the equations g^v = a K^c and A^v = b M^c of one share.

        Raises:
            Refused: `range` or `challenge`.
        """
        proof.verify_challenge(message, share, self._extended_hash)
        c, v, t, s = proof.challenge, proof.response, small(), small()
        self._equation.add_members(
            (message.pad, message.data, public_key, share), (-s * v, mpz(0), t * c, s * c)
        )
        self._equation.add_commitments((proof.pad, proof.data), (t, s))
        self._g += t * v

    def holds(self) -> bool:
        """Whether all elements are in the group and all equations hold."""
        return self._equation.equals(power(G, self._g % Q))


def verify_ballots(
    ballots: Sequence[EncryptedBallot], election: CryptoElection
) -> list[Refused | None]:
    """Check ballots like :func:`verify_ballot`, in one batch unless something is wrong.

    Returns:
        The refusal of each ballot, or None.
    """
    outcome = [without_powers(ballot, election) for ballot in ballots]
    places = [place for place, refused in enumerate(outcome) if refused is None]
    for place, refused in _find([(place, ballots[place]) for place in places], election):
        outcome[place] = refused
    return outcome


class GatheredBallots:
    """Ballots that are checked in one batch of any number, in constant memory.

    Args:
        election: of the ballots.
        expected: about how many there will be.
    """

    def __init__(self, election: CryptoElection, expected: int) -> None:
        self._election = election
        self._expected = expected
        self._batch: ProofBatch | None = None
        self.count = 0

    def add(self, ballots: Sequence[EncryptedBallot]) -> None:
        """Add ballots that :func:`without_powers` accepts."""
        if not ballots:
            return
        if self._batch is None:
            share = min(1.0, len(ballots) / max(1, self._expected))
            self._batch = ProofBatch(self._election.public_key, share)
        for ballot in ballots:
            self._batch.add_ballot(ballot, self._election)
        self._batch.multiply()
        self.count += len(ballots)

    def hold(self) -> bool:
        """Whether all equations of all ballots hold."""
        return self._batch is None or self._batch.holds()


def without_powers(ballot: EncryptedBallot, election: CryptoElection) -> Refused | None:
    """Check everything that needs no exponentiation."""
    try:
        verify_form(ballot, election)
        verify_proofs(ballot, election, powers=False)
    except Refused as refused:
        return refused
    return None


def equations_hold(ballots: Iterable[EncryptedBallot], election: CryptoElection) -> bool:
    """Whether the equations of ballots hold that :func:`without_powers` accepts."""
    batch = ProofBatch(election.public_key)
    for ballot in ballots:
        batch.add_ballot(ballot, election)
    return batch.holds()


def _find(
    ballots: list[tuple[int, EncryptedBallot]], election: CryptoElection
) -> Iterable[tuple[int, Refused]]:
    """The ballots whose equations do not hold, by halving."""
    if not ballots or equations_hold([ballot for _, ballot in ballots], election):
        return
    if len(ballots) > 1:
        half = len(ballots) // 2
        yield from _find(ballots[:half], election)
        yield from _find(ballots[half:], election)
        return
    place, ballot = ballots[0]
    try:
        verify_ballot(ballot, election)
    except Refused as refused:
        yield place, refused

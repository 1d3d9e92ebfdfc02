"""Seats for party lists: highest averages and largest remainders, in exact fractions. Pure.

Ties for the last seats are reported and not broken: the law must say what follows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction

from schemas.control import SeatMethod
from streams.elections.rounds import SeatAward


@dataclass(frozen=True)
class ListSeats:
    """Seats of each party."""

    seats: dict[str, int]
    """Of all parties; without the seats that are tied."""
    awards: tuple[SeatAward, ...]
    tied: tuple[str, ...] = ()
    """Parties with an equal claim to the last seats."""
    tied_seats: int = 0
    """How many seats they tie for."""
    below: tuple[str, ...] = ()
    """Parties below the threshold."""


def allot(
    votes: Mapping[str, int],
    seats: int,
    method: SeatMethod,
    *,
    threshold: Fraction = Fraction(0),
    exempt: frozenset[str] = frozenset(),
    first_divisor: Fraction = Fraction(7, 5),
) -> ListSeats:
    """Give seats to parties.

    Args:
        votes: of each party; in ballot order.
        seats: to fill.
        method: how.
        threshold: the share of all these votes that a party needs; exactly the share suffices.
        exempt: parties that need no share, such as those of minorities.
        first_divisor: of the modified Sainte-Laguë.

    Raises:
        ValueError: no seats, a negative number of votes, or a share above 1.
    """
    if seats < 1 or not 0 <= threshold <= 1 or any(number < 0 for number in votes.values()):
        raise ValueError("seats are at least 1, votes at least 0, a threshold is from 0 to 1")
    total = sum(votes.values())
    admitted = {p: n for p, n in votes.items() if n and (p in exempt or n >= threshold * total)}
    below = tuple(party for party in votes if party not in admitted)
    won = dict.fromkeys(votes, 0)
    if not admitted:
        return ListSeats(won, (), below=below)
    if method == SeatMethod.HARE:
        return _remainders(admitted, seats, won, below)
    divisor = _divisors(method, first_divisor)
    return _averages(admitted, seats, divisor, won, below)


def _divisors(method: SeatMethod, first: Fraction) -> Callable[[int], Fraction]:
    """Divisor of a party with so many seats."""
    if method == SeatMethod.DHONDT:
        return lambda won: Fraction(won + 1)
    if method == SeatMethod.SAINTE_LAGUE:
        return lambda won: Fraction(2 * won + 1)
    return lambda won: Fraction(2 * won + 1) if won else first


def _averages(
    votes: Mapping[str, int],
    seats: int,
    divisor: Callable[[int], Fraction],
    won: dict[str, int],
    below: tuple[str, ...],
) -> ListSeats:
    awards: list[SeatAward] = []
    while len(awards) < seats:
        averages = {party: number / divisor(won[party]) for party, number in votes.items()}
        best = max(averages.values())
        claim = [party for party, average in averages.items() if average == best]
        if len(claim) > seats - len(awards):
            return ListSeats(won, tuple(awards), tuple(claim), seats - len(awards), below)
        for party in claim:
            won[party] += 1
            awards.append(SeatAward(party, best))
    return ListSeats(won, tuple(awards), below=below)


def _remainders(
    votes: Mapping[str, int], seats: int, won: dict[str, int], below: tuple[str, ...]
) -> ListSeats:
    quota = Fraction(sum(votes.values()), seats)
    awards: list[SeatAward] = []
    remainders: dict[str, Fraction] = {}
    for party, number in votes.items():
        whole = number // quota
        won[party] = whole
        awards += [SeatAward(party, quota)] * whole
        remainders[party] = number - whole * quota
    left = seats - len(awards)
    ordered = sorted(remainders, key=lambda party: -remainders[party])
    if left and remainders[ordered[left - 1]] == remainders[ordered[left]]:
        edge = remainders[ordered[left]]
        tied = tuple(party for party in votes if remainders[party] == edge)
        ordered = [party for party in ordered if remainders[party] > edge]
    else:
        tied = ()
        ordered = ordered[:left]
    for party in ordered:
        won[party] += 1
        awards.append(SeatAward(party, remainders[party]))
    return ListSeats(won, tuple(awards), tied, seats - len(awards), below)

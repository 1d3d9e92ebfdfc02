"""Single transferable vote by Meek's method, in nine decimal places. Pure.

The reference rule of the Proportional Representation Foundation. Each elected candidate keeps a
share of every paper, the keep factor, and passes the rest on. The quota and the keep factors are
computed until the surplus of all elected candidates is below 0.000001; then the candidate with the
fewest votes is excluded. Candidates whose votes differ by no more than the surplus count as tied,
and the lot decides.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from schemas.control import RankedRules
from streams.core.ranking import Ranking
from streams.elections.counting import drawn
from streams.elections.seats.stages import STRICT, SeatsCount, Stage, papers

PLACES: Final = 9
UNIT: Final = 10**PLACES
OMEGA: Final = 10 ** (PLACES - 6)
"""Surplus below which an iteration ends."""


def meek(
    candidates: Sequence[str],
    ballots: Mapping[Ranking, int],
    seats: int,
    *,
    rules: RankedRules = STRICT,
    lot: str = "",
) -> SeatsCount:
    """Count by Meek's method.

    Args:
        candidates: in ballot order.
        ballots: ranks as marked -> number of ballots.
        seats: to fill.
        rules: for marks.
        lot: prefix of a candidate in the lot; of tied candidates the one with the lowest SHA-256
            is excluded.
    """
    if seats < 1:
        raise ValueError("seats are at least 1")
    read = papers(candidates, ballots, rules)
    return _Count(candidates, seats, lot, read.orders).count(read.blank, read.invalid)


class _Count:
    def __init__(
        self, candidates: Sequence[str], seats: int, lot: str, orders: dict[Ranking, int]
    ) -> None:
        self._seats = seats
        self._lot = lot
        self._orders = orders
        self._papers = sum(orders.values())
        self._keep = dict.fromkeys(candidates, UNIT)
        """Continuing and elected candidates; who is excluded keeps nothing."""
        self._elected: list[str] = []
        self._stages: list[Stage] = []
        self._votes: dict[str, int] = {}
        self._quota = 0

    def count(self, blank: int, invalid: int) -> SeatsCount:
        while len(self._continuing()) > self._seats - len(self._elected) > 0:
            elected, surplus = self._iterate()
            if elected:
                self._note(elected)
                continue
            self._exclude(surplus)
        if len(self._elected) < self._seats and (remaining := self._continuing()):
            self._distribute()
            remaining.sort(key=lambda name: -self._votes[name])
            self._elected += remaining
            self._note(remaining)
        return SeatsCount(
            self._seats,
            PLACES,
            self._papers,
            tuple(self._stages),
            tuple(self._elected),
            blank,
            invalid,
        )

    def _continuing(self) -> list[str]:
        return [name for name in self._keep if name not in self._elected]

    def _distribute(self) -> None:
        """Give each paper's weight to its candidates by their keep factors; set the quota."""
        votes = dict.fromkeys(self._keep, 0)
        for order, number in self._orders.items():
            weight = UNIT
            for name in order:
                factor = self._keep.get(name)
                if factor is None:
                    continue
                kept = -(-weight * factor // UNIT)
                votes[name] += kept * number
                weight -= kept
                if weight <= 0:
                    break
        self._votes = votes
        self._quota = sum(votes.values()) // (self._seats + 1) + 1

    def _iterate(self) -> tuple[list[str], int]:
        """Until a candidate is elected, or the surplus is small or shrinks no more."""
        last = self._papers * UNIT
        while True:
            self._distribute()
            elected = [n for n in self._continuing() if self._votes[n] >= self._quota]
            elected.sort(key=lambda name: -self._votes[name])
            self._elected += elected
            surplus = max(0, sum(self._votes[name] - self._quota for name in self._elected))
            if elected or surplus < OMEGA or surplus >= last:
                return elected, surplus
            last = surplus
            for name in self._elected:
                product = -(-self._keep[name] * self._quota // UNIT)
                self._keep[name] = -(-product * UNIT // self._votes[name])

    def _exclude(self, surplus: int) -> None:
        continuing = self._continuing()
        fewest = min(self._votes[name] for name in continuing)
        tied = [name for name in continuing if self._votes[name] <= fewest + surplus]
        loser = min(tied, key=lambda name: drawn(self._lot, name))
        self._note([], loser, tied if len(tied) > 1 else [])
        del self._keep[loser]

    def _note(
        self, elected: Sequence[str], excluded: str | None = None, tied: Sequence[str] = ()
    ) -> None:
        left_over = self._papers * UNIT - sum(self._votes.values())
        self._stages.append(
            Stage(
                len(self._stages) + 1,
                self._quota,
                tuple(self._votes.items()),
                left_over,
                tuple(elected),
                excluded=excluded,
                tied=tuple(tied),
                keep_factors=tuple((n, self._keep[n]) for n in self._elected),
            )
        )

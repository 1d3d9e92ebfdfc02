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

from schemas.control import Conduct, RankedRules
from streams.core.ranking import Ranking
from streams.elections.rounds import BY_LOT
from streams.elections.seats.stages import STRICT, SeatsCount, Stage, StagedCount
from streams.elections.standing import PLAIN, Standing

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
    lot: str | None = "",
    conduct: Conduct = PLAIN,
) -> SeatsCount:
    """Count by Meek's method.

    Args:
        candidates: in ballot order.
        ballots: ranks as marked -> number of ballots.
        seats: to fill.
        rules: for marks.
        lot: prefix of a candidate in the lot; of tied candidates the one with the lowest SHA-256
            is excluded. None: it is not known yet.
        conduct: of the election.
    """
    return _Meek(Standing(candidates, conduct, lot), seats, ballots, rules).count()


class _Meek(StagedCount):
    places = PLACES

    def count(self) -> SeatsCount:
        self._keep = dict.fromkeys(self._votes, UNIT)
        """Continuing and elected candidates; who is excluded keeps nothing."""
        while len(self._continuing()) > self._seats - len(self._elected) > 0 and not self._awaits:
            elected, surplus = self._iterate()
            if elected:
                self._note(elected)
            else:
                self._exclude(surplus)
        remaining = self._continuing()
        if len(self._elected) < self._seats and remaining and not self._awaits:
            self._distribute()
            self._note(self._deem(remaining))
        return self._result()

    def _distribute(self) -> None:
        """Give each paper's weight to its candidates by their keep factors; set the quota."""
        votes = dict.fromkeys(self._keep, 0)
        for order, number in self._papers.orders.items():
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
        last = self._papers.valid * UNIT
        while True:
            self._distribute()
            elected = self._deem(n for n in self._continuing() if self._votes[n] >= self._quota)
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
        loser, by = self._drawn(tied) if len(tied) > 1 else (tied[0], BY_LOT)
        self._note([], loser, tied if len(tied) > 1 else [], by)
        if loser is not None:
            del self._keep[loser]
            del self._votes[loser]

    def _note(
        self,
        elected: Sequence[str],
        excluded: str | None = None,
        tied: Sequence[str] = (),
        by: int = BY_LOT,
    ) -> None:
        left_over = self._papers.valid * UNIT - sum(self._votes.values())
        self._stages.append(
            Stage(
                len(self._stages) + 1,
                self._quota,
                tuple(self._votes.items()),
                left_over,
                tuple(elected),
                excluded=excluded,
                tied=tuple(tied),
                broken_by=by,
                keep_factors=tuple((n, self._keep[n]) for n in self._elected),
            )
        )

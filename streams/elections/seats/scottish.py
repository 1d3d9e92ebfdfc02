"""Single transferable vote of Scottish local government: weighted inclusive Gregory. Pure.

The Scottish Local Government Elections Order 2011, schedule 1, rules 45 to 52: the quota is
one more than the whole part of papers / (seats + 1); surpluses go one a stage, the largest first;
all papers of the elected candidate go, each at its value times surplus / votes, cut to five
decimal places; who is excluded passes papers on at the values at which they came. A tie is broken
by the latest earlier stage at which the votes differed, otherwise by lot.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from schemas.control import Conduct, RankedRules
from streams.core.ranking import Ranking
from streams.elections.rounds import BY_LOT
from streams.elections.seats.stages import STRICT, SeatsCount, Stage, StagedCount
from streams.elections.standing import PLAIN, Standing

PLACES: Final = 5
UNIT: Final = 10**PLACES


@dataclass
class _Pile:
    """Papers of one candidate: (order, position of the candidate, number, value of each)."""

    votes: int = 0
    papers: list[tuple[Ranking, int, int, int]] = field(default_factory=list)


def scottish(
    candidates: Sequence[str],
    ballots: Mapping[Ranking, int],
    seats: int,
    *,
    rules: RankedRules = STRICT,
    lot: str | None = "",
    conduct: Conduct = PLAIN,
) -> SeatsCount:
    """Count by the Scottish rules.

    Args:
        candidates: in ballot order.
        ballots: ranks as marked -> number of ballots.
        seats: to fill.
        rules: for marks.
        lot: prefix of a candidate in the lot. Of tied candidates the one with the lowest SHA-256
            is excluded; the one with the highest has its surplus transferred first.
            None: it is not known yet.
        conduct: of the election.
    """
    return _Scottish(Standing(candidates, conduct, lot), seats, ballots, rules).count()


class _Scottish(StagedCount):
    places = PLACES

    def count(self) -> SeatsCount:
        valid = self._papers.valid
        self._piles = {name: _Pile() for name in self._votes}
        """Of who continues."""
        self._surpluses: dict[str, _Pile] = {}
        """Of elected candidates whose surplus was not transferred yet."""
        self._left_over = 0
        quota = (valid // (self._seats + 1) + 1) * UNIT
        self._move(((order, -1, n, UNIT) for order, n in self._papers.orders.items()), valid * UNIT)
        done = False
        while not done and not self._awaits:
            votes = tuple(self._votes.items())
            left_over = self._left_over
            elected = self._elect(n for n in self._piles if self._votes[n] >= quota)
            open_seats = self._seats - len(self._elected)
            done = len(self._piles) <= max(0, open_seats) or open_seats <= 0
            if done and open_seats > 0:
                # Rule 52: as many candidates continue as there are seats left, or fewer.
                elected += self._elect(self._piles)
            stage = Stage(len(self._stages) + 1, quota, votes, left_over, tuple(elected))
            self._stages.append(stage if done else self._end(stage))
        return self._result()

    def _elect(self, names: Iterable[str]) -> list[str]:
        elected = self._deem(names)
        for name in elected:
            self._surpluses[name] = self._piles.pop(name)
        return elected

    def _end(self, stage: Stage) -> Stage:
        """Transfer the largest surplus, or exclude the candidate with the fewest votes."""
        over = {n: self._votes[n] - stage.quota for n in self._surpluses}
        over = {name: surplus for name, surplus in over.items() if surplus > 0}
        if over:
            most = [n for n in over if over[n] == max(over.values())]
            name, tied, by = self._chosen(most, max)
            if name is None:
                return replace(stage, tied=tied, broken_by=by)
            pile = self._surpluses.pop(name)
            total, surplus = self._votes[name], over[name]
            self._votes[name] = stage.quota
            self._move(
                ((o, at, n, value * surplus // total) for o, at, n, value in pile.papers), surplus
            )
            return replace(stage, surplus_of=name, tied=tied, broken_by=by)
        fewest = min(self._votes[name] for name in self._piles)
        lowest = [name for name in self._piles if self._votes[name] == fewest]
        name, tied, by = self._chosen(lowest, min)
        if name is not None:
            pile = self._piles.pop(name)
            self._move(iter(pile.papers), self._votes.pop(name))
        return replace(stage, excluded=name, tied=tied, broken_by=by)

    def _chosen(
        self, names: list[str], pick: Callable[..., str]
    ) -> tuple[str | None, tuple[str, ...], int]:
        """Who of tied candidates comes first, the tied, and the stage that decided.

        Nobody does if the count waits for a lot.
        """
        if len(names) == 1:
            return names[0], (), BY_LOT
        remaining = names
        for stage in reversed(self._stages):
            had = dict(stage.votes)
            most = had[pick(remaining, key=lambda name: had[name])]
            remaining = [name for name in remaining if had[name] == most]
            if len(remaining) == 1:
                return remaining[0], tuple(names), stage.number
        drawn, by = self._drawn(remaining, elects=pick is max)
        return drawn, tuple(names), by

    def _move(self, moved: Iterable[tuple[Ranking, int, int, int]], total: int) -> None:
        """Give papers to their next continuing candidates; the rest of `total` is left over."""
        given = 0
        for order, at, number, value in moved:
            if not value:
                continue
            for place in range(at + 1, len(order)):
                pile = self._piles.get(order[place])
                if pile is not None:
                    pile.papers.append((order, place, number, value))
                    self._votes[order[place]] += number * value
                    given += number * value
                    break
        self._left_over += total - given

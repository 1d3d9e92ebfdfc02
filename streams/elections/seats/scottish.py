"""Single transferable vote of Scottish local government: weighted inclusive Gregory. Pure.

The Scottish Local Government Elections Order 2011, schedule 1, rules 45 to 52: the quota is
one more than the whole part of papers / (seats + 1); surpluses go one a stage, the largest first;
all papers of the elected candidate go, each at its value times surplus / votes, cut to five
decimal places; who is excluded passes papers on at the values at which they came. A tie is broken
by the latest earlier stage at which the votes differed, otherwise by lot.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from schemas.control import RankedRules
from streams.core.ranking import Ranking
from streams.elections.counting import drawn
from streams.elections.rounds import BY_LOT
from streams.elections.seats.stages import STRICT, SeatsCount, Stage, papers

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
    lot: str = "",
) -> SeatsCount:
    """Count by the Scottish rules.

    Args:
        candidates: in ballot order.
        ballots: ranks as marked -> number of ballots.
        seats: to fill.
        rules: for marks.
        lot: prefix of a candidate in the lot. Of tied candidates the one with the lowest SHA-256
            is excluded; the one with the highest has its surplus transferred first.
    """
    if seats < 1:
        raise ValueError("seats are at least 1")
    return _Count(candidates, seats, lot).count(ballots, rules)


class _Count:
    def __init__(self, candidates: Sequence[str], seats: int, lot: str) -> None:
        self._seats = seats
        self._lot = lot
        self._votes = dict.fromkeys(candidates, 0)
        self._continuing = {name: _Pile() for name in candidates}
        self._surpluses: dict[str, _Pile] = {}
        """Of elected candidates whose surplus was not transferred yet."""
        self._elected: list[str] = []
        self._stages: list[Stage] = []
        self._left_over = 0

    def count(self, ballots: Mapping[Ranking, int], rules: RankedRules) -> SeatsCount:
        read = papers(list(self._votes), ballots, rules)
        quota = (read.valid // (self._seats + 1) + 1) * UNIT
        self._move(((order, -1, n, UNIT) for order, n in read.orders.items()), read.valid * UNIT)
        while True:
            votes = tuple(self._votes.items())
            left_over = self._left_over
            elected = self._elect(quota)
            done = self._is_complete()
            if done and len(self._elected) < self._seats:
                elected += self._fill()
            number = len(self._stages) + 1
            stage = Stage(number, quota, votes, left_over, tuple(elected))
            self._stages.append(stage if done else self._end(stage))
            if done:
                break
        return SeatsCount(
            self._seats,
            PLACES,
            read.valid,
            tuple(self._stages),
            tuple(self._elected),
            read.blank,
            read.invalid,
        )

    def _elect(self, quota: int) -> list[str]:
        reached = [name for name in self._continuing if self._votes[name] >= quota]
        return self._deem(reached)

    def _deem(self, names: Iterable[str]) -> list[str]:
        elected = sorted(names, key=lambda name: -self._votes[name])
        for name in elected:
            self._surpluses[name] = self._continuing.pop(name)
        self._elected += elected
        return elected

    def _fill(self) -> list[str]:
        """Rule 52: as many candidates continue as there are seats left, or fewer."""
        return self._deem(list(self._continuing))

    def _is_complete(self) -> bool:
        return len(self._continuing) <= max(0, self._seats - len(self._elected)) or (
            len(self._elected) >= self._seats
        )

    def _end(self, stage: Stage) -> Stage:
        """Transfer the largest surplus, or exclude the candidate with the fewest votes."""
        over = {n: self._votes[n] - stage.quota for n in self._surpluses}
        over = {name: surplus for name, surplus in over.items() if surplus > 0}
        if over:
            name, tied, by = self._chosen([n for n in over if over[n] == max(over.values())], max)
            pile = self._surpluses.pop(name)
            total, surplus = self._votes[name], over[name]
            self._votes[name] = stage.quota
            self._move(
                ((o, at, n, value * surplus // total) for o, at, n, value in pile.papers), surplus
            )
            return _ended(stage, name, None, tied, by)
        fewest = min(self._votes[name] for name in self._continuing)
        lowest = [name for name in self._continuing if self._votes[name] == fewest]
        name, tied, by = self._chosen(lowest, min)
        pile = self._continuing.pop(name)
        self._move(iter(pile.papers), self._votes.pop(name))
        return _ended(stage, None, name, tied, by)

    def _chosen(
        self, names: list[str], pick: Callable[..., str]
    ) -> tuple[str, tuple[str, ...], int]:
        """Who of tied candidates comes first, the tied, and the stage that decided."""
        if len(names) == 1:
            return names[0], (), BY_LOT
        remaining = names
        for stage in reversed(self._stages):
            had = dict(stage.votes)
            most = had[pick(remaining, key=lambda name: had[name])]
            remaining = [name for name in remaining if had[name] == most]
            if len(remaining) == 1:
                return remaining[0], tuple(names), stage.number
        return pick(remaining, key=lambda name: drawn(self._lot, name)), tuple(names), BY_LOT

    def _move(self, moved: Iterable[tuple[Ranking, int, int, int]], total: int) -> None:
        """Give papers to their next continuing candidates; the rest of `total` is left over."""
        given = 0
        for order, at, number, value in moved:
            if not value:
                continue
            for place in range(at + 1, len(order)):
                pile = self._continuing.get(order[place])
                if pile is not None:
                    pile.papers.append((order, place, number, value))
                    self._votes[order[place]] += number * value
                    given += number * value
                    break
        self._left_over += total - given


def _ended(
    stage: Stage, surplus_of: str | None, excluded: str | None, tied: tuple[str, ...], by: int
) -> Stage:
    return Stage(
        stage.number,
        stage.quota,
        stage.votes,
        stage.non_transferable,
        stage.elected,
        surplus_of,
        excluded,
        tied,
        by,
    )

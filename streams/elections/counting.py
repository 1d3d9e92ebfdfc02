"""Counting one seat: plurality, and instant run-off with its rounds. Pure, in whole numbers.

Instant run-off. A ballot counts for the most preferred of its candidates who is still in; with none
left it is exhausted. Whoever has more than half of the ballots that are not exhausted is elected.
Else whoever has fewest goes out, one candidate a round.

Ties for the fewest. Of the tied, those stay in question that had fewest votes in the round before;
if they are still several, in the one before that, and so on. If all earlier rounds leave several,
the lot decides: whose SHA-256 of `contest|region|candidate` is lowest goes out. It is fixed before
anybody votes, and anybody can compute it.

Plurality. Whoever has most votes is elected; if several have, nobody is, and they are named.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from streams.core.ranking import Ranking

BY_LOT: Final = 0
"""In place of a round: no earlier one could break the tie."""


@dataclass(frozen=True)
class Tie:
    """Candidates with equally few votes, and what decided between them."""

    candidates: tuple[str, ...]
    round: int
    """The earlier round whose votes decided; :data:`BY_LOT`: none."""


@dataclass(frozen=True)
class Round:
    """One round."""

    number: int
    """From 1."""
    votes: tuple[tuple[str, int], ...]
    """(candidate, votes) of those still in: most votes first, then in the ballot's order."""
    exhausted: int
    """Ballots without a candidate who is still in."""
    eliminated: str | None = None
    elected: str | None = None
    tie: Tie | None = None
    transfers: tuple[tuple[str | None, int], ...] = ()
    """Where the ballots of the eliminated one go in the next round; None: nowhere."""

    @property
    def active(self) -> int:
        """Ballots that count for somebody."""
        return sum(votes for _, votes in self.votes)


@dataclass(frozen=True)
class Count:
    """The count of one seat."""

    rounds: tuple[Round, ...]
    """One for a plurality; none where there is no ballot."""
    elected: str | None
    tied: tuple[str, ...] = ()
    """Of a plurality: those with equally many votes, if nobody is elected."""
    uncountable: int = 0
    """Ballots with nobody who stands."""


@dataclass
class _Pile:
    """Ballots of one candidate, by ranking and place in it."""

    votes: int = 0
    ballots: list[tuple[Ranking, int, int]] = field(default_factory=list)
    """(ranking, place of the candidate in it, number)."""


def plurality(candidates: Sequence[str], ballots: Mapping[Ranking, int]) -> Count:
    """Count first choices.

    Args:
        candidates: who stands, in the ballot's order.
        ballots: ranking -> how many voted so.
    """
    votes = dict.fromkeys(candidates, 0)
    uncountable = 0
    for ranking, number in ballots.items():
        if len(ranking) == 1 and ranking[0] in votes:
            votes[ranking[0]] += number
        else:
            uncountable += number
    most = max(votes.values(), default=0)
    if not most:
        return Count((), None, uncountable=uncountable)
    best = tuple(name for name in candidates if votes[name] == most)
    elected = best[0] if len(best) == 1 else None
    only = Round(1, _sorted(votes), 0, elected=elected)
    return Count((only,), elected, () if elected else best, uncountable)


def instant_runoff(
    candidates: Sequence[str], ballots: Mapping[Ranking, int], *, lot: str = ""
) -> Count:
    """Count by instant run-off.

    Args:
        candidates: who stands, in the ballot's order.
        ballots: ranking -> how many voted so. Who does not stand is passed over.
        lot: what goes before a candidate in the lot, `contest|region|`.
    """
    piles = {name: _Pile() for name in candidates}
    uncountable = _deal(piles, ((ranking, -1, n) for ranking, n in ballots.items()))[None]
    rounds: list[Round] = []
    exhausted = 0
    while any(pile.votes for pile in piles.values()):
        votes = {name: pile.votes for name, pile in piles.items()}
        standing = _sorted(votes)
        number = len(rounds) + 1
        leader, most = standing[0]
        if 2 * most > sum(votes.values()):
            rounds.append(Round(number, standing, exhausted, elected=leader))
            return Count(tuple(rounds), leader, (), uncountable)
        out, tie = _fewest(votes, rounds, lot)
        moved = _deal(piles, piles.pop(out).ballots)
        transfers = tuple((name, moved[name]) for name in [*piles, None] if moved[name])
        rounds.append(Round(number, standing, exhausted, out, None, tie, transfers))
        exhausted += moved[None]
    return Count((), None, (), uncountable)


def _deal(
    piles: dict[str, _Pile], ballots: Iterable[tuple[Ranking, int, int]]
) -> dict[str | None, int]:
    """Put ballots on the piles of their next candidates; how many each got, None: nobody."""
    got: dict[str | None, int] = dict.fromkeys([*piles, None], 0)
    for ranking, place, number in ballots:
        for at in range(place + 1, len(ranking)):
            pile = piles.get(ranking[at])
            if pile is not None:
                pile.ballots.append((ranking, at, number))
                pile.votes += number
                got[ranking[at]] += number
                break
        else:
            got[None] += number
    return got


def _fewest(votes: Mapping[str, int], rounds: Sequence[Round], lot: str) -> tuple[str, Tie | None]:
    """Who goes out, and how a tie was broken."""
    lowest = min(votes.values())
    tied = [name for name, number in votes.items() if number == lowest]
    if len(tied) == 1:
        return tied[0], None
    left = tied
    for earlier in reversed(rounds):
        had = dict(earlier.votes)
        fewest = min(had[name] for name in left)
        left = [name for name in left if had[name] == fewest]
        if len(left) == 1:
            return left[0], Tie(tuple(tied), earlier.number)
    return min(left, key=lambda name: drawn(lot, name)), Tie(tuple(tied), BY_LOT)


def drawn(lot: str, candidate: str) -> bytes:
    """A candidate's lot; the lowest of the tied goes out."""
    return hashlib.sha256((lot + candidate).encode()).digest()


def _sorted(votes: Mapping[str, int]) -> tuple[tuple[str, int], ...]:
    return tuple(sorted(votes.items(), key=lambda one: -one[1]))

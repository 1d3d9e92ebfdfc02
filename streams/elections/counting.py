"""Counts one seat by plurality or by rounds of instant run-off. Pure, in whole numbers.

Instant run-off. A ballot counts for its most preferred candidate who is not eliminated; without
one it is exhausted. A candidate with more than half of the ballots that are not exhausted is
elected. Otherwise the candidate with the fewest votes is eliminated, one candidate per round.

Ties for the fewest votes. Among the tied candidates, those with the fewest votes in the previous
round remain; if several remain, the round before that decides, and so on. If all earlier rounds
leave several, the lot decides: the candidate with the lowest SHA-256 of
`contest|region|candidate` is eliminated. The lot is fixed before anyone votes, and anyone can
compute it.

Plurality. The candidate with the most votes is elected. If several have the most, none is elected
and they are reported as tied.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from streams.core.ranking import Ranking

BY_LOT: Final = 0
"""Instead of a round number: no earlier round broke the tie."""


@dataclass(frozen=True)
class Tie:
    """Candidates tied for the fewest votes, and what broke the tie."""

    candidates: tuple[str, ...]
    round: int
    """The earlier round whose votes decided; :data:`BY_LOT` if none did."""


@dataclass(frozen=True)
class Round:
    """One round of a count."""

    number: int
    """From 1."""
    votes: tuple[tuple[str, int], ...]
    """(candidate, votes) of the remaining candidates: most votes first, then in ballot order."""
    exhausted: int
    """Ballots without a remaining candidate."""
    eliminated: str | None = None
    elected: str | None = None
    tie: Tie | None = None
    transfers: tuple[tuple[str | None, int], ...] = ()
    """(next candidate, ballots) of the eliminated candidate's ballots; None: exhausted."""

    @property
    def active(self) -> int:
        """Ballots that count for a candidate."""
        return sum(votes for _, votes in self.votes)


@dataclass(frozen=True)
class Count:
    """The count of one seat."""

    rounds: tuple[Round, ...]
    """One for a plurality; empty without ballots."""
    elected: str | None
    tied: tuple[str, ...] = ()
    """In a plurality without a winner: the candidates with the most votes."""
    uncountable: int = 0
    """Ballots without any candidate of the seat."""


@dataclass
class _Pile:
    """Ballots of one candidate, by ranking and the candidate's position in it."""

    votes: int = 0
    ballots: list[tuple[Ranking, int, int]] = field(default_factory=list)
    """(ranking, position of the candidate, number of ballots)."""


def plurality(candidates: Sequence[str], ballots: Mapping[Ranking, int]) -> Count:
    """Count first choices.

    Args:
        candidates: of the seat, in ballot order.
        ballots: ranking -> number of ballots.
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
        candidates: of the seat, in ballot order.
        ballots: ranking -> number of ballots. Other names in a ranking are skipped.
        lot: prefix of a candidate in the lot, `contest|region|`.
    """
    piles = {name: _Pile() for name in candidates}
    uncountable = _distribute(piles, ((ranking, -1, n) for ranking, n in ballots.items()))[None]
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
        out, tie = _to_eliminate(votes, rounds, lot)
        moved = _distribute(piles, piles.pop(out).ballots)
        transfers = tuple((name, moved[name]) for name in [*piles, None] if moved[name])
        rounds.append(Round(number, standing, exhausted, out, None, tie, transfers))
        exhausted += moved[None]
    return Count((), None, (), uncountable)


def _distribute(
    piles: dict[str, _Pile], ballots: Iterable[tuple[Ranking, int, int]]
) -> dict[str | None, int]:
    """Give ballots to their next candidates; returns how many each received, None: exhausted."""
    received: dict[str | None, int] = dict.fromkeys([*piles, None], 0)
    for ranking, position, number in ballots:
        for following in range(position + 1, len(ranking)):
            pile = piles.get(ranking[following])
            if pile is not None:
                pile.ballots.append((ranking, following, number))
                pile.votes += number
                received[ranking[following]] += number
                break
        else:
            received[None] += number
    return received


def _to_eliminate(
    votes: Mapping[str, int], rounds: Sequence[Round], lot: str
) -> tuple[str, Tie | None]:
    """The candidate to eliminate, and how a tie was broken."""
    lowest = min(votes.values())
    tied = [name for name, number in votes.items() if number == lowest]
    if len(tied) == 1:
        return tied[0], None
    remaining = tied
    for earlier in reversed(rounds):
        earlier_votes = dict(earlier.votes)
        fewest = min(earlier_votes[name] for name in remaining)
        remaining = [name for name in remaining if earlier_votes[name] == fewest]
        if len(remaining) == 1:
            return remaining[0], Tie(tuple(tied), earlier.number)
    return min(remaining, key=lambda name: drawn(lot, name)), Tie(tuple(tied), BY_LOT)


def drawn(lot: str, candidate: str) -> bytes:
    """A candidate's lot; the tied candidate with the lowest is eliminated."""
    return hashlib.sha256((lot + candidate).encode()).digest()


def _sorted(votes: Mapping[str, int]) -> tuple[tuple[str, int], ...]:
    return tuple(sorted(votes.items(), key=lambda one: -one[1]))

"""Counts one seat by plurality or by rounds of instant run-off. Pure, in whole numbers.

Instant run-off. A ballot counts for its most preferred candidate who is not eliminated, as the
rules read its marks; without one it is inactive. A candidate with more than half of the ballots is
elected. Otherwise the candidate with the fewest votes is eliminated, or all who cannot catch up if
the rules say so. :class:`schemas.control.RankedRules` has the rules with the terms of RCTab.

Ties for the fewest votes are broken by the votes of other rounds, by the order of the list, or by
lot: the candidate with the lowest SHA-256 of `seed|region|candidate` is eliminated, which anyone
can compute; or officials draw it, and the count waits for them.

Plurality. The candidate with the most votes is elected. If several have the most, none is elected
and they are reported as tied, unless officials draw a lot.

:class:`schemas.control.Conduct` says what happens with candidates who withdrew or died, and how
many votes an elected candidate needs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from schemas.control import (
    Conduct,
    MajorityOf,
    Overvote,
    RankedRules,
    TieBreak,
)
from streams.core.ranking import OVERVOTE, TOGETHER, Ranking, marked_at
from streams.elections.rounds import (
    BY_LIST,
    DEFAULT_RULES,
    Count,
    Inactive,
    Outcome,
    Round,
    Tie,
)
from streams.elections.standing import PLAIN, Standing


@dataclass
class _Pile:
    """Ballots of one candidate, by ranking and the candidate's position in it."""

    votes: int = 0
    ballots: list[tuple[Ranking, int, int]] = field(default_factory=list)
    """(ranking, position of the candidate, number of ballots)."""


def plurality(
    candidates: Sequence[str], ballots: Mapping[Ranking, int], *, conduct: Conduct = PLAIN
) -> Count:
    """Count first choices.

    Args:
        candidates: of the seat, in ballot order.
        ballots: ranking -> number of ballots.
        conduct: of the election.
    """
    standing = Standing(candidates, conduct)
    votes, inactive, uncountable = first_choices(standing, ballots)
    blank = dict(inactive).get(Inactive.BLANK, 0)
    barred = {*standing.barred, conduct.undeclared_write_in}
    best = _leaders({name: n for name, n in votes.items() if name not in barred})
    if not best and not inactive:
        return Count((), None, (), uncountable, blank, Outcome.NOBODY)
    chosen = standing.of_the_best(best)
    outcome = Outcome.ELECTED if chosen else Outcome.TIED if best else Outcome.NOBODY
    if outcome is Outcome.TIED and conduct.lots_by_hand:
        outcome = Outcome.LOT_NEEDED
    count = Count(
        (Round(1, _sorted(votes), inactive, elected=chosen),),
        chosen,
        () if chosen else best,
        uncountable,
        blank,
        outcome,
        best if outcome is Outcome.LOT_NEEDED else (),
    )
    return standing.confirmed(count, sum(ballots.values()))


def first_choices(
    standing: Standing, ballots: Mapping[Ranking, int]
) -> tuple[dict[str, int], tuple[tuple[Inactive, int], ...], int]:
    """Votes of each candidate, ballots that count for nobody, and those for no candidate."""
    votes = dict.fromkeys(standing.candidates, 0)
    blank = uncountable = 0
    for ranking, number in ballots.items():
        if len(ranking) == 1 and ranking[0] in votes:
            votes[ranking[0]] += number
        elif any(ranking):
            uncountable += number
        else:
            blank += number
    withdrawn = sum(votes.pop(name) for name in standing.skipped if name in votes)
    reasons = {Inactive.BLANK: blank, Inactive.WITHDRAWN: withdrawn}
    return votes, tuple((why, number) for why, number in reasons.items() if number), uncountable


def instant_runoff(
    candidates: Sequence[str],
    ballots: Mapping[Ranking, int],
    *,
    rules: RankedRules = DEFAULT_RULES,
    lot: str | None = "",
    conduct: Conduct = PLAIN,
) -> Count:
    """Count by instant run-off.

    Args:
        candidates: of the seat, in ballot order.
        ballots: ranks as marked -> number of ballots. Other names in a ranking are skipped.
        rules: of the election.
        lot: prefix of a candidate in the lot, `seed|region|`; None: the seed is not revealed.
        conduct: of the election.
    """
    standing = Standing(candidates, conduct, lot)
    count = _Runoff(standing, rules).count(ballots)
    return standing.confirmed(count, sum(ballots.values()))


class _Runoff:
    """The state of a count between its rounds."""

    def __init__(self, standing: Standing, rules: RankedRules) -> None:
        self._candidates = frozenset(standing.candidates)
        self._standing = standing
        self._rules = rules
        self._piles = {
            name: _Pile() for name in standing.candidates if name not in standing.skipped
        }
        self._awaits: tuple[str, ...] = ()
        self._rounds: list[Round] = []
        self._inactive: Counter[Inactive] = Counter()

    def count(self, ballots: Mapping[Ranking, int]) -> Count:
        """The rounds until a candidate is elected, or no ballot counts any more."""
        blank = sum(n for ranking, n in ballots.items() if not any(ranking))
        self._inactive[Inactive.BLANK] = blank
        strangers = self._distribute((r, -1, n) for r, n in ballots.items() if any(r))[_NOBODY]
        cast = sum(ballots.values())
        elected = None
        tied: tuple[str, ...] = ()
        threshold_of = 0
        while elected is None and not tied and not self._awaits:
            votes = {name: pile.votes for name, pile in self._piles.items()}
            active = sum(votes.values())
            if not active:
                break
            if not self._rounds or self._rules.majority_of == MajorityOf.CONTINUING:
                threshold_of = cast if self._rules.majority_of == MajorityOf.CAST else active
            elected, tied = self._winner(votes, threshold_of)
            self._next_round(votes, elected, ended=elected is not None or bool(tied))
        return Count(
            tuple(self._rounds),
            elected,
            tied,
            strangers,
            blank,
            self._outcome(elected, tied),
            self._awaits,
        )

    def _outcome(self, elected: str | None, tied: tuple[str, ...]) -> Outcome:
        if self._awaits:
            return self._standing.waits_for
        if tied:
            return Outcome.TIED
        return Outcome.NOBODY if elected is None else Outcome.ELECTED

    def _winner(
        self, votes: Mapping[str, int], threshold_of: int
    ) -> tuple[str | None, tuple[str, ...]]:
        """Who is elected in this round; or who ties for the most in a round that must elect."""
        rules, barred = self._rules, self._standing.barred
        best = _leaders(
            {n: v for n, v in votes.items() if n != rules.undeclared_write_in and n not in barred}
        )
        if not best:
            return None, ()
        if len(self._rounds) + 1 == rules.max_rounds or len(votes.keys() - barred) == 1:
            elected = self._standing.of_the_best(best)
            if elected is None and self._standing.conduct.lots_by_hand:
                self._awaits = best
            return elected, () if elected else best
        enough = 2 * votes[best[0]] > threshold_of
        if enough and (not rules.until_two_remain or len(votes) <= 2):
            return best[0], ()
        return None, ()

    def _next_round(self, votes: Mapping[str, int], elected: str | None, *, ended: bool) -> None:
        """Note the round and, unless it ends the count, move the ballots of who is eliminated."""
        standing = _sorted(votes)
        inactive = tuple((reason, self._inactive[reason]) for reason in Inactive)
        number = len(self._rounds) + 1
        if ended:
            self._rounds.append(Round(number, standing, inactive, elected=elected))
            return
        losers, tie = self._losers(votes)
        if not losers:
            self._rounds.append(Round(number, standing, inactive, tie=tie))
            return
        piles = [self._piles.pop(name) for name in losers]
        moved = self._distribute(ballot for pile in piles for ballot in pile.ballots)
        transfers = tuple((name, moved[name]) for name in [*self._piles, None] if moved[name])
        self._rounds.append(Round(number, standing, inactive, losers, None, tie, transfers))

    def _distribute(self, ballots: Iterable[tuple[Ranking, int, int]]) -> Counter[str | None]:
        """Give ballots to their next candidates; returns how many each received.

        None are all that count for nobody now; :data:`_NOBODY` are those of them that mark
        candidates, but none of this seat.
        """
        received: Counter[str | None] = Counter()
        for ranking, position, number in ballots:
            name, place = self._next(ranking, position)
            if isinstance(name, Inactive):
                if position < 0 and self._marks_nobody(ranking):
                    received[_NOBODY] += number
                    continue
                self._inactive[name] += number
                received[None] += number
                continue
            pile = self._piles[name]
            pile.ballots.append((ranking, place, number))
            pile.votes += number
            received[name] += number
        return received

    def _next(self, ranking: Ranking, position: int) -> tuple[str | Inactive, int]:
        """The candidate for whom a ballot counts next, and the place of the mark.

        Args:
            ranking: the ballot.
            position: of the mark for which it counted before; -1 at first.
        """
        rules = self._rules
        if position < 0 and rules.full_ranking and not self._is_full(ranking):
            return Inactive.INFORMAL, 0
        skipped = 0
        overvoted = False
        end = len(ranking) if rules.max_ranks is None else min(len(ranking), rules.max_ranks)
        for place in range(position + 1, end):
            mark = ranking[place]
            if not mark:
                skipped += 1
                continue
            if rules.max_skipped_ranks is not None and skipped > rules.max_skipped_ranks:
                return Inactive.SKIPPED, place
            skipped = 0
            if rules.exhaust_on_duplicate and _is_repeated(ranking, place):
                return Inactive.REPEATED, place
            if mark in self._piles:
                return mark, place
            if TOGETHER in mark:
                decision = self._overvote(mark)
                if decision is not None:
                    return decision, place
                overvoted = True
        return (Inactive.OVERVOTE if overvoted else Inactive.CHOICES), end

    def _overvote(self, mark: str) -> str | Inactive | None:
        """What a rank with several candidates does to a ballot; None: its next rank counts."""
        match self._rules.overvote:
            case Overvote.EXHAUST:
                return Inactive.OVERVOTE
            case Overvote.EXHAUST_IF_MULTIPLE_CONTINUING:
                continuing = [name for name in marked_at(mark) if name in self._piles]
                if len(continuing) == 1:
                    return continuing[0]
                # Candidates that the source does not name may all be continuing.
                return Inactive.OVERVOTE if continuing or mark == OVERVOTE else None
        return None

    def _marks_nobody(self, ranking: Ranking) -> bool:
        """Whether a ballot has marks, but none of them can be for a candidate of this seat."""
        return OVERVOTE not in ranking and not any(
            name in self._candidates for rank in ranking for name in marked_at(rank)
        )

    def _is_full(self, ranking: Ranking) -> bool:
        marked = set(ranking)
        known = len(marked & self._candidates)
        return known == len(marked) == len(ranking) >= len(self._candidates) - 1

    def _losers(self, votes: Mapping[str, int]) -> tuple[tuple[str, ...], Tie | None]:
        """The candidates to eliminate, and how a tie was broken."""
        rules = self._rules
        write_in = rules.undeclared_write_in
        if write_in is not None and write_in in votes and len(votes) > 1:
            return (write_in,), None
        if not self._rounds and rules.min_votes:
            below = tuple(name for name, number in votes.items() if number < rules.min_votes)
            if 0 < len(below) < len(votes):
                return below, None
        if rules.batch_elimination:
            hopeless = _hopeless(votes, keep=2 if rules.until_two_remain else 1)
            if len(hopeless) > 1:
                return hopeless, None
        lowest = min(votes.values())
        tied = [name for name, number in votes.items() if number == lowest]
        if len(tied) == 1:
            return (tied[0],), None
        loser, by = self._break_tie(tied)
        return () if loser is None else (loser,), Tie(tuple(tied), by)

    def _break_tie(self, tied: list[str]) -> tuple[str | None, int]:
        """Who of the tied is eliminated, and by what; None: it waits for a lot."""
        rounds: list[Round] = []
        match self._rules.tie_break:
            case TieBreak.LIST_ORDER:
                return tied[-1], BY_LIST
            case TieBreak.EARLIEST_ROUND:
                rounds = self._rounds
            case TieBreak.LATEST_ROUND:
                rounds = self._rounds[::-1]
        remaining = tied
        for other in rounds:
            counted = dict(other.votes)
            fewest = min(counted[name] for name in remaining)
            remaining = [name for name in remaining if counted[name] == fewest]
            if len(remaining) == 1:
                return remaining[0], other.number
        loser, by = self._standing.by_lot(remaining)
        if loser is None:
            self._awaits = tuple(remaining)
        return loser, by


_NOBODY: Final = ""
"""No candidate has this name."""


def _is_repeated(ranking: Ranking, place: int) -> bool:
    earlier = {name for rank in ranking[:place] for name in marked_at(rank)}
    return any(name in earlier for name in marked_at(ranking[place]))


def _hopeless(votes: Mapping[str, int], *, keep: int) -> tuple[str, ...]:
    """The most candidates who together have fewer votes than the next one, fewest votes first."""
    ordered = sorted(votes, key=lambda name: votes[name])
    found = 0
    together = 0
    for number, name in enumerate(ordered[: len(ordered) - keep], 1):
        together += votes[name]
        if together < votes[ordered[number]]:
            found = number
    return tuple(ordered[:found])


def _leaders(votes: Mapping[str, int]) -> tuple[str, ...]:
    """The candidates with the most votes, in ballot order; nobody if nobody has a vote."""
    most = max(votes.values(), default=0)
    return tuple(name for name, number in votes.items() if number == most > 0)


def _sorted(votes: Mapping[str, int]) -> tuple[tuple[str, int], ...]:
    return tuple(sorted(votes.items(), key=lambda one: -one[1]))

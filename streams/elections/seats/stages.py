"""What the counts for several seats have in common: papers, stages, fixed-point numbers. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from schemas.control import Overvote, RankedRules
from streams.core.ranking import TOGETHER, Ranking, marked_at

STRICT: Final = RankedRules(
    overvote=Overvote.EXHAUST, max_skipped_ranks=0, exhaust_on_duplicate=True
)
"""A paper counts up to the first break in its order: a gap, a shared rank, a repeated candidate."""


@dataclass(frozen=True)
class Stage:
    """One stage of a count. Votes are whole numbers of the count's smallest unit."""

    number: int
    """From 1."""
    quota: int
    votes: tuple[tuple[str, int], ...]
    """(candidate, votes) of all who have votes or continue, in ballot order."""
    non_transferable: int
    """Papers without a next candidate, and what rounding left over."""
    elected: tuple[str, ...] = ()
    """Deemed elected in this stage, most votes first."""
    surplus_of: str | None = None
    """Whose surplus is transferred at the end of the stage."""
    excluded: str | None = None
    """Who is excluded at the end of the stage."""
    tied: tuple[str, ...] = ()
    """Candidates among whom a tie was broken for the surplus or the exclusion."""
    broken_by: int = 0
    """The stage whose votes broke it; 0: the lot did."""
    keep_factors: tuple[tuple[str, int], ...] = ()
    """Meek's method: the share of each paper that an elected candidate keeps."""


@dataclass(frozen=True)
class SeatsCount:
    """The count of a contest for several seats."""

    seats: int
    places: int
    """Decimal places of votes: the unit is 10 ** -places."""
    papers: int
    """Valid ballot papers."""
    stages: tuple[Stage, ...]
    elected: tuple[str, ...]
    """In the order of election."""
    blank: int = 0
    """Papers without a mark."""
    invalid: int = 0
    """Papers with marks, but without a first preference that counts."""

    def shown(self, value: int) -> str:
        """A number of votes as decimal text."""
        return fixed(value, self.places)


def fixed(value: int, places: int) -> str:
    """Text of `value` units of 10 ** -places; a whole number has no point without places."""
    if not places:
        return str(value)
    whole, part = divmod(abs(value), 10**places)
    return f"{'-' if value < 0 else ''}{whole}.{part:0{places}}"


@dataclass(frozen=True)
class Papers:
    """Ballots as orders of candidates."""

    orders: dict[Ranking, int]
    """Candidates of the contest, most preferred first -> number of papers."""
    blank: int
    invalid: int

    @property
    def valid(self) -> int:
        """Number of papers that count."""
        return sum(self.orders.values())


def papers(
    candidates: Sequence[str], ballots: Mapping[Ranking, int], rules: RankedRules = STRICT
) -> Papers:
    """Read ballots by the rules for marks.

    Args:
        candidates: who can receive votes; a name that is not among them (who withdrew) is passed
            over.
        ballots: ranks as marked -> number of ballots.
        rules: those for over-votes, skipped and repeated ranks and the number of ranks apply.
    """
    known = frozenset(candidates)
    orders: Counter[Ranking] = Counter()
    blank = invalid = 0
    for ranking, number in ballots.items():
        order = _order(ranking, known, rules)
        if order:
            orders[order] += number
        elif any(ranking):
            invalid += number
        else:
            blank += number
    return Papers(dict(orders), blank, invalid)


def _order(ranking: Ranking, known: Collection[str], rules: RankedRules) -> Ranking:
    order: list[str] = []
    seen: set[str] = set()
    skipped = 0
    for mark in ranking[: rules.max_ranks]:
        if not mark:
            skipped += 1
            continue
        if rules.max_skipped_ranks is not None and skipped > rules.max_skipped_ranks:
            break
        skipped = 0
        marked = marked_at(mark)
        if rules.exhaust_on_duplicate and not seen.isdisjoint(marked):
            break
        if TOGETHER in mark:
            if rules.overvote != Overvote.SKIP:
                break
        elif mark in known and mark not in seen:
            order.append(mark)
        seen.update(marked)
    return tuple(order)

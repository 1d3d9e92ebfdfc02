"""What the counts for several seats have in common: papers, stages, fixed-point numbers. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Final

from schemas.control import Overvote, RankedRules
from streams.core.ranking import TOGETHER, Ranking, marked_at
from streams.elections.rounds import BY_LOT, fixed
from streams.elections.standing import Standing

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
    broken_by: int = BY_LOT
    """The stage whose votes broke it, :data:`BY_LOT` or :data:`BY_HAND`."""
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
    awaits: tuple[str, ...] = ()
    """Candidates between whom a lot must be drawn before the count can go on."""

    def shown(self, value: int) -> str:
        """A number of votes as decimal text."""
        return fixed(value, self.places)


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


class StagedCount:
    """The state of a transferable vote between its stages.

    A method says how papers become votes, and how a stage ends.
    """

    places: ClassVar[int]

    def __init__(
        self, standing: Standing, seats: int, ballots: Mapping[Ranking, int], rules: RankedRules
    ) -> None:
        if seats < 1:
            raise ValueError("seats are at least 1")
        self._standing = standing
        self._seats = seats
        candidates = [name for name in standing.candidates if name not in standing.skipped]
        self._papers = papers(candidates, ballots, rules)
        self._unit = 10**self.places
        self._votes = dict.fromkeys(candidates, 0)
        """Of all who are elected or continue."""
        self._elected: list[str] = []
        self._stages: list[Stage] = []
        self._awaits: tuple[str, ...] = ()

    def _result(self) -> SeatsCount:
        return SeatsCount(
            self._seats,
            self.places,
            self._papers.valid,
            tuple(self._stages),
            tuple(self._elected),
            self._papers.blank,
            self._papers.invalid,
            self._awaits,
        )

    def _continuing(self) -> list[str]:
        return [name for name in self._votes if name not in self._elected]

    def _deem(self, names: Iterable[str]) -> list[str]:
        """Elect, most votes first."""
        elected = sorted(names, key=lambda name: -self._votes[name])
        self._elected += elected
        return elected

    def _drawn(self, tied: Sequence[str], *, elects: bool = False) -> tuple[str | None, int]:
        """Whom the lot names, and how; None: the count waits for it."""
        name, by = self._standing.by_lot(tied, elects=elects)
        if name is None:
            self._awaits = tuple(tied)
        return name, by

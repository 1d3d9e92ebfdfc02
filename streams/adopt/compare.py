"""Compares the totals of two counts; pure.

In a shadow run Scrutin counts beside the system that it will replace. Both read the same votes, so
both must have the same totals once both have counted everything that was sent.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any, Final

from schemas.control import ContestKind
from streams.core.contests import kind_of

NOT_COMPARED: Final = (
    "who voted, and when",
    "refused votes and duplicate attempts",
    "lower ranks of ranked votes",
)
"""What two equal totals do not show."""

Totals = Mapping[tuple[str, str], int]
"""(contest, choice) -> votes. A ranking counts for its first candidate."""


@dataclass(frozen=True)
class SourceTotals:
    """The totals of one system at one moment."""

    source: str
    totals: Totals
    read: Mapping[ContestKind, str]
    """Kind of contest -> what its totals were read from. Other kinds are not known."""
    looked: datetime
    """When it was read, by the clock of the source."""
    changed: datetime | None = None
    """Its last change; None if that is not known."""
    left_out: tuple[str, ...] = ()
    """What could not be read, and why."""

    @property
    def age_s(self) -> float | None:
        """Seconds since the last change; None if that is not known."""
        if self.changed is None:
            return None
        return max(0.0, (self.looked - self.changed).total_seconds())

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "source": self.source,
            "read": {kind.value: what for kind, what in self.read.items()},
            "votes": sum(self.totals.values()),
            "changed": None if self.changed is None else self.changed.isoformat(),
            "age_s": self.age_s,
        }


@dataclass(frozen=True)
class Difference:
    """One choice of one contest in both counts."""

    contest: str
    choice: str
    old: int
    new: int

    @property
    def more(self) -> int:
        """Votes that the new count has more; negative if it has fewer."""
        return self.new - self.old


@dataclass(frozen=True)
class TotalsComparison:
    """Two counts and their differences."""

    old: SourceTotals
    new: SourceTotals
    rows: tuple[Difference, ...]
    """Every choice with votes in either, of the kinds of contest that both know."""
    not_compared: tuple[str, ...] = field(default=NOT_COMPARED)

    @property
    def differences(self) -> tuple[Difference, ...]:
        """Rows whose votes differ."""
        return tuple(row for row in self.rows if row.more)

    @property
    def equal(self) -> bool:
        """Whether all totals that can be compared are the same, and there is a kind that can be."""
        return bool(self.old.read.keys() & self.new.read.keys()) and not self.differences

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "equal": self.equal,
            "old": self.old.as_dict(),
            "new": self.new.as_dict(),
            "contests": [asdict(row) | {"difference": row.more} for row in self.rows],
            "not_compared": list(self.not_compared),
        }


def compare(old: SourceTotals, new: SourceTotals) -> TotalsComparison:
    """Compare two counts by contest and choice."""
    both = old.read.keys() & new.read.keys()
    keys = {
        key
        for count in (old, new)
        for key, votes in count.totals.items()
        if votes and kind_of(key[0]) in both
    }
    rows = tuple(
        Difference(*key, old.totals.get(key, 0), new.totals.get(key, 0)) for key in sorted(keys)
    )
    alone = [
        f"contests of the kind {kind}: {count.source} has no totals of them"
        for count, other in ((old, new), (new, old))
        for kind in sorted(other.read.keys() - count.read.keys())
        if any(votes and kind_of(contest) == kind for (contest, _), votes in other.totals.items())
    ]
    return TotalsComparison(old, new, rows, (*alone, *old.left_out, *new.left_out, *NOT_COMPARED))

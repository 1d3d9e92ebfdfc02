"""Rooms: what the watchers of one contest have seen, and what they are to see next. Pure.

Every change gets a number. A watcher that joins gets a snapshot; then deltas, each saying which
number it continues, so that a gap is noticed. Totals are absolute: a watcher who is slow gets one
delta for all that it missed, and nothing waits for it in between.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

MAX_CACHED: Final = 64
"""Encoded deltas kept, by the number they continue; nearly all watchers stand at the same."""

_encode: Final = msgspec.json.Encoder().encode


class ContestStanding(msgspec.Struct, frozen=True):
    """Where a contest is in its life, as watchers are told."""

    state: str | None = None
    """`draft`, `open`, `closed`, `archived`; None for a contest nobody announced."""
    final: bool = False
    """Closed, and every vote that was in time is counted."""
    closes_at: str | None = None


class ContestFeed:
    """One contest.

    Args:
        contest: its id.
    """

    def __init__(self, contest: str) -> None:
        self.contest = contest
        self.number = 0
        """Of the latest change."""
        self.totals: dict[str, int] = {}
        self.standing = ContestStanding()
        self._changed: dict[str, int] = {}
        # Choice -> number of its latest change.
        self._standing_changed = 0
        self._floor = 0
        # Below it a delta cannot tell what has gone.
        self._cache: dict[int, bytes] = {}

    def raise_totals(self, totals: Mapping[str, int]) -> bool:
        """Take committed totals, which may come late; returns whether anything changed."""
        higher = {c: v for c, v in totals.items() if v > self.totals.get(c, 0)}
        return self._change(higher)

    def replace(self, totals: Mapping[str, int], standing: ContestStanding) -> bool:
        """Take what the database says, also where that is less; returns whether it is new."""
        number = self.number
        if gone := [choice for choice in self.totals if choice not in totals]:
            for choice in gone:
                del self.totals[choice]
                self._changed.pop(choice, None)
            self.number += 1
            self._floor = self.number
            self._cache.clear()
        self._change({c: v for c, v in totals.items() if v != self.totals.get(c)})
        if standing != self.standing:
            self.standing = standing
            self.number += 1
            self._standing_changed = self.number
            self._cache.clear()
        return self.number != number

    def _change(self, changed: Mapping[str, int]) -> bool:
        if not changed:
            return False
        self.number += 1
        self._cache.clear()
        for choice, votes in changed.items():
            self.totals[choice] = votes
            self._changed[choice] = self.number
        return True

    def message(self, seen: int | None) -> bytes:
        """JSON for a watcher.

        Args:
            seen: number of the last change it got; None: it has just come, or lost its place.
        """
        if seen is None or seen < self._floor:
            seen = -1
        found = self._cache.get(seen)
        if found is None:
            found = _encode(self._snapshot() if seen < 0 else self._delta(seen))
            if len(self._cache) < MAX_CACHED:
                self._cache[seen] = found
        return found

    def _snapshot(self) -> dict[str, Any]:
        return {
            "type": "snapshot",
            "contest": self.contest,
            "number": self.number,
            "totals": self.totals,
            "total": sum(self.totals.values()),
            **msgspec.structs.asdict(self.standing),
        }

    def _delta(self, seen: int) -> dict[str, Any]:
        delta = {
            "type": "delta",
            "contest": self.contest,
            "continues": seen,
            "number": self.number,
            "totals": {c: v for c, v in self.totals.items() if self._changed.get(c, 0) > seen},
            "total": sum(self.totals.values()),
        }
        if self._standing_changed > seen:
            delta |= msgspec.structs.asdict(self.standing)
        return delta

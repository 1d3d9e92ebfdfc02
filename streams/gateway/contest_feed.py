"""The feed of one contest: its totals, and the next message for each watcher. Pure.

Every change gets a number. A watcher that joins gets a snapshot, then deltas. Each delta names the
number that it continues, so that a watcher notices a gap. Totals are absolute: a slow watcher gets
one delta for all that it missed, and no messages are queued for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

MAX_CACHED: Final = 64
"""Encoded messages kept, by the number they continue; nearly all watchers need the same one."""

_encode: Final = msgspec.json.Encoder().encode


class ContestStanding(msgspec.Struct, frozen=True):
    """The state of a contest, as watchers see it."""

    state: str | None = None
    """`draft`, `open`, `closed`, `archived`, or `not_enforced` if closing had no effect on votes;
    None for a contest that was not announced."""
    final: bool = False
    """Closed, and every vote cast in time is counted."""
    closes_at: str | None = None


class ContestFeed:
    """Totals and state of one contest.

    Args:
        contest: its id.
    """

    def __init__(self, contest: str) -> None:
        self.contest = contest
        self.number = 0
        """Number of the latest change."""
        self.totals: dict[str, int] = {}
        self.standing = ContestStanding()
        self._changed: dict[str, int] = {}
        # Choice -> number of its latest change.
        self._standing_changed = 0
        self._floor = 0
        # A delta that continues a lower number could not tell which choices were removed.
        self._cache: dict[int, bytes] = {}

    def raise_totals(self, totals: Mapping[str, int]) -> bool:
        """Apply committed totals, which may come late; returns whether anything changed."""
        higher = {c: v for c, v in totals.items() if v > self.totals.get(c, 0)}
        return self._change(higher)

    def replace(self, totals: Mapping[str, int], standing: ContestStanding) -> bool:
        """Apply the database's answer, also where totals are lower; returns whether it is new."""
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
        """The next message for a watcher, as JSON.

        Args:
            seen: number of the last change it got; None if it is new or noticed a gap.
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

"""The feed of one contest: its totals, and the next message for each watcher. Pure.

Every change gets a number. A watcher that joins gets a snapshot, then deltas. Each delta names the
number that it continues, so that a watcher notices a gap. Totals are absolute: a slow watcher gets
one delta for all that it missed, and no messages are queued for it.

A heartbeat is a delta without changes. It has the age of the totals: the time since the database
was asked for them. Until the database has answered once, watchers are told to wait, because unknown
totals are not 0.
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
        self._confirmed_s: float | None = None
        self._changed: dict[str, int] = {}
        # Choice -> number of its latest change.
        self._standing_changed = 0
        self._floor = 0
        # A delta that continues a lower number could not tell which choices were removed.
        self._cache: dict[int, bytes] = {}

    @property
    def filled(self) -> bool:
        """Whether the database has answered yet."""
        return self._confirmed_s is not None

    def raise_totals(self, totals: Mapping[str, int]) -> bool:
        """Apply committed totals, which may come late; returns whether anything changed."""
        higher = {c: v for c, v in totals.items() if v > self.totals.get(c, 0)}
        return self._change(higher)

    def replace(
        self, totals: Mapping[str, int], standing: ContestStanding, asked_s: float = 0.0
    ) -> bool:
        """Apply the database's answer, also where totals are lower; returns whether it is new.

        Args:
            totals: all totals of the contest.
            standing: its state.
            asked_s: when the database was asked, by a clock that does not go back.
        """
        number = self.number
        self._confirmed_s = asked_s
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

    def message(self, seen: int | None, now_s: float = 0.0) -> bytes:
        """The next message for a watcher, as JSON.

        Args:
            seen: number of the last change it got; None if it is new or noticed a gap.
            now_s: the time, by the clock of :meth:`replace`.
        """
        if seen is None or seen < self._floor:
            return _encode(self._snapshot(now_s))
        found = self._cache.get(seen)
        if found is None:
            found = _encode(self._delta(seen))
            if len(self._cache) < MAX_CACHED:
                self._cache[seen] = found
        return found

    def heartbeat(self, now_s: float) -> bytes:
        """A message without changes for a watcher that has them all, as JSON."""
        if self._confirmed_s is None:
            return _encode({"type": "waiting", "contest": self.contest})
        unchanged = self._delta(self.number)
        return _encode({**unchanged, "heartbeat": True, "age_s": self._age_s(now_s)})

    def _age_s(self, now_s: float) -> float:
        return round(max(0.0, now_s - (self._confirmed_s or 0.0)), 1)

    def _snapshot(self, now_s: float) -> dict[str, Any]:
        return {
            "type": "snapshot",
            "contest": self.contest,
            "number": self.number,
            "totals": self.totals,
            "total": sum(self.totals.values()),
            "age_s": self._age_s(now_s),
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

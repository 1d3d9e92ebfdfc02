"""Tumbling windows and the vote counts of each; pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from schemas.votes import Kind, Vote

# A plain integer: to compare with a member of an enum costs more than to count.
_LAW: Final = int(Kind.LAW)


class Windows:
    """Assigns votes to tumbling windows by ingest time.

    The ranges are those of `faust.windows.TumblingWindow`, in whole milliseconds. Faust counts
    windows since 1970 in 32 bits: windows narrower than 0.83 s overflow today (Faust then lists
    every window since 1970), those of 1 s in 2038.

    Args:
        window_ms: width in milliseconds.
    """

    def __init__(self, window_ms: int) -> None:
        self.window_ms = window_ms

    def start_ms(self, ingest_ms: int) -> int:
        """Start of the window of a moment, in Unix milliseconds."""
        return ingest_ms - ingest_ms % self.window_ms


@dataclass
class Deltas:
    """What a set of counted votes adds to the results."""

    laws: Counter[tuple[str, str]] = field(default_factory=Counter)
    """By (law id, choice)."""
    contests: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Votes that were added, by (contest, choice); laws are contests too."""
    taken_back: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Votes that others replace, by (contest, choice)."""
    windows: Counter[tuple[str, str, int]] = field(default_factory=Counter)
    """By (contest, choice, window start in milliseconds)."""

    def add(self, votes: Iterable[Vote], window_start_ms: int) -> None:
        """Count the votes of one record, which all belong to one window."""
        for (kind, contest, choice), n in Counter(
            (vote.kind, vote.contest, vote.choice) for vote in votes
        ).items():
            if kind == _LAW:
                self.laws[contest, choice] += n
            self.contests[contest, choice] += n
            self.windows[contest, choice, window_start_ms] += n

    def add_weighted(self, vote: Vote, window_start_ms: int, weight: int) -> None:
        """Count one vote that does not count once."""
        if vote.kind == _LAW:
            self.laws[vote.contest, vote.choice] += weight
        self.contests[vote.contest, vote.choice] += weight
        self.windows[vote.contest, vote.choice, window_start_ms] += weight

    def take_back(self, contest: str, choice: str, window_start_ms: int, weight: int) -> None:
        """Take back a vote that another replaces; the last vote never counts in laws."""
        self.taken_back[contest, choice] += weight
        self.windows[contest, choice, window_start_ms] -= weight

    def totals(self) -> Counter[tuple[str, str]]:
        """The change of each total."""
        if not self.taken_back:
            return self.contests
        changed = self.contests.copy()
        changed.subtract(self.taken_back)
        return changed

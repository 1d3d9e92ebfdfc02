"""Tumbling windows and the vote counts of each; pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from schemas.votes import Kind, Vote


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
    """By (contest, choice); laws are contests too."""
    windows: Counter[tuple[str, str, int]] = field(default_factory=Counter)
    """By (contest, choice, window start in milliseconds)."""

    def add(self, votes: Iterable[Vote], window_start_ms: int) -> None:
        """Count the votes of one record, which all belong to one window."""
        for (kind, contest, choice), n in Counter(
            (vote.kind, vote.contest, vote.choice) for vote in votes
        ).items():
            if kind == Kind.LAW:
                self.laws[contest, choice] += n
            self.contests[contest, choice] += n
            self.windows[contest, choice, window_start_ms] += n

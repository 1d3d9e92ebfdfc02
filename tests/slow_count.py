"""An instant run-off that shares nothing with the product: every ballot again in every round."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any


def slow_runoff(
    candidates: Sequence[str], ballots: Sequence[Sequence[str]], lot: str
) -> list[dict[str, Any]]:
    """One dictionary a round: `votes`, `exhausted`, `won` (a list), `lost`."""
    history: list[dict[str, int]] = []
    told: list[dict[str, Any]] = []
    out: set[str] = set()
    cast = [ballot for ballot in ballots if any(name in candidates for name in ballot)]
    while cast:
        tops = [next((n for n in b if n in candidates and n not in out), "") for b in cast]
        votes = {name: tops.count(name) for name in candidates if name not in out}
        winners = [name for name, n in votes.items() if n * 2 > len(tops) - tops.count("")]
        loser = ""
        if not winners:

            def fate(name: str, votes: dict[str, int] = votes) -> tuple[object, ...]:
                earlier = [before[name] for before in reversed(history)]
                drawn = hashlib.sha256(f"{lot}{name}".encode()).hexdigest()
                return (votes[name], *earlier, drawn)

            loser = min(votes, key=fate)
        told.append(
            {"votes": votes, "exhausted": tops.count(""), "won": winners, "lost": loser or None}
        )
        history.append(votes)
        if winners:
            return told
        out.add(loser)
    return told

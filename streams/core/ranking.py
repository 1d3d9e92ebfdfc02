"""Rankings: a ballot's candidates in order of preference, in the one text that a choice is.

A ranking is written as `7>42>3`, most preferred first. A single candidate is a ranking of one, so
the votes of both methods are told by the same field everywhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

SEPARATOR: Final = ">"

MAX_RANKING_BYTES: Final = 1024
"""In UTF-8. PostgreSQL indexes texts of no more than about 2,700 bytes."""

Ranking = tuple[str, ...]
"""Candidates, most preferred first; none twice."""


def written(candidates: Sequence[str]) -> str:
    """The choice that says a ranking.

    Raises:
        ValueError: it has nobody, somebody twice, an id that cannot be written, or too many.
    """
    if not candidates or len(set(candidates)) < len(candidates):
        raise ValueError("a ranking has at least one candidate, and none twice")
    if any(not each or SEPARATOR in each for each in candidates):
        raise ValueError(f"a candidate's id is empty or has a {SEPARATOR}")
    text = SEPARATOR.join(candidates)
    if len(text.encode()) > MAX_RANKING_BYTES:
        raise ValueError(f"longer than {MAX_RANKING_BYTES} bytes")
    return text


def read(choice: str) -> Ranking:
    """The ranking that a choice says; somebody who comes again is left out the second time."""
    return tuple(dict.fromkeys(part for part in choice.split(SEPARATOR) if part))


def first(choice: str) -> str:
    """The most preferred candidate of a choice."""
    return choice.partition(SEPARATOR)[0]

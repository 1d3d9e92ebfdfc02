"""Rankings: a ballot's candidates in order of preference, as the text of a choice.

The text is `7>42>3`, most preferred first. A single candidate is a ranking of one, so the same
field holds the votes of both methods.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

SEPARATOR: Final = ">"

MAX_RANKING_BYTES: Final = 1024
"""In UTF-8. PostgreSQL indexes texts of no more than about 2,700 bytes."""

Ranking = tuple[str, ...]
"""Candidates, most preferred first, without repetition."""


def to_text(candidates: Sequence[str]) -> str:
    """The choice for a ranking.

    Raises:
        ValueError: it is empty or too long, repeats a candidate, or has an invalid id.
    """
    if not candidates or len(set(candidates)) < len(candidates):
        raise ValueError("a ranking has at least one candidate, and none twice")
    if any(not each or SEPARATOR in each for each in candidates):
        raise ValueError(f"a candidate's id is empty or has a {SEPARATOR}")
    text = SEPARATOR.join(candidates)
    if len(text.encode()) > MAX_RANKING_BYTES:
        raise ValueError(f"longer than {MAX_RANKING_BYTES} bytes")
    return text


def from_text(choice: str) -> Ranking:
    """The ranking of a choice; repetitions of a candidate are left out."""
    return tuple(dict.fromkeys(part for part in choice.split(SEPARATOR) if part))


def first_choice(choice: str) -> str:
    """The most preferred candidate of a choice."""
    return choice.partition(SEPARATOR)[0]

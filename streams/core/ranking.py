"""Ranked ballots as they were marked, as the text of a choice.

The text has a part for each rank, the most preferred first: `7>42>3`. `7=42>3` marks two candidates
at the first rank, `7>>3` skips the second, and `>` is a ballot without a mark. `=` alone at a rank
is an over-vote whose candidates the source does not name. A candidate can stand at several ranks.
What such marks mean is a matter of the election's rules, in the count; a single candidate is a
ranking of one, so the same field holds the votes of both methods.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

SEPARATOR: Final = ">"
"""Between ranks."""
TOGETHER: Final = "="
"""Between candidates at one rank."""
OVERVOTE: Final = TOGETHER
"""A rank with several candidates whom the source does not name."""
BLANK: Final = SEPARATOR
"""The choice of a ballot without a mark."""

MAX_RANKING_BYTES: Final = 1024
"""In UTF-8. PostgreSQL indexes texts of no more than about 2,700 bytes."""

Ranking = tuple[str, ...]
"""The text of each rank, most preferred first: a candidate, several, or nothing."""


def to_text(ranks: Iterable[str | Sequence[str]]) -> str:
    """The choice for a ballot as it was marked.

    Args:
        ranks: the candidate or the candidates marked at each rank, most preferred first.

    Raises:
        ValueError: the text would be too long, or an id is not possible in it.
    """
    text = SEPARATOR.join(_rank(each) for each in ranks).rstrip(SEPARATOR) or BLANK
    if len(text.encode()) > MAX_RANKING_BYTES:
        raise ValueError(f"longer than {MAX_RANKING_BYTES} bytes")
    return text


def _rank(marked: str | Sequence[str]) -> str:
    if not isinstance(marked, str):
        return (
            OVERVOTE if OVERVOTE in marked else TOGETHER.join(map(_candidate, sorted(set(marked))))
        )
    return marked if marked == OVERVOTE else _candidate(marked)


def _candidate(text: str) -> str:
    if not text or SEPARATOR in text or TOGETHER in text:
        raise ValueError(f"a candidate's id is empty or has a {SEPARATOR} or {TOGETHER}")
    return text


def from_text(choice: str) -> Ranking:
    """The ranks of a choice; none for a blank ballot."""
    text = choice.rstrip(SEPARATOR)
    return tuple(text.split(SEPARATOR)) if text else ()


def marked_at(rank: str) -> list[str]:
    """The candidates marked at a rank."""
    return rank.split(TOGETHER) if rank and rank != OVERVOTE else []


def marked_in(choice: str) -> list[str]:
    """All marks of a choice, most preferred first; a candidate with two marks is there twice."""
    return [each for rank in from_text(choice) for each in marked_at(rank)]


def first_choice(choice: str) -> str:
    """The most preferred candidate of a choice; several are joined, a blank ballot has none."""
    return choice.lstrip(SEPARATOR).partition(SEPARATOR)[0]

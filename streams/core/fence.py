"""The decision which verdict batches a flush applies: behind the fence, in order, once. Pure."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from schemas.control import Control
from schemas.votes import Vote, VoteBatch
from streams.core.records import VerdictEvent
from streams.core.rows import (
    RejectedItem,
)


@dataclass
class FlushResult:
    """What a committed flush did."""

    counted: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Counted votes by (contest, choice)."""
    totals: dict[tuple[str, str], int] = field(default_factory=dict)
    """All votes of those (contest, choice), as committed."""
    rejected: int = 0
    replays: int = 0
    """Verdict batches at or below the fence."""
    surplus: int = 0


@dataclass(eq=False)
class Gap(Exception):
    """Verdict batches between the fence and an event are missing.

    Attributes:
        partition: partition of `votes.validated`.
        start: first offset of `votes.validated` that was not applied.
        end: offset of the event.
    """

    partition: int
    start: int
    end: int


@dataclass
class _Fence:
    log_id: bytes
    source_offset: int
    validated_offset: int
    committed_offset: int
    """`validated_offset` before this flush."""
    epoch: int


@dataclass
class _Work:
    """What a flush writes, after the fence has dropped what is known."""

    accepted: list[tuple[VerdictEvent, VoteBatch, list[tuple[int, Vote]]]] = field(
        default_factory=list
    )
    rejected: list[RejectedItem] = field(default_factory=list)
    controls: list[Passed] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Passed:
    """A control record that a flush has come to."""

    partition: int
    log_id: bytes
    offset: int
    """In the input log."""
    control: Control

"""What a figure of the bench is, and what it is given to run on."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from streams.devstack import Stack
from streams.devstack.rabbitmq import QueueType

Found = dict[str, Any]
"""What was measured, ready for JSON."""


@dataclass(frozen=True)
class Run:
    """One run of the bench."""

    stack: Stack
    """Is up; a figure may wipe it."""
    directory: Path
    """For logs and scratch files; goes when the bench ends."""
    say: Callable[[str], None]
    """Tells what is going on."""
    quick: bool
    """Small numbers: does it work at all?"""
    long: bool
    """All sizes, however long they take."""
    votes: int
    rate_per_s: int
    seconds: int
    warm_up_s: int
    workers: int
    queue_type: QueueType = "classic"
    """Of the stack."""
    cwd: Path | None = None
    """Tree whose programs run; this one, unless given."""
    queue: Mapping[str, Any] | None = None
    """Arguments of `votes.validation`; by default the bridge declares it."""


class Row(NamedTuple):
    """A line of the table for people."""

    figure: str
    found: str
    goal: str = ""


@dataclass(frozen=True)
class Figure:
    """Something to measure, under the name that `--only` takes."""

    name: str
    measure: Callable[[Run], Awaitable[Found]]
    rows: Callable[[Found], list[Row]]
    usual: bool = True
    """Measured when nothing is named."""

"""Adapter: the stretches of `counted_votes`, of which only the last one is written."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import asyncpg
import structlog

log = structlog.get_logger(__name__)

STRETCH_VOTES: Final = 1_000_000
"""Votes after which the next stretch is opened."""
_STATE: Final = "SELECT * FROM stretch_state()"
_OPEN_NEXT: Final = "SELECT open_next_stretch($1, $2)"
_SUM_UP: Final = "SELECT sum_up_stretch($1)"


@dataclass(frozen=True, slots=True)
class StretchState:
    """What a transaction that counts votes knows of the stretches."""

    open_stretch: int
    """The one that it writes; it stays open until the transaction ends."""
    first_stretch: int
    begun: int
    """Another number after all stretches were replaced."""
    filtered: int
    """Stretches that have filters."""
    stretch_votes: int
    """Of the open one."""


async def open_next(connection: Any, state: StretchState, votes: int) -> bool | None:
    """Open the next stretch if the open one has some votes, outside of a transaction.

    Returns:
        Whether it was opened; None if a writer takes long.
    """
    try:
        opened = await connection.fetchval(_OPEN_NEXT, state.open_stretch, votes)
    except (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError):
        return None
    if opened:
        log.info("a stretch of votes is opened", stretch=state.open_stretch + 1)
    return bool(opened)


async def open_next_stretch(connection: Any) -> bool:
    """Open the next stretch, however few votes the open one has."""
    return bool(await open_next(connection, await read_state(connection), 0))


async def sum_up(connection: Any, stretch: int) -> bool:
    """Have the index of the time know all votes of a stretch, outside of a transaction.

    Returns:
        Whether it does; not while autovacuum works on the stretch.
    """
    return bool(await connection.fetchval(_SUM_UP, stretch))


async def read_state(connection: Any) -> StretchState:
    """The stretches as they are now."""
    return state_of(await connection.fetchrow(_STATE))


def state_of(row: Any) -> StretchState:
    """From a row that has the columns of `stretch_state()`."""
    return StretchState(*(row[name] for name in StretchState.__slots__))

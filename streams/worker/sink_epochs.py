"""Fences and epochs of the database: an epoch begins with empty results."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from streams.adapters.postgres import statements
from streams.core.records import VerdictEvent


async def open_epoch(connection: Any, epoch: int) -> None:
    """Empty the results for an epoch, in the caller's transaction as the tables' owner.

    No flush runs meanwhile, and later flushes void items of earlier epochs.
    """
    await stop_flushes(connection)
    await begin_epoch(connection, epoch)


async def stop_flushes(connection: Any) -> None:
    """Wait for every other flush, and let none begin before this transaction ends."""
    await connection.execute(statements.LOCK_EPOCH)
    await connection.execute(statements.LOCK_ALL_FENCES)


async def begin_epoch(connection: Any, epoch: int) -> None:
    """Empty the results while no flush runs."""
    await connection.execute(statements.EMPTY_RESULTS)
    await connection.execute(statements.FORGET_STRETCHES)
    if await connection.fetchval(statements.HAS_TEXT):
        await connection.execute(statements.EMPTY_TEXT)
    await connection.execute(statements.OPEN_EPOCH, epoch)


async def make_fences(connection: Any, events: Sequence[VerdictEvent]) -> None:
    """Create missing fences, while no epoch is opened, so that all belong to one epoch."""
    log_ids = {event.verdicts.partition: event.verdicts.log_id for event in events}
    partitions = sorted(log_ids)
    async with connection.transaction():
        await connection.execute(statements.LOCK_EPOCH)
        await connection.execute(statements.NEW_FENCE, partitions, [log_ids[p] for p in partitions])

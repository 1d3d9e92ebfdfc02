"""Copies rows of the old system into the staging tables."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import Final

import asyncpg

from streams.adopt.statements import SCHEMA

LONG_S: Final = 24 * 3600.0
"""Statements over millions of rows take longer than the usual timeout."""

_QUEUE: Final = 64

_TABLES: Final[dict[str, tuple[str, ...]]] = {
    "audit": (
        *("hash", "kind", "contest", "choice", "status", "at", "citizen", "metadata", "extra"),
        *("unranked", "origin"),
    ),
    "duplicates": (
        *("hash", "kind", "contest", "stated", "choice", "at", "citizen", "attempts", "extra"),
    ),
    "totals": ("kind", "contest", "choice", "votes"),
    "poll_cards": (
        *("id", "title", "description", "creator_name", "created_at", "ends_at", "active"),
    ),
    "poll_choices": ("poll", "number", "text"),
    "poll_votes": ("origin", "poll", "option", "name", "at"),
}


async def copy(
    source: asyncpg.Connection, target: asyncpg.Connection, query: str, table: str
) -> None:
    """Copy the rows of a query into a staging table."""
    chunks: asyncio.Queue[bytes | None] = asyncio.Queue(_QUEUE)

    async def read() -> None:
        try:
            await source.copy_from_query(query, output=chunks.put, format="binary", timeout=LONG_S)
        finally:
            await chunks.put(None)

    async def arriving() -> AsyncIterator[bytes]:
        while (chunk := await chunks.get()) is not None:
            yield chunk

    reading = asyncio.create_task(read())
    try:
        await target.copy_to_table(
            table,
            schema_name=SCHEMA,
            columns=_TABLES[table],
            source=arriving(),
            format="binary",
            timeout=LONG_S,
        )
        await reading
    finally:
        reading.cancel()
        await asyncio.wait([reading])


async def put(target: asyncpg.Connection, table: str, rows: Iterable[tuple[object, ...]]) -> None:
    """Write rows into a staging table."""
    await target.copy_records_to_table(table, schema_name=SCHEMA, records=list(rows))

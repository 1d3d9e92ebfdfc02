"""Copy the old system's data next to Scrutin's tables, and plan the items for the log."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Sequence
from typing import Any, Final

import asyncpg
from redis.asyncio import Redis

from streams.adapters.redis.client import batches, redis_errors
from streams.adapters.redis.keys import COUNTER_PREFIX, VOTED_HASHES
from streams.adopt import statements as sql
from streams.adopt.accounts import Account, UnknownTable, accounts
from streams.adopt.dialects import DUPLICATES, KNOWN, Columns, Dialect
from streams.adopt.findings import Finding, findings
from streams.core.keys import ELECTION_PREFIX, normalise_hash

LONG_S: Final = 24 * 3600.0
"""Statements over millions of rows take longer than the usual timeout."""

_CHUNK: Final = 5_000
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
}

Step = Callable[[str], None]
"""Called with the name of the next step."""


async def columns(connection: asyncpg.Connection, schema: str) -> dict[str, Columns]:
    """The tables in a schema that an adoption reads, with their columns' types."""
    rows = await connection.fetch(
        "SELECT table_name::text AS t, column_name::text AS c, data_type::text AS d"
        " FROM information_schema.columns WHERE table_schema = $1 AND table_name = ANY($2)",
        schema,
        list(KNOWN),
    )
    tables: dict[str, dict[str, str]] = {}
    for row in rows:
        tables.setdefault(row["t"], {})[row["c"]] = row["d"]
    return dict(tables)


async def stage(
    source: asyncpg.Connection,
    target: asyncpg.Connection,
    dialect: Dialect,
    redis: Redis | None,
    step: Step,
    *,
    default_election: str,
) -> None:
    """Copy tables and keys, classify the rows and plan the items; in a transaction of `target`.

    Args:
        source: to the old system's database, within a transaction.
        target: to Scrutin's database.
        dialect: of the old tables.
        redis: the old system's; None to skip it.
        step: called with the name of the next step.
        default_election: election of candidate votes that name none.

    Raises:
        ServiceUnavailable: Redis does not answer.
    """
    await target.execute(sql.CREATE)
    duplicates = {} if dialect.duplicates is None else {DUPLICATES: dialect.duplicates}
    for table, queries in (
        ("audit", dialect.votes),
        ("duplicates", duplicates),
        ("totals", dialect.totals),
    ):
        for old, query in queries.items():
            step(f"copying {old}")
            await _copy(source, target, query, table)
    contests = await _possible(source, dialect, default_election)
    await _put(target, "possible", contests)
    if redis is not None:
        step("copying Redis")
        await _copy_redis(redis, target)
    step("sorting")
    await target.execute(sql.SORT, timeout=LONG_S)
    step("planning")
    await target.execute(sql.PLAN, timeout=LONG_S)


async def assess(
    target: asyncpg.Connection,
    more: dict[str, int],
    rows: dict[str, int],
    totals: Collection[str],
    unknown: Sequence[UnknownTable],
    *,
    with_redis: bool,
) -> tuple[dict[str, int], list[dict[str, Any]], list[Account], list[Finding]]:
    """Figures, votes by contest and choice, accounts and findings; in the staging transaction.

    Args:
        target: to Scrutin's database, with the search path that staging set.
        more: figures from other sources.
        rows: table that was read -> rows in the source.
        totals: those of them that hold totals.
        unknown: tables that were not read and may hold votes.
        with_redis: whether Redis was read.
    """
    row = await target.fetchrow(sql.FACTS, timeout=LONG_S)
    assert row is not None
    facts = {**dict(row), **more}
    if not with_redis:
        facts["votes_not_in_redis"] = facts["counters_differ"] = 0
    by_choice = [dict(row) for row in await target.fetch(sql.BY_CHOICE, timeout=LONG_S)]
    outcomes = [
        dict(row)
        for query in (sql.VOTE_ROWS, sql.DUPLICATE_ROWS, *([sql.REDIS_KEYS] if with_redis else []))
        for row in await target.fetch(query, timeout=LONG_S)
    ]
    outcomes += [{"source": t, "outcome": "compared", "rows": rows[t]} for t in totals]
    account = accounts(rows, outcomes)
    return facts, by_choice, account, findings(facts, by_choice, account, unknown)


async def _possible(
    source: asyncpg.Connection, dialect: Dialect, default_election: str
) -> list[tuple[int, str]]:
    """Contests of the old system, beside those of its votes: kind and contest.

    All laws are one contest for a voter of whom only the hash is known.
    """
    elections: list[tuple[int, str]] = []
    if dialect.elections is not None:
        elections = [(1, row["contest"]) for row in await source.fetch(dialect.elections)]
    if dialect.candidates or default_election:
        elections.append((1, f"{ELECTION_PREFIX}{default_election}"))
    return elections + ([(0, "")] if dialect.laws or not elections else [])


async def _copy(
    source: asyncpg.Connection, target: asyncpg.Connection, query: str, table: str
) -> None:
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
            schema_name=sql.SCHEMA,
            columns=_TABLES[table],
            source=arriving(),
            format="binary",
            timeout=LONG_S,
        )
        await reading
    finally:
        reading.cancel()
        await asyncio.wait([reading])


async def _copy_redis(redis: Redis, target: asyncpg.Connection) -> None:
    async with redis_errors("read who has voted"):
        async for members in batches(redis.sscan_iter(VOTED_HASHES, count=_CHUNK), _CHUNK):
            await _put(target, "voted", ((normalise_hash(_text(m)),) for m in members))
        async for names in batches(redis.scan_iter(f"{COUNTER_PREFIX}*", count=_CHUNK), _CHUNK):
            await _put_counters(redis, target, [_text(name) for name in names])


async def _put_counters(redis: Redis, target: asyncpg.Connection, names: list[str]) -> None:
    values = [_text(value or "") for value in await redis.mget(names)]
    await _put(
        target,
        "counters",
        (
            (normalise_hash(name.removeprefix(COUNTER_PREFIX)), int(value))
            for name, value in zip(names, values, strict=True)
            if value.isdecimal() and int(value) > 0
        ),
    )


async def _put(target: asyncpg.Connection, table: str, rows: Iterable[tuple[object, ...]]) -> None:
    await target.copy_records_to_table(table, schema_name=sql.SCHEMA, records=list(rows))


def _text(value: str | bytes) -> str:
    text = value if isinstance(value, str) else value.decode("utf-8", "replace")
    # PostgreSQL cannot store NUL in text.
    return text.replace("\0", "\ufffd")

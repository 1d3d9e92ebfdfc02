"""Copy the old system's data next to Scrutin's tables, and plan the items for the log."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Final

import asyncpg
from redis.asyncio import Redis

from streams.adapters.redis.client import batches, redis_errors
from streams.adapters.redis.keys import COUNTER_PREFIX, VOTED_HASHES
from streams.adopt import statements as sql
from streams.adopt.accounts import Account, UnknownTable, accounts
from streams.adopt.copying import LONG_S, copy, put
from streams.adopt.dialects import DUPLICATES, KNOWN, Columns, Dialect
from streams.adopt.findings import Finding, findings
from streams.adopt.polls import VoteService, stage_polls
from streams.core.keys import ELECTION_PREFIX, normalise_hash

_CHUNK: Final = 5_000

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
    schema: str,
    logs: Mapping[str, VoteService],
    secret: str,
    default_election: str,
) -> dict[str, dict[str, int]]:
    """Copy tables and keys, classify the rows and plan the items; in a transaction of `target`.

    Args:
        source: to the old system's database, within a transaction.
        target: to Scrutin's database.
        dialect: of the old tables.
        redis: the old system's; None to skip it.
        step: called with the name of the next step.
        schema: of the old tables.
        logs: the tables of votes in polls, and where each is.
        secret: `SCRUTIN_SECRET`.
        default_election: election of candidate votes that name none.

    Returns:
        Outcomes of polls, by source.

    Raises:
        ScrutinError: there are polls and no secret, or their numbers are in use.
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
            await copy(source, target, query, table)
    contests = await _possible(source, dialect, default_election)
    await put(target, "possible", contests)
    if redis is not None:
        step("copying Redis")
        await _copy_redis(redis, target)
    outcomes: dict[str, dict[str, int]] = {}
    if dialect.polls:
        step("copying polls")
        outcomes = await stage_polls(source, target, schema, logs=logs, redis=redis, secret=secret)
    step("sorting")
    await target.execute(sql.SORT, timeout=LONG_S)
    step("planning")
    await target.execute(sql.PLAN, timeout=LONG_S)
    return outcomes


async def assess(
    target: asyncpg.Connection,
    more: dict[str, int],
    rows: dict[str, int],
    totals: Collection[str],
    unknown: Sequence[UnknownTable],
    *,
    others: Mapping[str, Mapping[str, int]],
    with_redis: bool,
) -> tuple[dict[str, int], list[dict[str, Any]], list[Account], list[Finding]]:
    """Figures, votes by contest and choice, accounts and findings; in the staging transaction.

    Args:
        target: to Scrutin's database, with the search path that staging set.
        more: figures from other sources.
        rows: table that was read -> rows in the source.
        totals: those of them that hold totals.
        unknown: tables that were not read and may hold votes.
        others: outcomes that staging returned.
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
    outcomes += [
        {"source": source, "outcome": outcome, "rows": count}
        for source, found in others.items()
        for outcome, count in found.items()
    ]
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


async def _copy_redis(redis: Redis, target: asyncpg.Connection) -> None:
    async with redis_errors("read who has voted"):
        async for members in batches(redis.sscan_iter(VOTED_HASHES, count=_CHUNK), _CHUNK):
            await put(target, "voted", ((normalise_hash(_text(m)),) for m in members))
        async for names in batches(redis.scan_iter(f"{COUNTER_PREFIX}*", count=_CHUNK), _CHUNK):
            await _put_counters(redis, target, [_text(name) for name in names])


async def _put_counters(redis: Redis, target: asyncpg.Connection, names: list[str]) -> None:
    values = [_text(value or "") for value in await redis.mget(names)]
    await put(
        target,
        "counters",
        (
            (normalise_hash(name.removeprefix(COUNTER_PREFIX)), int(value))
            for name, value in zip(names, values, strict=True)
            if value.isdecimal() and int(value) > 0
        ),
    )


def _text(value: str | bytes) -> str:
    text = value if isinstance(value, str) else value.decode("utf-8", "replace")
    # PostgreSQL cannot store NUL in text.
    return text.replace("\0", "\ufffd")

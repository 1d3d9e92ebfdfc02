"""The databases of the old system, and what is found in them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

import asyncpg

from streams.adapters.postgres.connection import connected
from streams.adopt import moving
from streams.adopt.dialects import (
    AUDIT,
    ELECTION_RESULTS,
    ELECTION_VOTES,
    POLL_COLUMNS,
    VOTE_LOG,
    Columns,
)
from streams.adopt.polls import VoteService
from streams.adopt.staging import columns
from streams.errors import ScrutinError
from streams.settings.configs import PostgresConfig


@dataclass(frozen=True)
class OldSystem:
    """Location of the old system."""

    postgres: PostgresConfig
    schema: str = "public"
    redis: bool = True
    """Whether its Redis is read."""
    vote_service: PostgresConfig | None = None
    """Database of the vote service that belongs to polls, if it is another one."""
    vote_schema: str = "public"


def same_database(one: PostgresConfig, other: PostgresConfig) -> bool:
    """Whether two addresses are of one database."""
    return (one.host, one.port, one.database) == (other.host, other.port, other.database)


@asynccontextmanager
async def vote_service(old: OldSystem) -> AsyncIterator[VoteService | None]:
    """A snapshot of the vote service's database, if it is another one."""
    if old.vote_service is None:
        yield None
        return
    async with (
        connected(old.vote_service) as connection,
        connection.transaction(isolation="repeatable_read", readonly=True),
    ):
        found = await columns(connection, old.vote_schema)
        if not POLL_COLUMNS[VOTE_LOG] <= found.get(VOTE_LOG, {}).keys():
            raise ScrutinError(
                f"There is no table {VOTE_LOG} with {', '.join(sorted(POLL_COLUMNS[VOTE_LOG]))}",
                where={"database": old.vote_service.database, "schema": old.vote_schema},
                todo="Name the database of the vote service with --vote-service",
            )
        yield VoteService(connection, old.vote_schema)


async def inspect_tables(
    source: asyncpg.Connection,
    target: asyncpg.Connection,
    old: OldSystem,
    *,
    here: bool,
    occupied: bool,
) -> tuple[dict[str, Columns], list[str]]:
    """Columns of the old tables and relations to move; locks tables in Scrutin's database.

    Raises:
        ScrutinError: the tables in question are Scrutin's own.
    """
    if here and old.schema == "public" and not occupied:
        raise ScrutinError(
            "The tables in this schema are Scrutin's own",
            where={"database": old.postgres.database, "schema": old.schema},
            todo="Name the database and schema of the old system with --from-database and"
            " --from-schema",
        )
    found = await columns(source, old.schema)
    if here:
        await target.execute("SET LOCAL lock_timeout = '10s'")
        for table in found:
            await target.execute(f'LOCK TABLE "{old.schema}"."{table}" IN SHARE MODE')
    return found, await moving.standing(target) if occupied else []


def reader_schemas(tables: Mapping[str, Columns], *, accepted: bool) -> list[str]:
    """Schemas with views that show readers the columns of these tables.

    Args:
        tables: of the old system.
        accepted: whether the status of counted rows in its audit is `accepted`.
    """
    schemas = []
    if (audit := tables.get(AUDIT)) is not None:
        if "vote" in audit:
            schemas.append("reader_api" if accepted else "reader_voting")
        else:
            schemas.append("reader_validation" if "voter_hash" in audit else "reader_aggregation")
    if ELECTION_VOTES in tables or ELECTION_RESULTS in tables:
        schemas.append("reader_elections")
    return schemas

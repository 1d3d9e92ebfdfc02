"""Archive what belongs to another log than the present one, so that a new count can begin."""

from __future__ import annotations

import re
from contextlib import aclosing
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

import asyncpg

from schemas.codec import DecodeError, decode_verdicts, decode_voted
from schemas.genesis import Genesis
from streams.adapters.kafka.admin import delete_topic, ensure_topics
from streams.adapters.kafka.view import LogView, Record
from streams.adapters.postgres import statements
from streams.adapters.postgres.connection import connected
from streams.adapters.postgres.migrations import migrate, migrations, reader_schemas
from streams.adapters.redis.client import redis_client
from streams.core.topics import VALIDATED_TOPIC, VALIDATION_TOPIC, WINDOWS_TOPIC, changelog_topic
from streams.errors import ScrutinError
from streams.maintenance.mirror import rebuild
from streams.settings.configs import DeploymentConfig

_STRETCHES: Final = """
SELECT relid::regclass::text AS name FROM pg_partition_tree(to_regclass('counted_votes'))
"""
"""Tables of counted votes; most are made while votes are counted."""
_CREATED: Final = re.compile(r"^CREATE (TABLE|VIEW) (\w+)", re.MULTILINE)


@dataclass
class ArchiveReport:
    """What was archived."""

    schema: str = ""
    """Schema that holds the tables of the old count; empty if none were moved."""
    tables: list[str] = field(default_factory=list)
    topics: list[str] = field(default_factory=list)
    """Topics of the old log that were emptied."""
    voters: int = 0
    """Members of the mirror, rebuilt from the present log."""

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


async def archive_other_log(config: DeploymentConfig, *, dry_run: bool) -> ArchiveReport:
    """Move the tables of another log to an archive schema, and empty the topics derived from it.

    The present log stays with its votes; so does the roll. Neither worker nor bridge may run.

    Args:
        config: of this deployment.
        dry_run: report only, change nothing.

    Raises:
        ScrutinError: everything found belongs to the present log.
        ServiceUnavailable: a service does not answer.
    """
    servers = config.kafka.servers
    genesis = await ensure_topics(config.kafka)
    outcome = ArchiveReport()
    if config.sinks:
        async with connected(config.postgres) as connection:
            await _move_tables(connection, genesis, outcome, dry_run=dry_run)
    outcome.topics = await _foreign_topics(config, genesis)
    if outcome.tables:
        outcome.topics.append(WINDOWS_TOPIC)
    async with LogView(servers) as view:
        spans = await view.spans(VALIDATION_TOPIC)
    new = all(span.end <= 1 for span in spans.values())
    if not outcome.tables and not outcome.topics and not new:
        raise ScrutinError(
            "Everything here belongs to the present log",
            where={"topic": VALIDATION_TOPIC},
            todo=f"For a new count stop everything, delete the topic {VALIDATION_TOPIC}, and"
            " run this again",
        )
    if dry_run:
        return outcome
    for topic in outcome.topics:
        await delete_topic(servers, topic)
    await ensure_topics(config.kafka)
    async with aclosing(redis_client(config.redis)) as redis, LogView(servers) as view:
        outcome.voters = (await rebuild(view, redis))["voters"]
    return outcome


def created_relations(migration: str) -> list[tuple[str, str]]:
    """(`TABLE` or `VIEW`, name) of every relation that a migration creates."""
    return [(kind, name) for kind, name in _CREATED.findall(migration)]


async def _move_tables(
    connection: asyncpg.Connection,
    genesis: dict[int, Genesis],
    outcome: ArchiveReport,
    *,
    dry_run: bool,
) -> None:
    # The second is what is left of an earlier version's `vote_audit`.
    created = [("TABLE", "schema_migrations"), ("TABLE", "vote_audit_text")]
    for migration in migrations():
        created += created_relations(migration.statements)
    present = [
        (kind, name)
        for kind, name in dict.fromkeys(created)
        if await connection.fetchval("SELECT to_regclass($1) IS NOT NULL", name)
    ]
    present += [
        ("TABLE", row["name"])
        for row in await connection.fetch(_STRETCHES)
        if ("TABLE", row["name"]) not in present
    ]
    if not await _is_foreign(connection, {name for _, name in present}, genesis):
        return
    outcome.tables = [name for _, name in present]
    outcome.schema = f"archive_{datetime.now(UTC):%Y%m%d_%H%M%S}"
    if dry_run:
        return
    async with connection.transaction():
        await connection.execute(f"CREATE SCHEMA {outcome.schema}")
        for kind, name in present:
            await connection.execute(f"ALTER {kind} {name} SET SCHEMA {outcome.schema}")
        # Their views show the tables that were moved, and an early migration of some cannot
        # replace a later one.
        for schema in reader_schemas():
            await connection.execute(f"DROP SCHEMA IF EXISTS {schema} CASCADE")
    await migrate(connection)


async def _is_foreign(
    connection: asyncpg.Connection, present: set[str], genesis: dict[int, Genesis]
) -> bool:
    """Whether the tables hold the count of another log than the present one."""
    if "sink_offsets" in present:
        rows = await connection.fetch(statements.READ_OFFSETS)
        if rows:
            return any(
                row["partition"] not in genesis or row["log_id"] != genesis[row["partition"]].log_id
                for row in rows
            )
    if "vote_audit" not in present:
        return False
    return "sink_offsets" not in present or bool(
        await connection.fetchval("SELECT EXISTS (SELECT 1 FROM vote_audit)")
    )


async def _foreign_topics(config: DeploymentConfig, genesis: dict[int, Genesis]) -> list[str]:
    changelog = changelog_topic(config.kafka.app_id)
    readers = {
        changelog: lambda record: decode_voted(record.value or b"").log_id,
        VALIDATED_TOPIC: lambda record: decode_verdicts(record.value or b"").log_id,
    }
    found = []
    async with LogView(config.kafka.servers) as view:
        for topic, read in readers.items():
            spans = await view.spans(topic)
            for partition, first in genesis.items():
                record = await view.record_at(topic, partition, spans[partition].begin)
                if record is not None and _log_id(read, record) != first.log_id:
                    found.append(topic)
                    break
    return found


def _log_id(read: Any, record: Record) -> bytes:
    try:
        return bytes(read(record))
    except DecodeError:
        return b""

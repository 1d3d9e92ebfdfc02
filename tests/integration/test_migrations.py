"""Migrations on a real PostgreSQL."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest

from streams.adapters.postgres.migrations import is_current, migrate, migrations
from streams.devstack import Stack
from streams.errors import ExitCode, LogMismatch, SchemaNewer
from streams.settings.model import Settings
from tests.harness import database, until
from tests.integration.cli_harness import run_cli
from tests.integration.old_systems import OLD_ELECTIONS, SCHEMAS
from tests.integration.sink_harness import own_database, rows

DOCUMENTED = {
    "vote_results",
    "contest_results",
    "vote_audit",
    "rejected_votes",
    "duplicate_attempts",
    "vote_windows",
    "vote_statistics",
    "sink_offsets",
}


@pytest.fixture
async def empty(stack: Stack) -> AsyncIterator[Settings]:
    async with own_database(stack, migrated=False) as own:
        yield own


@pytest.fixture
async def db(empty: Settings) -> AsyncIterator[asyncpg.Connection]:
    connection = await database(empty)
    yield connection
    await connection.close()


def test_each_has_a_number_of_its_own() -> None:
    versions = [m.version for m in migrations()]
    assert versions == sorted(set(versions))
    assert versions[0] == 1
    assert all(m.statements.strip() for m in migrations())


async def test_an_empty_database_gets_everything(db: asyncpg.Connection) -> None:
    applied = await migrate(db)
    assert applied == migrations()
    tables = await rows(
        db,
        "SELECT table_name::text FROM information_schema.tables WHERE table_schema = 'public'",
    )
    assert {name for (name,) in tables} >= DOCUMENTED
    assert await rows(db, "SELECT version, name FROM schema_migrations ORDER BY 1") == [
        (m.version, m.name) for m in migrations()
    ]


async def test_the_vote_hash_is_unique(db: asyncpg.Connection) -> None:
    """The last word: whatever goes wrong above, a voter counts once."""
    await migrate(db)
    insert = (
        "INSERT INTO vote_audit (vote_hash, voter_hash, contest, choice, timestamp,"
        " processed_timestamp, source_partition, source_offset, source_index)"
        " VALUES ('h', 'h', 'L', 'oui', now(), now(), 0, 0, 0)"
    )
    await db.execute(insert)
    with pytest.raises(asyncpg.ExclusionViolationError, match="vote_audit_vote_hash_key"):
        await db.execute(insert)


INDEXES = """
SELECT i.relname::text, a.amname::text, x.indisvalid
FROM pg_index AS x JOIN pg_class AS i ON i.oid = x.indexrelid JOIN pg_am AS a ON a.oid = i.relam
WHERE x.indrelid = 'vote_audit'::regclass AND i.relname LIKE 'idx%' ORDER BY 1
"""
NARROW = [
    ("idx_vote_audit_status", "btree", True),
    ("idx_vote_audit_timestamp", "btree", True),
    ("idx_vote_audit_voter_hash", "hash", True),
]
WIDE = """
DELETE FROM schema_migrations WHERE version = 17;
ALTER TABLE vote_audit DROP CONSTRAINT vote_audit_vote_hash_key;
ALTER TABLE vote_audit ADD CONSTRAINT vote_audit_vote_hash_key UNIQUE (vote_hash);
DROP INDEX idx_vote_audit_voter_hash, idx_vote_audit_status;
CREATE INDEX idx_vote_audit_voter_hash ON vote_audit (voter_hash);
CREATE INDEX idx_vote_audit_status ON vote_audit (status);
"""
A_VOTE = """
INSERT INTO vote_audit (vote_hash, voter_hash, contest, choice, timestamp, processed_timestamp,
    source_partition, source_offset, source_index)
SELECT $1 || n, $1 || n, 'L', 'oui', now(), now(), 0, n, 0 FROM generate_series(1, $2) AS n
"""


@pytest.mark.parametrize("interrupted", [False, True])
async def test_narrower_indexes_are_built_while_votes_are_counted(
    empty: Settings, db: asyncpg.Connection, *, interrupted: bool
) -> None:
    await migrate(db)
    await db.execute(WIDE)
    await db.execute(A_VOTE, "a", 20_000)
    if interrupted:
        await db.execute("CREATE INDEX vote_audit_by_voter ON vote_audit USING hash (voter_hash)")
        await db.execute(
            "UPDATE pg_index SET indisvalid = false"
            " WHERE indexrelid = 'vote_audit_by_voter'::regclass"
        )
    writer, other, later = [await database(empty) for _ in range(3)]
    try:
        # As a sink within its transaction: the build waits for it, and stops nobody.
        transaction = writer.transaction()
        await transaction.start()
        await writer.execute(A_VOTE, "b", 10)
        migrating = asyncio.create_task(migrate(db))
        await until(lambda: builds(other), "an index is being built")
        await other.execute(A_VOTE, "c", 10)
        # Another process that starts meanwhile waits without being in the way.
        second = asyncio.create_task(migrate(later))
        await transaction.commit()
        async with asyncio.timeout(60):
            assert [m.version for m in await migrating] == [17]
            assert await second == []
        assert await rows(other, INDEXES) == NARROW
        found = await rows(other, "SELECT count(*) FROM vote_audit WHERE voter_hash = 'b7'")
        assert found == [(1,)]
    finally:
        for connection in (writer, other, later):
            await connection.close()


async def builds(connection: asyncpg.Connection) -> bool:
    return bool(
        await connection.fetchval(
            "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database()"
            " AND pid <> pg_backend_pid() AND query LIKE '%INDEX CONCURRENTLY%'"
            " AND wait_event_type = 'Lock')"
        )
    )


async def test_a_second_time_changes_nothing(db: asyncpg.Connection) -> None:
    await migrate(db)
    await db.execute("INSERT INTO vote_results (law_id, oui_count) VALUES ('L', 5)")
    assert await migrate(db) == []
    assert await db.fetchval("SELECT oui_count FROM vote_results") == 5


async def test_processes_that_start_together_migrate_once(empty: Settings) -> None:
    connections = [await database(empty) for _ in range(6)]
    try:
        applied = await asyncio.gather(*(migrate(connection) for connection in connections))
    finally:
        for connection in connections:
            await connection.close()
    assert sorted(len(a) for a in applied) == [0] * 5 + [len(migrations())]


async def test_the_lock_is_let_go(empty: Settings, db: asyncpg.Connection) -> None:
    await migrate(db)
    other = await database(empty)
    async with asyncio.timeout(60):
        await migrate(other)
    await other.close()


async def test_a_newer_database_is_refused_and_left_alone(db: asyncpg.Connection) -> None:
    await migrate(db)
    await db.execute("INSERT INTO schema_migrations (version, name) VALUES (9999, 'future')")
    with pytest.raises(SchemaNewer, match="has migration 9999; this version ends at") as caught:
        await migrate(db)
    assert caught.value.exit_code == ExitCode.SCHEMA_NEWER
    assert await db.fetchval("SELECT max(version) FROM schema_migrations") == 9999
    async with asyncio.timeout(60):
        with pytest.raises(SchemaNewer):
            await migrate(db)


async def test_a_migration_that_fails_leaves_nothing_behind(db: asyncpg.Connection) -> None:
    """A table of an older system stands where ours must go."""
    await db.execute("CREATE TABLE vote_windows (id integer)")
    with pytest.raises(LogMismatch, match='"vote_windows" already exists'):
        await migrate(db)
    assert await db.fetchval("SELECT to_regclass('schema_migrations')") is None
    assert await db.fetchval("SELECT to_regclass('vote_results')") is None
    await db.execute("DROP TABLE vote_windows")
    assert await migrate(db) == migrations()


@pytest.mark.parametrize("old", [*SCHEMAS.values(), *OLD_ELECTIONS[:1]], ids=lambda sql: sql[:40])
async def test_tables_of_every_replaced_service_are_refused_with_the_way_on(
    db: asyncpg.Connection, old: str
) -> None:
    await db.execute(old)
    with pytest.raises(LogMismatch) as caught:
        await migrate(db)
    assert "`scrutin adopt`" in caught.value.todo
    assert await db.fetchval("SELECT to_regclass('schema_migrations')") is None


async def test_processes_wait_for_the_migrations_of_their_version(
    stack: Stack, empty: Settings, db: asyncpg.Connection
) -> None:
    env = {**stack.env(), "POSTGRES_DB": empty.postgres_db}
    assert not await is_current(db)
    early = await asyncio.to_thread(run_cli, env, "migrate", "--wait", "0")
    assert early.returncode == ExitCode.SERVICE_UNAVAILABLE
    assert "has not the migrations of this version" in early.stderr
    waiting = asyncio.create_task(asyncio.to_thread(run_cli, env, "migrate", "--wait", "60"))
    await migrate(db)
    done = await waiting
    assert (done.returncode, await is_current(db)) == (ExitCode.OK, True), done.stderr

"""Migrations on a real PostgreSQL."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import asyncpg
import pytest

from streams.adapters.postgres import statements
from streams.adapters.postgres.migrations import is_current, migrate, migrations, move_votes
from streams.adapters.postgres.stretches import open_next_stretch
from streams.devstack import Stack
from streams.errors import ExitCode, LogMismatch, SchemaNewer
from streams.settings.model import Settings
from tests.harness import database, until
from tests.integration.cli_harness import run_cli
from tests.integration.old_systems import OLD_ELECTIONS, SCHEMAS
from tests.integration.sink_harness import (
    KNOWN_BY_TIME,
    NOT_SUMMED_UP,
    TWO_RANGES,
    own_database,
    rows,
)

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
    with pytest.raises(asyncpg.UniqueViolationError, match="counted already"):
        await db.execute(insert)
    with pytest.raises(asyncpg.ExclusionViolationError, match="vote_hash_key"):
        await db.execute(
            "INSERT INTO counted_votes (law, vote_text, voter_text, contest, choice, timestamp,"
            " processed_timestamp, source_partition, source_offset, source_index)"
            " VALUES (false, 'h', 'h', 'L', 'oui', now(), now(), 0, 0, 0)"
        )


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
A_VOTE = """
INSERT INTO vote_audit (vote_hash, voter_hash, contest, choice, timestamp, processed_timestamp,
    source_partition, source_offset, source_index)
SELECT $1 || n, $1 || n, 'L', 'oui', now(), now(), 0, n, 0 FROM generate_series(1, $2) AS n
"""


@pytest.mark.parametrize("interrupted", [False, True])
async def test_narrower_indexes_are_built_while_votes_are_counted(
    empty: Settings,
    db: asyncpg.Connection,
    monkeypatch: pytest.MonkeyPatch,
    *,
    interrupted: bool,
) -> None:
    as_of(monkeypatch, 16)
    await migrate(db)
    as_of(monkeypatch, 17)
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


def as_of(monkeypatch: pytest.MonkeyPatch, version: int) -> None:
    """Let the migrations end with this one."""
    known = [m for m in migrations() if m.version <= version]
    monkeypatch.setattr("streams.adapters.postgres.migrations.migrations", lambda: known)


async def migrate_to(db: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch, version: int) -> None:
    """Apply the migrations up to this one; the next call knows all again."""
    with monkeypatch.context() as earlier:
        as_of(earlier, version)
        await migrate(db)


COMPACT = ("law", "vote_key", "contest", "choice", "timestamp", "processed_timestamp")
PLACE = ("source_partition", "source_offset", "source_index")
DOCUMENTED_ROWS = "SELECT * FROM vote_audit ORDER BY id"
SHAPES = """
INSERT INTO vote_audit (vote_hash, voter_hash, citizen_id, law_id, contest, candidate_id, choice,
    timestamp, processed_timestamp, metadata, source_partition, source_offset, source_index, weight)
VALUES (repeat('ab', 32), repeat('ab', 32), 'c', 'L', 'L', NULL, 'oui', now(), now(), '{"a": 1}',
        0, 0, 0, 1),
    ('text', 'text', NULL, 'L', 'L', NULL, 'non', now(), now(), NULL, 0, 0, 1, 1),
    (repeat('cd', 32), repeat('ab', 32), '', NULL, 'election:1', 7, '7>8', now(), now(), NULL,
        0, 0, 2, 3),
    (repeat('ef', 32), 'Text', NULL, NULL, 'poll:1', 7, '7', now(), now(), NULL, 0, 0, 3, 1),
    (upper(repeat('ab', 32)), 'other', NULL, 'L', 'M', NULL, '', now(), now(), NULL, 0, 0, 4, 1)
"""


async def test_votes_of_an_earlier_version_are_moved_while_votes_are_counted(
    empty: Settings, db: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every row stays as readers see it, and no voter counts twice before, meanwhile and after."""
    await migrate_to(db, monkeypatch, 23)
    await db.execute(SHAPES)
    await db.execute(A_VOTE, "a", 25_000)
    before = await rows(db, DOCUMENTED_ROWS)
    assert [m.version for m in await migrate(db)] == [m.version for m in migrations()[23:]]
    assert await rows(db, DOCUMENTED_ROWS) == before
    writer, other = [await database(empty) for _ in range(2)]
    at = datetime(2026, 1, 1, tzinfo=UTC)
    counted = [(True, bytes.fromhex("ab" * 32), "L", "oui", at, at, 0, 1, 0)]
    try:
        with pytest.raises(asyncpg.UniqueViolationError, match="counted already"):
            await writer.copy_records_to_table(
                "counted_votes", records=counted, columns=(*COMPACT, *PLACE)
            )
        # A flush that goes on while the first rows are moved, and a worker of the earlier version.
        async with writer.transaction():
            await writer.copy_records_to_table(
                "vote_audit",
                records=[(f"b{n}", f"b{n}", "L", "oui", at, at, 0, 2, n) for n in range(10)],
                columns=("vote_hash", "voter_hash", *COMPACT[2:], *PLACE),
            )
            moving = asyncio.create_task(move_votes(db))
            await until(lambda: has_moved(other), "votes are moved")
            # The table is not dropped before the flush ends.
            await until(lambda: waits(other), "the move waits for the flush")
        async with asyncio.timeout(60):
            assert await moving == len(before)
        assert (await rows(db, DOCUMENTED_ROWS))[: len(before)] == before
        assert await db.fetchval("SELECT to_regclass('vote_audit_text')") is None
        assert await move_votes(db) == 0
        with pytest.raises(asyncpg.ExclusionViolationError):
            await writer.copy_records_to_table(
                "counted_votes", records=counted, columns=(*COMPACT, *PLACE)
            )
        assert await db.fetchval("SELECT count(*) FROM vote_audit") == len(before) + 10
    finally:
        for connection in (writer, other):
            await connection.close()


async def migrate_beside_a_writer(
    settings: Settings, db: asyncpg.Connection, votes: str, first: int
) -> None:
    """Apply the migrations from one on, while a transaction has written votes."""
    writer = await database(settings)
    try:
        async with writer.transaction():
            await writer.execute(TWO_RANGES, votes)
            async with asyncio.timeout(60):
                applied = [m.version for m in await migrate(db)]
    finally:
        await writer.close()
    assert applied == [m.version for m in migrations() if m.version >= first]


async def test_stretches_are_summed_up_while_votes_are_counted(
    empty: Settings, db: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    await migrate_to(db, monkeypatch, 27)
    for first in "abc":
        await db.execute(TWO_RANGES, first)
        assert await open_next_stretch(db)
    await migrate_beside_a_writer(empty, db, "d", 28)
    assert await db.fetchval(NOT_SUMMED_UP) == 0
    assert await rows(db, KNOWN_BY_TIME) == [
        ("counted_law_votes",),
        ("counted_law_votes_1",),
        ("counted_law_votes_2",),
    ]


async def test_autovacuum_makes_no_statistics_of_stretches(
    empty: Settings, db: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker does, when it sums up."""
    await migrate_to(db, monkeypatch, 28)
    await db.execute(TWO_RANGES, "a")
    assert await open_next_stretch(db)
    await migrate_beside_a_writer(empty, db, "b", 29)
    assert await open_next_stretch(db)
    found = await rows(
        db,
        "SELECT relname::text, reloptions FROM pg_class"
        " WHERE oid IN (SELECT relid FROM pg_partition_tree('counted_votes') WHERE isleaf)",
    )
    assert sorted(found) == [
        (f"counted_{kind}_votes_{number}", ["autovacuum_analyze_threshold=2147483647"])
        for kind in ("contest", "law")
        for number in range(3)
    ]
    assert await db.fetchval("SELECT sum_up_stretch(0::smallint)")
    assert await rows(db, KNOWN_BY_TIME) == [("counted_law_votes",)]


async def has_moved(connection: asyncpg.Connection) -> bool:
    return bool(await connection.fetchval("SELECT count(*) > 10 FROM counted_votes"))


async def waits(connection: asyncpg.Connection) -> bool:
    return bool(
        await connection.fetchval(
            "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database()"
            " AND query LIKE 'LOCK TABLE vote_audit%' AND wait_event_type = 'Lock')"
        )
    )


async def test_who_owns_the_view_may_correct_a_vote(db: asyncpg.Connection) -> None:
    """As the table could be changed: the row keeps its number."""
    await migrate(db)
    await db.execute(SHAPES)
    before = await rows(db, "SELECT id, vote_hash FROM vote_audit ORDER BY id")
    await db.execute("UPDATE vote_audit SET metadata = '{}', citizen_id = NULL WHERE weight = 3")
    after = await rows(db, "SELECT id, vote_hash FROM vote_audit ORDER BY id")
    assert after == before
    assert await rows(db, "DELETE FROM vote_audit WHERE metadata = '{}' RETURNING choice") == [
        ("7>8",)
    ]
    assert await db.fetchval("SELECT count(*) FROM vote_audit") == 4


LOOKUPS = (
    f"SELECT id FROM vote_audit WHERE vote_hash = '{'a' * 64}'",
    f"SELECT id FROM vote_audit WHERE voter_hash = '{'a' * 64}'",
    "SELECT id FROM vote_audit WHERE status <> 'accepted'",
    "SELECT id FROM vote_audit WHERE vote_timestamp > localtimestamp + interval '1 day'",
    "SELECT * FROM vote_audit ORDER BY id DESC LIMIT 10",
    # All votes there are of another partition.
    statements.LAST_OF_NEWEST.replace("$1", "7").replace("$2", "100000"),
)


async def test_readers_find_votes_by_an_index(db: asyncpg.Connection) -> None:
    await migrate(db)
    await db.execute(
        "INSERT INTO counted_votes (law, vote_key, voter_key, contest, choice, timestamp,"
        " processed_timestamp, source_partition, source_offset, source_index)"
        " SELECT k.law, sha256(n::text::bytea), sha256(n::text::bytea), 'L', 'oui',"
        " now() + n * interval '1 ms', now(), 0, n, 0"
        " FROM generate_series(1, 30000) AS n, (VALUES (true), (false)) AS k (law)"
    )
    await db.execute("VACUUM ANALYZE counted_votes")
    for query in LOOKUPS:
        plan = [line for (line,) in await rows(db, f"EXPLAIN {query}")]
        assert not any("Seq Scan" in line for line in plan), plan


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


async def test_index_pages_of_a_stretch_are_full(
    empty: Settings, db: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of new stretches, and of those that have no votes yet."""
    await migrate_to(db, monkeypatch, 30)
    await db.execute(TWO_RANGES, "a")
    await migrate_beside_a_writer(empty, db, "b", 31)
    assert await open_next_stretch(db)
    found = await rows(
        db,
        "SELECT i.indrelid::regclass::text, c.reloptions FROM pg_index AS i"
        " JOIN pg_class AS c ON c.oid = i.indexrelid JOIN pg_am AS a ON a.oid = c.relam"
        " WHERE a.amname <> 'brin' AND i.indrelid IN"
        " (SELECT relid FROM pg_partition_tree('counted_votes') WHERE isleaf) ORDER BY 1, 2",
    )
    ids, hashes = ["fillfactor=100"], ["fillfactor=83"]
    assert found == [
        ("counted_contest_votes_0", ids),
        *[("counted_contest_votes_0", hashes)] * 2,
        ("counted_contest_votes_1", ids),
        *[("counted_contest_votes_1", hashes)] * 2,
        *[("counted_law_votes_0", None)] * 2,
        ("counted_law_votes_1", ids),
        ("counted_law_votes_1", hashes),
    ]

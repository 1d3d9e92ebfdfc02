"""Applies the numbered migrations of `sql/` in one transaction, under a lock.

An index after a line `-- concurrently` is built before that transaction if its table is there, so
that votes are counted meanwhile. An interrupted build is repeated by the next attempt.
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from importlib.resources import files
from typing import Final

import asyncpg

from streams.adapters.postgres import statements
from streams.adapters.postgres.stretches import STRETCH_VOTES, open_next_stretch
from streams.errors import LogMismatch, SchemaNewer, ScrutinError, SettingsError

_NAME: Final = re.compile(r"^(\d{4})_([a-z0-9_]+)\.sql$")
_SCHEMA: Final = re.compile(r"CREATE SCHEMA IF NOT EXISTS (\w+)")
_CONCURRENTLY: Final = re.compile(
    r"^-- concurrently\n(CREATE INDEX) (IF NOT EXISTS (\w+) ON (\w+) [^;]+);", re.MULTILINE
)
_BEGIN: Final = (
    "CREATE TABLE IF NOT EXISTS schema_migrations (version integer PRIMARY KEY, name text NOT NULL,"
    " applied_at timestamptz NOT NULL DEFAULT now())"
)
_IS_BROKEN: Final = """
SELECT EXISTS (SELECT FROM pg_index WHERE indexrelid = to_regclass($1) AND NOT indisvalid)
"""
"""Whether an index is there whose build was interrupted."""
_LOCK: Final = 0x5C277153
"""Key of the advisory lock; any constant that no other program uses."""
_LOCK_POLL_S: Final = 0.1
_LOCK_WAIT_S: Final = 2
_MOVED_AT_ONCE: Final = 10_000


@dataclass(frozen=True)
class Migration:
    """One file of `sql/`."""

    version: int
    name: str
    statements: str


def migrations() -> list[Migration]:
    """All migrations this version knows, in order."""
    found = []
    for entry in files("sql").iterdir():
        match = _NAME.match(entry.name)
        if match:
            found.append(Migration(int(match[1]), match[2], entry.read_text(encoding="utf-8")))
    found.sort(key=lambda migration: migration.version)
    versions = [m.version for m in found]
    if len(set(versions)) < len(versions) or versions[:1] != [1]:
        raise ScrutinError("The migrations in sql/ must be numbered from 0001 without repetition")
    return found


def reader_schemas() -> list[str]:
    """Schemas of views that the migrations create, for readers of the replaced tables."""
    return sorted({name for one in migrations() for name in _SCHEMA.findall(one.statements)})


async def is_current(connection: asyncpg.Connection) -> bool:
    """Whether the database has every migration of this version; anybody may ask."""
    if await connection.fetchval("SELECT to_regclass('schema_migrations')") is None:
        return False
    rows = await connection.fetch("SELECT version FROM schema_migrations")
    return {m.version for m in migrations()} <= {row["version"] for row in rows}


async def migrate(connection: asyncpg.Connection) -> list[Migration]:
    """Bring the database to this version; returns the migrations that were applied.

    Raises:
        SettingsError: this user may not create tables.
        SchemaNewer: the database has migrations that this version does not know.
        LogMismatch: tables of another system have the names of Scrutin's tables.
    """
    known = migrations()
    # A statement that waits for the lock would hold a snapshot, which a concurrent build waits for.
    while not await connection.fetchval("SELECT pg_try_advisory_lock($1)", _LOCK):  # noqa: ASYNC110
        await asyncio.sleep(_LOCK_POLL_S)
    try:
        applied: set[int] = set()
        if await connection.fetchval("SELECT to_regclass('schema_migrations')") is not None:
            rows = await connection.fetch("SELECT version FROM schema_migrations")
            applied = {row["version"] for row in rows}
        if newer := sorted(applied - {m.version for m in known}):
            raise SchemaNewer(
                f"The database has migration {newer[-1]}; this version ends at {known[-1].version}",
                where={"table": "schema_migrations"},
                todo="Run the newer version of Scrutin, or restore the database it replaced",
            )
        pending = [m for m in known if m.version not in applied]
        # Tables of the same names in a database without migrations are another system's.
        for migration in pending if applied else []:
            await _build_indexes(connection, migration)
        # One that is refused leaves nothing of the others.
        async with connection.transaction():
            for migration in pending:
                await _apply(connection, migration)
        return pending
    finally:
        await connection.execute("SELECT pg_advisory_unlock($1)", _LOCK)


async def move_votes(connection: asyncpg.Connection) -> int:
    """Move the votes that an earlier version counted to the compact table; returns their number.

    Votes are counted meanwhile. An interrupted move is continued by the next one.
    """
    moved, in_stretch = 0, 0
    while await connection.fetchval(statements.HAS_TEXT):
        done = await connection.execute(statements.MOVE_TEXT, _MOVED_AT_ONCE)
        rows = int(done.rpartition(" ")[2])
        moved, in_stretch = moved + rows, in_stretch + rows
        if in_stretch >= STRETCH_VOTES and await open_next_stretch(connection):
            in_stretch = 0
        if rows == 0:
            await _drop_text(connection)
    return moved


async def _drop_text(connection: asyncpg.Connection) -> None:
    try:
        async with connection.transaction():
            await connection.execute(f"SET LOCAL lock_timeout = '{_LOCK_WAIT_S}s'")
            # In the order of a flush, and then in that of a reader of the view.
            await connection.execute(statements.LOCK_ALL_FENCES)
            await connection.execute(statements.LOCK_TEXT)
            if not await connection.fetchval(statements.HAS_VOTES_IN_TEXT):
                await connection.execute(statements.DROP_TEXT)
    except asyncpg.LockNotAvailableError:
        # Somebody reads it for long; flushes must not wait as long.
        await asyncio.sleep(_LOCK_WAIT_S)


def _not_permitted(error: Exception) -> SettingsError:
    return SettingsError(
        f"The database needs migrations that this user may not apply: {error}",
        where={"variable": "POSTGRES_USER"},
        todo="Run `scrutin migrate` and `scrutin roles --apply` as the owner of the tables",
    )


async def _build_indexes(connection: asyncpg.Connection, migration: Migration) -> None:
    """Build a migration's indexes of existing tables without stopping those who write."""
    for create, what, name, table in _CONCURRENTLY.findall(migration.statements):
        if await connection.fetchval("SELECT to_regclass($1)", table) is None:
            # An earlier one of these migrations makes it.
            continue
        if await connection.fetchval(_IS_BROKEN, name):
            await connection.execute(f"DROP INDEX CONCURRENTLY {name}")
        try:
            await connection.execute("SET statement_timeout = 0")
            await connection.execute(f"{create} CONCURRENTLY {what}")
        except asyncpg.InsufficientPrivilegeError as error:
            raise _not_permitted(error) from error
        finally:
            await connection.execute("RESET statement_timeout")


async def _apply(connection: asyncpg.Connection, migration: Migration) -> None:
    try:
        if migration.version == 1:
            await connection.execute(_BEGIN)
        await connection.execute(migration.statements)
        await connection.execute(
            "INSERT INTO schema_migrations (version, name) VALUES ($1, $2)",
            migration.version,
            migration.name,
        )
    except (asyncpg.InsufficientPrivilegeError, asyncpg.InvalidSchemaNameError) as error:
        # InvalidSchemaName: the user has no access to the schema at all.
        raise _not_permitted(error) from error
    except (asyncpg.DuplicateTableError, asyncpg.DuplicateObjectError) as error:
        raise LogMismatch(
            f"The database contains objects of another system: {error}",
            where={"migration": f"{migration.version:04}_{migration.name}"},
            todo="`scrutin adopt` imports an old system, `scrutin fresh` archives it; or set"
            " POSTGRES_DB to an empty database. Nothing was changed",
        ) from error

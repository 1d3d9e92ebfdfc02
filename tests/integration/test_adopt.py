"""`scrutin adopt` on databases and Redis as each of the old systems leaves them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from harness import database, redis_of, wipe

from schemas.codec import encode
from streams.availability import Availability
from streams.devstack import Stack
from streams.errors import ExitCode
from streams.load.programs import child_environment
from streams.log_writer import LogWriter, OutRecord
from streams.settings import load_settings
from streams.topics import VALIDATION_TOPIC, ensure_topics
from tests.integration.bridge_world import scrutin
from tests.integration.old_systems import OldElection, election, fill
from tests.strategies import make_batch, make_vote


class Before:
    """An old system on a wiped stack, to be adopted."""

    def __init__(self, stack: Stack) -> None:
        self.env = child_environment(stack.env(), RETRY_DELAY_SECONDS="0.2")
        self.settings = load_settings(self.env)

    async def fill(self, old: OldElection, *statements: str) -> None:
        db, redis = await database(self.settings), redis_of(self.settings)
        try:
            await fill(db, redis, old)
            for statement in statements:
                await db.execute(statement)
        finally:
            await db.close()
            await redis.aclose()

    async def adopt(self, *arguments: str, **env: str) -> tuple[int, dict[str, Any]]:
        """Exit code, and the document on standard output (or the error's text)."""
        done = await asyncio.to_thread(scrutin, {**self.env, **env}, "adopt", "--json", *arguments)
        try:
            return done.returncode, json.loads(done.stdout)
        except ValueError:
            return done.returncode, {"error": done.stderr}

    async def rows(self, query: str, *arguments: object) -> list[tuple[Any, ...]]:
        db = await database(self.settings)
        try:
            return [tuple(row) for row in await db.fetch(query, *arguments)]
        finally:
            await db.close()


@pytest.fixture
async def before(stack: Stack) -> AsyncIterator[Before]:
    await wipe(stack.env())
    yield Before(stack)
    await wipe(stack.env())


async def test_from_another_database(before: Before) -> None:
    """Tables elsewhere are only read, and nothing has to be moved."""
    old = election("aggregation", 200)
    admin = await database(before.settings)
    await admin.execute("DROP DATABASE IF EXISTS voting")
    await admin.execute("CREATE DATABASE voting")
    try:
        elsewhere = load_settings({**before.env, "POSTGRES_DB": "voting"})
        db, redis = await database(elsewhere), redis_of(before.settings)
        await fill(db, redis, old)
        await db.close()
        await redis.aclose()
        code, done = await before.adopt("--from-database", "voting")
        assert (code, done["moved"], done["done"]) == (0, [], done["items"]), done
        assert await before.rows("SELECT count(*) FROM schema_migrations") > [(0,)]
        code, none = await before.adopt("--from-database", "postgres", "--dry-run")
        assert code == ExitCode.FAILED
        assert "no table vote_audit" in none["error"]
    finally:
        await admin.execute("DROP DATABASE voting WITH (FORCE)")
        await admin.close()


async def test_undo_puts_everything_back(before: Before) -> None:
    old = election("voting", 200)
    await before.fill(old)
    names = (
        "SELECT relname::text, relkind::text FROM pg_class"
        " WHERE relnamespace = 'public'::regnamespace ORDER BY 1"
    )
    standing = await before.rows(names)
    code, _ = await before.adopt()
    assert code == 0
    assert await before.rows("SELECT count(*) FROM scrutin_replaced.vote_audit") == [(202,)]
    code, undone = await before.adopt("--undo")
    assert code == 0, undone
    assert await before.rows(names) == standing
    schemas = await before.rows("SELECT nspname::text FROM pg_namespace WHERE nspname !~ '^pg_'")
    assert {name for (name,) in schemas} == {"public", "information_schema", "scrutin_undone"}
    code, again = await before.adopt("--undo")
    assert code == ExitCode.FAILED
    assert "Nothing was adopted" in again["error"]


async def test_a_log_with_votes_of_its_own_is_refused(before: Before) -> None:
    await before.fill(election("voting", 100))
    await ensure_topics(
        list(before.settings.kafka_bootstrap_servers),
        app_id=before.settings.app_id,
        partitions=before.settings.partitions,
        replication_factor=1,
    )
    writer = LogWriter(before.settings.kafka_bootstrap_servers, availability=Availability(3))
    await writer.write([OutRecord(VALIDATION_TOPIC, 1, encode(make_batch(make_vote(1))))])
    await writer.close()
    code, refused = await before.adopt()
    assert code == ExitCode.LOG_MISMATCH
    assert "before the first bridge" in refused["error"]
    assert await before.rows("SELECT to_regnamespace('scrutin_adoption') IS NULL") == [(True,)]

"""A bridge refuses a new log beside the mirror of an old one."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from streams.adapters.redis.keys import VOTED_HASHES
from streams.devstack import Stack
from streams.errors import ExitCode
from tests.harness import database
from tests.integration.bridge_harness import BridgeHarness, voter
from tests.integration.cli_harness import run_cli
from tests.integration.sink_harness import own_database

TABLES = "SELECT schemaname, tablename FROM pg_tables WHERE schemaname !~ '^(pg_|inf)'"


@pytest.fixture
async def world(stack: Stack, tmp_path: Path) -> AsyncIterator[BridgeHarness]:
    async with BridgeHarness(stack, tmp_path) as world:
        yield world


@pytest.mark.parametrize("roll", ["redis", "open"])
async def test_voters_without_a_log_are_refused(world: BridgeHarness, roll: str) -> None:
    await world.redis.sadd(VOTED_HASHES, voter(1))
    await world.redis.sadd("valid_hashes", voter(1), voter(2))
    bridge = world.bridge(SCRUTIN_ROLL=roll)
    bridge.start()
    async with asyncio.timeout(120):
        assert await bridge.ended() == ExitCode.LOG_MISMATCH
    said = "\n".join(bridge.tail())
    assert VOTED_HASHES in said
    assert "`scrutin fresh`" in said
    assert "`scrutin adopt`" in said
    assert voter(1) not in said
    # What it says to type works.
    done = await asyncio.to_thread(run_cli, world.env, "fresh", "--json")
    assert done.returncode == 0, done.stderr
    assert await world.redis.scard(VOTED_HASHES) == 0
    assert await world.redis.scard("valid_hashes") == 2
    async with bridge:
        await bridge.ready()


async def test_tables_of_another_log_are_archived(world: BridgeHarness, stack: Stack) -> None:
    """Those of every stretch of counted votes too, and the new ones begin with the first."""
    async with own_database(stack) as settings:
        db = await database(settings)
        try:
            new = {table for _, table in await db.fetch(TABLES)}
            await db.execute(
                "INSERT INTO vote_audit (vote_hash, voter_hash, contest, choice, timestamp,"
                " processed_timestamp, source_partition, source_offset, source_index)"
                " VALUES ('a', 'b', 'c', 'x', now(), now(), 0, 1, 0)"
            )
            assert await db.fetchval("SELECT open_next_stretch(0::smallint, 0)")
            old = {table for _, table in await db.fetch(TABLES)}
            assert old - new == {"counted_law_votes_1", "counted_contest_votes_1"}
            env = {**world.env, "POSTGRES_DB": settings.postgres.database}
            done = await asyncio.to_thread(run_cli, env, "fresh", "--json")
            assert done.returncode == 0, done.stderr
            archive = json.loads(done.stdout)["schema"]
            assert {tuple(row) for row in await db.fetch(TABLES)} == {
                *((archive, table) for table in old),
                *(("public", table) for table in new),
            }
            assert await db.fetchval(f"SELECT count(*) FROM {archive}.vote_audit") == 1
            assert await db.fetchval("SELECT count(*) FROM vote_audit") == 0
        finally:
            await db.close()

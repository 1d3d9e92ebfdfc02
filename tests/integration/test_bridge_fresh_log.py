"""A bridge refuses a new log beside the mirror of an old one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from streams.adapters.redis.keys import VOTED_HASHES
from streams.devstack import Stack
from streams.errors import ExitCode
from tests.integration.bridge_harness import BridgeHarness, voter
from tests.integration.cli_harness import run_cli


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

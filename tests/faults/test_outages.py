"""A running count loses processes and services, and stays exact.

SCRUTIN_TEST_OUTAGE_S says how long a service stays away: 5 s, or 20 s for the long form.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from harness import Chain, database, redis_of, until

from streams.devstack import Stack
from streams.load.election import Plan
from streams.load.roll import VALID_HASHES

OUTAGE_S = float(os.environ.get("SCRUTIN_TEST_OUTAGE_S", "5"))
RATE = 2500
PLAN = Plan(votes=15_000, duplicates=0.03, candidates=0.03)

pytestmark = pytest.mark.timeout(180 + 4 * OUTAGE_S)

Fault = Callable[[Chain], Awaitable[None]]


async def counted(chain: Chain) -> int:
    connection = await database(chain.settings)
    try:
        return int(await connection.fetchval("SELECT coalesce(sum(votes), 0) FROM contest_results"))
    finally:
        await connection.close()


async def run_with(chain: Chain, fault: Fault) -> None:
    """Publish at a rate, let the fault happen in the middle, and demand an exact count."""
    await chain.load_roll(PLAN)
    await chain.start()
    publishing = asyncio.create_task(chain.publish(PLAN, rate=RATE))
    try:

        async def a_fifth() -> bool:
            return await counted(chain) > PLAN.votes / 5

        await until(a_fifth, "a fifth of the votes counted", within_s=60)
        assert await counted(chain) < PLAN.votes * 0.8, "too late to be in the middle"
        await fault(chain)
        expected = await publishing
    finally:
        publishing.cancel()
    await chain.verify(expected, patience_s=45)
    chain.all_running()


async def test_worker_killed_and_started_again(stack: Stack, tmp_path: Path) -> None:
    async def fault(chain: Chain) -> None:
        assert await chain.workers[0].kill() == -9
        chain.workers[0].start()
        await chain.workers[0].ready()

    async with Chain(stack, tmp_path, workers=2) as chain:
        await run_with(chain, fault)


async def test_bridge_killed_and_started_again(stack: Stack, tmp_path: Path) -> None:
    async def fault(chain: Chain) -> None:
        assert await chain.bridges[0].kill() == -9
        chain.bridges[0].start()
        await chain.bridges[0].ready()

    async with Chain(stack, tmp_path, workers=2) as chain:
        await run_with(chain, fault)


@pytest.mark.parametrize("service", ["redis", "postgres", "kafka", "rabbitmq"])
async def test_service_away_for_a_while(stack: Stack, tmp_path: Path, service: str) -> None:
    async def fault(chain: Chain) -> None:
        await asyncio.to_thread(stack.stop, service)
        # The outage itself: time passes without the service.
        await asyncio.sleep(OUTAGE_S)
        chain.all_running()
        await asyncio.to_thread(stack.start, service)

    async with Chain(stack, tmp_path) as chain:
        await run_with(chain, fault)


async def test_roll_away_for_a_while(stack: Stack, tmp_path: Path) -> None:
    async def fault(chain: Chain) -> None:
        redis = redis_of(chain.settings)
        await redis.rename(VALID_HASHES, "elsewhere")
        await asyncio.sleep(OUTAGE_S)
        chain.all_running()
        await redis.rename("elsewhere", VALID_HASHES)
        await redis.aclose()

    async with Chain(stack, tmp_path) as chain:
        await run_with(chain, fault)

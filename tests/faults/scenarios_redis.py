"""Redis is lost, and with it the mirror or the roll."""

from __future__ import annotations

import asyncio

from tests.faults.registry import scenario
from tests.faults.world import World

ROLL = "valid_hashes"


@scenario("redis", mirror_lost=True)
async def redis_killed(world: World) -> None:
    """Redis is killed twice; it loses up to a second of the mirror."""
    async with world.voting():
        for share in (0.2, 0.5):
            await world.counted(share)
            await world.stop_service("redis", crash=True)
            await asyncio.sleep(world.span_s(10, 3))
            await world.start_service("redis")


@scenario("redis", mirror_lost=True)
async def redis_flushed(world: World) -> None:
    """FLUSHALL in mid-run; after a while the roll is loaded again."""
    redis = world.addresses.redis()
    async with world.voting():
        await world.counted(0.2)
        await redis.flushall()
        await asyncio.sleep(world.span_s(15, 3))
        await world.fill_roll()
    await redis.aclose()


@scenario("redis", mirror_lost=True)
async def mirror_flushed(world: World) -> None:
    """Everything but the roll is deleted in mid-run: nobody waits for the mirror."""
    redis = world.addresses.redis()
    async with world.voting():
        await world.counted(0.2)
        await redis.rename(ROLL, "kept")
        names = [name async for name in redis.scan_iter(count=5000) if name != "kept"]
        await redis.unlink(*names)
        await redis.rename("kept", ROLL)
    await redis.aclose()


@scenario("redis")
async def roll_deleted(world: World) -> None:
    """`valid_hashes` is deleted in mid-run, and loaded again after a while."""
    redis = world.addresses.redis()
    async with world.voting():
        await world.counted(0.2)
        await redis.unlink(ROLL)
        await asyncio.sleep(world.span_s(20, 4))
        await world.fill_roll()
    await redis.aclose()


@scenario("redis")
async def roll_cut_short(world: World) -> None:
    """Two thirds of `valid_hashes` go, as in a load that broke off; they come back later."""
    redis = world.addresses.redis()
    async with world.voting():
        await world.counted(0.2)
        gone = sorted(world.votes.roll)[: 2 * len(world.votes.roll) // 3]
        pipe = redis.pipeline(transaction=True)
        for first in range(0, len(gone), 5000):
            pipe.srem(ROLL, *gone[first : first + 5000])
        await pipe.execute()
        await asyncio.sleep(world.span_s(15, 4))
        await world.fill_roll()
    await redis.aclose()

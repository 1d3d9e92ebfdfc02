"""Workers and bridges are killed, ended, frozen, and come back."""

from __future__ import annotations

import asyncio

from tests.faults.registry import scenario
from tests.faults.world import World


@scenario("none", short=True)
async def calm(world: World) -> None:
    """Nothing happens: the harness itself is right."""
    async with world.voting():
        await world.counted(0.2)


@scenario("kill", short=True)
async def worker_killed(world: World) -> None:
    """One worker is killed and started again."""
    async with world.voting():
        await world.counted(0.2)
        await world.kill(world.workers[0])
        world.begin(world.workers[0])
        await asyncio.sleep(0)

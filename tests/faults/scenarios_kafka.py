"""Kafka is frozen, dies, or is cut off from the workers and bridges."""

from __future__ import annotations

import asyncio

from tests.faults.proxy import Blackhole, Mode, Swallow
from tests.faults.registry import scenario
from tests.faults.surroundings import proxied_kafka
from tests.faults.world import World

GROUP = "kafka"


@scenario(GROUP, rate=500)
async def kafka_paused_30_s(world: World) -> None:
    """Kafka is frozen for 30 s: longer than sessions and requests last."""
    async with world.voting():
        await world.counted(0.2)
        await world.pause_service("kafka", 30)


@scenario(GROUP, rate=200)
async def kafka_paused_90_s(world: World) -> None:
    """Kafka is frozen for 90 s: longer than every timeout, the watchdog's included."""
    async with world.voting():
        await world.counted(0.2)
        await world.pause_service("kafka", 90)


@scenario(GROUP)
async def kafka_killed(world: World) -> None:
    """Kafka is killed three times and started again."""
    async with world.voting():
        for share in (0.2, 0.4, 0.6):
            await world.counted(share)
            await world.stop_service("kafka", crash=True)
            await asyncio.sleep(2)
            await world.start_service("kafka")


async def partitioned(
    world: World, *, to_server: Mode | None = None, to_client: Mode | None = None
) -> None:
    """For 30 s nothing gets through in one or both directions."""
    async with world.voting():
        await world.counted(0.2)
        world.proxy.set(to_server=to_server, to_client=to_client)
        await asyncio.sleep(30)
        world.proxy.heal()


@scenario(GROUP, rate=500, around=proxied_kafka)
async def kafka_partitioned(world: World) -> None:
    """Nothing passes between Kafka and bridges and workers."""
    await partitioned(world, to_server=Blackhole(), to_client=Blackhole())


@scenario(GROUP, rate=500, around=proxied_kafka)
async def kafka_hears_nothing(world: World) -> None:
    """What bridges and workers send does not reach Kafka."""
    await partitioned(world, to_server=Blackhole())


@scenario(GROUP, rate=500, around=proxied_kafka)
async def kafka_is_not_heard(world: World) -> None:
    """Kafka takes what bridges and workers send; its answers come 30 s late."""
    await partitioned(world, to_client=Blackhole())


@scenario(GROUP, rate=500, around=proxied_kafka)
async def produce_replies_lost(world: World) -> None:
    """Kafka has written, its answers are lost and the connections break; many times."""
    async with world.voting():
        await world.counted(0.1)
        for _ in range(10):
            world.proxy.set(to_client=Swallow())
            await asyncio.sleep(world.random.uniform(0.2, 2))
            world.proxy.heal()
            await asyncio.sleep(world.random.uniform(0.2, 1))

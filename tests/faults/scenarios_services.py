"""Services go away and come back."""

from __future__ import annotations

import asyncio

from tests.faults.registry import scenario
from tests.faults.world import World


async def away(world: World, service: str) -> None:
    """A service is stopped in order for a while."""
    async with world.voting():
        await world.counted(0.2)
        await stop_for_a_while(world, service)


async def stop_for_a_while(world: World, service: str) -> None:
    """Stop and start a service."""
    await world.stop_service(service)
    await asyncio.sleep(world.span_s(20, 3))
    await world.start_service(service)


@scenario("services")
async def redis_away(world: World) -> None:
    """Redis is stopped and started."""
    await away(world, "redis")


@scenario("services")
async def postgres_away(world: World) -> None:
    """PostgreSQL is stopped and started."""
    await away(world, "postgres")


@scenario("services")
async def kafka_away(world: World) -> None:
    """Kafka is stopped and started."""
    await away(world, "kafka")


@scenario("services")
async def rabbitmq_away(world: World) -> None:
    """RabbitMQ is stopped and started."""
    await away(world, "rabbitmq")


@scenario("services", short=True, rate=300, short_votes=9000)
async def services_in_turn(world: World) -> None:
    """Redis, PostgreSQL, Kafka and RabbitMQ are stopped and started in turn, then the roll goes."""
    redis = world.addresses.redis()
    async with world.voting():
        for number, service in enumerate(("redis", "postgres", "kafka", "rabbitmq"), start=1):
            await world.counted(0.1 * number)
            await stop_for_a_while(world, service)
        await world.counted(0.6)
        await redis.unlink("valid_hashes")
        await asyncio.sleep(world.span_s(20, 3))
        await world.fill_roll()
    await redis.aclose()

"""Services go away and come back."""

from __future__ import annotations

import asyncio

from tests.faults.registry import scenario
from tests.faults.world import World

VALID_HASHES = "valid_hashes"


async def away(world: World, service: str) -> None:
    """A service is stopped in order for a while."""
    async with world.voting():
        await world.counted(0.2)
        await world.stop_service(service)
        await asyncio.sleep(world.span_s(20, 4))
        await world.start_service(service)


@scenario("services", short=True)
async def redis_away(world: World) -> None:
    """Redis is stopped and started."""
    await away(world, "redis")


@scenario("services", short=True)
async def postgres_away(world: World) -> None:
    """PostgreSQL is stopped and started."""
    await away(world, "postgres")


@scenario("services", short=True)
async def kafka_away(world: World) -> None:
    """Kafka is stopped and started."""
    await away(world, "kafka")


@scenario("services", short=True)
async def rabbitmq_away(world: World) -> None:
    """RabbitMQ is stopped and started."""
    await away(world, "rabbitmq")

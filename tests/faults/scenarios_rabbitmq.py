"""RabbitMQ dies, breaks connections, runs out of memory, room, patience, or queues."""

from __future__ import annotations

import asyncio

from tests.faults.registry import scenario
from tests.faults.scenarios_postgres import told
from tests.faults.services import VALIDATION, Rabbit
from tests.faults.surroundings import impatient_rabbitmq, proxied_rabbitmq
from tests.faults.world import World
from tests.harness import until

GROUP = "rabbitmq"
REVIEW = "votes.review"


@scenario(GROUP)
async def rabbitmq_killed(world: World) -> None:
    """RabbitMQ is killed twice and started again."""
    async with world.voting():
        for share in (0.2, 0.5):
            await world.counted(share)
            await world.stop_service("rabbitmq", crash=True)
            await asyncio.sleep(2)
            await world.start_service("rabbitmq")


@scenario(GROUP, around=proxied_rabbitmq)
async def rabbitmq_connections_reset(world: World) -> None:
    """Connections break while deliveries wait for Kafka, which therefore come again."""
    async with world.voting():
        await world.counted(0.1)
        for _ in range(8):
            await asyncio.to_thread(world.stack.pause, "kafka")
            try:
                await asyncio.sleep(world.random.uniform(0.5, 1.5))
                world.proxy.reset()
            finally:
                await asyncio.to_thread(world.stack.resume, "kafka")
            await asyncio.sleep(world.random.uniform(0.1, 1))


@scenario(GROUP)
async def rabbitmq_memory_alarm(world: World) -> None:
    """RabbitMQ is out of memory: neither voters nor reviews can be published."""
    async with world.voting():
        await world.counted(0.2)
        async with Rabbit(world.stack).memory_alarm():
            await asyncio.sleep(world.span_s(20, 3))


@scenario(GROUP)
async def review_queue_full(world: World) -> None:
    """The review queue refuses messages (reject-publish) until there is room."""
    full = Rabbit(world.stack).full(REVIEW, messages=world.votes.count // 50)
    async with world.voting(), full:
        await told(world.bridges, "publications are not confirmed")
        await asyncio.sleep(world.span_s(15, 1))


@scenario(GROUP, around=impatient_rabbitmq(3_000))
async def delivery_ack_timeout(world: World) -> None:
    """Kafka is unavailable for longer than RabbitMQ waits for an acknowledgement."""
    async with world.voting():
        await world.counted(0.2)
        await asyncio.to_thread(world.stack.pause, "kafka")
        try:
            await told(world.bridges, "delivery acknowledgement on channel")
            await asyncio.sleep(5)
        finally:
            await asyncio.to_thread(world.stack.resume, "kafka")


@scenario(GROUP)
async def validation_queue_deleted(world: World) -> None:
    """The queue is deleted while the bridges hold all that was in it."""
    async with world.voting():
        await world.counted(0.2)
        async with world.publisher.held():
            await asyncio.to_thread(world.stack.pause, "kafka")
            try:
                rabbit = Rabbit(world.stack)

                async def all_delivered() -> bool:
                    return await rabbit.ready(VALIDATION) == 0

                await until(all_delivered, "everything is with the bridges")
                await rabbit.delete_queue(VALIDATION)
                await asyncio.sleep(2)
            finally:
                await asyncio.to_thread(world.stack.resume, "kafka")

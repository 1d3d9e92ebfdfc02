"""A worker that is stopped in the middle of a rebalance leaves its group at once."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, suppress

from aiokafka import AIOKafkaConsumer
from aiokafka.admin import AIOKafkaAdminClient

from streams.devstack import Stack
from tests.harness import until
from tests.integration.kafka_names import admin, own_topic, servers, unused
from tests.integration.kafka_thread import Here

REBALANCE_MS = 120_000
"""How long Kafka waits for a member that is frozen."""


def member(stack: Stack, topic: str, group: str, name: str) -> AIOKafkaConsumer:
    return AIOKafkaConsumer(
        topic,
        bootstrap_servers=servers(stack),
        client_id=name,
        group_id=group,
        session_timeout_ms=REBALANCE_MS,
        rebalance_timeout_ms=REBALANCE_MS,
        heartbeat_interval_ms=200,
        enable_auto_commit=False,
    )


def freeze(consumer: AIOKafkaConsumer) -> None:
    """It stays a member, and answers nothing."""
    coordinator = consumer._coordinator
    coordinator._heartbeat_task.cancel()
    coordinator._coordination_task.cancel()


async def members(client: AIOKafkaAdminClient, group: str) -> tuple[str, set[str]]:
    """State of a group and its members' names."""
    (answer,) = await client.describe_consumer_groups([group])
    (found,) = answer.groups
    return found[2], {one[1] for one in found[5]}


async def test_a_worker_leaves_while_others_are_waited_for(stack: Stack) -> None:
    group = unused("leaving")
    async with AsyncExitStack() as resources:
        topic = await resources.enter_async_context(own_topic(stack, partitions=3))
        client = await resources.enter_async_context(admin(stack))
        frozen, ours, late = (
            member(stack, topic, group, name) for name in ("frozen", "ours", "late")
        )
        for consumer in (frozen, ours, late):
            resources.push_async_callback(Here(consumer).on_thread_stop)
        await asyncio.gather(frozen.start(), ours.start())
        freeze(frozen)
        joining = asyncio.create_task(late.start())
        resources.callback(joining.cancel)

        async def rebalancing() -> bool:
            state, _ = await members(client, group)
            # Ours has heard of it, and has nothing until everybody has joined.
            return state == "PreparingRebalance" and ours._coordinator._rejoin_needed_fut.done()

        await until(rebalancing, "a rebalance waits for the frozen member")
        async with asyncio.timeout(REBALANCE_MS / 1000 / 2):
            await Here(ours).on_thread_stop()
        assert await members(client, group) == ("PreparingRebalance", {"frozen", "late"})


async def test_a_worker_leaves_while_its_heartbeat_is_being_ended(stack: Stack) -> None:
    group = unused("leaving")
    async with AsyncExitStack() as resources:
        topic = await resources.enter_async_context(own_topic(stack, partitions=3))
        client = await resources.enter_async_context(admin(stack))
        ours = member(stack, topic, group, "ours")
        await ours.start()
        coordinator = ours._coordinator
        coordinator._heartbeat_task.cancel()
        ending = asyncio.Event()

        async def heartbeat() -> None:
            """Takes every cancellation for its own end, as aiokafka's does; slower."""
            with suppress(asyncio.CancelledError):
                await asyncio.Event().wait()
            ending.set()
            with suppress(asyncio.CancelledError):
                await asyncio.Event().wait()

        coordinator._heartbeat_task = asyncio.create_task(heartbeat())
        await asyncio.sleep(0)
        coordinator.request_rejoin()
        await ending.wait()
        async with asyncio.timeout(REBALANCE_MS / 1000 / 2):
            await Here(ours).on_thread_stop()
        assert await members(client, group) == ("Empty", set())

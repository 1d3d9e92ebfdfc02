"""One ingress queue of RabbitMQ, apart from what takes its deliveries in."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from streams.adapters.rabbitmq.queues import Route
from streams.bridge.consumer import ConsumerSession, QueueConsumer
from streams.bridge.queue_guard import QueueGuard
from streams.devstack import Stack
from streams.runtime.metrics import BridgeMetrics
from streams.runtime.outages import OutageTracker, Retry
from tests.integration.bridge_harness import VALIDATION, BridgeHarness, law_vote, soon


@pytest.fixture
async def world(stack: Stack, tmp_path: Path) -> AsyncIterator[BridgeHarness]:
    async with BridgeHarness(stack, tmp_path) as world:
        yield world


class Holding:
    """Takes deliveries in and settles none."""

    def receive(self, *delivery: object) -> None:
        """Leave it open."""

    def forget(self, session: ConsumerSession) -> None:
        """Nothing is kept."""


async def test_more_in_the_queue_than_may_be_here_is_a_backlog(world: BridgeHarness) -> None:
    world.publish(law_vote(n) for n in range(25))
    metrics = BridgeMetrics(CollectorRegistry())
    consumer = QueueConsumer(
        world.settings.rabbit,
        route=Route(VALIDATION),
        prevalidated=False,
        prefetch=10,
        bind=False,
        measure=False,
        guard=QueueGuard(world.settings.rabbit, (), metrics),
        intake=Holding(),
        retry=Retry(OutageTracker(3), 0.1),
        metrics=metrics,
    )
    reading = asyncio.create_task(consumer.run())
    try:
        await soon(lambda: consumer.session, "a session")
        session = consumer.session
        assert session is not None
        await soon(lambda: session.backlog, "a backlog")
        with world.channel() as channel:
            channel.queue_purge(VALIDATION)
        await soon(lambda: not session.backlog, "no backlog")
    finally:
        reading.cancel()
        await asyncio.wait([reading])

"""A Kafka of three brokers: a broker is killed under load, and every vote is counted once.

`make brokers` runs it: three of Java's virtual machines are more than the other tests have.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from streams.core.topics import VALIDATED_TOPIC, VALIDATION_TOPIC
from streams.devstack import Stack
from streams.load.election import LoadPlan
from streams.settings.kafka_security import client
from tests.harness import Chain, database, until_reached
from tests.integration.cli_harness import run_cli

VOTES = int(os.environ.pop("BROKERS_VOTES", "0"))
BROKERS = ("kafka", "kafka-2", "kafka-3")

pytestmark = [
    pytest.mark.timeout(900),
    pytest.mark.skipif(not VOTES, reason="`make brokers` runs it"),
]


@asynccontextmanager
async def three_brokers(
    stack: Stack, directory: Path, *, tls: bool = False
) -> AsyncIterator[Stack]:
    """A Kafka of its own, with the other services of a stack that is up."""
    others = {n: v for n, v in stack.env().items() if not n.startswith("KAFKA_")}
    own = Stack(directory, environ=others, brokers=3, kafka_heap="320m", tls=tls)
    try:
        await asyncio.to_thread(own.up)
        yield own
    finally:
        await asyncio.to_thread(own.down)


async def test_a_broker_killed_under_load_loses_nothing(stack: Stack, tmp_path: Path) -> None:
    plan = LoadPlan(votes=VOTES)
    async with (
        three_brokers(stack, tmp_path / "brokers") as cluster,
        Chain(cluster, tmp_path, workers=2, bridges=2) as chain,
    ):
        await chain.load_roll(plan)
        await chain.start()
        await replicated(chain)
        db = await database(chain.settings)
        try:

            async def counted() -> int:
                return int(await db.fetchval("SELECT count(*) FROM vote_audit"))

            publishing = asyncio.create_task(chain.publish(plan, rate=VOTES / 60))
            # Each in turn, whatever it leads: partitions, groups, the controllers.
            for number, broker in enumerate(BROKERS):
                await until_reached(counted, VOTES * (2 * number + 1) // 8, f"before {broker} dies")
                await asyncio.to_thread(cluster.stop, broker, signal.SIGKILL)
                await until_reached(counted, VOTES * (2 * number + 2) // 8, f"{broker} is dead")
                await asyncio.to_thread(cluster.start, broker)
            await chain.verify(await publishing, patience_s=120)
            chain.all_running()
        finally:
            await db.close()
        done = await asyncio.to_thread(run_cli, cluster.env(), "doctor")
        assert "replication 3, min.insync.replicas 2" in done.stdout


async def test_encrypted_brokers_are_a_cluster_too(stack: Stack, tmp_path: Path) -> None:
    plan = LoadPlan(votes=2_000)
    async with (
        three_brokers(stack, tmp_path / "brokers", tls=True) as cluster,
        Chain(cluster, tmp_path) as chain,
    ):
        assert chain.env["KAFKA_SECURITY_PROTOCOL"] == "SASL_SSL"
        await chain.load_roll(plan)
        await chain.start()
        await replicated(chain)
        # Brokers fetch from one another, and controllers elect, over TLS alone.
        await asyncio.to_thread(cluster.stop, "kafka-2", signal.SIGKILL)
        await chain.verify(await chain.publish(plan), patience_s=120)
        await asyncio.to_thread(cluster.start, "kafka-2")
        found = await asyncio.to_thread(cluster.status)
        assert {one.condition for one in found} == {"up"}
        chain.all_running()


async def replicated(chain: Chain) -> None:
    admin = AIOKafkaAdminClient(**client(chain.settings.kafka.servers))
    await admin.start()
    try:
        topics = await admin.describe_topics([VALIDATION_TOPIC, VALIDATED_TOPIC])
        for topic in topics:
            for partition in topic["partitions"]:
                assert len(partition["replicas"]) == 3
        [answer] = await admin.describe_configs(
            [ConfigResource(ConfigResourceType.TOPIC, VALIDATION_TOPIC)]
        )
        values = {entry[0]: entry[1] for entry in answer.resources[0][4]}
        assert values["min.insync.replicas"] == "2"
    finally:
        await admin.close()

"""Topics of one's own on a shared broker."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from streams.devstack import Stack


def servers(stack: Stack) -> list[str]:
    """Addresses of the stack's Kafka."""
    return stack.env()["KAFKA_BOOTSTRAP_SERVERS"].split(",")


def unused(what: str) -> str:
    """A name that nobody has used."""
    return f"{what}-{uuid.uuid4().hex[:12]}"


@asynccontextmanager
async def admin(stack: Stack) -> AsyncIterator[AIOKafkaAdminClient]:
    """A client for topics."""
    client = AIOKafkaAdminClient(bootstrap_servers=servers(stack))
    await client.start()
    try:
        yield client
    finally:
        await client.close()


@asynccontextmanager
async def own_topic(
    stack: Stack, partitions: int = 1, config: Mapping[str, str] | None = None
) -> AsyncIterator[str]:
    """A new topic, which is deleted afterwards."""
    name = unused("core")
    async with admin(stack) as client:
        await client.create_topics(
            [NewTopic(name, partitions, 1, topic_configs=dict(config or {}))]
        )
        try:
            yield name
        finally:
            await client.delete_topics([name])


@asynccontextmanager
async def producer(stack: Stack) -> AsyncIterator[AIOKafkaProducer]:
    """A producer that waits for its acknowledgements."""
    client = AIOKafkaProducer(bootstrap_servers=servers(stack), acks="all", enable_idempotence=True)
    await client.start()
    try:
        yield client
    finally:
        await client.stop()

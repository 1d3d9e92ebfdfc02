"""A client that bootstraps through a proxy stays on it, while others go direct."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from streams.devstack import Stack
from tests.faults.proxy import Blackhole, Proxy


@asynccontextmanager
async def topic_on(servers: str) -> AsyncIterator[str]:
    admin = AIOKafkaAdminClient(bootstrap_servers=servers)
    await admin.start()
    name = f"proxied-{uuid.uuid4().hex[:8]}"
    try:
        await admin.create_topics([NewTopic(name, 1, 1)])
        yield name
        await admin.delete_topics([name])
    finally:
        await admin.close()


async def values(servers: str, topic: str, count: int) -> list[bytes]:
    consumer = AIOKafkaConsumer(topic, bootstrap_servers=servers, auto_offset_reset="earliest")
    await consumer.start()
    try:
        async with asyncio.timeout(60):
            return [(await consumer.getone()).value for _ in range(count)]
    finally:
        await consumer.stop()


async def test_a_proxied_client_stays_on_the_proxy(stack: Stack) -> None:
    place = stack.proxied_kafka()
    if place is None:
        pytest.skip("this stack was brought up without a listener for a proxy")
    direct = stack.env()["KAFKA_BOOTSTRAP_SERVERS"]
    with Proxy(place.host, place.port, port=place.proxy_port) as proxy:
        async with topic_on(direct) as topic:
            proxied = AIOKafkaProducer(bootstrap_servers=f"{proxy.host}:{proxy.port}", acks="all")
            await proxied.start()
            try:
                await proxied.send_and_wait(topic, b"one")
                proxy.set(to_server=Blackhole())
                sending = await proxied.send(topic, b"two")
                assert await values(direct, topic, 1) == [b"one"]
                assert not sending.done()
                proxy.heal()
                async with asyncio.timeout(60):
                    await sending
            finally:
                await proxied.stop()
            assert await values(direct, topic, 2) == [b"one", b"two"]

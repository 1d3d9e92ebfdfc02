"""A write to a Kafka connection that has just closed, on the event loop that our processes use."""

from __future__ import annotations

import asyncio

import pytest
import uvloop
from aiokafka.conn import AIOKafkaConnection, create_conn
from aiokafka.errors import KafkaConnectionError
from aiokafka.protocol.metadata import MetadataRequest

from streams.adapters.kafka.uvloop_fix import patch_aiokafka_for_uvloop
from streams.devstack import Stack


def test_it_fails_as_any_broken_connection(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    host, _, port = stack.env()["KAFKA_BOOTSTRAP_SERVERS"].partition(":")

    async def write_after_close() -> bool:
        connection = await create_conn(host, int(port))
        connection._writer.transport.abort()
        # uvloop has closed it, aiokafka has not noticed yet.
        await asyncio.sleep(0)
        with pytest.raises(KafkaConnectionError):
            await connection.send(MetadataRequest([]))
        return bool(connection.connected())

    monkeypatch.setattr(AIOKafkaConnection, "send", AIOKafkaConnection.send)
    patch_aiokafka_for_uvloop()
    assert not uvloop.run(write_after_close()), "the next request makes a new connection"

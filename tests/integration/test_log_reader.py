"""Reading ranges of a real topic."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import RecordsToDelete

from streams.adapters.kafka.reader import LogReader
from streams.devstack import Stack
from streams.errors import LogMismatch, ServiceUnavailable
from tests.integration.kafka_names import admin, own_topic, producer, servers

COUNT = 1200


@pytest.fixture
async def topic(stack: Stack) -> AsyncIterator[str]:
    """Records named after their offset in partition 1; partition 0 is empty."""
    async with own_topic(stack, partitions=2) as name, producer(stack) as client:
        for offset in range(COUNT):
            await client.send(name, str(offset).encode(), partition=1)
        await client.flush()
        yield name


@pytest.fixture
def reader(stack: Stack) -> LogReader:
    return LogReader(servers(stack))


async def values(reader: LogReader, topic: str, start: int, end: int) -> list[int]:
    return [int(record.value) async for record in reader.read(topic, 1, start, end)]


@pytest.mark.parametrize(
    ("start", "end"), [(0, COUNT), (0, 1), (COUNT - 1, COUNT), (17, 1111), (5, 5), (6, 5)]
)
async def test_a_range_is_exact(reader: LogReader, topic: str, start: int, end: int) -> None:
    assert await values(reader, topic, start, end) == list(range(start, end))


async def test_reading_can_stop_early(reader: LogReader, topic: str) -> None:
    reading = reader.read(topic, 1, 0, COUNT)
    async for record in reading:
        if record.offset == 3:
            break
    await reading.aclose()


async def test_ends(reader: LogReader, topic: str) -> None:
    assert await reader.end_offsets(topic, [0, 1]) == {0: 0, 1: COUNT}
    assert await reader.end_offset(topic, 1) == COUNT


@pytest.mark.parametrize("count", [1, 64, COUNT, COUNT + 100])
async def test_the_tail(reader: LogReader, topic: str, count: int) -> None:
    tail = await reader.tail(topic, 1, count)
    assert [record.offset for record in tail] == list(range(max(0, COUNT - count), COUNT))


async def test_the_tail_of_an_empty_partition(reader: LogReader, topic: str) -> None:
    assert await reader.tail(topic, 0, 10) == []


async def test_what_is_not_there_yet_is_no_range(reader: LogReader, topic: str) -> None:
    with pytest.raises(LogMismatch, match=rf"log has 0 to {COUNT - 1} .*partition 1"):
        await values(reader, topic, COUNT - 1, COUNT + 1)


async def test_what_was_deleted_is_no_range(stack: Stack, reader: LogReader, topic: str) -> None:
    async with admin(stack) as client:
        await client.delete_records({TopicPartition(topic, 1): RecordsToDelete(before_offset=100)})
    with pytest.raises(LogMismatch, match=f"log has 100 to {COUNT - 1}"):
        await values(reader, topic, 99, 110)
    assert await values(reader, topic, 100, 110) == list(range(100, 110))
    assert [r.offset for r in await reader.tail(topic, 1, 5)] == list(range(COUNT - 5, COUNT))


async def test_nobody_there_is_an_outage() -> None:
    with pytest.raises(ServiceUnavailable, match="Kafka does not answer"):
        await LogReader(["127.0.0.1:1"]).end_offset("any", 0)

"""Writing to a real broker, and what is left of the order when it goes away in the middle."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from streams.adapters.kafka.reader import LogReader
from streams.adapters.kafka.writer import LogWriter, abandon
from streams.core.records import OutRecord
from streams.devstack import Stack
from streams.errors import ServiceUnavailable, TopologyMismatch
from streams.runtime.outages import OutageTracker, Retry
from tests.integration.kafka_names import own_topic, servers


@pytest.fixture
async def topic(stack: Stack) -> AsyncIterator[str]:
    async with own_topic(stack, partitions=3) as name:
        yield name


@pytest.fixture
async def outages() -> OutageTracker:
    return OutageTracker(2)


@pytest.fixture
async def writer(stack: Stack, outages: OutageTracker) -> AsyncIterator[LogWriter]:
    writer = LogWriter(servers(stack), outages=outages)
    yield writer
    await writer.close()


@pytest.fixture
async def hasty(stack: Stack, outages: OutageTracker) -> AsyncIterator[LogWriter]:
    """One that soon reports an outage, to a caller that writes until it is confirmed."""
    writer = LogWriter(servers(stack), outages=outages, request_timeout_s=3, stall_s=0.2)
    yield writer
    await writer.close()


def records(topic: str, start: int, end: int, partition: int = 0) -> list[OutRecord]:
    return [OutRecord(topic, partition, str(n).encode()) for n in range(start, end)]


async def contents(stack: Stack, topic: str, partition: int = 0) -> list[int]:
    reader = LogReader(servers(stack))
    end = await reader.end_offset(topic, partition)
    return [int(r.value) async for r in reader.read(topic, partition, 0, end)]


async def test_records_keep_their_order_and_tell_where_they_went(
    stack: Stack, topic: str, writer: LogWriter
) -> None:
    first = await writer.write([*records(topic, 0, 500), *records(topic, 0, 3, partition=2)])
    assert [(m.partition, m.offset) for m in first] == [
        *((0, n) for n in range(500)),
        (2, 0),
        (2, 1),
        (2, 2),
    ]
    await writer.write(records(topic, 500, 510))
    assert await contents(stack, topic) == list(range(510))
    assert await contents(stack, topic, 2) == [0, 1, 2]


async def test_keys_are_written(stack: Stack, topic: str, writer: LogWriter) -> None:
    await writer.write([OutRecord(topic, 1, b"value", b"key")])
    (record,) = await LogReader(servers(stack)).tail(topic, 1, 1)
    assert (record.key, record.value) == (b"key", b"value")


async def test_a_closed_writer_opens_again(stack: Stack, topic: str, writer: LogWriter) -> None:
    await writer.write(records(topic, 0, 1))
    await writer.close()
    await writer.close()
    await writer.write(records(topic, 1, 2))
    assert await contents(stack, topic) == [0, 1]


async def test_nobody_there_is_an_outage(outages: OutageTracker) -> None:
    writer = LogWriter(["127.0.0.1:1"], outages=outages)
    with pytest.raises(ServiceUnavailable):
        await writer.write(records("any", 0, 1))


async def test_a_broker_that_restarts_in_the_middle_leaves_no_hole(
    stack: Stack, topic: str, hasty: LogWriter, outages: OutageTracker
) -> None:
    """Groups are written again until they are confirmed; a reader that drops what it knows must
    find every record in order."""
    step = 20
    done = 0
    goal = 400
    reached, enough = asyncio.Event(), asyncio.Event()

    async def write_on() -> None:
        nonlocal done
        while not enough.is_set():
            group = records(topic, done, done + step)
            await Retry(outages, 0.1)(
                "Kafka",
                lambda group=group: hasty.write(group),  # type: ignore[misc]
            )
            done += step
            if done >= goal:
                reached.set()

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(write_on())
        await reached.wait()
        # In a thread, so that the writer goes on meanwhile.
        await asyncio.to_thread(stack.stop, "kafka")
        try:
            while not outages.unavailable():  # noqa: ASYNC110 - the writer has no event for it
                await asyncio.sleep(0.05)
        finally:
            await asyncio.to_thread(stack.start, "kafka")
        goal = done + 400
        reached.clear()
        await reached.wait()
        enough.set()
    assert outages.unavailable() == []
    last = -1
    for value in await contents(stack, topic):
        assert value <= last + 1, f"{value} follows {last}"
        last = max(last, value)
    assert last == done - 1


async def test_a_topic_that_takes_no_long_records_is_named(topic: str, writer: LogWriter) -> None:
    with pytest.raises(TopologyMismatch, match="because of its size") as raised:
        await writer.write([OutRecord(topic, 0, bytes(2 * 1024 * 1024))])
    assert raised.value.where == {"topics": topic}
    assert len(await writer.write(records(topic, 0, 1))) == 1


async def test_what_a_producer_held_when_it_was_given_up_is_no_error_of_the_loop(
    stack: Stack, topic: str
) -> None:
    told: list[str] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: told.append(context["message"]))
    producer = AIOKafkaProducer(bootstrap_servers=servers(stack))
    await producer.start()
    # So that it knows the topic.
    await producer.send_and_wait(topic, b"sent", partition=0)
    await producer.client.close()
    future = await producer.send(topic, b"never sent", partition=0)
    await abandon(producer)
    with pytest.raises(KafkaError, match="abandoned"):
        await future
    del producer, future
    gc.collect()
    assert told == []

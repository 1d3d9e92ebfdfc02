"""Records fetched during a rebalance are fetched again by the new owner."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping
from types import SimpleNamespace

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from faust.types import TP

from streams.devstack import Stack
from streams.engine.consumer import Consumer
from tests.integration.kafka_names import own_topic, producer, servers, unused
from tests.integration.kafka_thread import Here

LONG_S = 30.0


class Reading:
    """Faust's consumer of a topic with two partitions, without the app around it."""

    def __init__(self, topic: str, reading: AIOKafkaConsumer, writing: AIOKafkaProducer) -> None:
        self.writing = writing
        self.tps = [TP(topic, 0), TP(topic, 1)]
        self.known: dict[TP, int] = {}
        self.reading = reading
        consumer = Consumer.__new__(Consumer)
        # Only what reading takes: a whole one takes an app.
        consumer.app = SimpleNamespace(
            consumer_generation_id=1,
            tables=SimpleNamespace(changelog_topics=set()),
            conf=SimpleNamespace(broker_request_timeout=LONG_S),
            stage_positions=self.positions,
        )
        consumer._read_offset = defaultdict(lambda: None)
        consumer._committed_offset = defaultdict(lambda: None)
        consumer._uncommitted = {}
        consumer.in_transaction = False
        consumer.flow_active = True
        consumer._thread = Here(reading, consumer)
        self.consumer = consumer

    async def positions(self, tps: set[TP]) -> Mapping[TP, int]:
        """What a stage would say."""
        return {tp: offset for tp, offset in self.known.items() if tp in tps}

    async def fetch(self, wanted: set[TP], within_s: float = LONG_S) -> dict[TP, list[int]]:
        """Offsets by partition, as Faust gets them."""
        records = await self.consumer._thread._fetch_records(
            self.reading, wanted, timeout=within_s, max_records=100
        )
        return {TP(*tp): [record.offset for record in found] for tp, found in records.items()}

    async def send(self, tp: TP) -> None:
        """One more record."""
        await self.writing.send_and_wait(tp.topic, b"record", partition=tp.partition)

    async def fetch_three(self, tp: TP) -> None:
        """All that is in a partition."""
        found: list[int] = []
        while len(found) < 3:
            found += (await self.fetch({tp})).get(tp, [])
        assert found == [0, 1, 2]


@pytest.fixture
async def reading(stack: Stack) -> AsyncIterator[Reading]:
    """Three records in each partition, and a group that never committed."""
    async with own_topic(stack, partitions=2) as topic, producer(stack) as client:
        for partition in (0, 1):
            for _ in range(3):
                await client.send_and_wait(topic, b"record", partition=partition)
        reading = AIOKafkaConsumer(
            topic,
            bootstrap_servers=servers(stack),
            group_id=unused("group"),
            enable_auto_commit=False,
            auto_offset_reset="earliest",
        )
        async with reading:
            yield Reading(topic, reading, client)


async def test_a_partition_without_a_committed_offset_is_read_from_its_beginning_again(
    reading: Reading,
) -> None:
    tp, other = reading.tps
    # A rebalance came, and Faust dropped them.
    await reading.fetch_three(tp)
    assert await reading.consumer.seek_to_committed() == {tp: 0, other: 0}
    await reading.fetch_three(tp)


async def test_a_committed_offset_counts_and_a_stage_knows_better(reading: Reading) -> None:
    tp, other = reading.tps
    await reading.fetch_three(tp)
    await reading.fetch_three(other)
    await reading.reading.commit({TopicPartition(*tp): 2, TopicPartition(*other): 2})
    reading.known = {other: 1}
    assert await reading.consumer.seek_to_committed() == {tp: 2, other: 1}
    assert await reading.fetch({tp}) == {tp: [2]}
    assert await reading.fetch({other}) == {other: [1, 2]}


async def test_a_set_that_is_emptied_meanwhile_does_not_stand_for_all_partitions(
    reading: Reading,
) -> None:
    tp, other = reading.tps
    await reading.fetch_three(tp)
    wanted = {tp}
    fetching = asyncio.create_task(reading.fetch(wanted, within_s=2.0))
    await asyncio.sleep(0)
    wanted.clear()
    await reading.send(tp)
    assert await fetching == {}
    assert await reading.fetch(set()) == {}
    assert await reading.fetch({tp}) == {tp: [3]}
    await reading.fetch_three(other)


async def test_a_partition_that_becomes_active_meanwhile_is_fetched_at_once(
    reading: Reading,
) -> None:
    tp, other = reading.tps
    await reading.fetch_three(tp)
    await reading.fetch_three(other)
    wanted = {tp}
    fetching = asyncio.create_task(reading.fetch(wanted))
    await asyncio.sleep(0)
    wanted.add(other)
    await reading.send(other)
    assert await fetching == {other: [3]}


async def test_what_a_fetch_finds_behind_a_seek_is_left_for_the_next_fetch(
    reading: Reading,
) -> None:
    tp, _ = reading.tps
    await reading.fetch_three(tp)
    fetching = asyncio.create_task(reading.fetch({tp}))
    await asyncio.sleep(0)
    assert not fetching.done()
    await reading.consumer.seek_to_committed()
    assert await fetching == {}
    await reading.fetch_three(tp)

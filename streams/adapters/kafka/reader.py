"""Adapter: reads ranges of a topic by offset, outside any consumer group."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Final

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError

from streams.adapters.kafka.clients import kafka_consumer
from streams.adapters.kafka.view import Span, range_options, read_spans
from streams.errors import LogMismatch

log = structlog.get_logger(__name__)

FETCH_BYTES: Final = 1024 * 1024
READ_TIMEOUT_S: Final = 20.0


class LogReader:
    """Reads the records between two offsets; opens a connection for each read.

    Reads happen after a rebalance or when a missing range is backfilled, so rarely that an open
    connection would cost more than it saves.

    Args:
        bootstrap_servers: Kafka brokers.
    """

    def __init__(self, bootstrap_servers: Sequence[str]) -> None:
        self._servers = list(bootstrap_servers)

    async def end_offsets(self, topic: str, partitions: Sequence[int]) -> dict[int, int]:
        """Offset that the next record of each partition will get."""
        tps = [TopicPartition(topic, partition) for partition in partitions]
        options = range_options(FETCH_BYTES)
        async with kafka_consumer(self._servers, {"topic": topic}, **options) as consumer:
            ends = await consumer.end_offsets(tps)
            return {tp.partition: end for tp, end in ends.items()}

    async def end_offset(self, topic: str, partition: int) -> int:
        """Offset that the next record of a partition will get."""
        return (await self.end_offsets(topic, [partition]))[partition]

    async def tail(self, topic: str, partition: int, count: int) -> list[ConsumerRecord]:
        """The last records of a partition, at most `count`, in order."""
        end = await self.end_offset(topic, partition)
        return [r async for r in self.read(topic, partition, max(0, end - count), end)]

    async def at(self, topic: str, partition: int, offset: int) -> ConsumerRecord | None:
        """The record at an offset; None if compaction removed it or the topic never had it."""
        try:
            async with aclosing(self.read(topic, partition, offset, offset + 1)) as reading:
                async for record in reading:
                    return record
        except LogMismatch:
            return None
        return None

    async def read(
        self,
        topic: str,
        partition: int,
        start: int | None,
        end: int,
        *,
        fetch_bytes: int = FETCH_BYTES,
    ) -> AsyncGenerator[ConsumerRecord, None]:
        """Records with `start` <= offset < `end`, in order.

        Args:
            topic: name of the topic.
            partition: number of the partition.
            start: first offset; None for the first that still exists.
            end: one after the last offset.
            fetch_bytes: size of a fetch.

        Raises:
            ServiceUnavailable: Kafka does not answer.
            LogMismatch: the topic ends, or begins, within the range.
        """
        if start is not None and start >= end:
            return
        tp = TopicPartition(topic, partition)
        where: dict[str, object] = {"topic": topic, "partition": partition}
        async with kafka_consumer(self._servers, where, **range_options(fetch_bytes)) as consumer:
            first = (await consumer.beginning_offsets([tp]))[tp]
            last = (await consumer.end_offsets([tp]))[tp]
            if start is None:
                start = first
            if first > start or last < end:
                raise LogMismatch(
                    f"Offsets {start} to {end - 1} are needed; the log has {first} to {last - 1}",
                    where=where,
                    todo="The topic was truncated or recreated: see `scrutin rebuild --help`",
                )
            spans = {partition: Span(start, end)}
            reading = read_spans(consumer, topic, spans, deadline_s=READ_TIMEOUT_S)
            async with aclosing(reading):
                async for records in reading:
                    for record in records:
                        yield record


async def stop_consumer(consumer: AIOKafkaConsumer) -> None:
    """Close a consumer within a second, even if Kafka does not answer."""
    try:
        async with asyncio.timeout(1):
            await consumer.stop()
    except (KafkaError, OSError, TimeoutError) as error:
        log.info("a consumer did not close in time", error=type(error).__name__)

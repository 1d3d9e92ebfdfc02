"""Pauses the intake while the workers are behind, so that the queue grows and not the log."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, InitVar, dataclass
from typing import Final

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from streams.adapters.kafka.errors import kafka_answers
from streams.runtime.metrics import BridgeMetrics
from streams.runtime.outages import Retry, Service
from streams.settings.kafka_security import client

log = structlog.get_logger(__name__)

PERIOD_S: Final = 0.5
ANSWER_S: Final = 5.0


def lag(
    ends: Mapping[TopicPartition, int],
    committed: Mapping[TopicPartition, int],
    beginnings: Mapping[TopicPartition, int],
) -> dict[TopicPartition, int]:
    """Records between a group's position and the end. Pure.

    Args:
        ends: offset of the next record.
        committed: the group's offsets; missing or negative if it never committed.
        beginnings: first offsets of partitions without a commit.
    """
    found = {}
    for tp, end in ends.items():
        position = committed.get(tp, -1)
        if position < 0:
            position = beginnings.get(tp, 0)
        found[tp] = max(0, end - position)
    return found


@dataclass
class LagGate:
    """Open while the lag of every partition is within the limit. `run` does the work."""

    bootstrap_servers: InitVar[Sequence[str]]
    """Kafka brokers."""
    _: KW_ONLY
    group: str
    """Of the workers."""
    topics: InitVar[Mapping[str, int]]
    """Topics that the workers read, with their partition counts."""
    max_lag_records: int
    """Largest lag of a partition."""
    retry: Retry
    """Waits while Kafka does not answer."""
    metrics: BridgeMetrics
    """Of the bridge."""

    def __post_init__(self, bootstrap_servers: Sequence[str], topics: Mapping[str, int]) -> None:
        self._servers = list(bootstrap_servers)
        self._tps = [TopicPartition(t, p) for t, count in topics.items() for p in range(count)]
        self._open = asyncio.Event()
        self._open.set()
        self.known = False

    @property
    def is_open(self) -> bool:
        """Whether the intake may continue."""
        return self._open.is_set()

    async def wait_open(self) -> None:
        """Wait until the workers have caught up."""
        await self._open.wait()

    async def run(self) -> None:
        """Watch until cancelled. The gate keeps its state while Kafka is unavailable."""
        while True:
            await self.retry(Service.KAFKA, self._watch)

    async def _watch(self) -> None:
        with kafka_answers(self._servers):
            await self._watch_lag()

    async def _watch_lag(self) -> None:
        consumer = AIOKafkaConsumer(**client(self._servers), enable_auto_commit=False)
        admin = AIOKafkaAdminClient(**client(self._servers), request_timeout_ms=10_000)
        try:
            # The driver itself waits for minutes before it reports Kafka unavailable.
            async with asyncio.timeout(ANSWER_S):
                await consumer.start()
                await admin.start()
            while True:
                async with asyncio.timeout(ANSWER_S):
                    await self._look(consumer, admin)
                self.retry.outages.succeeded(Service.KAFKA)
                await asyncio.sleep(PERIOD_S)
        finally:
            await admin.close()
            await consumer.stop()

    async def _look(self, consumer: AIOKafkaConsumer, admin: AIOKafkaAdminClient) -> None:
        ends = await consumer.end_offsets(self._tps)
        offsets = await admin.list_consumer_group_offsets(self.group, partitions=self._tps)
        committed = {tp: found.offset for tp, found in offsets.items()}
        uncommitted = [tp for tp in self._tps if committed.get(tp, -1) < 0]
        beginnings = await consumer.beginning_offsets(uncommitted) if uncommitted else {}
        self.known = True
        lags = lag(ends, committed, beginnings)
        behind = {tp: n for tp, n in lags.items() if n > self.max_lag_records}
        if behind and self._open.is_set():
            worst = max(behind, key=lambda tp: behind[tp])
            log.warning(
                "the workers are behind, pausing the intake",
                topic=worst.topic,
                partition=worst.partition,
                records=behind[worst],
            )
            self._open.clear()
        elif not behind and not self._open.is_set():
            log.info("the workers have caught up, resuming the intake")
            self._open.set()
        self.metrics.paused.set(0 if self._open.is_set() else 1)

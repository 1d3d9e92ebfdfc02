"""Adapter: reads verdict batches in a consumer group and commits those that were handled."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Final

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, ConsumerRecord, TopicPartition
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaError

from schemas.codec import decode_verdicts
from streams.adapters.kafka.errors import kafka_answers
from streams.adapters.kafka.reader import stop_consumer
from streams.core.records import Handle, Verdicts, poisoning
from streams.core.topics import MAX_DERIVED_RECORD_BYTES, VALIDATED_TOPIC
from streams.runtime.outages import Retry, Service
from streams.settings.kafka_security import client

log = structlog.get_logger(__name__)

_POLL_MS: Final = 200
_FETCH_MIN_BYTES: Final = 256 * 1024
_FETCH_WAIT_MS: Final = 100
"""Reviews and the mirror may lag a tenth of a second; a fetch response for every record would cost
Kafka and the bridge several times as much as the votes in it."""
_COMMIT_PERIOD_S: Final = 0.5
"""A commit costs Kafka as much as a record of votes; a crash repeats the work of this period."""
_MAX_RECORDS: Final = 50
"""A record holds up to 4,000 items."""
_MAX_POLL_INTERVAL_MS: Final = 86_400_000
"""The target service may be unavailable for hours. Another member could not reach it either."""


@dataclass
class VerdictReader:
    """Passes on verdict batches, in order per partition, at least once."""

    bootstrap_servers: Sequence[str]
    """Kafka brokers."""
    _: KW_ONLY
    group: str
    """Consumer group."""
    handle: Handle
    """Returns when the batches have taken effect; only then are they committed."""
    behind: Callable[[Mapping[int, int]], None]
    """Called around each batch with the number of unhandled records by owned partition."""
    retry: Retry
    """Waits while Kafka does not answer."""

    def __post_init__(self) -> None:
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        """Let `run` end once the current batch is committed."""
        self._stopping.set()

    async def run(self) -> None:
        """Read until stopped or cancelled.

        Raises:
            PoisonRecord: a record cannot be decoded.
        """
        await self.retry(Service.KAFKA, self._read)

    async def _read(self) -> None:
        consumer = AIOKafkaConsumer(
            **client(self.bootstrap_servers),
            group_id=self.group,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            max_poll_interval_ms=_MAX_POLL_INTERVAL_MS,
            fetch_min_bytes=_FETCH_MIN_BYTES,
            fetch_max_wait_ms=_FETCH_WAIT_MS,
            max_partition_fetch_bytes=MAX_DERIVED_RECORD_BYTES,
            fetch_max_bytes=2 * MAX_DERIVED_RECORD_BYTES,
        )
        done = _OffsetCommitter(consumer, self.group)
        consumer.subscribe([VALIDATED_TOPIC], listener=done)
        at: dict[TopicPartition, int] = {}
        with kafka_answers(self.bootstrap_servers, topic=VALIDATED_TOPIC, group=self.group):
            try:
                await consumer.start()
                while not self._stopping.is_set():
                    fetched = await consumer.getmany(timeout_ms=_POLL_MS, max_records=_MAX_RECORDS)
                    at |= {tp: records[0].offset for tp, records in fetched.items()}
                    # Also before handling, so that a slow batch shows in the metric.
                    self.behind(_waiting(consumer, at))
                    if not fetched:
                        await done.commit()
                        continue
                    self.retry.outages.succeeded(Service.KAFKA)
                    rebalances = done.rebalances
                    await self.handle([_decode(r) for records in fetched.values() for r in records])
                    ends = {tp: records[-1].offset + 1 for tp, records in fetched.items()}
                    at |= ends
                    self.behind(_waiting(consumer, at))
                    if done.rebalances == rebalances:
                        await done.add(ends)
                    # Otherwise the new owner of the partitions handles this batch again.
                await done.commit()
            finally:
                await asyncio.shield(stop_consumer(consumer))


class _OffsetCommitter(ConsumerRebalanceListener):  # type: ignore[misc]
    """Commits handled offsets periodically and before partitions are revoked."""

    def __init__(self, consumer: AIOKafkaConsumer, group: str) -> None:
        self._consumer = consumer
        self._group = group
        self._ends: dict[TopicPartition, int] = {}
        self._committed_s = -math.inf
        self.rebalances = 0
        """Number of revocations."""

    async def add(self, ends: Mapping[TopicPartition, int]) -> None:
        """Record next offsets; commits if the last commit is long enough ago."""
        self._ends |= ends
        if time.monotonic() - self._committed_s >= _COMMIT_PERIOD_S:
            await self.commit()

    async def commit(self) -> None:
        """Commit the recorded offsets."""
        if not self._ends:
            return
        ends, self._ends = self._ends, {}
        self._committed_s = time.monotonic()
        try:
            await self._consumer.commit(ends)
        except (CommitFailedError, IllegalStateError):
            # The group assigned the partitions to another member, which repeats this work.
            log.info("partitions were reassigned, offsets not committed", group=self._group)

    async def on_partitions_revoked(self, revoked: Collection[TopicPartition]) -> None:  # noqa: ARG002
        """Commit before the new owner starts at the last commit."""
        self.rebalances += 1
        try:
            await self.commit()
        except KafkaError as error:
            log.info("no commit before a rebalance", group=self._group, error=str(error))

    async def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        """Nothing to do: aiokafka continues from the committed offsets."""


def _waiting(consumer: AIOKafkaConsumer, at: Mapping[TopicPartition, int]) -> dict[int, int]:
    """Number of unhandled records, the current batch included, by partition that had any."""
    return {
        tp.partition: max(0, (consumer.highwater(tp) or at[tp]) - at[tp])
        for tp in consumer.assignment()
        if tp in at
    }


def _decode(record: ConsumerRecord) -> Verdicts:
    with poisoning(VALIDATED_TOPIC, record.partition, record.offset):
        return Verdicts(decode_verdicts(record.value or b""), record.offset)

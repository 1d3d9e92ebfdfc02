"""Adapter: writes records to Kafka and returns when all in-sync replicas have them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import KW_ONLY, dataclass
from itertools import chain
from typing import Final

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, MessageSizeTooLargeError
from aiokafka.structs import RecordMetadata

from streams.core.records import OutRecord
from streams.core.topics import MAX_DERIVED_RECORD_BYTES
from streams.errors import ServiceUnavailable, TopologyMismatch
from streams.runtime.outages import OutageTracker, Service
from streams.settings.configs import KafkaConfig, RetryPolicy
from streams.settings.kafka_security import client

log = structlog.get_logger(__name__)

STOP_TIMEOUT_S: Final = 1.0


@dataclass
class LogWriter:
    """An idempotent producer that is replaced when a write fails.

    After a failed batch the sequence numbers of an idempotent producer have a gap, and every later
    write would fail too; a new producer starts a new sequence. Callers write the same records
    again, in the same order; readers drop records they already know.
    """

    bootstrap_servers: Sequence[str]
    """Kafka brokers."""
    _: KW_ONLY
    outages: OutageTracker
    """Notified while Kafka does not confirm."""
    request_timeout_s: float = 10.0
    """Longest wait for one answer of a broker."""
    stall_s: float = 3.0
    """Duration of a write after which it is reported as an outage."""

    def __post_init__(self) -> None:
        self._producer: AIOKafkaProducer | None = None

    async def open(self, topics: Sequence[str]) -> None:
        """Connect and look up topics, so that the first write need not.

        Raises:
            ServiceUnavailable: Kafka does not answer.
        """
        try:
            producer = await self._started()
            for topic in topics:
                await producer.partitions_for(topic)
        except (KafkaError, OSError, TimeoutError) as error:
            await self.close()
            raise _unanswered("a connection", topics, error) from error

    async def write(self, records: Sequence[OutRecord]) -> list[RecordMetadata]:
        """Write records; those of one partition keep their order.

        While Kafka does not answer, the producer itself retries; only `outages` shows that.

        Returns:
            Where each record went.

        Raises:
            ServiceUnavailable: at least one write failed; any of the records may be in the log.
            TopologyMismatch: a record exceeds the size limit of its topic.
        """
        try:
            producer = await self._started()
            futures = [
                await producer.send(r.topic, r.value, key=r.key, partition=r.partition)
                for r in records
            ]
            for future in futures:
                # Only the first error is raised; asyncio would log the others as never retrieved.
                future.add_done_callback(_mark_retrieved)
            pending = set(futures)
            while pending:
                _, pending = await asyncio.wait(pending, timeout=self.stall_s)
                if pending:
                    tries = self.outages.failed(Service.KAFKA)
                    log.warning("Kafka does not confirm", records=len(pending), tries=tries)
            written = [future.result() for future in futures]
        except MessageSizeTooLargeError as error:
            await self.close()
            raise TopologyMismatch(
                "Kafka refuses a record because of its size",
                where={"topics": ", ".join(sorted({r.topic for r in records}))},
                todo=f"Set the topic's max.message.bytes to {MAX_DERIVED_RECORD_BYTES}",
            ) from error
        except (KafkaError, OSError, TimeoutError) as error:
            await self.close()
            raise _unanswered("a write", {r.topic for r in records}, error) from error
        self.outages.succeeded(Service.KAFKA)
        return written

    async def _started(self) -> AIOKafkaProducer:
        if self._producer is not None:
            return self._producer
        producer = AIOKafkaProducer(
            **client(self.bootstrap_servers),
            acks="all",
            enable_idempotence=True,
            linger_ms=0,
            max_batch_size=1 << 20,
            max_request_size=MAX_DERIVED_RECORD_BYTES,
            request_timeout_ms=int(self.request_timeout_s * 1000),
        )
        try:
            await producer.start()
        except BaseException:
            await abandon(producer)
            raise
        self._producer = producer
        return producer

    async def close(self) -> None:
        """Close the connection; the next write opens a new one."""
        producer, self._producer = self._producer, None
        if producer is not None:
            await abandon(producer)


@asynccontextmanager
async def writing(kafka: KafkaConfig, retry: RetryPolicy) -> AsyncIterator[LogWriter]:
    """A writer for one piece of work, closed at its end."""
    writer = LogWriter(kafka.servers, outages=OutageTracker(retry.max_attempts))
    try:
        yield writer
    finally:
        await writer.close()


async def abandon(producer: AIOKafkaProducer) -> None:
    """Close a producer and discard the records it still holds.

    `stop` alone waits until everything is delivered, for ever if Kafka is unavailable. If `stop`
    is cancelled, the sender task survives and may write later. Callers keep unconfirmed records.
    """
    accumulator = producer._message_accumulator
    batches = {*accumulator._pending_batches, *chain.from_iterable(accumulator._batches.values())}
    accumulator.fail_all(KafkaError("the producer was abandoned"))
    for batch in batches:
        # Nothing awaits it any more; asyncio would log an exception that was never retrieved.
        batch._drain_waiter.exception()
    # Closing the connections makes the sender's remaining requests fail.
    with suppress(Exception):
        await producer.client.close()
    with suppress(Exception):
        async with asyncio.timeout(STOP_TIMEOUT_S):
            await producer.stop()


def _unanswered(what: str, topics: Iterable[str], error: Exception) -> ServiceUnavailable:
    return ServiceUnavailable(
        f"Kafka did not confirm {what}: {type(error).__name__}",
        where={"topics": ", ".join(sorted(topics))},
        todo="It is retried until it is confirmed",
    )


def _mark_retrieved(future: asyncio.Future[RecordMetadata]) -> None:
    if not future.cancelled():
        future.exception()

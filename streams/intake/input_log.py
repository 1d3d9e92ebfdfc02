"""Adapter: writes sealed records to the input log, in order, until Kafka has them.

aiokafka's idempotent producer retries a batch with the same sequence number for as long as Kafka
is unavailable, so an ordinary outage neither loses nor duplicates a record. It gives up a batch
only if the partition has had no known leader for the request timeout, or on an error that it
considers permanent. The sequence then has a gap and Kafka refuses everything after it: the producer
is replaced, and all unconfirmed records are written again in the same order, flagged as possibly
written before.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, InitVar, dataclass

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, KafkaTimeoutError, MessageSizeTooLargeError
from aiokafka.structs import RecordMetadata

from schemas.codec import decode_input, encode
from schemas.votes import VoteBatch
from streams.adapters.kafka.errors import kafka_answers
from streams.adapters.kafka.writer import abandon
from streams.core.topics import MAX_RECORD_BYTES, VALIDATION_TOPIC
from streams.errors import LogMismatch, ServiceUnavailable, TopologyMismatch
from streams.intake.buffers import reproduced
from streams.runtime.metrics import BridgeMetrics
from streams.runtime.outages import Retry, Service
from streams.settings.kafka_security import client

log = structlog.get_logger(__name__)

Confirmed = Callable[[], None]


class _Record:
    __slots__ = ("confirmed", "unconfirmed", "value")

    def __init__(self, value: bytes, confirmed: Confirmed) -> None:
        self.value = value
        self.confirmed = confirmed
        self.unconfirmed = False


class _Lane:
    """Records of one partition that Kafka has not confirmed, oldest first."""

    __slots__ = ("last_offset", "partition", "records", "sent", "wake")

    def __init__(self, partition: int) -> None:
        self.partition = partition
        self.records: deque[_Record] = deque()
        self.sent = 0
        """How many of them the current producer has."""
        self.wake = asyncio.Event()
        self.last_offset = 0


@dataclass
class InputLog:
    """Writes the input topic. `run` does the work."""

    bootstrap_servers: InitVar[Sequence[str]]
    """Kafka brokers."""
    _: KW_ONLY
    partitions: InitVar[int]
    """Of the input topic."""
    retry: Retry
    """Waits while Kafka does not answer."""
    metrics: BridgeMetrics
    """Of the bridge."""
    request_timeout_s: InitVar[float] = 30.0
    """Longest wait for one answer of a broker."""

    def __post_init__(
        self, bootstrap_servers: Sequence[str], partitions: int, request_timeout_s: float
    ) -> None:
        self._servers = list(bootstrap_servers)
        self._lanes = [_Lane(p) for p in range(partitions)]
        self._request_timeout_ms = int(request_timeout_s * 1000)
        self._unconfirmed = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._failed: asyncio.Future[None] | None = None

    def submit(self, partition: int, value: bytes, confirmed: Confirmed) -> None:
        """Queue a record; never waits.

        Args:
            partition: of the input topic.
            value: an encoded :class:`VoteBatch`.
            confirmed: called once, when all in-sync replicas have the record.
        """
        lane = self._lanes[partition]
        lane.records.append(_Record(value, confirmed))
        lane.wake.set()
        self._unconfirmed += 1
        self._idle.clear()

    async def settled(self) -> None:
        """Wait until Kafka has confirmed all submitted records."""
        await self._idle.wait()

    async def run(self) -> None:
        """Write submitted records until cancelled.

        Raises:
            LogMismatch: the topic was recreated while this process ran.
            TopologyMismatch: a record exceeds the topic's size limit.
        """
        while True:
            producer = await self.retry(Service.KAFKA, self._start)
            try:
                await self._write(producer)
            except ServiceUnavailable as error:
                self.metrics.reconnects.labels("kafka").inc()
                log.warning("replacing the producer", error=str(error))
            finally:
                await asyncio.shield(abandon(producer))
            await asyncio.sleep(self.retry.delay_s)

    async def _start(self) -> AIOKafkaProducer:
        producer = AIOKafkaProducer(
            **client(self._servers),
            acks="all",
            enable_idempotence=True,
            compression_type=None,
            max_batch_size=MAX_RECORD_BYTES,
            request_timeout_ms=self._request_timeout_ms,
        )
        try:
            with kafka_answers(self._servers):
                await producer.start()
        except BaseException:
            await abandon(producer)
            raise
        return producer

    async def _write(self, producer: AIOKafkaProducer) -> None:
        """Write with one producer until it fails; always ends with an exception."""
        failed = self._failed = asyncio.get_running_loop().create_future()
        for lane in self._lanes:
            self._mark_uncertain(lane)
        lanes = [asyncio.create_task(self._write_lane(producer, lane)) for lane in self._lanes]
        try:
            await asyncio.wait([failed, *lanes], return_when=asyncio.FIRST_COMPLETED)
            for lane_task in lanes:
                if lane_task.done():
                    lane_task.result()
            failed.result()
        finally:
            self._failed = None
            failed.cancel()
            for lane_task in lanes:
                lane_task.cancel()
            await asyncio.gather(*lanes, return_exceptions=True)

    def _mark_uncertain(self, lane: _Lane) -> None:
        """Flag the records that the last producer had as possibly in the log."""
        lane.sent = 0
        for record in lane.records:
            if record.unconfirmed:
                batch = decode_input(record.value)
                assert isinstance(batch, VoteBatch)
                record.value = encode(reproduced(batch))
                self.metrics.reproduced.inc()

    async def _write_lane(self, producer: AIOKafkaProducer, lane: _Lane) -> None:
        while True:
            while lane.sent < len(lane.records):
                record = lane.records[lane.sent]
                try:
                    future = await producer.send(
                        VALIDATION_TOPIC, record.value, partition=lane.partition
                    )
                except KafkaTimeoutError:
                    # The producer's buffer stayed full: this record is not in it.
                    self.retry.outages.failed(Service.KAFKA)
                    continue
                except KafkaError as error:
                    raise self._translate(error, lane) from error
                record.unconfirmed = True
                lane.sent += 1
                future.add_done_callback(lambda done, r=record: self._done(lane, r, done))
            lane.wake.clear()
            await lane.wake.wait()

    def _done(self, lane: _Lane, record: _Record, future: asyncio.Future[RecordMetadata]) -> None:
        failed = self._failed
        if future.cancelled() or failed is None or failed.done():
            # From an abandoned producer; the new one writes the record again.
            future.cancelled() or future.exception()
            return
        error = future.exception()
        if error is None:
            error = self._misplaced(lane, future.result().offset)
        if error is None and lane.records[0] is not record:
            error = KafkaError("a later record was confirmed before an earlier one")
        if error is not None:
            failed.set_exception(self._translate(error, lane))
            return
        lane.records.popleft()
        lane.sent -= 1
        self._unconfirmed -= 1
        self.retry.outages.succeeded(Service.KAFKA)
        if not self._unconfirmed:
            self._idle.set()
        try:
            record.confirmed()
        except Exception as unexpected:  # noqa: BLE001 - asyncio would log it and go on
            failed.set_exception(unexpected)

    def _misplaced(self, lane: _Lane, offset: int) -> LogMismatch | None:
        # -1: Kafka has the record but no longer knows its offset.
        if offset < 0 or offset > lane.last_offset:
            lane.last_offset = max(lane.last_offset, offset)
            return None
        return LogMismatch(
            f"A record has offset {offset}, an earlier one has {lane.last_offset}",
            where={"topic": VALIDATION_TOPIC, "partition": lane.partition},
            todo="The topic was deleted and recreated; stop all processes and see `scrutin doctor`",
        )

    def _translate(self, error: BaseException, lane: _Lane) -> BaseException:
        where: dict[str, object] = {"topic": VALIDATION_TOPIC, "partition": lane.partition}
        if isinstance(error, MessageSizeTooLargeError):
            mismatch = TopologyMismatch(
                "Kafka refuses a record because of its size",
                where=where,
                todo=f"Set the topic's max.message.bytes to {MAX_RECORD_BYTES + 48_588} or more",
            )
            mismatch.__cause__ = error
            return mismatch
        if isinstance(error, KafkaError):
            unavailable = ServiceUnavailable(
                f"Kafka gave up a write: {type(error).__name__}",
                where=where,
                todo="It is retried until it is confirmed",
            )
            unavailable.__cause__ = error
            return unavailable
        return error

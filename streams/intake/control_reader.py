"""Reads `votes.control`, the notices to all bridges."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Final

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition

from schemas.codec import decode_notice
from schemas.notices import Notice
from streams.adapters.kafka.errors import kafka_answers
from streams.adapters.kafka.reader import stop_consumer
from streams.core.records import poisoning
from streams.core.topics import CONTROL_TOPIC
from streams.runtime.outages import Retry, Service
from streams.settings.kafka_security import client

log = structlog.get_logger(__name__)

_POLL_MS: Final = 500

OnNotice = Callable[[Notice], Awaitable[None]]


@dataclass
class ControlReader:
    """Passes on every notice in order, from the first; `run` does the work."""

    bootstrap_servers: Sequence[str]
    """Kafka brokers."""
    _: KW_ONLY
    log_id: bytes
    """Of the input log; notices about other logs are ignored."""
    on_notice: OnNotice
    """Called with each notice; a notice may be repeated after an outage."""
    retry: Retry
    """Waits while Kafka does not answer."""

    def __post_init__(self) -> None:
        self._position = 0
        self._caught_up = asyncio.Event()

    async def caught_up(self) -> None:
        """Wait until all notices that existed at the start are read."""
        await self._caught_up.wait()

    async def run(self) -> None:
        """Read until cancelled.

        Raises:
            PoisonRecord: a notice cannot be decoded.
        """
        await self.retry(Service.KAFKA, self._read)

    async def _read(self) -> None:
        consumer = AIOKafkaConsumer(
            **client(self.bootstrap_servers), enable_auto_commit=False, auto_offset_reset="none"
        )
        tp = TopicPartition(CONTROL_TOPIC, 0)
        with kafka_answers(self.bootstrap_servers, topic=CONTROL_TOPIC):
            try:
                await consumer.start()
                consumer.assign([tp])
                end = (await consumer.end_offsets([tp]))[tp]
                consumer.seek(tp, self._position)
                while True:
                    if self._position >= end:
                        self._caught_up.set()
                    for record in (await consumer.getmany(tp, timeout_ms=_POLL_MS)).get(tp, []):
                        with poisoning(CONTROL_TOPIC, 0, record.offset):
                            notice = decode_notice(record.value)
                        if notice.log_id == self.log_id:
                            await self.on_notice(notice)
                        self._position = record.offset + 1
            finally:
                await asyncio.shield(stop_consumer(consumer))

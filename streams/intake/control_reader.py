"""Reads `votes.control`, the notices to all bridges."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition

from schemas.codec import DecodeError, decode_notice
from schemas.notices import Notice
from streams.adapters.kafka.errors import kafka_answers
from streams.adapters.kafka.reader import stop_consumer
from streams.core.records import poison
from streams.core.topics import CONTROL_TOPIC
from streams.runtime.outages import Retry, Service
from streams.settings.kafka_security import client

log = structlog.get_logger(__name__)

_POLL_MS: Final = 500

OnNotice = Callable[[Notice], Awaitable[None]]


class ControlReader:
    """Passes on every notice in order, from the first; `run` does the work.

    Args:
        bootstrap_servers: Kafka brokers.
        log_id: of the input log; notices about other logs are ignored.
        on_notice: called with each notice; a notice may be repeated after an outage.
        retry: waits while Kafka does not answer.
    """

    def __init__(
        self,
        bootstrap_servers: Sequence[str],
        *,
        log_id: bytes,
        on_notice: OnNotice,
        retry: Retry,
    ) -> None:
        self._servers = list(bootstrap_servers)
        self._log_id = log_id
        self._on_notice = on_notice
        self._retry = retry
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
        await self._retry(Service.KAFKA, self._read)

    async def _read(self) -> None:
        consumer = AIOKafkaConsumer(
            **client(self._servers), enable_auto_commit=False, auto_offset_reset="none"
        )
        tp = TopicPartition(CONTROL_TOPIC, 0)
        with kafka_answers(self._servers, topic=CONTROL_TOPIC):
            try:
                await consumer.start()
                consumer.assign([tp])
                end = (await consumer.end_offsets([tp]))[tp]
                consumer.seek(tp, self._position)
                while True:
                    if self._position >= end:
                        self._caught_up.set()
                    for record in (await consumer.getmany(tp, timeout_ms=_POLL_MS)).get(tp, []):
                        try:
                            notice = decode_notice(record.value)
                        except DecodeError as error:
                            raise poison(CONTROL_TOPIC, 0, record.offset, error) from error
                        if notice.log_id == self._log_id:
                            await self._on_notice(notice)
                        self._position = record.offset + 1
            finally:
                await asyncio.shield(stop_consumer(consumer))

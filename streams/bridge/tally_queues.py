"""Copies tally commands from RabbitMQ to `tally.events`; acknowledges them once Kafka has them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import structlog

from streams.adapters.kafka.writer import LogWriter
from streams.adapters.rabbitmq.queues import Route
from streams.bridge.consumer import ConsumerSession, QueueConsumer
from streams.bridge.queue_guard import QueueGuard
from streams.core.records import OutRecord
from streams.messages.decode import Delivery
from streams.runtime.metrics import BridgeMetrics
from streams.runtime.outages import Retry, Service
from streams.settings.configs import KafkaConfig, RabbitConfig
from streams.tally.codec import encode
from streams.tally.messages import QUEUES, command_of
from streams.tally.refusals import Refused
from streams.tally.topics import EVENTS_TOPIC, ensure_tally_topics, partition_for

log = structlog.get_logger(__name__)

_PREFETCH = 1
"""As in the replaced deployments: commands are few, and a larger prefetch gains nothing."""


class TallyQueues:
    """Reads queues of tally commands. `run` does the work.

    A message that is not a command, or holds a secret, is rejected without requeue: a dead-letter
    exchange receives it, and the log names the check.

    Args:
        queues: to read, by documented name.
        kafka: where the log is.
        rabbit: where RabbitMQ is.
        retry: waits while RabbitMQ or Kafka does not answer.
        guard: refuses a queue that loses commands.
        metrics: of the bridge.
    """

    def __init__(
        self,
        queues: Sequence[str],
        kafka: KafkaConfig,
        rabbit: RabbitConfig,
        *,
        retry: Retry,
        guard: QueueGuard,
        metrics: BridgeMetrics,
    ) -> None:
        self._kafka = kafka
        self._retry = retry
        self._metrics = metrics
        self._waiting: asyncio.Queue[tuple[ConsumerSession, int, bytes]] = asyncio.Queue()
        self._writer = LogWriter(kafka.servers, outages=retry.outages)
        self._consumers = [
            QueueConsumer(
                rabbit,
                route=Route(name),
                prevalidated=False,
                prefetch=_PREFETCH,
                bind=False,
                measure=False,
                guard=guard,
                intake=self,
                retry=retry,
                metrics=metrics,
            )
            for name in queues
        ]

    @property
    def consuming(self) -> bool:
        """Whether deliveries arrive from every queue."""
        return all(consumer.consuming for consumer in self._consumers)

    # Called by the consumers.

    def receive(self, session: ConsumerSession, deliveries: Sequence[Delivery]) -> None:
        """Receive deliveries, in order. Repeated commands have no effect."""
        for tag, _, _, body in deliveries:
            session.tags.delivered = tag
            self._waiting.put_nowait((session, tag, body))

    def forget(self, session: ConsumerSession) -> None:
        """Nothing to drop: deliveries of a lost session may be forwarded twice."""

    # Forwarding.

    async def run(self) -> None:
        """Read and forward until cancelled."""
        try:
            await self._retry(
                Service.KAFKA,
                lambda: ensure_tally_topics(self._kafka),
            )
            async with asyncio.TaskGroup() as tasks:
                for consumer in self._consumers:
                    tasks.create_task(consumer.run())
                while True:
                    session, tag, body = await self._waiting.get()
                    await self._forward(session, tag, body)
        finally:
            await self._writer.close()

    async def _forward(self, session: ConsumerSession, tag: int, body: bytes) -> None:
        try:
            command = command_of(QUEUES[session.queue], body)
        except Refused as refused:
            self._metrics.malformed.labels(refused.check).inc()
            log.error("refused a message", queue=session.queue, error=str(refused))
            session.reject(tag)
            session.acknowledge()
            return
        if command is not None:
            partition = partition_for(command.election_id, self._kafka.partitions)
            record = OutRecord(EVENTS_TOPIC, partition, encode(command))
            await self._retry(Service.KAFKA, lambda: self._writer.write([record]))
        session.tags.confirm([tag])
        session.acknowledge()

"""Consumes one ingress queue: connection, sessions, acknowledgements."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import KW_ONLY, dataclass
from functools import partial
from typing import Final, Protocol

import structlog
from pika.exceptions import AMQPError, ChannelClosedByBroker

from streams.adapters.rabbitmq.client import (
    Channel,
    Connection,
    QueueMissing,
    connected,
    first_of,
    resolve,
)
from streams.adapters.rabbitmq.queues import Route
from streams.bridge.delivery_tags import DeliveryTags
from streams.bridge.queue_guard import QueueGuard
from streams.messages.decode import Delivery
from streams.runtime.metrics import BridgeMetrics
from streams.runtime.outages import Retry, Service
from streams.settings.configs import RabbitConfig
from streams.settings.queues import VOTES_EXCHANGE

log = structlog.get_logger(__name__)

ROUTING_KEY: Final = "vote.submitted"

_QUEUE_SIZE_PERIOD_S: Final = 2.0
_SHORT_LIFE_S: Final = 1.0


class ConsumerSession:
    """The lifetime of one channel: only it can acknowledge its deliveries."""

    def __init__(
        self,
        channel: Channel,
        *,
        queue: str,
        prevalidated: bool,
        poll_updates: bool,
        prefetch: int,
        metrics: BridgeMetrics,
    ) -> None:
        self.queue = queue
        self.prevalidated = prevalidated
        self.poll_updates = poll_updates
        self.prefetch = prefetch
        self.backlog = False
        """Whether the queue holds more messages than the prefetch."""
        self.tags = DeliveryTags()
        self.consumer_tag = ""
        self._channel = channel
        self._acknowledged = metrics.acknowledged.labels(queue)
        self._received = metrics.received.labels(queue)
        self._acked = 0
        self._counted = 0

    def give_back(self) -> None:
        """Return all deliveries without an answer to the queue."""
        if self._channel.raw.is_open and self.tags.delivered:
            self._channel.raw.basic_nack(0, multiple=True, requeue=True)
        self.tags.give_back()

    def reject(self, tag: int) -> None:
        """Reject one delivery without requeue: a dead-letter exchange receives it."""
        if self._channel.raw.is_open and self.tags.known(tag):
            self._channel.raw.basic_reject(tag, requeue=False)
            self.tags.reject((tag,))

    def acknowledge(self) -> None:
        """Acknowledge all deliveries up to the first that is not settled."""
        tag = self.tags.next_ack()
        if tag is not None and self._channel.raw.is_open:
            self._channel.raw.basic_ack(tag, multiple=True)
            self._acknowledged.inc(tag - self._acked)
            self._acked = tag
            # Counted here, not per delivery: a counter costs as much as decoding a vote.
            self._received.inc(self.tags.delivered - self._counted)
            self._counted = self.tags.delivered


class DeliveryIntake(Protocol):
    """Receives a consumer's deliveries."""

    def receive(self, session: ConsumerSession, deliveries: Sequence[Delivery]) -> None:
        """Receive deliveries, in order; must not raise."""

    def forget(self, session: ConsumerSession) -> None:
        """Drop the session's deliveries, which RabbitMQ will deliver again."""


@dataclass
class QueueConsumer:
    """Reads one queue until stopped: reconnects, declares, consumes. `run` does the work."""

    rabbit: RabbitConfig
    """Where RabbitMQ is."""
    _: KW_ONLY
    route: Route
    """To the queue."""
    prevalidated: bool
    """Whether another system has checked the roll for its votes."""
    poll_updates: bool = False
    """Whether its messages are votes in polls by name."""
    prefetch: int
    """Limit of unacknowledged deliveries."""
    bind: bool
    """Bind the queue to `votes.exchange` if that exists."""
    measure: bool
    """Export the queue's size."""
    guard: QueueGuard
    """Refuses a queue that loses votes."""
    intake: DeliveryIntake
    """Receives the deliveries."""
    retry: Retry
    """Waits while RabbitMQ does not answer."""
    metrics: BridgeMetrics
    """Of the bridge."""

    def __post_init__(self) -> None:
        self.queue = self.route.queue
        self.session: ConsumerSession | None = None
        self._service = f"{Service.RABBITMQ} {self.route.queue}"
        self.metrics.blocked.labels(self.route.queue).set(0)
        self.metrics.in_flight.labels(self.route.queue).set_function(self._in_flight)
        self._last: ConsumerSession | None = None
        self._connection: Connection | None = None
        self._channel: Channel | None = None
        self._cancelled: asyncio.Future[None] | None = None
        self._stopping = asyncio.Event()
        self._wanted = asyncio.Event()
        self._wanted.set()

    def _in_flight(self) -> float:
        return self.session.tags.outstanding if self.session is not None else 0

    @property
    def consuming(self) -> bool:
        """Whether deliveries arrive."""
        return self.session is not None

    async def run(self) -> None:
        """Read until :meth:`stop_deliveries` and :meth:`close`, or until cancelled."""
        while not self._stopping.is_set():
            begin = time.monotonic()
            async with AsyncExitStack() as stack:
                await self.retry(self._service, lambda: self._open(stack))
                reason = await self._until_lost()
                self.session = None
            if self._stopping.is_set():
                return
            self.metrics.reconnects.labels("rabbitmq").inc()
            log.warning("deliveries ended, reconnecting", queue=self.queue, reason=reason)
            if time.monotonic() - begin < _SHORT_LIFE_S:
                await asyncio.sleep(self.retry.delay_s)

    async def _open(self, stack: AsyncExitStack) -> None:
        """Connect and begin to consume; the stack closes the connection."""
        async with AsyncExitStack() as opening:
            connection = await opening.enter_async_context(
                connected(self.rabbit, f"scrutin ingress {self.queue}", on_blocked=self._blocked)
            )
            channel, created = await self.route.ensure(connection)
            await self.guard.check(connection, self.queue)
            if self.bind:
                await self._bind_exchange(connection)
            # A deleted queue loses its deliveries: RabbitMQ will not deliver them again.
            lost = created or (self._cancelled is not None and self._cancelled.done())
            if self._last is not None and not lost:
                self.intake.forget(self._last)
            session = self._last = ConsumerSession(
                channel,
                queue=self.queue,
                prevalidated=self.prevalidated,
                poll_updates=self.poll_updates,
                prefetch=self.prefetch,
                metrics=self.metrics,
            )
            await channel.prefetch(self.prefetch)
            await self._wanted.wait()
            cancelled: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._cancelled = cancelled
            session.consumer_tag = await channel.consume(
                self.queue,
                partial(self.intake.receive, session),
                partial(resolve, cancelled, None),
            )
            self._connection, self._channel, self.session = connection, channel, session
            if not self._wanted.is_set():
                # Paused while RabbitMQ answered.
                await channel.cancel(session.consumer_tag)
            stack.push_async_exit(opening.pop_all())

    async def _bind_exchange(self, connection: Connection) -> None:
        channel = await connection.channel()
        try:
            await channel.find_exchange(VOTES_EXCHANGE)
            await channel.bind(self.queue, VOTES_EXCHANGE, ROUTING_KEY)
        except QueueMissing:
            return
        except ChannelClosedByBroker as error:
            # The queue can be read without the binding.
            log.warning(
                "the queue cannot be bound", exchange=VOTES_EXCHANGE, error=error.reply_text
            )
            return
        await channel.close()
        log.info("bound the queue", queue=self.queue, exchange=VOTES_EXCHANGE, key=ROUTING_KEY)

    async def _until_lost(self) -> str:
        """Wait until deliveries end; returns the reason."""
        assert self._connection is not None
        assert self._channel is not None
        assert self._cancelled is not None
        assert self.session is not None
        connection, channel = self._connection, self._channel
        measuring = asyncio.create_task(self._measure_always(connection, self.session))
        try:
            await first_of(connection.closed, channel.closed, self._cancelled)
        finally:
            measuring.cancel()
            await asyncio.wait([measuring])
        for ended in (connection.closed, channel.closed):
            if ended.done():
                return str(ended.result()) or type(ended.result()).__name__
        if await self._exists(connection):
            return (
                "RabbitMQ cancelled the consumer, but the queue exists: deliveries waited longer "
                "than the acknowledgement timeout, or the queue moved to another node"
            )
        return "RabbitMQ cancelled the consumer: the queue was deleted"

    async def _exists(self, connection: Connection) -> bool:
        try:
            return await connection.depth(self.queue) is not None
        except AMQPError:
            # The broker is going down, and the queue is expected to survive that.
            return True

    async def _measure_always(self, connection: Connection, session: ConsumerSession) -> None:
        with suppress(AMQPError, QueueMissing):
            channel = await connection.channel()
            while True:
                waiting = (await channel.depth(self.queue)).ready
                session.backlog = waiting >= session.prefetch
                if self.measure:
                    self.metrics.validation_queue_size.set(waiting)
                await asyncio.sleep(_QUEUE_SIZE_PERIOD_S)

    def _blocked(self, blocked: bool) -> None:
        log.warning("RabbitMQ is short of memory or disk", blocked=blocked, queue=self.queue)
        self.metrics.blocked.labels(self.queue).set(int(blocked))

    # Pausing -----------------------------------------------------------------------------------

    async def pause(self) -> None:
        """Stop deliveries until :meth:`resume`, also on a new connection."""
        if not self._wanted.is_set():
            return
        self._wanted.clear()
        # A consumer that is stopping is already cancelled.
        stopping = self._stopping.is_set()
        if self.session is not None and self._channel is not None and not stopping:
            with suppress(AMQPError):
                await self._channel.cancel(self.session.consumer_tag)

    async def resume(self) -> None:
        """Start deliveries again."""
        if self._wanted.is_set():
            return
        self._wanted.set()
        session, channel = self.session, self._channel
        if session is not None and channel is not None and not self._stopping.is_set():
            assert self._cancelled is not None
            with suppress(AMQPError):
                session.consumer_tag = await channel.consume(
                    self.queue,
                    partial(self.intake.receive, session),
                    partial(resolve, self._cancelled, None),
                )

    # Stopping ----------------------------------------------------------------------------------

    async def stop_deliveries(self) -> None:
        """Stop deliveries; those received before can still be acknowledged."""
        self._stopping.set()
        # A paused consumer is already cancelled; RabbitMQ would not answer a second time.
        if self.session is not None and self._channel is not None and self._wanted.is_set():
            with suppress(AMQPError):
                await self._channel.cancel(self.session.consumer_tag)

    async def close(self) -> None:
        """Close the channel once RabbitMQ has received all acknowledgements; `run` then ends."""
        if self._channel is not None:
            with suppress(AMQPError):
                await self._channel.close()

    async def give_back(self) -> None:
        """Return all deliveries without an answer to the queue, and close the channel."""
        if self.session is not None:
            with suppress(AMQPError):
                self.session.give_back()
        await self.close()

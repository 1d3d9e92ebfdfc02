"""Publishes to one queue and returns when RabbitMQ has confirmed all messages."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import KW_ONLY, dataclass
from typing import Final

import pika
import structlog
from pika.exceptions import AMQPError

from streams.adapters.rabbitmq.client import Channel, connected, first_of
from streams.adapters.rabbitmq.confirms import Confirms
from streams.adapters.rabbitmq.queues import Route
from streams.errors import ServiceUnavailable
from streams.messages.outgoing import Publication
from streams.runtime.metrics import BridgeMetrics
from streams.runtime.outages import MAX_PAUSE_S, Retry, Service
from streams.settings.configs import RabbitConfig

log = structlog.get_logger(__name__)

WINDOW: Final = 2_000
"""Limit of unconfirmed publications."""
_YIELD_EVERY: Final = 100
"""Publications between two yields to the event loop."""


class Flight:
    """Publications on one channel and their outcomes. Pure."""

    def __init__(self) -> None:
        self._open: Confirms[Publication] = Confirms()
        self.refused: list[Publication] = []
        """Publications to retry."""
        self.confirmed = 0
        self.returned = self._open.returned

    def __len__(self) -> int:
        return len(self._open)

    @property
    def unconfirmed(self) -> list[Publication]:
        """All publications that RabbitMQ may not have, refused ones first."""
        return [*self.refused, *self._open.waiting]

    def publish(self, publication: Publication) -> None:
        """Record a publication."""
        self._open.expect(publication.message_id, publication)

    def answered(self, tag: int, multiple: bool, taken: bool) -> None:
        """Record a confirm, as :meth:`Confirms.answered`."""
        for publication, has_it in self._open.answered(tag, multiple, taken):
            if has_it:
                self.confirmed += 1
            else:
                self.refused.append(publication)


@dataclass
class QueuePublisher:
    """Publishes to a queue. Connects at the first publication and stays connected."""

    rabbit: RabbitConfig
    """Where RabbitMQ is."""
    _: KW_ONLY
    route: Route
    """To the queue, which is declared if it is missing."""
    retry: Retry
    """Waits while RabbitMQ does not answer."""
    metrics: BridgeMetrics
    """Of the bridge."""

    def __post_init__(self) -> None:
        self._queue = self.route.queue
        self._service = f"{Service.RABBITMQ} {self.route.queue}"
        self.metrics.returned.labels(self.route.queue)
        self.metrics.blocked.labels(self.route.queue).set(0)
        self._channel: Channel | None = None
        self._flight = Flight()
        self._progress = asyncio.Event()
        self._stack = AsyncExitStack()

    async def publish(self, publications: Sequence[Publication]) -> None:
        """Publish until RabbitMQ has confirmed all; a message may arrive more than once."""
        waiting = list(publications)
        pause = self.retry.delay_s
        while waiting:
            channel = await self.retry(self._service, self._connect)
            before = len(waiting)
            waiting = await self._try(channel, waiting)
            if not waiting:
                return
            await self._disconnect()
            pause = self.retry.delay_s if len(waiting) < before else min(2 * pause, MAX_PAUSE_S)
            self.retry.outages.failed(self._service)
            log.warning("publications are not confirmed", queue=self._queue, messages=len(waiting))
            await asyncio.sleep(pause)

    async def aclose(self) -> None:
        """Close the connection."""
        await self._disconnect()

    async def _connect(self) -> Channel:
        if self._channel is not None and not self._channel.closed.done():
            return self._channel
        await self._disconnect()
        async with AsyncExitStack() as opening:
            connection = await opening.enter_async_context(
                connected(self.rabbit, f"scrutin egress {self._queue}", on_blocked=self._blocked)
            )
            channel, _ = await self.route.ensure(connection)
            flight = self._flight = Flight()

            def on_confirm(tag: int, multiple: bool, taken: bool) -> None:
                flight.answered(tag, multiple, taken)
                self._progress.set()

            def on_return(message_id: str | None) -> None:
                self.metrics.returned.labels(self._queue).inc()
                flight.returned(message_id)

            await channel.confirm(on_confirm, on_return)
            self._channel = channel
            self._stack.push_async_exit(opening.pop_all())
        return channel

    async def _disconnect(self) -> None:
        self._channel = None
        stack, self._stack = self._stack, AsyncExitStack()
        try:
            await stack.aclose()
        except ServiceUnavailable as error:
            log.info("connection ended", queue=self._queue, error=str(error))

    async def _try(self, channel: Channel, publications: list[Publication]) -> list[Publication]:
        """Publish once; returns the unconfirmed publications."""
        flight = self._flight
        before = flight.confirmed
        sent = 0
        try:
            for publication in publications:
                channel.raw.basic_publish(
                    self.route.exchange,
                    self.route.routing_key,
                    publication.body,
                    _properties(publication.message_id),
                    mandatory=True,
                )
                flight.publish(publication)
                sent += 1
                if sent % _YIELD_EVERY == 0:
                    await asyncio.sleep(0)
                if len(flight) >= WINDOW:
                    await self._await_confirms(channel, WINDOW // 2)
            await self._await_confirms(channel, 0)
        except AMQPError as error:
            log.info("channel ended", queue=self._queue, error=str(error))
        self.metrics.published.labels(self._queue).inc(flight.confirmed - before)
        return [*flight.unconfirmed, *publications[sent:]]

    async def _await_confirms(self, channel: Channel, most_open: int) -> None:
        """Wait until at most `most_open` are unconfirmed. Refused ones are retried later."""
        while len(self._flight) > most_open:
            self._progress.clear()
            waiting = asyncio.ensure_future(self._progress.wait())
            try:
                await first_of(waiting, channel.closed)
            finally:
                waiting.cancel()
            if channel.closed.done():
                raise channel.closed.result()

    def _blocked(self, blocked: bool) -> None:
        log.warning("RabbitMQ is short of memory or disk", blocked=blocked, queue=self._queue)
        self.metrics.blocked.labels(self._queue).set(int(blocked))


def _properties(message_id: str) -> pika.BasicProperties:
    return pika.BasicProperties(
        content_type="application/json", delivery_mode=2, message_id=message_id
    )

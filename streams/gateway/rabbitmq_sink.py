"""Votes to RabbitMQ, one at a time, each answered when RabbitMQ has confirmed it.

The bridge's publisher waits until an outage ends, because nobody else has the messages it carries.
Here the voter waits and can send again, so an outage is reported at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass

import structlog
from pika.exceptions import AMQPError

from streams.adapters.rabbitmq.client import connected, resolve
from streams.adapters.rabbitmq.confirms import Confirms
from streams.adapters.rabbitmq.queues import ensure_queue
from streams.errors import ServiceUnavailable
from streams.gateway.vote_sink import AGAIN, COUNTS_ONCE, MAX_OPEN, Unconfirmed, VoteSink
from streams.runtime.outages import Retry, Service
from streams.settings.configs import RabbitConfig

log = structlog.get_logger(__name__)


@dataclass
class VoteQueue(VoteSink):
    """Writes to the validation queue. Enter it to connect; it reconnects by itself."""

    rabbit: RabbitConfig
    """Where RabbitMQ is."""
    _: KW_ONLY
    queue: str
    """Deployed name; declared durable when it is missing."""
    retry: Retry
    """Waits while RabbitMQ does not answer."""
    confirm_timeout_s: float
    """Longest wait for a confirm."""
    on_blocked: Callable[[bool], None] = lambda _: None
    """Called when RabbitMQ stops or resumes reading from this connection."""

    def __post_init__(self) -> None:
        super().__init__()
        self._publish: Callable[[str, bytes], None] | None = None
        self._confirms: Confirms[asyncio.Future[bool]] = Confirms()
        self._blocked = False

    @property
    def fault(self) -> str | None:
        """Why no vote can be taken now; None if one can."""
        if self._publish is None:
            return "RabbitMQ does not answer"
        if self._blocked:
            return "RabbitMQ is short of memory or disk"
        if len(self._confirms) >= MAX_OPEN:
            return "RabbitMQ is behind with its confirms"
        return None

    async def publish(self, body: bytes, message_id: str) -> None:
        """Publish one vote; returns once RabbitMQ has confirmed it.

        Raises:
            ServiceUnavailable: it was not sent.
            Unconfirmed: it was sent and not confirmed.
        """
        if (fault := self.fault) is not None:
            raise ServiceUnavailable(fault, todo=AGAIN)
        publish = self._publish
        assert publish is not None
        try:
            publish(message_id, body)
        except AMQPError as error:
            raise ServiceUnavailable("RabbitMQ does not answer", todo=AGAIN) from error
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[bool] = loop.create_future()
        self._confirms.expect(message_id, answer)
        late = loop.call_later(self.confirm_timeout_s, resolve, answer, False)
        try:
            taken = await answer
        finally:
            late.cancel()
        if not taken:
            # If the voter has left, the vote may still arrive; that does no harm.
            raise Unconfirmed("RabbitMQ did not confirm the vote", todo=COUNTS_ONCE)

    async def _run(self) -> None:
        while True:
            await self.retry(Service.RABBITMQ, self._connection)

    async def _connection(self) -> None:
        """Keep one connection until it ends; raises ServiceUnavailable if there was none."""
        try:
            async with connected(
                self.rabbit, f"scrutin gateway {self.queue}", on_blocked=self._note_blocked
            ) as connection:
                channel, _ = await ensure_queue(connection, self.queue)
                confirms = self._confirms = Confirms()

                def on_confirm(tag: int, multiple: bool, taken: bool) -> None:
                    for answer, has_it in confirms.answered(tag, multiple, taken):
                        resolve(answer, has_it)

                await channel.confirm(on_confirm, confirms.returned)
                self._publish = channel.publisher(self.queue)
                self.retry.outages.succeeded(Service.RABBITMQ)
                log.info("connected to RabbitMQ", queue=self.queue)
                try:
                    raise await channel.closed
                finally:
                    self._note_blocked(False)
                    for answer in confirms.waiting:
                        resolve(answer, False)
        except ServiceUnavailable as error:
            if self._publish is None:
                raise
            log.warning("the connection to RabbitMQ ended", error=str(error))
        finally:
            self._publish = None

    def _note_blocked(self, blocked: bool) -> None:
        if blocked != self._blocked:
            log.warning("RabbitMQ is short of memory or disk", blocked=blocked)
        self._blocked = blocked
        self.on_blocked(blocked)

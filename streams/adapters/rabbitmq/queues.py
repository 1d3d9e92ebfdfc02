"""Adapter: use a queue as it is, or declare it with the exchange that leads to it."""

from __future__ import annotations

from dataclasses import dataclass

import structlog

from streams.adapters.rabbitmq.client import Channel, Connection, QueueMissing

log = structlog.get_logger(__name__)


async def ensure_queue(connection: Connection, queue: str) -> tuple[Channel, bool]:
    """Use a queue as it is, or declare a durable queue if it is missing.

    Returns:
        A channel, and whether the queue was declared.
    """
    channel = await connection.channel()
    try:
        await channel.depth(queue)
    except QueueMissing:
        channel = await connection.channel()
        arguments = connection.queue_arguments.get(queue, {})
        await channel.declare(queue, arguments)
        log.info("declared a missing queue", queue=queue, arguments=arguments)
        return channel, True
    return channel, False


@dataclass(frozen=True)
class Route:
    """How messages reach a queue: by its name, or through an exchange if one is given."""

    queue: str
    exchange: str = ""
    """Durable and direct."""
    key: str = ""

    @property
    def routing_key(self) -> str:
        """The routing key for publications."""
        return self.key if self.exchange else self.queue

    async def ensure(self, connection: Connection) -> tuple[Channel, bool]:
        """Like :func:`ensure_queue`; also declares and binds the exchange if there is one."""
        channel, created = await ensure_queue(connection, self.queue)
        if self.exchange:
            await channel.declare_exchange(self.exchange)
            await channel.bind(self.queue, self.exchange, self.key)
        return channel, created

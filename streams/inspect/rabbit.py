"""Facts about RabbitMQ over AMQP, which need no special permission."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from streams.adapters.rabbitmq.client import QueueDepth, connected, unavailable
from streams.settings.configs import RabbitConfig

DEADLINE_S: Final = 5.0


@dataclass
class BrokerFacts:
    """Facts about a broker from AMQP."""

    version: str = "?"
    queues: dict[str, QueueDepth | None] = field(default_factory=dict)
    """By name; None if the queue does not exist."""
    exchanges: dict[str, bool] = field(default_factory=dict)
    """By name: whether it exists."""


async def look(
    config: RabbitConfig, queues: Sequence[str], exchanges: Sequence[str] = ()
) -> BrokerFacts:
    """Read facts over AMQP without declaring anything.

    Raises:
        ServiceUnavailable: RabbitMQ does not answer within the deadline.
        SettingsError: it refuses user, password or virtual host.
    """
    try:
        async with (
            asyncio.timeout(DEADLINE_S),
            connected(config, "scrutin inspection", retried=False) as connection,
        ):
            return BrokerFacts(
                connection.version,
                {name: await connection.depth(name) for name in queues},
                {name: await connection.has_exchange(name) for name in exchanges},
            )
    except TimeoutError as error:
        raise unavailable(error, config) from error

"""Facts about RabbitMQ over AMQP, which need no special permission."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import pika
from pika.exceptions import (
    AMQPError,
    ChannelClosedByBroker,
    ProbableAccessDeniedError,
    ProbableAuthenticationError,
)

from streams.adapters.rabbitmq.client import login_refused, tls_options
from streams.errors import ServiceUnavailable
from streams.settings.configs import RabbitConfig
from streams.settings.tls import refusal

DEADLINE_S: Final = 5.0
VOTES_EXCHANGE: Final = "votes.exchange"
"""Exchange to which the replaced API publishes."""

_NOT_FOUND: Final = 404


@dataclass(frozen=True)
class QueueDepth:
    """Facts from a passive declaration of a queue."""

    ready: int
    """Waiting messages, without those delivered but not acknowledged."""
    consumers: int


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
    return await asyncio.to_thread(_look, config, queues, exchanges)


def _look(config: RabbitConfig, queues: Sequence[str], exchanges: Sequence[str]) -> BrokerFacts:
    where = {
        "host": config.host,
        "port": config.port,
        "vhost": config.vhost,
    }
    credentials = pika.PlainCredentials(config.user, config.password)
    parameters = pika.ConnectionParameters(
        host=config.host,
        port=config.port,
        virtual_host=config.vhost,
        credentials=credentials,
        ssl_options=tls_options(config),
        connection_attempts=1,
        socket_timeout=DEADLINE_S,
        stack_timeout=DEADLINE_S,
        blocked_connection_timeout=DEADLINE_S,
    )
    try:
        connection = pika.BlockingConnection(parameters)
        try:
            return _ask(connection, queues, exchanges)
        finally:
            if connection.is_open:
                connection.close()
    except (ProbableAuthenticationError, ProbableAccessDeniedError) as error:
        raise login_refused(parameters) from error
    except (AMQPError, OSError) as error:
        raise ServiceUnavailable(
            f"RabbitMQ does not answer: {refusal(error) or type(error).__name__}",
            where=where,
            todo="Check RABBITMQ_HOST, RABBITMQ_PORT and that the broker is up",
        ) from error


def _ask(
    connection: pika.BlockingConnection, queues: Sequence[str], exchanges: Sequence[str]
) -> BrokerFacts:
    facts = BrokerFacts()
    # BlockingConnection does not expose the broker's properties.
    properties = getattr(getattr(connection, "_impl", None), "server_properties", None) or {}
    facts.version = str(properties.get("version", "?"))
    for name in queues:
        try:
            method = connection.channel().queue_declare(name, passive=True).method
            facts.queues[name] = QueueDepth(method.message_count, method.consumer_count)
        except ChannelClosedByBroker as error:
            if error.reply_code != _NOT_FOUND:
                raise
            facts.queues[name] = None
    for name in exchanges:
        try:
            connection.channel().exchange_declare(name, passive=True)
            facts.exchanges[name] = True
        except ChannelClosedByBroker as error:
            if error.reply_code != _NOT_FOUND:
                raise
            facts.exchanges[name] = False
    return facts

"""Looking at RabbitMQ: over AMQP what everybody may see, over HTTP what only management knows."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import quote

import aiohttp
import pika
from pika.exceptions import (
    AMQPError,
    ChannelClosedByBroker,
    ProbableAccessDeniedError,
    ProbableAuthenticationError,
)

from streams.errors import ServiceUnavailable, SettingsError
from streams.settings import Settings

DEADLINE_S: Final = 5.0
VOTES_EXCHANGE: Final = "votes.exchange"
"""Where the replaced API publishes to."""

_NOT_FOUND: Final = 404


@dataclass(frozen=True)
class QueueDepth:
    """What a passive declaration tells."""

    ready: int
    """Messages waiting; those delivered and not yet acknowledged are not among them."""
    consumers: int


@dataclass
class BrokerFacts:
    """What AMQP tells about a broker."""

    version: str = "?"
    queues: dict[str, QueueDepth | None] = field(default_factory=dict)
    """By name; None where there is no such queue."""
    exchanges: dict[str, bool] = field(default_factory=dict)
    """By name: whether it exists."""


@dataclass(frozen=True)
class QueueDetails:
    """What the management plugin tells about a queue."""

    arguments: dict[str, Any]
    policy: dict[str, Any]
    """The effective policy's definition."""
    durable: bool
    auto_delete: bool
    unacked: int


async def look(
    settings: Settings, queues: Sequence[str], exchanges: Sequence[str] = ()
) -> BrokerFacts:
    """Ask over AMQP, declaring nothing.

    Raises:
        ServiceUnavailable: RabbitMQ does not answer within the deadline.
        SettingsError: it refuses user, password or virtual host.
    """
    return await asyncio.to_thread(_look, settings, queues, exchanges)


def _look(settings: Settings, queues: Sequence[str], exchanges: Sequence[str]) -> BrokerFacts:
    where = {
        "host": settings.rabbitmq_host,
        "port": settings.rabbitmq_port,
        "vhost": settings.rabbitmq_vhost,
    }
    credentials = pika.PlainCredentials(
        settings.rabbitmq_user, settings.rabbitmq_password.get_secret_value()
    )
    parameters = pika.ConnectionParameters(
        host=settings.rabbitmq_host,
        port=settings.rabbitmq_port,
        virtual_host=settings.rabbitmq_vhost,
        credentials=credentials,
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
        raise SettingsError(
            "RabbitMQ refuses the user, the password or the virtual host",
            where=where,
            todo="Check RABBITMQ_USER, RABBITMQ_PASSWORD and RABBITMQ_VHOST",
        ) from error
    except (AMQPError, OSError) as error:
        raise ServiceUnavailable(
            f"RabbitMQ does not answer: {type(error).__name__}",
            where=where,
            todo="Check RABBITMQ_HOST, RABBITMQ_PORT and that the broker is up",
        ) from error


def _ask(
    connection: pika.BlockingConnection, queues: Sequence[str], exchanges: Sequence[str]
) -> BrokerFacts:
    facts = BrokerFacts()
    # BlockingConnection hides what the broker said about itself.
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


class Management:
    """The management plugin's HTTP API.

    Args:
        settings: where RabbitMQ is; `SCRUTIN_RABBITMQ_MANAGEMENT_URL` if it is set, else port
            15672 of its host.
    """

    def __init__(self, settings: Settings) -> None:
        base = settings.rabbitmq_management_url or f"http://{settings.rabbitmq_host}:15672"
        self.url: Final = base.rstrip("/")
        self._vhost = quote(settings.rabbitmq_vhost, safe="")
        self._auth = aiohttp.BasicAuth(
            settings.rabbitmq_user, settings.rabbitmq_password.get_secret_value()
        )

    async def queues(self, names: Sequence[str]) -> dict[str, QueueDetails]:
        """Details of those of the queues that exist.

        Raises:
            ServiceUnavailable: no (usable) management API there.
        """
        found = await self._get(f"/api/queues/{self._vhost}?disable_stats=false")
        return {
            q["name"]: QueueDetails(
                arguments=q.get("arguments") or {},
                policy=q.get("effective_policy_definition") or {},
                durable=bool(q.get("durable")),
                auto_delete=bool(q.get("auto_delete")),
                unacked=int(q.get("messages_unacknowledged") or 0),
            )
            for q in found
            if q["name"] in names
        }

    async def bound_queues(self, exchange: str) -> list[str]:
        """Queues that the exchange feeds directly."""
        found = await self._get(
            f"/api/exchanges/{self._vhost}/{quote(exchange, safe='')}/bindings/source"
        )
        return [b["destination"] for b in found if b["destination_type"] == "queue"]

    async def _get(self, path: str) -> list[dict[str, Any]]:
        timeout = aiohttp.ClientTimeout(total=DEADLINE_S)
        try:
            async with (
                aiohttp.ClientSession(auth=self._auth, timeout=timeout) as session,
                session.get(f"{self.url}{path}") as response,
            ):
                response.raise_for_status()
                answer = await response.json()
        except (aiohttp.ClientError, TimeoutError, ValueError, OSError) as error:
            raise ServiceUnavailable(
                f"RabbitMQ's management API does not answer: {type(error).__name__}",
                where={"SCRUTIN_RABBITMQ_MANAGEMENT_URL": self.url},
            ) from error
        if not isinstance(answer, list):
            raise ServiceUnavailable(
                "What answers is not RabbitMQ's management API",
                where={"SCRUTIN_RABBITMQ_MANAGEMENT_URL": self.url},
            )
        return answer

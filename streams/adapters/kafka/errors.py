"""Translates errors of the Kafka driver."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from aiokafka.errors import KafkaError

from streams.errors import ServiceUnavailable
from streams.settings.kafka_security import Broker
from streams.settings.tls import refusal


@contextmanager
def kafka_answers(bootstrap_servers: Sequence[str], **where: object) -> Iterator[None]:
    """Translate the driver's errors inside the context, keeping the cause.

    Args:
        bootstrap_servers: Kafka brokers.
        where: topic, partition, group and the like, for the message.

    Raises:
        ServiceUnavailable: Kafka did not answer, or not in time.
    """
    try:
        yield
    except (KafkaError, OSError, TimeoutError) as error:
        raise ServiceUnavailable(
            f"Kafka does not answer: {why_not(bootstrap_servers) or error or type(error).__name__}",
            where={"KAFKA_BOOTSTRAP_SERVERS": ",".join(bootstrap_servers), **where},
            todo="Check the address and that the broker is up; `scrutin doctor` shows details",
        ) from error


_HANDSHAKE_S: Final = 1.0


def why_not(servers: Sequence[str]) -> str:
    """Why a TLS handshake with Kafka fails, if it does; else empty.

    aiokafka reports that in its log only. This makes a blocking handshake of at most a second, so
    it is for startup and commands.
    """
    for server in servers:
        if not isinstance(server, Broker) or server.security.context is None:
            return ""
        host, _, port = server.rpartition(":")
        host = host.strip("[]")
        try:
            with (
                socket.create_connection((host, int(port)), _HANDSHAKE_S) as plain,
                server.security.context.wrap_socket(plain, server_hostname=host),
            ):
                return ""
        except OSError as error:
            if reason := refusal(error):
                return reason
    return ""

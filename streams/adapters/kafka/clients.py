"""Started clients of Kafka that are closed after use, with translated errors."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

import stamina
from aiokafka import AIOKafkaConsumer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import (
    GroupCoordinatorNotAvailableError,
    GroupLoadInProgressError,
    NodeNotReadyError,
    NotCoordinatorForGroupError,
)

from streams.adapters.kafka.errors import kafka_answers
from streams.settings.kafka_security import client

with_coordinator: Final = stamina.retry(
    on=(
        GroupCoordinatorNotAvailableError,
        GroupLoadInProgressError,
        NotCoordinatorForGroupError,
    ),
    attempts=20,
    timeout=5,
    wait_initial=0.1,
    wait_max=0.5,
)
"""Ask again: a new cluster has no coordinator of groups until a client asks for one, and this one
must load its groups first."""


class AdminClient(AIOKafkaAdminClient):  # type: ignore[misc]
    """An admin client for a cluster that may have no controller, as while its broker comes back."""

    async def _send_to_controller(self, request: Any) -> Any:
        try:
            return await super()._send_to_controller(request)
        except AttributeError as error:
            # aiokafka takes it for granted that the metadata name a controller.
            if error.name != "nodeId":
                raise
            raise NodeNotReadyError("the cluster has no controller") from error


@asynccontextmanager
async def kafka_admin(servers: Sequence[str], **options: Any) -> AsyncIterator[Any]:
    """An admin client.

    Raises:
        ServiceUnavailable: Kafka does not answer.
    """
    admin = AdminClient(**client(servers), **options)
    with kafka_answers(servers):
        try:
            await admin.start()
            yield admin
        finally:
            await admin.close()


@asynccontextmanager
async def kafka_consumer(
    servers: Sequence[str], where: Mapping[str, object] | None = None, **options: Any
) -> AsyncIterator[AIOKafkaConsumer]:
    """A consumer that commits only when it is told to.

    Args:
        servers: Kafka brokers.
        where: topic, partition, group and the like, for messages.
        options: further arguments of the driver.

    Raises:
        ServiceUnavailable: Kafka does not answer.
    """
    consumer = AIOKafkaConsumer(**client(servers), enable_auto_commit=False, **options)
    with kafka_answers(servers, **(where or {})):
        try:
            await consumer.start()
            yield consumer
        finally:
            await consumer.stop()

"""Checks a queue before the bridge reads it: some settings lose votes without a trace."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

import structlog

from streams.adapters.rabbitmq.client import Connection
from streams.adapters.rabbitmq.management import Management, QueueDetails
from streams.errors import ServiceUnavailable, TopologyMismatch
from streams.inspect.queue_settings import (
    QUORUM,
    STREAM,
    default_limit,
    delivery_limit,
    faults,
    is_settled,
)
from streams.runtime.metrics import BridgeMetrics
from streams.settings.configs import RabbitConfig

_POLICY_S: Final = 15.0
"""How long RabbitMQ may take to show the policy of a new queue: three of its intervals."""
_POLL_S: Final = 0.5

log = structlog.get_logger(__name__)


@dataclass
class QueueGuard:
    """Refuses queues that lose votes without a trace; logs other dangers.

    Those are stream queues, and quorum queues with a delivery limit and no dead-letter exchange.
    A time limit or a length limit of a queue is a warning: the replaced services declare them.
    """

    rabbit: RabbitConfig
    """Where RabbitMQ is."""
    accepted: Collection[str]
    """Names of queues to read in spite of their delivery limit."""
    metrics: BridgeMetrics
    """Of the bridge."""

    def __post_init__(self) -> None:
        self._management = Management(self.rabbit)

    async def check(self, connection: Connection, queue: str) -> None:
        """Check an existing queue.

        Raises:
            TopologyMismatch: the queue loses votes, and nobody has accepted that.
        """
        version = connection.version
        try:
            found = await self._settled(queue, version)
        except ServiceUnavailable:
            found = None
        if found is None:
            await self._check_kind(connection, queue)
            return
        limit = delivery_limit(found, version)
        self.metrics.delivery_limit.labels(queue).set(-1 if limit is None else limit)
        for refused, fault, remedy in faults(queue, found, version, self.rabbit.vhost):
            if not refused:
                log.warning("the queue can lose votes", queue=queue, fault=fault, todo=remedy)
            elif queue in self.accepted and found.kind != STREAM:
                log.warning(
                    "the queue loses votes, which SCRUTIN_ACCEPT_QUEUE_LOSS accepts",
                    queue=queue,
                    fault=fault,
                    todo=remedy,
                )
            else:
                raise _refusal(queue, fault, remedy, version)

    async def _settled(self, queue: str, version: str) -> QueueDetails | None:
        """Facts about a queue, when its policy is shown or does not matter; None without it."""
        for _ in range(round(_POLICY_S / _POLL_S)):
            found = (await self._management.queues([queue])).get(queue)
            if found is None or is_settled(found, version):
                break
            await asyncio.sleep(_POLL_S)
        return found

    async def _check_kind(self, connection: Connection, queue: str) -> None:
        kind = await connection.kind(queue)
        if kind == STREAM:
            raise _refusal(
                queue,
                "a stream queue",
                "Declare a quorum or classic queue, and move the messages there",
                connection.version,
            )
        if kind == QUORUM:
            log.warning(
                "no management API answers, so the queue's delivery limit is unknown",
                queue=queue,
                default=default_limit(connection.version),
                todo="Set SCRUTIN_RABBITMQ_MANAGEMENT_URL",
            )


def _refusal(queue: str, fault: str, remedy: str, version: str) -> TopologyMismatch:
    return TopologyMismatch(
        f"The queue loses votes: {fault}",
        where={"queue": queue, "RabbitMQ": version},
        todo=f"{remedy}. SCRUTIN_ACCEPT_QUEUE_LOSS={queue} reads it in spite of a delivery limit",
    )

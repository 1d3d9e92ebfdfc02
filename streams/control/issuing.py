"""An issuer with connections of its own, for one command of an operator."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from streams.adapters.kafka.admin import ensure_topics
from streams.adapters.kafka.writer import writing
from streams.adapters.postgres.connection import connect
from streams.control.issuer import Issuer
from streams.settings.configs import DeploymentConfig


@asynccontextmanager
async def issuing(
    deployment: DeploymentConfig, *, enforced: bool, actor: str
) -> AsyncIterator[Issuer]:
    """An issuer while the block runs.

    Args:
        deployment: where it writes.
        enforced: whether this deployment validates votes by contests.
        actor: who asks, for the trail.

    Raises:
        ServiceUnavailable: PostgreSQL or Kafka does not answer.
        TopologyMismatch: the log's number of partitions differs from the settings.
    """
    genesis = await ensure_topics(deployment.kafka)
    connection = await connect(deployment.postgres)
    try:
        async with writing(deployment.kafka, deployment.retry) as writer:
            yield Issuer(
                connection=connection,
                writer=writer,
                partitions=deployment.kafka.partitions,
                log_id=genesis[0].log_id,
                name=deployment.name,
                enforced=enforced,
                actor=actor,
            )
    finally:
        await connection.close()

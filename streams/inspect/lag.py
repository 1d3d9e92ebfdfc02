"""Lag of every reader: RabbitMQ queues, Kafka consumer groups, the fence in PostgreSQL."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from streams.adapters.kafka.clients import kafka_admin, with_coordinator
from streams.adapters.kafka.view import LogView, Span
from streams.adapters.postgres.connection import connected, migrated
from streams.adapters.rabbitmq.client import QueueDepth
from streams.core.topics import (
    VALIDATED_TOPIC,
    VALIDATION_TOPIC,
    WINDOWS_TOPIC,
    changelog_topic,
    egress_group,
    mirror_group,
    worker_group,
)
from streams.errors import ScrutinError
from streams.inspect.rabbit import look
from streams.settings.configs import DeploymentConfig, KafkaConfig, PostgresConfig

T = TypeVar("T")

WORKERS: Final = "workers"
EGRESS: Final = "egress"
MIRROR: Final = "mirror"
SINK: Final = "postgresql"

READERS: Final[Mapping[str, tuple[str, ...]]] = {
    WORKERS: (VALIDATION_TOPIC, VALIDATED_TOPIC),
    EGRESS: (VALIDATED_TOPIC,),
    MIRROR: (VALIDATED_TOPIC,),
    SINK: (VALIDATION_TOPIC, VALIDATED_TOPIC),
}
"""Reader -> topics that it reads."""


def groups(app_id: str) -> dict[str, str]:
    """Consumer groups by reader."""
    return {
        WORKERS: worker_group(app_id),
        EGRESS: egress_group(app_id),
        MIRROR: mirror_group(app_id),
    }


@dataclass(frozen=True)
class PartitionLag:
    """One partition and the positions of its readers."""

    topic: str
    partition: int
    end: int
    """Offset of the next record."""
    next_offsets: Mapping[str, int | None]
    """Reader -> offset that it reads next; None if it never committed."""

    def lag(self, reader: str) -> int | None:
        """Records that the reader has not read yet; None if it never committed."""
        at = self.next_offsets[reader]
        return None if at is None else max(0, self.end - at)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "topic": self.topic,
            "partition": self.partition,
            "end": self.end,
            "readers": {
                reader: {"committed": at, "lag": self.lag(reader)}
                for reader, at in self.next_offsets.items()
            },
        }


@dataclass
class Lag:
    """Waiting records and messages of a deployment."""

    partitions: list[PartitionLag] = field(default_factory=list)
    queues: dict[str, QueueDepth | None] = field(default_factory=dict)
    """RabbitMQ queues by deployed name; None if the queue does not exist."""
    errors: dict[str, ScrutinError] = field(default_factory=dict)
    """Services that did not answer, with the error."""

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "partitions": [p.as_dict() for p in self.partitions],
            "queues": {
                name: None if q is None else {"ready": q.ready, "consumers": q.consumers}
                for name, q in self.queues.items()
            },
            "errors": {service: str(error) for service, error in self.errors.items()},
        }


async def measure(config: DeploymentConfig) -> Lag:
    """Query all services concurrently; one that does not answer is named in `errors`."""
    lag = Lag()
    kafka, queues, sink = await asyncio.gather(
        _unless_unavailable(lag, "kafka", _kafka(config.kafka)),
        _unless_unavailable(lag, "rabbitmq", look(config.rabbit, config.queues.used())),
        _unless_unavailable(lag, "postgresql", sink_offsets(config.postgres)),
    )
    if queues is not None:
        lag.queues = queues.queues
    if kafka is not None:
        ends, committed = kafka
        lag.partitions = assemble(ends, committed, sink)
    return lag


def assemble(
    ends: Mapping[tuple[str, int], int],
    committed: Mapping[str, Mapping[tuple[str, int], int]],
    sink: Mapping[int, tuple[int, int]] | None,
) -> list[PartitionLag]:
    """Combine ends and positions into one entry per partition.

    Args:
        ends: (topic, partition) -> end, in the order to show them.
        committed: reader -> (topic, partition) -> next offset.
        sink: partition -> last offsets applied of the input log and of the verdicts; None if the
            database did not answer.
    """
    found = []
    for (topic, partition), end in ends.items():
        at: dict[str, int | None] = {}
        for reader, topics in READERS.items():
            if topic not in topics or (reader == SINK and sink is None):
                continue
            if reader == SINK:
                applied = (sink or {}).get(partition)
                column = 0 if topic == VALIDATION_TOPIC else 1
                at[reader] = None if applied is None else applied[column] + 1
            else:
                at[reader] = committed.get(reader, {}).get((topic, partition))
        found.append(PartitionLag(topic, partition, end, at))
    return found


async def _unless_unavailable(lag: Lag, service: str, question: Awaitable[T]) -> T | None:
    try:
        return await question
    except ScrutinError as error:
        lag.errors[service] = error
        return None


async def _kafka(
    config: KafkaConfig,
) -> tuple[dict[tuple[str, int], int], dict[str, dict[tuple[str, int], int]]]:
    topics = (VALIDATION_TOPIC, VALIDATED_TOPIC, changelog_topic(config.app_id), WINDOWS_TOPIC)
    async with LogView(config.servers) as view:
        spans: dict[str, dict[int, Span]] = {t: await view.spans(t) for t in topics}
    committed = await committed_offsets(config.servers, groups(config.app_id))
    ends = {(topic, p): span.end for topic, found in spans.items() for p, span in found.items()}
    return ends, committed


async def committed_offsets(
    bootstrap_servers: Sequence[str], of: Mapping[str, str]
) -> dict[str, dict[tuple[str, int], int]]:
    """Committed offsets of consumer groups, without joining them.

    Args:
        bootstrap_servers: Kafka brokers.
        of: reader -> group.

    Returns:
        Reader -> (topic, partition) -> next offset.
    """
    async with kafka_admin(bootstrap_servers) as admin:
        return {reader: await _committed(admin, group) for reader, group in of.items()}


@with_coordinator
async def _committed(admin: Any, group: str) -> dict[tuple[str, int], int]:
    found = await admin.list_consumer_group_offsets(group)
    return {(tp.topic, tp.partition): at.offset for tp, at in found.items() if at.offset >= 0}


async def sink_offsets(config: PostgresConfig) -> dict[int, tuple[int, int]]:
    """Partition -> last offsets that PostgreSQL has of the input log and of the verdicts.

    Raises:
        ScrutinError: the database was not migrated.
        ServiceUnavailable: it does not answer.
    """
    async with connected(config) as connection:
        with migrated("table sink_offsets", config.where()):
            rows = await connection.fetch(
                "SELECT partition, source_offset, validated_offset FROM sink_offsets"
            )
    return {row["partition"]: (row["source_offset"], row["validated_offset"]) for row in rows}

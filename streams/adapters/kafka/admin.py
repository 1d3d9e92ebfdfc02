"""Creates and checks Scrutin's Kafka topics and the identity of the log.

The process that starts first does this; later processes find it done.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import (
    InvalidReplicationFactorError,
    KafkaError,
    TopicAlreadyExistsError,
    for_code,
)

from schemas.codec import DecodeError, decode_input, encode
from schemas.genesis import Genesis, RehearsalGenesis
from streams.adapters.kafka.clients import AdminClient, kafka_admin, kafka_consumer
from streams.adapters.kafka.errors import kafka_answers
from streams.core.topics import (
    CONTROL_TOPIC,
    MAX_DERIVED_RECORD_BYTES,
    VALIDATED_TOPIC,
    VALIDATION_TOPIC,
    WINDOWS_TOPIC,
    changelog_topic,
)
from streams.errors import LOG_LOST, LogMismatch, ServiceUnavailable, TopologyMismatch
from streams.settings.configs import KafkaConfig
from streams.settings.kafka_security import client

DELETE_TIMEOUT_S: Final = 30.0

_FOREVER: Final = {"retention.ms": "-1", "retention.bytes": "-1"}
_INDEXED: Final = {"segment.index.bytes": str(1 << 20)}
"""The broker maps an index of this length into memory when a segment begins, and with the first
entry the system reads ahead in it, some ms for the default of 10 MiB where it may. It is enough for
350 MB of log at least: twelve bytes an entry, an entry for 4,096 bytes or more."""


@dataclass(frozen=True)
class TopicPlan:
    """The intended configuration of a topic."""

    name: str
    partitions: int
    config: Mapping[str, str]


def planned_topics(app_id: str, partitions: int) -> list[TopicPlan]:
    """All topics of a deployment. The first three must be co-partitioned."""
    kept = {"cleanup.policy": "delete", **_FOREVER, **_INDEXED}
    compacted = {"cleanup.policy": "compact", "retention.ms": "-1", **_INDEXED}
    long_records = {"max.message.bytes": str(MAX_DERIVED_RECORD_BYTES)}
    return [
        TopicPlan(VALIDATION_TOPIC, partitions, kept),
        TopicPlan(VALIDATED_TOPIC, partitions, {**kept, **long_records}),
        TopicPlan(changelog_topic(app_id), partitions, {**compacted, **long_records}),
        TopicPlan(WINDOWS_TOPIC, 1, compacted),
        TopicPlan(CONTROL_TOPIC, 1, kept),
    ]


async def ensure_topics(config: KafkaConfig) -> dict[int, Genesis]:
    """Create missing topics, check existing ones, and return each input partition's genesis.

    Raises:
        ServiceUnavailable: Kafka does not answer.
        TopologyMismatch: a topic has another number of partitions.
        LogMismatch: an input partition does not begin with a genesis record.
    """
    await create_topics(config, planned_topics(config.app_id, config.partitions))
    with kafka_answers(config.servers):
        return await _ensure_genesis(config.servers, config.partitions, config.rehearsal)


async def create_topics(config: KafkaConfig, plan: list[TopicPlan]) -> None:
    """Create the missing topics of a plan, and check the partition counts of all.

    Raises:
        ServiceUnavailable: Kafka does not answer.
        TopologyMismatch: a topic has another number of partitions.
    """
    with kafka_answers(config.servers):
        await _create_missing(config.servers, plan, config.replication_factor)


async def delete_topic(bootstrap_servers: list[str], topic: str) -> None:
    """Delete a topic if it exists, and wait until it is gone.

    Raises:
        ServiceUnavailable: Kafka does not answer, or did not delete the topic in time.
    """
    admin = AdminClient(**client(bootstrap_servers), request_timeout_ms=10_000)
    try:
        await admin.start()
        if topic in await admin.list_topics():
            await admin.delete_topics([topic])
            async with asyncio.timeout(DELETE_TIMEOUT_S):
                while topic in await admin.list_topics():  # noqa: ASYNC110 - Kafka sends no event
                    await asyncio.sleep(0.1)
    except (KafkaError, OSError, TimeoutError) as error:
        raise ServiceUnavailable(
            f"Kafka did not delete the topic: {error or type(error).__name__}",
            where={"topic": topic},
            todo="Check that delete.topic.enable is on, then try again",
        ) from error
    finally:
        await admin.close()


async def _create_missing(
    bootstrap_servers: list[str], plan: list[TopicPlan], replication_factor: int
) -> None:
    # With three replicas one may be down; an acknowledged record is on two even then.
    safe = {"min.insync.replicas": "2"} if replication_factor > 2 else {}
    async with kafka_admin(bootstrap_servers, request_timeout_ms=10_000) as admin:
        response = await admin.create_topics(
            [
                NewTopic(
                    t.name, t.partitions, replication_factor, topic_configs={**t.config, **safe}
                )
                for t in plan
            ]
        )
        for topic, code, *_ in response.topic_errors:
            failure = for_code(code)
            if issubclass(failure, InvalidReplicationFactorError):
                # Not necessarily a wrong setting: the other brokers may still be starting.
                raise ServiceUnavailable(
                    f"Kafka has fewer than {replication_factor} brokers now",
                    where={"topic": topic, "variable": "SCRUTIN_REPLICATION_FACTOR"},
                    todo="Start the other brokers, or set a factor that the cluster can hold",
                )
            if code and not issubclass(failure, TopicAlreadyExistsError):
                raise failure(f"topic {topic} cannot be created")
        found = await _partition_counts(admin, plan)
    for topic in plan:
        if found[topic.name] != topic.partitions:
            raise TopologyMismatch(
                f"A topic has {found[topic.name]} partitions, the settings say {topic.partitions}",
                where={"topic": topic.name, "variable": "SCRUTIN_PARTITIONS"},
                todo="Set SCRUTIN_PARTITIONS to the number the log was created with; "
                "it cannot change while votes are in the log",
            )


async def _partition_counts(admin: AIOKafkaAdminClient, plan: list[TopicPlan]) -> dict[str, int]:
    """Number of partitions of each planned topic; waits up to 5 s for new metadata."""
    names = [topic.name for topic in plan]
    for _ in range(50):
        described = await admin.describe_topics(names)
        counts = {t["topic"]: len(t["partitions"]) for t in described if not t["error_code"]}
        if all(counts.get(name) for name in names):
            return counts
        await asyncio.sleep(0.1)
    missing = ", ".join(name for name in names if not counts.get(name))
    raise KafkaError(f"topics {missing} were created but are not listed")


async def _ensure_genesis(
    bootstrap_servers: list[str], partitions: int, rehearsal: str
) -> dict[int, Genesis]:
    async with kafka_consumer(bootstrap_servers, auto_offset_reset="none") as consumer:
        tps = [TopicPartition(VALIDATION_TOPIC, p) for p in range(partitions)]
        consumer.assign(tps)
        ends = await consumer.end_offsets(tps)
        empty = [tp.partition for tp in tps if ends[tp] == 0]
        if empty:
            await _write_genesis(bootstrap_servers, empty, rehearsal)
        return {tp.partition: await _first_record(consumer, tp) for tp in tps}


async def _write_genesis(
    bootstrap_servers: list[str], partitions: list[int], rehearsal: str
) -> None:
    log_id, created_ms = secrets.token_bytes(16), time.time_ns() // 1_000_000
    genesis = (
        RehearsalGenesis(log_id, created_ms, rehearsal)
        if rehearsal
        else Genesis(log_id, created_ms)
    )
    producer = AIOKafkaProducer(**client(bootstrap_servers), acks="all", enable_idempotence=True)
    await producer.start()
    try:
        for partition in partitions:
            await producer.send_and_wait(VALIDATION_TOPIC, encode(genesis), partition=partition)
    finally:
        await producer.stop()


async def _first_record(consumer: AIOKafkaConsumer, tp: TopicPartition) -> Genesis:
    def mismatch(what: str) -> LogMismatch:
        return LogMismatch(
            what,
            where={"topic": tp.topic, "partition": tp.partition, "offset": 0},
            todo="The log was truncated or is not Scrutin's. " + LOG_LOST,
        )

    begin = (await consumer.beginning_offsets([tp]))[tp]
    if begin != 0:
        raise mismatch(f"The input log begins at offset {begin}; its first records are missing")
    consumer.seek(tp, 0)
    async with asyncio.timeout(20):
        while True:
            batch = await consumer.getmany(tp, timeout_ms=1000, max_records=1)
            if records := batch.get(tp):
                break
    try:
        record = decode_input(records[0].value)
    except DecodeError as error:
        raise mismatch("The first record of the input log cannot be decoded") from error
    if not isinstance(record, Genesis):
        raise mismatch("The input log does not begin with a genesis record")
    return record

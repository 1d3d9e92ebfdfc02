"""What the oracle sees: PostgreSQL, the review queue, Kafka and Redis, read without the product.

Kafka's records are read from their documented MessagePack arrays, whose first element names type
and version. Nothing here judges.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import asyncpg
import msgpack
import pika
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from redis.asyncio import Redis

from tests.faults.model import Item, Verdict
from tests.faults.votes import Ballot, number_of

MARKED = 1 | 2 | 4
"""Flags of a vote: redelivered, produced again, has a `message_id`."""
CANDIDATE = 1
FIRST_VOTE = struct.Struct(">32sHH8s")


@dataclass(frozen=True)
class Addresses:
    """Where the services are, from the variables that `scrutin stack env` prints."""

    env: Mapping[str, str]

    def amqp(self) -> pika.ConnectionParameters:
        """RabbitMQ."""
        env = self.env
        return pika.ConnectionParameters(
            host=env["RABBITMQ_HOST"],
            port=int(env["RABBITMQ_PORT"]),
            virtual_host=env["RABBITMQ_VHOST"],
            credentials=pika.PlainCredentials(env["RABBITMQ_USER"], env["RABBITMQ_PASSWORD"]),
            heartbeat=10,
            socket_timeout=5,
            stack_timeout=10,
            blocked_connection_timeout=None,
        )

    async def postgres(self) -> asyncpg.Connection:
        """A connection to PostgreSQL."""
        env = self.env
        return await asyncpg.connect(
            host=env["POSTGRES_HOST"],
            port=int(env["POSTGRES_PORT"]),
            user=env["POSTGRES_USER"],
            password=env.get("POSTGRES_PASSWORD", ""),
            database=env["POSTGRES_DB"],
            timeout=5,
            command_timeout=30,
        )

    def redis(self) -> Redis:
        """A client of Redis."""
        env = self.env
        return Redis(
            host=env["REDIS_HOST"],
            port=int(env["REDIS_PORT"]),
            db=int(env["REDIS_DB"]),
            decode_responses=True,
        )

    @property
    def kafka(self) -> list[str]:
        """Kafka's bootstrap servers."""
        return self.env["KAFKA_BOOTSTRAP_SERVERS"].split(",")


@dataclass(frozen=True, slots=True)
class Verdicts:
    """A verdict batch: the rejections on one record of the input log."""

    partition: int
    source: int
    previous: int
    rejections: dict[int, Verdict]
    record: list[Any]
    """The input record in it, decoded."""
    acceptances: dict[int, tuple[int, int]] = field(default_factory=dict)
    """Weight of a vote, and how many it has before it, where that is said."""


@dataclass(frozen=True, slots=True)
class Review:
    """A message on the review queue."""

    message_id: str
    number: int | None
    verdict: Verdict


@dataclass
class Logs:
    """What Kafka holds."""

    items: list[Item] = field(default_factory=list)
    """Of the input log, in order within each partition."""
    records: dict[tuple[int, int], list[Any]] = field(default_factory=dict)
    """Input records as arrays, by partition and offset."""
    log_ids: dict[int, bytes] = field(default_factory=dict)
    verdicts: list[Verdicts] = field(default_factory=list)
    changelog: dict[int, dict[int, list[Any]]] = field(default_factory=dict)
    """Of the voted table: by partition and input offset, as arrays."""
    changelog_records: int = 0
    windows: dict[tuple[str, str, int], int] = field(default_factory=dict)
    ends: dict[tuple[str, int], int] = field(default_factory=dict)
    strange: list[str] = field(default_factory=list)
    """Records of no known type."""
    undecodable: dict[tuple[int, int], bytes] = field(default_factory=dict)
    """Records of the input log that are no MessagePack, and that nobody let pass."""


async def read_kafka(addresses: Addresses, app_id: str) -> Logs:
    """Read all four topics from their first record to their present end."""
    logs = Logs()
    changelog = f"{app_id}-voted-changelog"
    parts = await _parts(
        addresses, ("votes.validation", "votes.validated", changelog, "votes.windows")
    )
    consumer = AIOKafkaConsumer(
        bootstrap_servers=addresses.kafka,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        fetch_max_bytes=32 * 1024 * 1024,
        max_partition_fetch_bytes=16 * 1024 * 1024,
    )
    await consumer.start()
    try:
        consumer.assign(parts)
        ends = await consumer.end_offsets(parts)
        logs.ends = {(tp.topic, tp.partition): end for tp, end in ends.items()}
        for tp in parts:
            await consumer.seek_to_beginning(tp)
        while any([await consumer.position(tp) < ends[tp] for tp in parts]):
            async with asyncio.timeout(60):
                fetched = await consumer.getmany(timeout_ms=500, max_records=5000)
            for tp, records in fetched.items():
                for record in records:
                    if record.offset < ends[tp]:
                        _take(logs, record, changelog)
    finally:
        await consumer.stop()
    logs.items.sort(key=lambda item: item.place)
    logs.strange += [f"votes.validation {p} {offset}" for p, offset in logs.undecodable]
    return logs


async def _parts(addresses: Addresses, topics: Iterable[str]) -> list[TopicPartition]:
    """Partitions of topics that exist, in order."""
    admin = AIOKafkaAdminClient(bootstrap_servers=addresses.kafka)
    await admin.start()
    try:
        described = await admin.describe_topics(list(topics))
    finally:
        await admin.close()
    return [
        TopicPartition(topic["topic"], partition)
        for topic in described
        for partition in sorted(p["partition"] for p in topic["partitions"])
    ]


def _take(logs: Logs, record: Any, changelog: str) -> None:
    place = f"{record.topic} {record.partition} {record.offset}"
    try:
        fields: list[Any] = msgpack.unpackb(record.value, strict_map_key=False)
    except ValueError:
        if record.topic == "votes.validation":
            logs.undecodable[record.partition, record.offset] = record.value
        else:
            logs.strange.append(place)
        return
    match record.topic, fields:
        case "votes.validation", ["skip/1", offset, _, _, decided_ms, _]:
            logs.records[record.partition, record.offset] = fields
            _pass(logs, (record.partition, offset), decided_ms)
        case "votes.validation", ["genesis/1", log_id, _]:
            logs.log_ids.setdefault(record.partition, log_id)
            logs.records[record.partition, record.offset] = fields
        case "votes.validation", ["votes/1", ingest_ms, _, votes, malformed]:
            logs.records[record.partition, record.offset] = fields
            _take_items(logs, (record.partition, record.offset), ingest_ms, votes, malformed)
        case "votes.validation", ["contests/5" | "roll/1" | "roll/2", *_]:
            logs.records[record.partition, record.offset] = fields
        case (
            "votes.validated",
            ["verdicts/1" | "verdicts/2", _, partition, source, previous, rejections, inner, *more],
        ):
            found = {
                index: Verdict(status, reason, attempt)
                for index, status, reason, attempt in rejections
            }
            accepted = {index: (weight, before) for index, weight, before in (more or [[]])[0]}
            logs.verdicts.append(Verdicts(partition, source, previous, found, inner, accepted))
        case topic, ["voted/1" | "voted/2" | "voted-control/1", *_] if topic == changelog:
            [offset] = struct.unpack(">Q", record.key)
            if fields[0] == "voted-control/1":
                fields = [*fields[:2], b"", [], [], []]
            logs.changelog.setdefault(record.partition, {})[offset] = fields
            logs.changelog_records += 1
        case "votes.windows", ["window/1", votes]:
            _, contest, choice, start_ms = msgpack.unpackb(record.key)
            logs.windows[contest, choice, start_ms] = votes
        case _:
            logs.strange.append(place)


def _pass(logs: Logs, place: tuple[int, int], decided_ms: int) -> None:
    """A record that an operator let pass counts as a batch with one malformed message."""
    raw = logs.undecodable.pop(place, None)
    if raw is None:
        return
    digest = hashlib.sha256(raw).digest()
    name = f"{place[0]}/{place[1]}/".encode() + digest
    identity = hashlib.blake2b(name, digest_size=16).digest()
    malformed = ["undecodable_record", 0, identity, len(raw), digest, raw[:4096]]
    logs.records[place] = ["votes/1", decided_ms, "skip", [], [malformed]]
    _take_items(logs, place, decided_ms, [], [malformed])


def _take_items(
    logs: Logs, record: tuple[int, int], ingest_ms: int, votes: list[Any], malformed: list[Any]
) -> None:
    for index, vote in enumerate(votes):
        voter, contest, _, choice, flags, _, _, citizen, _ = vote
        ballot = Ballot(voter, contest, choice)
        number = number_of(citizen or "")
        marked = bool(flags & MARKED)
        logs.items.append(Item((*record, index), number, ballot, marked, ingest_ms))
    for index, one in enumerate(malformed, start=len(votes)):
        number = number_of(one[5].decode(errors="replace"))
        marked = bool(one[1] & MARKED)
        logs.items.append(Item((*record, index), number, None, marked, ingest_ms))


@dataclass(frozen=True)
class Lag:
    """How far consumer groups are behind."""

    records: dict[str, int]
    """Records that each group has not committed, over the topics that it reads."""
    ends: dict[TopicPartition, int]
    """Where those topics ended at that moment."""


async def read_lag(addresses: Addresses, groups: Mapping[str, tuple[str, ...]]) -> Lag:
    """What each consumer group has not committed."""
    parts = await _parts(addresses, sorted({t for topics in groups.values() for t in topics}))
    admin = AIOKafkaAdminClient(bootstrap_servers=addresses.kafka)
    consumer = AIOKafkaConsumer(bootstrap_servers=addresses.kafka, enable_auto_commit=False)
    await admin.start()
    try:
        await consumer.start()
        consumer.assign(parts)
        ends = await consumer.end_offsets(parts)
        records: dict[str, int] = {}
        for group, topics in groups.items():
            committed = await admin.list_consumer_group_offsets(group)
            records[group] = sum(
                ends[tp] - (max(0, committed[tp].offset) if tp in committed else 0)
                for tp in parts
                if tp.topic in topics
            )
        return Lag(records, ends)
    finally:
        await consumer.stop()
        await admin.close()


def read_reviews(parameters: pika.ConnectionParameters, queue: str) -> list[Review]:
    """Read what waits on the review queue; it goes back there. Blocks."""
    with pika.BlockingConnection(parameters) as connection:
        channel = connection.channel()
        waiting = channel.queue_declare(queue, passive=True).method.message_count
        reviews: list[Review] = []
        if waiting:
            for _, properties, body in channel.consume(queue, inactivity_timeout=30):
                assert properties is not None, f"{len(reviews)} of {waiting} reviews came"
                reviews.append(_review(properties.message_id or "", json.loads(body)))
                if len(reviews) == waiting:
                    break
            channel.cancel()
        return reviews


def _review(message_id: str, fields: dict[str, Any]) -> Review:
    text = fields["citizen_id"] or ""
    if fields["body"] is not None:
        text = base64.b64decode(fields["body"]["base64"]).decode(errors="replace")
    verdict = Verdict(fields["status"], fields["reason"], fields["attempt_count"])
    return Review(message_id, number_of(text), verdict)

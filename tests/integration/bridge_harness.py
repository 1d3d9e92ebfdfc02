"""A bridge on the real stack, without workers: what goes in, what comes out."""

from __future__ import annotations

import asyncio
import hashlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pika
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from pika.adapters.blocking_connection import BlockingChannel
from redis.asyncio import Redis

from schemas.codec import decode_input, encode
from schemas.verdicts import Rejection, VerdictBatch
from schemas.votes import Malformed, Vote, VoteBatch
from streams.adapters.kafka.admin import ensure_topics
from streams.core.topics import VALIDATED_TOPIC, VALIDATION_TOPIC
from streams.devstack import Stack
from streams.load.programs import Program, bridge, child_environment
from streams.settings.configs import KafkaConfig
from streams.settings.load import load_settings
from streams.settings.model import Settings
from tests.harness import redis_of, until, wipe

VALIDATION = "votes.validation"
AGGREGATION = "votes.aggregation"
REVIEW = "votes.review"
PARTITIONS = 4
APP_ID = "bridge-test"


def voter(number: int) -> str:
    return hashlib.sha256(f"voter {number}".encode()).hexdigest()


def law_vote(number: int, **more: object) -> dict[str, object]:
    return {
        "vote_hash": voter(number),
        "citizen_id": f"citizen-{number}",
        "law_id": f"law-{number % 3}",
        "choice": "oui" if number % 2 else "non",
        "timestamp": "2025-11-14T12:00:00Z",
    } | more


def json_body(message: dict[str, object]) -> bytes:
    return json.dumps(message).encode()


@dataclass(frozen=True)
class Placed:
    """An item of the input log and where it stands."""

    partition: int
    offset: int
    item: Vote | Malformed
    batch: VoteBatch


class BridgeHarness:
    """A wiped stack, and bridges to run on it.

    Args:
        stack: is up.
        directory: for logs.
        rehearsal: name that the log begins with; empty for a real vote.
    """

    def __init__(self, stack: Stack, directory: Path, *, rehearsal: str = "") -> None:
        self.stack = stack
        self.rehearsal = rehearsal
        self.directory = directory
        self.env = child_environment(
            stack.env(),
            SCRUTIN_APP_ID=APP_ID,
            SCRUTIN_PARTITIONS=str(PARTITIONS),
            SCRUTIN_MAX_LAG_RECORDS="1000000",
            RETRY_DELAY_SECONDS="0.1",
            SCRUTIN_LOG_FORMAT="console",
        )
        self.settings: Settings = load_settings(stack.env())
        self.servers = self.settings.kafka.servers
        self.redis: Redis = redis_of(self.settings)

    async def __aenter__(self) -> BridgeHarness:
        await wipe(self.stack.env())
        log = KafkaConfig(tuple(self.servers), APP_ID, PARTITIONS, 1, rehearsal=self.rehearsal)
        await ensure_topics(log)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.redis.aclose()

    def bridge(self, name: str = "bridge", **settings: str) -> Program:
        """A bridge; not started."""
        return bridge({**self.env, **settings}, self.directory, name)

    async def fetch(self, program: Program, path: str) -> tuple[int, str]:
        """Status and text of one of a bridge's pages; 0 before it listens."""
        program.check()
        try:
            async with (
                aiohttp.ClientSession() as session,
                session.get(f"http://127.0.0.1:{program.port}/{path}") as answer,
            ):
                return answer.status, await answer.text()
        except aiohttp.ClientConnectionError:
            return 0, ""

    async def metric(self, program: Program, name: str) -> float:
        """A metric's value, its labels included in the name; 0 if it is not there."""
        _, text = await self.fetch(program, "metrics")
        for line in text.splitlines():
            if line.rpartition(" ")[0] == name:
                return float(line.rpartition(" ")[2])
        return 0.0

    # Redis -------------------------------------------------------------------------------------

    async def load_roll(self, numbers: Iterable[int]) -> None:
        """Put voters on the roll."""
        hashes = [voter(number) for number in numbers]
        for start in range(0, len(hashes), 5000):
            await self.redis.sadd("valid_hashes", *hashes[start : start + 5000])

    # RabbitMQ ----------------------------------------------------------------------------------

    @contextmanager
    def channel(self) -> Iterator[BlockingChannel]:
        """A channel of the test's own."""
        connection = pika.BlockingConnection(
            pika.ConnectionParameters(
                self.settings.rabbitmq_host,
                self.settings.rabbitmq_port,
                credentials=pika.PlainCredentials(
                    self.settings.rabbitmq_user,
                    self.settings.rabbitmq_password.get_secret_value(),
                ),
            )
        )
        try:
            yield connection.channel()
        finally:
            if connection.is_open:
                connection.close()

    def publish(
        self,
        messages: Iterable[dict[str, object] | bytes],
        *,
        queue: str = VALIDATION,
        **properties: Any,
    ) -> int:
        """Publish, persistent; returns how many once RabbitMQ has them."""
        count = 0
        with self.channel() as channel:
            channel.queue_declare(queue, durable=True)
            for message in messages:
                body = message if isinstance(message, bytes) else json_body(message)
                channel.basic_publish(
                    "", queue, body, pika.BasicProperties(delivery_mode=2, **properties)
                )
                count += 1
            # An answer means that everything before it has arrived.
            channel.queue_declare(queue, passive=True)
        return count

    def ready(self, queue: str) -> int:
        """Messages that wait in a queue, those handed out excluded; 0 if there is no queue."""
        try:
            with self.channel() as channel:
                return int(channel.queue_declare(queue, passive=True).method.message_count)
        except pika.exceptions.ChannelClosedByBroker:
            return 0

    def released(self, queue: str) -> bool:
        """Whether nobody reads from a queue any more.

        What a dead consumer had not acknowledged is back in it then. A cancelled consumer's
        deliveries come back later, after its channel has ended: RabbitMQ's `notify_queues` waits
        only for queues that the channel still consumes from (rabbit_channel.erl, 3.10 to 4.3).
        """
        with self.channel() as channel:
            return not channel.queue_declare(queue, passive=True).method.consumer_count

    def exists(self, queue: str) -> bool:
        """Whether there is such a queue."""
        try:
            with self.channel() as channel:
                channel.queue_declare(queue, passive=True)
        except pika.exceptions.ChannelClosedByBroker:
            return False
        return True

    def drain_queue(self, queue: str) -> list[tuple[pika.BasicProperties, bytes]]:
        """Take everything out of a queue."""
        taken = []
        with self.channel() as channel:
            while True:
                method, properties, body = channel.basic_get(queue, auto_ack=True)
                if method is None:
                    return taken
                taken.append((properties, body))

    # Kafka -------------------------------------------------------------------------------------

    async def records(
        self, topic: str = VALIDATION_TOPIC, partitions: int = PARTITIONS
    ) -> list[Any]:
        """Every record of a topic, in order per partition."""
        consumer = AIOKafkaConsumer(bootstrap_servers=self.servers, enable_auto_commit=False)
        await consumer.start()
        try:
            tps = [TopicPartition(topic, p) for p in range(partitions)]
            consumer.assign(tps)
            await consumer.seek_to_beginning(*tps)
            ends = await consumer.end_offsets(tps)
            found: list[Any] = []
            while any([await consumer.position(tp) < ends[tp] for tp in tps]):
                for records in (await consumer.getmany(timeout_ms=500)).values():
                    found += records
            return sorted(found, key=lambda r: (r.partition, r.offset))
        finally:
            await consumer.stop()

    async def committed(self, group: str) -> int:
        """Records of `votes.validated` that a group has committed: they have had their effect."""
        admin = AIOKafkaAdminClient(bootstrap_servers=self.servers)
        await admin.start()
        try:
            offsets = await admin.list_consumer_group_offsets(
                group, partitions=[TopicPartition(VALIDATED_TOPIC, p) for p in range(PARTITIONS)]
            )
            return sum(max(0, found.offset) for found in offsets.values())
        finally:
            await admin.close()

    async def log(self) -> list[Placed]:
        """Every item of the input log."""
        placed = []
        for record in await self.records():
            batch = decode_input(record.value)
            if not isinstance(batch, VoteBatch):
                continue
            placed += [
                Placed(record.partition, record.offset, item, batch)
                for item in (*batch.votes, *batch.malformed)
            ]
        return placed

    async def log_count(self) -> int:
        """Different submissions in the input log."""
        return len({placed.item.identity for placed in await self.log()})

    async def logged(self, count: int, within_s: float = 90.0) -> list[Placed]:
        """Wait for that many different submissions, then return everything."""

        async def there() -> bool:
            return await self.log_count() >= count

        await until(there, f"{count} submissions in the log", within_s)
        return await self.log()

    async def validator(
        self, verdict: Callable[[int, Vote | Malformed], Rejection | None]
    ) -> list[VerdictBatch]:
        """Write a verdict batch for every record of the input log, as the workers would.

        Args:
            verdict: rejects an item, given its index in its record, or accepts it with None.
        """
        batches = []
        producer = AIOKafkaProducer(bootstrap_servers=self.servers, acks="all")
        await producer.start()
        try:
            previous = dict.fromkeys(range(PARTITIONS), -1)
            for record in await self.records():
                batch = decode_input(record.value)
                votes = isinstance(batch, VoteBatch)
                items = [*batch.votes, *batch.malformed] if votes else []
                rejections = [
                    found
                    for index, item in enumerate(items)
                    if (found := verdict(index, item)) is not None
                ]
                judged = VerdictBatch(
                    bytes(16),
                    record.partition,
                    record.offset,
                    previous[record.partition],
                    rejections,
                    msgspec.Raw(record.value),
                )
                previous[record.partition] = record.offset
                batches.append(judged)
                await producer.send(VALIDATED_TOPIC, encode(judged), partition=record.partition)
        finally:
            await producer.stop()
        return batches

    async def write_input(self, value: bytes, partition: int = 0) -> None:
        """Write one raw value to `votes.validation`."""
        await self._write(VALIDATION_TOPIC, value, partition)

    async def write_verdicts(self, value: bytes, partition: int = 0) -> None:
        """Write one raw value to `votes.validated`."""
        await self._write(VALIDATED_TOPIC, value, partition)

    async def _write(self, topic: str, value: bytes, partition: int) -> None:
        producer = AIOKafkaProducer(bootstrap_servers=self.servers, acks="all")
        await producer.start()
        try:
            await producer.send_and_wait(topic, value, partition=partition)
        finally:
            await producer.stop()

    async def commit_workers(self) -> None:
        """Let the workers' group stand at the end of both logs."""
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self.servers, group_id=APP_ID, enable_auto_commit=False
        )
        await consumer.start()
        try:
            tps = [
                TopicPartition(topic, p)
                for topic in (VALIDATION_TOPIC, VALIDATED_TOPIC)
                for p in range(PARTITIONS)
            ]
            consumer.assign(tps)
            await consumer.commit(await consumer.end_offsets(tps))
        finally:
            await consumer.stop()


def scrutin(
    env: Mapping[str, str], *arguments: str, timeout_s: float = 180
) -> subprocess.CompletedProcess[str]:
    """Run `scrutin` as a user would."""
    return subprocess.run(
        [str(Path(sys.executable).with_name("scrutin")), *arguments],
        env={"PATH": "/usr/bin:/bin", "COLUMNS": "100", **env},
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )


async def soon(condition: Callable[[], object], what: str, within_s: float = 60.0) -> None:
    """Wait for a condition that blocks, e.g. one that asks RabbitMQ."""

    async def ask() -> object:
        return await asyncio.to_thread(condition)

    await until(ask, what, within_s)

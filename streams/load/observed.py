"""Read the observed outcome with plain SQL, the review queue and Redis.

Shares no counting code with Scrutin.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from itertools import islice
from typing import Any, Final

import asyncpg
import msgspec
from aiokafka import TopicPartition
from redis.asyncio import Redis

from streams.adapters.kafka.clients import kafka_consumer
from streams.adapters.postgres import connection as postgres
from streams.adapters.rabbitmq.client import connected, first_of, resolve, unavailable
from streams.adapters.redis.client import batches
from streams.inspect.lag import committed_offsets
from streams.load.checks import AuditRow
from streams.messages.decode import Delivery
from streams.settings.configs import KafkaConfig, PostgresConfig, RabbitConfig

INPUT_LOG: Final = "votes.validation"
VERDICTS: Final = "votes.validated"

LAWS: Final = """
SELECT law_id AS contest, 'oui' AS choice, oui_count AS votes FROM vote_results
UNION ALL SELECT law_id, 'non', non_count FROM vote_results
"""
CONTESTS: Final = "SELECT contest_id AS contest, choice, votes FROM contest_results"
WINDOWS: Final = """
SELECT contest, choice, sum(votes)::bigint AS votes FROM vote_windows GROUP BY contest, choice
"""
REJECTED: Final = "SELECT status, reason, count(*) AS votes FROM rejected_votes GROUP BY 1, 2"
REJECTED_LINES: Final = """
SELECT status, reason, coalesce(voter_hash, ''), coalesce(contest, ''),
       coalesce(lower(choice), ''), coalesce(encode(body_sha256, 'hex'), ''), count(*)
FROM rejected_votes WHERE status <> 'duplicate' GROUP BY 1, 2, 3, 4, 5, 6
"""
REJECTED_ATTEMPTS: Final = """
SELECT vote_hash, array_agg(attempt_count ORDER BY attempt_count)
FROM rejected_votes WHERE status = 'duplicate' GROUP BY 1
"""
DUPLICATES: Final = "SELECT vote_hash, attempt_count FROM duplicate_attempts"
AUDIT: Final = """
SELECT vote_hash, voter_hash, contest, choice,
       coalesce(law_id, 'election') AS kind, candidate_id::text AS candidate
FROM vote_audit ORDER BY vote_hash COLLATE "C"
"""
PROGRESS: Final = """
SELECT (SELECT coalesce(sum(votes), 0) FROM contest_results)::bigint AS counted,
       (SELECT count(*) FROM rejected_votes) AS rejected
"""
APPLIED: Final = "SELECT partition, source_offset FROM sink_offsets"


@asynccontextmanager
async def database(config: PostgresConfig) -> AsyncIterator[asyncpg.Connection]:
    """One connection in a transaction with one snapshot of the database.

    Raises:
        ServiceUnavailable: PostgreSQL does not answer.
        ScrutinError: it lacks Scrutin's tables.
    """
    async with (
        postgres.connected(config) as connection,
        connection.transaction(isolation="repeatable_read", readonly=True),
    ):
        with postgres.migrated("count", config.where()):
            yield connection


async def totals(connection: asyncpg.Connection, query: str) -> dict[tuple[str, str], int]:
    """A query's two names and its count."""
    return {(row[0], row[1]): row[2] for row in await connection.fetch(query)}


async def pairs(connection: asyncpg.Connection, query: str) -> dict[Any, Any]:
    """A query's first column to its second."""
    return {row[0]: row[1] for row in await connection.fetch(query)}


async def rejected_rows(connection: asyncpg.Connection) -> Counter[tuple[str, ...]]:
    """Invalid and malformed rows of `rejected_votes`, in the form of the expected lines."""
    rows = await connection.fetch(REJECTED_LINES)
    return Counter({tuple(row)[:6]: row[6] for row in rows})


async def audit_rows(connection: asyncpg.Connection) -> AsyncIterator[AuditRow]:
    """Rows of `vote_audit` by ascending hash, in constant memory."""
    async for row in connection.cursor(AUDIT, prefetch=5000):
        law = row["kind"] != "election"
        # Both columns of a vote must agree.
        contest = row["kind"] if law else row["contest"]
        choice = row["choice"] if law else row["candidate"]
        if (contest, choice) != (row["contest"], row["choice"]):
            choice = f"{row['choice']} (other columns: {contest} {choice})"
        yield AuditRow(row["vote_hash"], row["voter_hash"], contest, choice)


class ObservedReview(msgspec.Struct):
    """The compared fields of a review message."""

    status: str
    reason: str
    attempt_count: int
    voter_hash: str | None = None
    vote_hash: str | None = None
    body: dict[str, Any] | None = None


async def reviews(rabbit: RabbitConfig, queue: str, *, drain: bool) -> list[ObservedReview]:
    """Different messages of the review queue.

    They are consumed without ack and return when the channel closes, marked as redelivered, unless
    they are drained.
    """
    async with connected(rabbit, "scrutin verify", retried=False) as connection:
        found = await connection.depth(queue)
        if found is None or not found.ready:
            return []
        bodies: dict[bytes, bytes] = {}
        arrived = 0
        all_here: asyncio.Future[int] = asyncio.get_running_loop().create_future()

        def on_deliveries(deliveries: Sequence[Delivery]) -> None:
            nonlocal arrived
            for tag, _, message_id, body in deliveries:
                arrived += 1
                bodies[message_id or b"delivery %d" % tag] = body
                if arrived >= found.ready:
                    resolve(all_here, tag)

        channel = await connection.channel()
        await channel.consume(queue, on_deliveries, lambda: None)
        await first_of(all_here, channel.closed, timeout_s=30 + found.ready / 2000)
        if not all_here.done():
            raise unavailable(TimeoutError("reviews did not arrive"), rabbit)
        if drain:
            channel.raw.basic_ack(all_here.result(), multiple=True)
    return [msgspec.json.decode(body, type=ObservedReview) for body in bodies.values()]


async def queue_depths(rabbit: RabbitConfig, queues: list[str]) -> list[int]:
    """Messages ready in each queue; a missing queue is empty."""
    async with connected(rabbit, "scrutin verify", retried=False) as connection:
        found = [await connection.depth(queue) for queue in queues]
    return [0 if depth is None else depth.ready for depth in found]


async def log_ends(kafka: KafkaConfig) -> dict[int, int]:
    """Offset of the last record of each partition of the input log; empty if there is no log."""
    ends = await _ends(kafka.servers, INPUT_LOG)
    return {partition: end - 1 for partition, end in ends.items()}


async def verdicts_behind(kafka: KafkaConfig, groups: Sequence[str]) -> int:
    """Verdict batches that consumer groups have not committed; 0 if there is no log of verdicts."""
    servers = kafka.servers
    ends = await _ends(servers, VERDICTS)
    if not ends:
        return 0
    committed = await committed_offsets(servers, {group: group for group in groups})
    return sum(
        max(0, end - found.get((VERDICTS, partition), 0))
        for found in committed.values()
        for partition, end in ends.items()
    )


async def _ends(servers: list[str], topic: str) -> dict[int, int]:
    """Offset of the next record of each partition; empty if the topic does not exist."""
    async with kafka_consumer(servers) as consumer:
        if topic not in await consumer.topics():
            return {}
        numbers = consumer.partitions_for_topic(topic) or set()
        ends = await consumer.end_offsets([TopicPartition(topic, p) for p in numbers])
    return {tp.partition: end for tp, end in ends.items()}


async def missing_members(redis: Redis, key: str, members: Iterator[str]) -> AsyncIterator[str]:
    """Members that a set lacks."""
    while chunk := list(islice(members, 2000)):
        answers = await redis.smismember(key, chunk)
        for member, there in zip(chunk, answers, strict=True):
            if not there:
                yield member


async def counters(redis: Redis, prefix: str) -> dict[str, int]:
    """Counters whose key begins with a prefix, by the rest of the key."""
    found: dict[str, int] = {}
    async for keys in batches(redis.scan_iter(match=prefix + "*", count=2000), 2000):
        for key, value in zip(keys, await redis.mget(keys), strict=True):
            if value is not None:
                found[key.removeprefix(prefix)] = int(value)
    return found

"""Refuses to mirror a log into a Redis that holds the voters of another log."""

from __future__ import annotations

from redis.asyncio import Redis

from streams.adapters.kafka.reader import LogReader
from streams.adapters.redis.client import redis_errors
from streams.bridge.mirror import VOTED_HASHES
from streams.core.topics import VALIDATION_TOPIC
from streams.errors import LOG_LOST, LogMismatch


async def check_mirror(redis: Redis, reader: LogReader, partitions: int) -> None:
    """Compare the mirror with a log that holds no vote yet, before the first write to it.

    Raises:
        LogMismatch: the mirror has voters, but the log has no votes.
        ServiceUnavailable: Kafka or Redis does not answer.
    """
    ends = await reader.end_offsets(VALIDATION_TOPIC, range(partitions))
    if max(ends.values()) > 1:
        return
    async with redis_errors("count the voters"):
        voted = await redis.scard(VOTED_HASHES)
    if voted:
        raise LogMismatch(
            f"The set {VOTED_HASHES} has {voted} members, but the log holds no vote",
            where={"set": VOTED_HASHES, "topic": VALIDATION_TOPIC},
            todo=LOG_LOST,
        )

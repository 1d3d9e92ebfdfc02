"""Refuses to count where log and database do not belong together."""

from __future__ import annotations

from collections.abc import Mapping

from redis.asyncio import Redis

from schemas.genesis import Genesis
from streams import statements
from streams.database import translated
from streams.errors import LogMismatch
from streams.log_reader import LogReader
from streams.mirror import VOTED_HASHES
from streams.redis_client import redis_errors
from streams.sink import PostgresSink
from streams.topics import VALIDATION_TOPIC


async def check_database(sink: PostgresSink, genesis: Mapping[int, Genesis]) -> None:
    """Compare the fence with the log's identity; before anything is read.

    Raises:
        LogMismatch: the database holds results of another log.
        ServiceUnavailable: the database is away.
    """
    async with translated({"table": "sink_offsets"}), sink.connections.acquire() as connection:
        rows = await connection.fetch(statements.READ_OFFSETS)
        counted = await connection.fetchval("SELECT EXISTS (SELECT 1 FROM vote_audit)")
    for row in rows:
        partition = row["partition"]
        if partition in genesis and row["log_id"] != genesis[partition].log_id:
            raise LogMismatch(
                "The database holds the results of another log",
                where={"table": "sink_offsets", "partition": partition},
                todo="The Kafka topics were recreated beside an old database; restore the topics,"
                " or set POSTGRES_DB to an empty database for a new count",
            )
    if counted and not rows:
        raise LogMismatch(
            "The table vote_audit holds votes that no log of Scrutin accounts for",
            where={"table": "vote_audit"},
            todo="They are of an older system; set POSTGRES_DB to an empty database",
        )


async def check_mirror(redis: Redis, reader: LogReader, partitions: int) -> None:
    """Compare the mirror with a log that holds no vote yet; before anything is written to it.

    Raises:
        LogMismatch: voters are marked as having voted whom no log accounts for.
        ServiceUnavailable: Kafka or Redis is away.
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
            todo="They are of an older count; set REDIS_DB to an empty database, or delete the set",
        )

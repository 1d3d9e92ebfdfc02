"""Refuses to count if log and database do not belong together."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import aclosing
from typing import Any, Final

import asyncpg

from schemas.genesis import Genesis, RehearsalGenesis
from schemas.votes import VoteBatch
from streams.adapters.kafka.reader import LogReader
from streams.adapters.postgres import statements
from streams.control.skips import read_input
from streams.core.keys import stored_hash
from streams.core.topics import VALIDATION_TOPIC
from streams.errors import LOG_LOST, OLD_RESULTS, LogMismatch

NEWEST_VOTES: Final = 100_000
"""Of all partitions; they are read in 20 ms, and the last vote of each is usually among them."""
ALL_READ_TIMEOUT_S: Final = 600.0
"""Fifty million votes that are not in memory take half a minute."""


async def check_database(
    connection: asyncpg.Connection | Any, genesis: Mapping[int, Genesis], reader: LogReader
) -> dict[int, int]:
    """Compare the fence and the last counted votes with the log, before the stages read it.

    Args:
        connection: to the result database, which is migrated.
        genesis: of each partition of the input log.
        reader: reads the input log.

    Returns:
        Last applied input offset, by partition.

    Raises:
        LogMismatch: the database holds results of another log, or is ahead of the log.
        ServiceUnavailable: Kafka does not answer.
    """
    rows = await connection.fetch(statements.READ_OFFSETS)
    counted = await connection.fetchval("SELECT EXISTS (SELECT 1 FROM vote_audit)")
    if counted and not rows:
        raise LogMismatch(
            "The table vote_audit holds votes that no log of Scrutin accounts for",
            where={"table": "vote_audit"},
            todo=OLD_RESULTS,
        )
    fences = {row["partition"]: row for row in rows if row["partition"] in genesis}
    for partition, row in fences.items():
        if row["log_id"] != genesis[partition].log_id:
            raise LogMismatch(
                "The database holds the results of another log",
                where={"table": "sink_offsets", "partition": partition},
                todo=LOG_LOST,
            )
    applied: dict[int, int] = {p: row["source_offset"] for p, row in fences.items()}
    ends = await reader.end_offsets(VALIDATION_TOPIC, list(genesis))
    for partition, offset in applied.items():
        if offset >= ends[partition]:
            raise LogMismatch(
                f"The database is newer than the log: it applied input offset {offset}, the log"
                f" ends at {ends[partition] - 1}",
                where={"topic": VALIDATION_TOPIC, "partition": partition},
                todo=LOG_LOST,
            )
        await _check_last_vote(connection, reader, partition)
    return applied


async def check_epochs(connection: Any, genesis: Mapping[int, Genesis]) -> None:
    """Refuse to replay a log that was reset although it has no mark of a rehearsal.

    An earlier version allowed that. A replay ignores such a reset and would count the votes before.

    Raises:
        LogMismatch: the log was reset so.
    """
    if all(isinstance(first, RehearsalGenesis) for first in genesis.values()):
        return
    if await connection.fetchval(statements.WAS_RESET):
        raise LogMismatch(
            "The log was reset by an earlier version of Scrutin, which did not mark rehearsals: a"
            " rebuild would count the votes from before the reset",
            where={"topic": VALIDATION_TOPIC},
            todo="Keep the tables as they are, and hold the real vote in a new log:"
            " `scrutin fresh` archives the results of this one",
        )


async def _check_last_vote(connection: Any, reader: LogReader, partition: int) -> None:
    """Detect a log that lost its end and has grown past it since, with other votes there."""
    row = await connection.fetchrow(statements.LAST_OF_NEWEST, partition, NEWEST_VOTES)
    if row is None:
        row = await connection.fetchrow(
            statements.LAST_COUNTED, partition, timeout=ALL_READ_TIMEOUT_S
        )
    if row is None:
        return
    offset, index = row["source_offset"], row["source_index"]
    async with aclosing(reader.read(VALIDATION_TOPIC, partition, offset, offset + 1)) as reading:
        [record] = [read_input(found.value) async for found in reading]
    if isinstance(record, VoteBatch) and index < len(record.votes):
        vote = record.votes[index]
        if stored_hash(vote.hash, vote.contest, vote.kind) == row["vote_hash"]:
            return
    raise LogMismatch(
        "The log holds another record at the position of the last counted vote: it lost its end"
        " and was written on since",
        where={"topic": VALIDATION_TOPIC, "partition": partition, "offset": offset},
        todo=LOG_LOST,
    )

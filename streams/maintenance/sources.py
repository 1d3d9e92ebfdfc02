"""Sources of the records of a lost input log."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from typing import Any, Final, Protocol

from schemas.codec import DecodeError, decode_input, decode_verdicts, encode
from schemas.control import ContestsChanged
from schemas.genesis import Genesis
from schemas.verdicts import Reason, Status
from schemas.votes import Flag, Kind, Malformed, Vote, VoteBatch
from streams.adapters.kafka.view import LogView
from streams.core.rows import unix_us
from streams.core.topics import VALIDATED_TOPIC
from streams.errors import LogMismatch

AUDIT_BRIDGE: Final = "audit"
"""Name of the bridge in records rebuilt from the database."""

_FETCH_ROWS: Final = 5000

_ROWS: Final = """
SELECT vote_hash, voter_hash, citizen_id, law_id, contest, choice, "timestamp",
    processed_timestamp, metadata::text AS metadata, source_offset, source_index,
    NULL AS status, NULL AS reason, NULL::bytea AS identity,
    NULL::bytea AS body_head, NULL::int AS body_length, NULL::bytea AS body_sha256
FROM vote_audit WHERE source_partition = $1
UNION ALL
SELECT vote_hash, voter_hash, citizen_id, law_id, contest, choice, "timestamp",
    processed_timestamp, metadata::text, source_offset, source_index,
    status, reason, identity, body_head, body_length, body_sha256
FROM rejected_votes WHERE source_partition = $1
ORDER BY source_offset, source_index
"""

_CONTESTS: Final = """
SELECT record FROM control_commands AS c
WHERE EXISTS (SELECT 1 FROM control_progress AS p WHERE p.command_id = c.command_id)
ORDER BY number
"""
"""Commands that were in the log: a worker has passed them."""


class RebuildSource(Protocol):
    """The records that a partition of the log held, as far as they are known."""

    def records(self, partition: int) -> AsyncIterator[bytes]:
        """Encoded records from offset 0, without gaps.

        Raises:
            LogMismatch: they are not known from the beginning.
        """


@dataclass(frozen=True)
class ValidatedSource:
    """`votes.validated`, which embeds every validated input record."""

    view: LogView
    """Connected."""

    async def records(self, partition: int) -> AsyncIterator[bytes]:
        """As :class:`RebuildSource` says."""
        span = (await self.view.spans(VALIDATED_TOPIC))[partition]
        last = -1
        async for batch in self.view.read(VALIDATED_TOPIC, {partition: span}):
            for record in batch:
                try:
                    verdicts = decode_verdicts(record.value or b"")
                except DecodeError:
                    # If it was a valid record, the next one reveals the gap.
                    continue
                if verdicts.offset <= last:
                    continue
                if verdicts.offset > last + 1:
                    raise _unknown(partition, last + 1)
                raw = bytes(verdicts.record)
                if not last + 1 and not isinstance(decode_input(raw), Genesis):
                    raise _unknown(partition, 0)
                yield raw
                last = verdicts.offset
        if last < 0:
            raise _unknown(partition, 0)


def _unknown(partition: int, offset: int) -> LogMismatch:
    return LogMismatch(
        "votes.validated does not hold every record of the log either",
        where={"topic": VALIDATED_TOPIC, "partition": partition, "input offset": offset},
        todo="`scrutin rebuild log --from-audit` writes a log from the database",
    )


@dataclass(frozen=True)
class AuditSource:
    """The database, which holds every counted or rejected vote with its position in the log.

    It holds neither replays nor the identities of counted votes: a later redelivery counts as a
    second attempt. Rolls and epochs are not in it either: issue their commands again.
    """

    connection: Any
    """To the result database."""
    genesis: dict[int, Genesis]
    """Of the log to fill."""

    async def records(self, partition: int) -> AsyncIterator[bytes]:
        """As :class:`RebuildSource` says."""
        yield encode(self.genesis[partition])
        rows: list[Any] = []
        async with self.connection.transaction():
            cursor = self.connection.cursor(_ROWS, partition, prefetch=_FETCH_ROWS)
            async for row in cursor:
                if rows and rows[-1]["source_offset"] != row["source_offset"]:
                    yield encode(batch_of(rows))
                    rows = []
                rows.append(row)
        if rows:
            yield encode(batch_of(rows))
        for row in await self.connection.fetch(_CONTESTS):
            # After the votes, which were decided by the rules of their time.
            if isinstance(decode_input(row["record"]), ContestsChanged):
                yield row["record"]


def batch_of(rows: Iterable[Any]) -> VoteBatch:
    """The input record that rows with the same source offset came from."""
    rows = list(rows)
    votes = [_vote(row) for row in rows if row["status"] != Status.MALFORMED]
    malformed = [_malformed(row) for row in rows if row["status"] == Status.MALFORMED]
    ingest_ms = unix_us(rows[0]["processed_timestamp"]) // 1000
    return VoteBatch(ingest_ms, AUDIT_BRIDGE, votes, malformed)


def _vote(row: Any) -> Vote:
    on_roll = row["reason"] != Reason.NOT_ON_ROLL
    counted = hashlib.blake2b(b"audit\0" + row["vote_hash"].encode(), digest_size=16).digest()
    return Vote(
        hash=row["voter_hash"],
        contest=row["contest"],
        kind=int(Kind.CANDIDATE if row["law_id"] is None else Kind.LAW),
        choice=row["choice"],
        flags=int(Flag.ON_ROLL) if on_roll else 0,
        identity=counted if row["identity"] is None else row["identity"],
        timestamp_us=unix_us(row["timestamp"]),
        citizen_id=row["citizen_id"],
        metadata=row["metadata"],
    )


def _malformed(row: Any) -> Malformed:
    return Malformed(
        reason=row["reason"],
        flags=0,
        identity=row["identity"],
        length=row["body_length"],
        sha256=row["body_sha256"],
        head=row["body_head"],
    )

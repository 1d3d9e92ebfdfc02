"""What PostgreSQL and Redis hold, as plain data for the oracle."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import asyncpg
from redis.asyncio import Redis

from tests.faults.model import Place, Verdict
from tests.faults.votes import number_of

_EPOCH_MS = 1000


@dataclass(frozen=True, slots=True)
class Counted:
    """A row of `vote_audit`."""

    number: int | None
    vote_hash: str
    voter_hash: str
    contest: str
    choice: str
    place: Place
    weight: int = 1


@dataclass(frozen=True, slots=True)
class Refused:
    """A row of `rejected_votes`."""

    number: int | None
    verdict: Verdict
    place: Place


@dataclass
class Database:
    """What PostgreSQL holds."""

    counted: list[Counted] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)
    laws: dict[str, tuple[int, int, int]] = field(default_factory=dict)
    """`oui`, `non` and total by law."""
    contests: dict[tuple[str, str], int] = field(default_factory=dict)
    windows: dict[tuple[str, str, int], int] = field(default_factory=dict)
    """By contest, choice and start in Unix milliseconds."""
    attempts: dict[str, int] = field(default_factory=dict)
    """`duplicate_attempts.attempt_count` by `vote_hash`."""
    fences: dict[int, tuple[bytes, int, int]] = field(default_factory=dict)
    """Log id, source offset and offset in `votes.validated`, by partition."""


@dataclass
class Mirror:
    """What Redis holds."""

    voted: set[str] = field(default_factory=set)
    attempts: dict[str, int] = field(default_factory=dict)
    """`duplicate_count:{hash}`."""


async def read_database(connection: asyncpg.Connection) -> Database:
    """Read all tables in one snapshot."""
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        counted = await connection.fetch(
            "SELECT citizen_id, vote_hash, voter_hash, contest, choice,"
            " source_partition, source_offset, source_index, weight FROM vote_audit"
        )
        refused = await connection.fetch(
            "SELECT citizen_id, body_head, status, reason, attempt_count,"
            " source_partition, source_offset, source_index FROM rejected_votes"
        )
        laws = await connection.fetch("SELECT * FROM vote_results")
        contests = await connection.fetch("SELECT * FROM contest_results")
        windows = await connection.fetch(
            "SELECT contest, choice, window_start, votes FROM vote_windows"
        )
        attempts = await connection.fetch("SELECT vote_hash, attempt_count FROM duplicate_attempts")
        fences = await connection.fetch("SELECT * FROM sink_offsets")
    return Database(
        counted=[
            Counted(
                number_of(row["citizen_id"] or ""),
                row["vote_hash"],
                row["voter_hash"],
                row["contest"],
                row["choice"],
                _place(row),
                row["weight"],
            )
            for row in counted
        ],
        refused=[
            Refused(
                number_of(row["citizen_id"] or (row["body_head"] or b"").decode(errors="replace")),
                Verdict(row["status"], row["reason"], row["attempt_count"]),
                _place(row),
            )
            for row in refused
        ],
        laws={r["law_id"]: (r["oui_count"], r["non_count"], r["total_votes"]) for r in laws},
        contests={(row["contest_id"], row["choice"]): row["votes"] for row in contests},
        windows={
            (row["contest"], row["choice"], _ms(row["window_start"])): row["votes"]
            for row in windows
        },
        attempts={row["vote_hash"]: row["attempt_count"] for row in attempts},
        fences={
            row["partition"]: (row["log_id"], row["source_offset"], row["validated_offset"])
            for row in fences
        },
    )


async def read_mirror(redis: Redis) -> Mirror:
    """Read the set of voters and all counters."""
    voted: Any = redis.smembers("voted_hashes")
    names = [name async for name in redis.scan_iter("duplicate_count:*", count=5000)]
    values = await redis.mget(names) if names else []
    counters = zip(names, values, strict=True)
    return Mirror(
        voted=set(await voted),
        attempts={name.partition(":")[2]: int(value) for name, value in counters if value},
    )


def _place(row: Any) -> Place:
    return row["source_partition"], row["source_offset"], row["source_index"]


def _ms(moment: datetime) -> int:
    return round(moment.timestamp() * _EPOCH_MS)


def by_contest(counted: list[Counted]) -> Counter[tuple[str, str]]:
    """Weights of the rows of `vote_audit` by contest and choice."""
    total: Counter[tuple[str, str]] = Counter()
    for row in counted:
        total[row.contest, row.choice] += row.weight
    return total

"""Contests in PostgreSQL: the requested state, its progress, and what is final."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import asyncpg

from streams.adapters.postgres.connection import migrated, translated

NOT_ENFORCED: Final = "not_enforced"
"""State of a contest whose closing has no effect on votes."""

READ: Final = """
SELECT c.contest_id AS contest, c.kind, c.title,
       CASE WHEN c.state IN ('closed', 'archived') AND NOT (x.enforced OR c.kind = 'poll')
           THEN 'not_enforced' ELSE c.state END AS state,
       k.enforced OR c.kind = 'poll' AS enforced, c.choices, c.roll, c.opens_at, c.closes_at,
       c.command_id, k.partitions, k.issued_at,
       (SELECT count(*) FROM control_progress AS p WHERE p.command_id = c.command_id) AS passed,
       coalesce((SELECT sum(votes) FROM contest_results AS r WHERE r.contest_id = c.contest_id), 0)
           AS votes, c.conduct
FROM contests AS c JOIN control_commands AS k ON k.command_id = c.command_id
LEFT JOIN control_commands AS x ON x.command_id = c.closed_by
WHERE $1::text IS NULL OR c.contest_id = $1
ORDER BY c.kind, c.contest_id
"""

READ_FINALS: Final = """
SELECT contest_id AS contest, command_id, closed_at, partitions, enforced, passed, final, passed_at,
    vector
FROM contest_finals
"""


@dataclass(frozen=True)
class Closing:
    """The proof that a closed contest's result is complete."""

    contest: str
    command_id: bytes
    closed_at: datetime
    """When the closing was issued."""
    partitions: int
    enforced: bool
    """Whether votes after the closing are refused."""
    passed: int
    """Partitions in which all votes up to the closing are counted."""
    final: bool
    passed_at: datetime | None
    vector: tuple[dict[str, Any], ...]
    """`partition`, `log_id` (hexadecimal) and `offset` of each closing record."""

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "final": self.final,
            "enforced": self.enforced,
            "closed_at": self.closed_at.isoformat(),
            "final_at": self.passed_at.isoformat() if self.final and self.passed_at else None,
            "command": self.command_id.hex(),
            "partitions": self.partitions,
            "partitions_passed": self.passed,
            "vector": list(self.vector),
        }


@dataclass(frozen=True)
class ContestRow:
    """One contest."""

    contest: str
    kind: str
    title: str
    state: str
    """Of its life cycle, or :data:`NOT_ENFORCED`."""
    enforced: bool
    """Whether its state applies to votes."""
    choices: tuple[str, ...] | None
    roll: str
    opens_at: datetime | None
    closes_at: datetime | None
    command_id: bytes
    """The latest command that changed it."""
    issued_at: datetime
    partitions: int
    passed: int
    """Partitions in which that command applies and all votes before it are counted."""
    votes: int
    conduct: dict[str, Any]
    """Of :class:`schemas.control.Conduct`, what differs from its defaults."""

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "contest_id": self.contest,
            "kind": self.kind,
            "title": self.title,
            "state": self.state,
            "enforced": self.enforced,
            "choices": None if self.choices is None else list(self.choices),
            "roll": self.roll,
            "opens_at": self.opens_at.isoformat() if self.opens_at else None,
            "closes_at": self.closes_at.isoformat() if self.closes_at else None,
            "votes": self.votes,
            "conduct": self.conduct,
            "command": {
                "id": self.command_id.hex(),
                "issued_at": self.issued_at.isoformat(),
                "partitions": self.partitions,
                "partitions_passed": self.passed,
            },
        }


async def fetch_contests(
    connection: asyncpg.Connection, where: dict[str, object], contest: str | None = None
) -> list[ContestRow]:
    """All contests, or one.

    Raises:
        ScrutinError: the database was not migrated.
        ServiceUnavailable: the database does not answer.
    """
    async with translated(where):
        with migrated("tables for contests", where):
            rows = await connection.fetch(READ, contest)
    return [
        ContestRow(
            **dict(row)
            | {
                "choices": None if row["choices"] is None else tuple(row["choices"]),
                "votes": int(row["votes"]),
                "conduct": json.loads(row["conduct"] or "{}"),
            }
        )
        for row in rows
    ]


async def fetch_finals(connection: asyncpg.Connection) -> dict[str, Closing]:
    """Closing of every closed contest, by id; within the caller's snapshot."""
    return {
        row["contest"]: Closing(**dict(row) | {"vector": tuple(json.loads(row["vector"]))})
        for row in await connection.fetch(READ_FINALS)
    }


def effects_of(one: Mapping[str, Any], verb: str) -> list[str]:
    """What a change of a contest will do, and whether it shall, sentence by sentence.

    Args:
        one: the contest as :meth:`ContestRow.as_dict` has it, with `closes` in words.
        verb: `open`, `close` or `archive`.
    """
    title = "" if one["title"] == one["contest_id"] else f" ({one['title']!r})"
    name = f"{one['contest_id']}{title}"
    votes = f"{one['votes']:,} votes are counted so far."
    due = [f"It would close by itself on {one['closes']}."] if one["closes"] else []
    if verb == "open":
        return [f"Open {name} now?", "Votes count from now on.", *due]
    if verb == "archive":
        return [
            f"Archive {name}?",
            votes,
            "They stay, `contest list` shows it with --all only, and it cannot be taken back.",
        ]
    effect = (
        "Votes that come later are rejected, and it cannot be reopened."
        if one["enforced"]
        else "It is not enforced, so votes go on counting, and it cannot be reopened."
    )
    return [f"Close {name} now?", votes, effect, *due]

"""The trail of operators' actions: who did what, and which requests wait for a second operator."""

from __future__ import annotations

import os
import pwd
import socket
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from schemas.control import ContestsChanged, EpochOpened
from streams.adapters.postgres.connection import migrated, translated

REQUEST_LASTS: Final = timedelta(minutes=30)
"""After which nobody can confirm it any more."""
ASK: Final = "ask to "
"""Begins the action of a request."""
CONFIRM: Final = "confirm"
WITHDRAW: Final = "withdraw"

_TABLE: Final = "table of operators' actions"
_WHERE: Final[dict[str, object]] = {"table": "operator_actions"}

_INSERT: Final = """
INSERT INTO operator_actions (actor, action, subject, command_id, answers)
VALUES ($1, $2, $3, $4, $5)
"""
_READ: Final = """
SELECT id, at, actor, action, subject, command_id, answers FROM operator_actions
WHERE $2::text IS NULL OR subject = $2 ORDER BY id DESC LIMIT $1
"""
_WAITING: Final = """
SELECT id, at, actor, action, subject, command_id, answers FROM operator_actions AS a
WHERE action LIKE $1 AND at > clock_timestamp() - $2::interval
    AND NOT EXISTS (SELECT 1 FROM operator_actions WHERE answers = a.id)
ORDER BY id
"""


@dataclass(frozen=True)
class OperatorAction:
    """One row."""

    id: int
    at: datetime
    actor: str
    """`console:NAME`, or `cli:USER@HOST`."""
    action: str
    subject: str
    """A contest, or empty."""
    command_id: bytes | None
    """The command in the log that it led to."""
    answers: int | None
    """The request that it confirms or withdraws."""

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "id": self.id,
            "at": self.at.isoformat(),
            "actor": self.actor,
            "action": self.action,
            "subject": self.subject,
            "command": None if self.command_id is None else self.command_id.hex(),
            "answers": self.answers,
        }


def user_of_host() -> str:
    """The actor of a command on this host."""
    try:
        name = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        # A container may run as a number.
        name = str(os.getuid())
    return f"cli:{name}@{socket.gethostname()}"


def actions_of(command: ContestsChanged | EpochOpened) -> list[tuple[str, str]]:
    """Action and subject of each row for a command."""
    if isinstance(command, ContestsChanged):
        return [(f"contest {contest.state}", contest.id) for contest in command.contests]
    return [("reset", "")]


async def note_action(
    connection: Any,
    actor: str,
    action: str,
    subject: str = "",
    *,
    command_id: bytes | None = None,
    answers: int | None = None,
) -> None:
    """Add a row, within the caller's transaction if there is one."""
    async with translated(_WHERE):
        with migrated(_TABLE, _WHERE):
            await connection.execute(_INSERT, actor, action, subject, command_id, answers)


async def read_trail(
    connection: Any, limit: int, subject: str | None = None
) -> list[OperatorAction]:
    """The latest actions first."""
    async with translated(_WHERE):
        with migrated(_TABLE, _WHERE):
            rows = await connection.fetch(_READ, limit, subject)
    return [OperatorAction(**dict(row)) for row in rows]


async def waiting_requests(connection: Any) -> list[OperatorAction]:
    """Requests that a second operator can still confirm."""
    async with translated(_WHERE):
        with migrated(_TABLE, _WHERE):
            rows = await connection.fetch(_WAITING, f"{ASK}%", REQUEST_LASTS)
    return [OperatorAction(**dict(row)) for row in rows]

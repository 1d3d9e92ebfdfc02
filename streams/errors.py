"""Errors of Scrutin: what happened, where, and what to do.

Adapters translate their driver's errors into this tree at the boundary and keep the cause.
No message may hold a voter's identity or choice.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

LOG_LOST: Final = (
    "If records were lost: `scrutin rebuild log` writes them anew, from votes.validated or, with "
    "`--from-audit`, from the database. If a new count is meant: `scrutin fresh` puts the results "
    "of the old one away"
)
OLD_RESULTS: Final = (
    "If they are of this log: `scrutin rebuild postgres` makes all tables anew. If they are of an "
    "older system: `scrutin adopt` takes its votes over, `scrutin fresh` puts them away"
)
REBUILD_VOTED: Final = "`scrutin rebuild voted` makes the changelog anew from the input log"
REBUILD_VALIDATED: Final = (
    "`scrutin rebuild validated` makes votes.validated anew from the input log"
)


class ExitCode(IntEnum):
    """Exit codes of every process of Scrutin; supervisors and scripts may rely on the numbers."""

    OK = 0
    FAILED = 1
    """An unexpected error in a command."""
    USAGE = 2
    """The command line is wrong."""
    DIFFERENT = 3
    """A comparison (`verify`, `mirror check`) found a difference."""
    BAD_SETTINGS = 10
    """A setting is unknown, malformed or contradicts another."""
    SERVICE_UNAVAILABLE = 11
    """A service did not answer within the deadline of a command or of a start."""
    STACK_FAILED = 12
    """The local stack could not be brought up or down."""
    PORT_TAKEN = 13
    """A port to listen on is in use."""
    TOPOLOGY_MISMATCH = 20
    """Topics or queues are not what this deployment's settings say."""
    LOG_MISMATCH = 21
    """Log, changelog and database do not belong to the same log."""
    SCHEMA_NEWER = 22
    """The database has migrations that this version does not know."""
    POISON_RECORD = 30
    """A Kafka record cannot be decoded; its partition stands still until somebody decides."""
    STAGE_FAILED = 31
    """A stage met an error it does not expect; nothing of the current batch was committed."""
    NO_PROGRESS = 32
    """The process was alive but did not move although work was waiting."""
    RECOVERY_FAILED = 33
    """The voted table could not be restored from its changelog."""
    INTERRUPTED = 130
    """Ended by SIGINT."""


class ScrutinError(Exception):
    """Root of the tree.

    Args:
        what: what happened, one sentence, without trailing full stop.
        where: names of the place, e.g. ``{"topic": "votes.validation", "partition": 3}``.
        todo: what the reader can do about it.
    """

    exit_code = ExitCode.FAILED

    def __init__(
        self, what: str, *, where: dict[str, object] | None = None, todo: str = ""
    ) -> None:
        super().__init__(what)
        self.what = what
        self.where = where or {}
        self.todo = todo

    def __str__(self) -> str:
        place = ", ".join(f"{name} {value}" for name, value in self.where.items())
        text = f"{self.what} ({place})" if place else self.what
        return f"{text}. {self.todo}" if self.todo else text


class SettingsError(ScrutinError):
    """A setting is unknown, malformed or contradicts another."""

    exit_code = ExitCode.BAD_SETTINGS


class ServiceUnavailable(ScrutinError):
    """A service is away. Long-running processes wait for it; commands give up after a deadline."""

    exit_code = ExitCode.SERVICE_UNAVAILABLE


class StackError(ScrutinError):
    """The local stack could not be brought up or down."""

    exit_code = ExitCode.STACK_FAILED


class PortTaken(ScrutinError):
    """A port to listen on is in use."""

    exit_code = ExitCode.PORT_TAKEN


class TopologyMismatch(ScrutinError):
    """Topics or queues are not what the settings say."""

    exit_code = ExitCode.TOPOLOGY_MISMATCH


class LogMismatch(ScrutinError):
    """Input log, changelog and database do not belong together."""

    exit_code = ExitCode.LOG_MISMATCH


class SchemaNewer(ScrutinError):
    """The database is newer than this version of Scrutin."""

    exit_code = ExitCode.SCHEMA_NEWER


class PoisonRecord(ScrutinError):
    """A Kafka record cannot be decoded."""

    exit_code = ExitCode.POISON_RECORD


class StageFailed(ScrutinError):
    """A stage met an error it does not expect."""

    exit_code = ExitCode.STAGE_FAILED


class NoProgress(ScrutinError):
    """Alive but not moving although work is waiting."""

    exit_code = ExitCode.NO_PROGRESS


class RecoveryFailed(ScrutinError):
    """The voted table could not be restored."""

    exit_code = ExitCode.RECOVERY_FAILED

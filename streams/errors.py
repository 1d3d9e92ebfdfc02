"""Errors of Scrutin: what happened, where, and what to do.

Adapters translate their driver's errors into this tree at the boundary and keep the cause.
No message may hold a voter's identity or choice.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

LOG_LOST: Final = (
    "If records were lost: `scrutin rebuild log` restores them from votes.validated or, with "
    "`--from-audit`, from the database. To start a new count: `scrutin fresh` archives the "
    "results of the old one"
)
OLD_VOTERS: Final = (
    f"If they voted in an older system: `scrutin adopt` imports its votes. {LOG_LOST}"
)
OLD_RESULTS: Final = (
    "If they belong to this log: `scrutin rebuild postgres` rebuilds all tables. If they belong "
    "to an older system: `scrutin adopt` imports its votes, `scrutin fresh` archives them"
)
REBUILD_VOTED: Final = "`scrutin rebuild voted` rebuilds the changelog from the input log"
REBUILD_VALIDATED: Final = "`scrutin rebuild validated` rebuilds votes.validated from the input log"


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
    """A service did not answer within the deadline of a command or a startup."""
    STACK_FAILED = 12
    """The local stack could not be started or stopped."""
    PORT_TAKEN = 13
    """A port to listen on is in use."""
    NOT_INSTALLED = 14
    """A command needs packages that are not installed here."""
    NOT_A_RECORD = 15
    """The files of `tally verify` are no election record, or one of an unsupported version."""
    TOPOLOGY_MISMATCH = 20
    """Topics or queues do not match the settings of this deployment."""
    LOG_MISMATCH = 21
    """Log, changelog and database do not belong to the same log."""
    SCHEMA_NEWER = 22
    """The database has migrations that this version does not know."""
    POISON_RECORD = 30
    """A Kafka record cannot be decoded; its partition stops until an operator decides."""
    STAGE_FAILED = 31
    """A stage met an unexpected error; nothing of the current batch was committed."""
    NO_PROGRESS = 32
    """The process was alive but made no progress although work was waiting."""
    RECOVERY_FAILED = 33
    """The voted table could not be restored from its changelog."""
    INTERRUPTED = 130
    """Ended by SIGINT."""


class ScrutinError(Exception):
    """Root of the tree.

    Args:
        what: what happened, in one sentence without a full stop.
        where: the place by name, e.g. ``{"topic": "votes.validation", "partition": 3}``.
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
    """A service does not answer. Processes wait for it; commands give up after a deadline."""

    exit_code = ExitCode.SERVICE_UNAVAILABLE


class StackError(ScrutinError):
    """The local stack could not be started or stopped."""

    exit_code = ExitCode.STACK_FAILED


class PortTaken(ScrutinError):
    """A port to listen on is in use."""

    exit_code = ExitCode.PORT_TAKEN


class NotInstalled(ScrutinError):
    """A command needs packages that are not installed."""

    exit_code = ExitCode.NOT_INSTALLED


class TopologyMismatch(ScrutinError):
    """Topics or queues do not match the settings."""

    exit_code = ExitCode.TOPOLOGY_MISMATCH


class LogMismatch(ScrutinError):
    """Input log, changelog and database do not belong to the same log."""

    exit_code = ExitCode.LOG_MISMATCH


class SchemaNewer(ScrutinError):
    """The database is newer than this version of Scrutin."""

    exit_code = ExitCode.SCHEMA_NEWER


class PoisonRecord(ScrutinError):
    """A Kafka record cannot be decoded."""

    exit_code = ExitCode.POISON_RECORD


class StageFailed(ScrutinError):
    """A stage met an unexpected error."""

    exit_code = ExitCode.STAGE_FAILED


class NoProgress(ScrutinError):
    """A process is alive but makes no progress although work is waiting."""

    exit_code = ExitCode.NO_PROGRESS


class RecoveryFailed(ScrutinError):
    """The voted table could not be restored."""

    exit_code = ExitCode.RECOVERY_FAILED

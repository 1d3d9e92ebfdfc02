"""Issues commands: a row in PostgreSQL first, then a control record in every partition.

One issuer at a time holds a lock, so that all partitions get the commands in the same order. A new
holder first completes commands that an earlier issuer left partly written; repeated records have
no effect (:mod:`streams.core.rules`).
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import msgspec
import structlog

from schemas.codec import DecodeError, decode_input, encode
from schemas.control import (
    Conduct,
    ConductedContest,
    Contest,
    ContestKind,
    ContestMethod,
    ContestsChanged,
    ElectionContest,
    EpochOpened,
    RankedContest,
    RankedRules,
    changes_of,
)
from streams.adapters.kafka.writer import LogWriter
from streams.adapters.postgres.connection import translated
from streams.control.trail import actions_of, note_action
from streams.core.contests import contest_of, is_sound
from streams.core.records import OutRecord
from streams.core.rows import moment
from streams.core.topics import VALIDATION_TOPIC
from streams.errors import ServiceUnavailable

log = structlog.get_logger(__name__)

_LOCK: Final = 0x5C277154
"""Key of the advisory lock; an arbitrary constant that nothing else uses."""

_WHERE: Final[dict[str, object]] = {"table": "control_commands"}

NOW_MS: Final = "SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint"

FAR_AHEAD_MS: Final = 10 * 365 * 24 * 3600 * 1000
"""Numbers are milliseconds of a clock; no clock is so wrong that an issuer's are further ahead."""

_LATEST: Final = """
SELECT coalesce(max(number), 0) FROM control_commands AS k
WHERE number <= $1 OR EXISTS (SELECT 1 FROM control_progress WHERE command_id = k.command_id)
"""
"""What the log holds counts however high it is: it stops lower numbers there."""

READ_CONTESTS: Final = """
SELECT contest_id, kind, title, state, choices, roll,
       (extract(epoch FROM opens_at) * 1000)::bigint AS opens_ms,
       (extract(epoch FROM closes_at) * 1000)::bigint AS closes_ms, method, regions,
       rules, conduct,
       coalesce((SELECT k.enforced FROM control_commands AS k WHERE k.command_id = c.command_id),
           false) AS enforced
FROM contests AS c ORDER BY contest_id
"""

UPSERT_CONTESTS: Final = """
INSERT INTO contests AS c (contest_id, kind, title, state, choices, roll, opens_at, closes_at,
    command_id, number, method, regions, rules, conduct, closed_by)
SELECT contest_id, kind, title, state, choices, roll, opens_at, closes_at, $9, $10, method, regions,
    rules::jsonb, conduct::jsonb, CASE WHEN state IN ('closed', 'archived') THEN $9::bytea END
FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[],
            $7::timestamptz[], $8::timestamptz[], $11::text[], $12::text[],
            $13::text[], $14::text[])
    AS n (contest_id, kind, title, state, joined, roll, opens_at, closes_at, method,
        joined_regions, rules, conduct),
    LATERAL (SELECT CASE WHEN joined IS NOT NULL THEN
        (SELECT array_agg(v ORDER BY i) FROM jsonb_array_elements_text(joined::jsonb)
            WITH ORDINALITY AS e (v, i)) END AS choices) AS l,
    LATERAL (SELECT CASE WHEN joined_regions IS NOT NULL THEN
        (SELECT array_agg(v ORDER BY i) FROM jsonb_array_elements_text(joined_regions::jsonb)
            WITH ORDINALITY AS e (v, i)) END AS regions) AS m
ORDER BY contest_id
ON CONFLICT (contest_id) DO UPDATE SET
    kind = excluded.kind, title = excluded.title, state = excluded.state,
    choices = excluded.choices, roll = excluded.roll, opens_at = excluded.opens_at,
    closes_at = excluded.closes_at, command_id = excluded.command_id, number = excluded.number,
    method = excluded.method, regions = excluded.regions, rules = excluded.rules,
    conduct = excluded.conduct,
    closed_by = CASE WHEN excluded.state IN ('closed', 'archived')
        THEN coalesce(c.closed_by, excluded.command_id) END,
    updated_at = now()
WHERE c.number < excluded.number
"""

INSERT_COMMAND: Final = """
INSERT INTO control_commands (command_id, number, kind, record, partitions, enforced, issued_by,
    issued_at, written_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
ON CONFLICT (command_id) DO NOTHING
"""

BroadcastCommand = ContestsChanged | EpochOpened
"""Commands that go to every partition."""


@dataclass(frozen=True)
class Issuer:
    """Issues commands to all partitions.

    Args:
        connection: to PostgreSQL; in use while a command is written.
        writer: to Kafka.
        partitions: of the input topic.
        name: of the process, for the table `control_commands`.
        enforced: whether this deployment validates votes by contests.
        log_id: of the first partition, for notices to the bridges.
        actor: who asks for the commands, for the trail of operators' actions; empty: nobody does,
            they are due by schedule or asked for by voters.
    """

    connection: Any
    writer: LogWriter
    partitions: int
    name: str
    enforced: bool
    log_id: bytes = b""
    actor: str = ""

    @asynccontextmanager
    async def turn(self, *, wait: bool = True) -> AsyncIterator[bool]:
        """Become the only issuer; earlier commands are completed first.

        Args:
            wait: for another issuer to finish; if False and there is one, the block gets False.

        Raises:
            ServiceUnavailable: PostgreSQL or Kafka does not answer.
        """
        async with translated(_WHERE):
            if wait:
                await self.connection.execute("SELECT pg_advisory_lock($1)", _LOCK)
            elif not await self.connection.fetchval("SELECT pg_try_advisory_lock($1)", _LOCK):
                yield False
                return
        try:
            await self.finish()
            yield True
        finally:
            if not self.connection.is_closed():
                async with translated(_WHERE):
                    await self.connection.execute("SELECT pg_advisory_unlock($1)", _LOCK)

    async def finish(self) -> None:
        """Complete commands that are not in every partition yet, oldest first; within a turn."""
        async with translated(_WHERE):
            rows = await self.connection.fetch(
                "SELECT command_id, number, record FROM control_commands"
                " WHERE written_at IS NULL ORDER BY number"
            )
            now_ms = await self.connection.fetchval(NOW_MS) if rows else 0
        for row in rows:
            record = _command_in(row) if row["number"] <= now_ms + FAR_AHEAD_MS else None
            if record is None:
                # Not by an issuer. Refusing it must not stop the commands after it.
                log.error("a row is no command, and is not written", **_WHERE)
                await self._written(row["command_id"])
            else:
                await self._write(record)

    async def change_contests(
        self,
        change: Callable[[dict[str, Contest], int], list[Contest]],
        also: Callable[[], Awaitable[None]] | None = None,
    ) -> ContestsChanged | None:
        """Change contests; within a turn.

        Args:
            change: from the contests by id and PostgreSQL's clock in Unix milliseconds to the
                contests that change. Its errors pass through.
            also: writes related rows in the same transaction, or in a transaction of its own if no
                contest changes.

        Returns:
            The last command, if contests that are enforced and others change; None if nothing
            changes.
        """
        async with translated(_WHERE):
            rows = await self.connection.fetch(READ_CONTESTS)
            now_ms = await self.connection.fetchval(NOW_MS)
        known = {contest.id: contest for contest in map(_contest, rows)}
        changed = change(known, now_ms)
        if not changed:
            if also is not None:
                async with translated(_WHERE), self.connection.transaction():
                    await also()
            return None
        # Once a contest has begun it stays enforced, whatever the settings of this process are.
        begun = {row["contest_id"] for row in rows if row["enforced"] and row["state"] != "draft"}
        groups: dict[bool, list[Contest]] = {}
        for contest in sorted(changed, key=lambda contest: contest.id):
            enforced = self.enforced or contest.kind == ContestKind.POLL or contest.id in begun
            groups.setdefault(enforced, []).append(contest)
        for enforced, contests in sorted(groups.items()):
            command = changes_of(
                await self.next_number(now_ms),
                secrets.token_bytes(16),
                now_ms,
                enforced=enforced,
                contests=contests,
            )
            await self.issue(command, partial(self._mark, command, also))
            also = None
        return command

    async def _mark(
        self, command: ContestsChanged, also: Callable[[], Awaitable[None]] | None
    ) -> None:
        await upsert_contests(self.connection, command)
        if also is not None:
            await also()

    async def next_number(self, now_ms: int) -> int:
        """A number above all earlier ones; from the clock, in case the table was lost."""
        async with translated(_WHERE):
            latest = await self.connection.fetchval(_LATEST, now_ms + FAR_AHEAD_MS)
            return max(now_ms, int(latest) + 1)

    async def issue(
        self, command: BroadcastCommand, mark: Callable[[], Awaitable[None]] | None = None
    ) -> None:
        """Store a command, then write it to every partition; within a turn.

        Args:
            command: what to write.
            mark: writes related rows in the same transaction.

        Raises:
            ServiceUnavailable: a service does not answer. A stored command will still be written.
        """
        async with translated(_WHERE), self.connection.transaction():
            await insert_command(
                self.connection, command, self.partitions, self.name, written_ms=None
            )
            if self.actor:
                for action, subject in actions_of(command):
                    await note_action(
                        self.connection, self.actor, action, subject, command_id=command.command_id
                    )
            if mark is not None:
                await mark()
        await self._write(command)

    async def _write(self, command: BroadcastCommand) -> None:
        raw = encode(command)
        try:
            await self.writer.write(
                [
                    OutRecord(VALIDATION_TOPIC, partition, raw)
                    for partition in range(self.partitions)
                ]
            )
        except ServiceUnavailable as error:
            raise ServiceUnavailable(
                "The command is stored but not yet in every partition",
                where={"topic": VALIDATION_TOPIC, "command": command.command_id.hex()},
                todo="A worker completes it; `scrutin contest list` shows its progress",
            ) from error
        await self._written(command.command_id)

    async def _written(self, command_id: bytes) -> None:
        async with translated(_WHERE):
            await self.connection.execute(
                "UPDATE control_commands SET written_at = now() WHERE command_id = $1", command_id
            )


def _command_in(row: Any) -> BroadcastCommand | None:
    """The command that a row holds; None if the row holds anything else."""
    try:
        record = decode_input(row["record"])
    except DecodeError:
        return None
    if not isinstance(record, BroadcastCommand):
        return None
    same = record.command_id == row["command_id"] and record.number == row["number"]
    return record if same else None


async def insert_command(
    connection: Any,
    command: BroadcastCommand,
    partitions: int,
    name: str,
    *,
    written_ms: int | None,
) -> bool:
    """Store a command unless it is known; returns whether it is new."""
    contests = isinstance(command, ContestsChanged)
    status = await connection.execute(
        INSERT_COMMAND,
        command.command_id,
        command.number,
        "contests" if contests else "epoch",
        encode(command),
        partitions,
        isinstance(command, ContestsChanged) and command.enforced,
        name,
        moment(command.issued_ms * 1000),
        None if written_ms is None else moment(written_ms * 1000),
    )
    return bool(status == "INSERT 0 1")


async def upsert_contests(connection: Any, command: ContestsChanged) -> None:
    """Update the table of contests from a command, unless a later command did."""
    contests = [contest for contest in command.contests if is_sound(contest)]
    await connection.execute(
        UPSERT_CONTESTS,
        [c.id for c in contests],
        [c.kind for c in contests],
        [c.title for c in contests],
        [c.state for c in contests],
        # An array of arrays would have to be rectangular.
        [_json(c.choices) for c in contests],
        [c.roll for c in contests],
        [None if c.opens_ms is None else moment(c.opens_ms * 1000) for c in contests],
        [None if c.closes_ms is None else moment(c.closes_ms * 1000) for c in contests],
        command.command_id,
        command.number,
        [c.method if isinstance(c, ElectionContest) else ContestMethod.SINGLE for c in contests],
        [_json(c.regions) if isinstance(c, ElectionContest) else None for c in contests],
        [_json(c.rules) if isinstance(c, RankedContest) else None for c in contests],
        [_json(c.conduct) if isinstance(c, ConductedContest) else None for c in contests],
    )


def _json(value: list[str] | RankedRules | Conduct | None) -> str | None:
    return None if value is None else msgspec.json.encode(value).decode()


def _contest(row: Any) -> Contest:
    *fields, method, regions, rules, conduct, _ = row
    return contest_of(
        fields,
        method,
        regions,
        None if rules is None else msgspec.json.decode(rules, type=RankedRules),
        None if conduct is None else msgspec.json.decode(conduct, type=Conduct),
    )

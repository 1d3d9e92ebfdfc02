"""Writes each partition's progress with a command to the database."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from schemas.control import ContestsChanged, ContestState, RollChanged
from streams.control.issuer import insert_command, upsert_contests
from streams.core.fence import PassedControl
from streams.core.rules import MAX_NUMBER

PASSED: Final = """
INSERT INTO control_progress (command_id, partition, log_id, source_offset)
SELECT * FROM unnest($1::bytea[], $2::int[], $3::bytea[], $4::bigint[])
ON CONFLICT DO NOTHING
"""

SKIP_BACKWARD: Final = "SELECT set_config('scrutin.skip_backward', 'on', true)"
"""A contest that a forged record would take back stays as it is; see `contest_goes_forward`."""

CLOSED: Final = """
INSERT INTO contest_closings (command_id, contest_id)
SELECT * FROM unnest($1::bytea[], $2::text[]) ON CONFLICT DO NOTHING
"""
"""A table of its own, because operators may write commands."""

_OVER: Final = frozenset({ContestState.CLOSED, ContestState.ARCHIVED})


async def write_controls(connection: Any, passed: Sequence[PassedControl], partitions: int) -> None:
    """Store that commands were passed, within the flush that counts the votes before them.

    A command that is missing in the database, because that was rebuilt from the log, is stored too.

    Args:
        connection: within the flush's transaction.
        passed: in the order of each partition's log.
        partitions: of the input log.
    """
    ended = [o for o in passed if not isinstance(o.control, RollChanged) or o.control.last]
    numbered = [one for one in ended if one.control.number < MAX_NUMBER]
    by_number = sorted(numbered, key=lambda one: (one.control.number, one.partition))
    for one in by_number:
        control = one.control
        if isinstance(control, RollChanged):
            continue
        new = await insert_command(
            connection, control, partitions, "log", written_ms=control.issued_ms
        )
        if new and isinstance(control, ContestsChanged):
            await connection.execute(SKIP_BACKWARD)
            await upsert_contests(connection, control)
    closed = [
        (one.control.command_id, contest.id)
        for one in by_number
        if isinstance(one.control, ContestsChanged)
        for contest in one.control.contests
        if contest.state in _OVER
    ]
    if closed:
        commands, contests = zip(*sorted(set(closed)), strict=True)
        await connection.execute(CLOSED, commands, contests)
    await connection.execute(
        PASSED,
        [one.control.command_id for one in by_number],
        [one.partition for one in by_number],
        [one.log_id for one in by_number],
        [one.offset for one in by_number],
    )

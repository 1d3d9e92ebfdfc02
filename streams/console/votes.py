"""Rejected votes as an operator sees them: what, when and why, and nothing about who."""

from __future__ import annotations

import csv
import io
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any, Final

from schemas.verdicts import Status
from streams.adapters.postgres.connection import connected, translated
from streams.inspect.export import inert
from streams.settings.configs import PostgresConfig

PAGE: Final = 100
STATUSES: Final = (Status.INVALID, Status.DUPLICATE, Status.REPLACED, Status.MALFORMED)
COLUMNS: Final = (
    "processed_at",
    "contest",
    "status",
    "reason",
    "attempts",
    "partition",
    "offset",
    "number",
)
_READ: Final = """
SELECT id, date_trunc('second', processed_timestamp) AS processed_at, contest, status, reason,
    attempt_count AS attempts, source_partition AS partition, source_offset AS offset,
    source_index AS number
FROM rejected_votes
WHERE ($1 = '' OR contest = $1) AND ($2 = '' OR status = $2) AND ($3::bigint = 0 OR id < $3)
ORDER BY id DESC
"""
_WHERE: Final[dict[str, object]] = {"table": "rejected_votes"}


async def rejected(
    connection: Any, contest: str, status: str, before: int
) -> tuple[list[tuple[Any, ...]], int | None]:
    """A page of rejected votes, the latest first, and where the next page begins."""
    async with translated(_WHERE):
        rows = await connection.fetch(f"{_READ} LIMIT {PAGE}", contest, status, before)
    older = rows[-1]["id"] if len(rows) == PAGE else None
    return [tuple(row[name] for name in COLUMNS) for row in rows], older


async def rejected_csv(postgres: PostgresConfig, contest: str, status: str) -> AsyncIterator[bytes]:
    """All of them as CSV, in pieces."""
    yield _line(COLUMNS)
    async with (
        connected(postgres) as connection,
        translated(_WHERE),
        connection.transaction(readonly=True),
    ):
        lines: list[bytes] = []
        async for row in connection.cursor(_READ, contest, status, 0, prefetch=1000):
            lines.append(_line([inert(name, _cell(row[name])) for name in COLUMNS]))
            if len(lines) == 1000:
                yield b"".join(lines)
                lines.clear()
        yield b"".join(lines)


def _cell(value: str | int | datetime | None) -> str | int | None:
    return value.isoformat() if isinstance(value, datetime) else value


def _line(cells: Any) -> bytes:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerow(cells)
    return out.getvalue().encode()

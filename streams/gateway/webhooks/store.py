"""Webhooks and their deliveries in PostgreSQL."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

import asyncpg
import msgspec

from streams.adapters.postgres.connection import migrated
from streams.gateway.webhooks.signing import delivery_id

LEASE_S: Final = 60
"""After which another sender tries a delivery whose sender has died."""

_NEW: Final = """
SELECT w.webhook_id, c.contest_id, c.event, c.key, c.at
FROM webhooks AS w JOIN contest_changes AS c
    ON c.event = ANY (w.events) AND (w.contest_id IS NULL OR w.contest_id = c.contest_id)
WHERE ($1::text IS NULL OR w.webhook_id = $1) AND NOT EXISTS (
    SELECT 1 FROM webhook_deliveries AS d
    WHERE (d.webhook_id, d.contest_id, d.event, d.key)
        = (w.webhook_id, c.contest_id, c.event, c.key)
)
ORDER BY c.at
"""
_ADD: Final = """
INSERT INTO webhook_deliveries (delivery_id, webhook_id, contest_id, event, key, at, state)
VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING
"""
_CLAIM: Final = """
UPDATE webhook_deliveries AS d
SET attempts = attempts + 1, next_at = now() + make_interval(secs => $2)
FROM webhooks AS w WHERE w.webhook_id = d.webhook_id AND d.delivery_id IN (
    SELECT delivery_id FROM webhook_deliveries WHERE state = 'pending' AND next_at <= now()
    ORDER BY next_at LIMIT $1 FOR UPDATE SKIP LOCKED
)
RETURNING d.delivery_id, d.webhook_id, w.url, d.contest_id, d.event, d.attempts, d.body
"""
_DONE: Final = """
UPDATE webhook_deliveries
SET state = $2, answer = $3, next_at = now() + make_interval(secs => $4),
    delivered_at = CASE WHEN $2 = 'delivered' THEN now() END
WHERE delivery_id = $1
"""
_LOG: Final = """
SELECT delivery_id, webhook_id, contest_id, event, at, state, attempts,
    CASE WHEN state = 'pending' THEN next_at END AS next_at, answer, delivered_at
FROM webhook_deliveries
WHERE state <> 'before' AND ($1::text IS NULL OR webhook_id = $1)
ORDER BY at DESC, delivery_id LIMIT $2
"""
_RESEND: Final = """
UPDATE webhook_deliveries SET state = 'pending', attempts = 0, next_at = now()
WHERE delivery_id = $1 AND state IN ('delivered', 'failed', 'pending')
"""


class Webhook(msgspec.Struct, frozen=True):
    """Where changes of contests are sent."""

    webhook_id: str
    url: str
    contest_id: str | None
    """None: all contests."""
    events: list[str]
    created_at: datetime


class Delivery(msgspec.Struct, frozen=True):
    """A line of the log."""

    delivery_id: str
    """Also the id of the message."""
    webhook_id: str
    contest_id: str
    event: str
    at: datetime
    """Of the change."""
    state: str
    """`pending`, `delivered` or `failed`."""
    attempts: int
    next_at: datetime | None
    answer: str | None
    """Of the last attempt."""
    delivered_at: datetime | None


class Due(msgspec.Struct, frozen=True):
    """A delivery to try now."""

    delivery_id: str
    webhook_id: str
    url: str
    contest_id: str
    event: str
    attempts: int
    """With this one."""
    body: bytes | None
    """None before the first attempt."""


class WebhookStore:
    """Webhooks and deliveries.

    Args:
        connection: to a migrated database. Errors are the caller's to translate.
    """

    def __init__(self, connection: asyncpg.Connection) -> None:
        self._connection = connection

    async def add(
        self, webhook_id: str, url: str, contest: str | None, events: Sequence[str]
    ) -> None:
        """Add a webhook for changes from now on.

        Raises:
            ScrutinError: the database is not migrated.
        """
        with migrated("tables for webhooks", None):
            async with self._connection.transaction():
                await self._connection.execute(
                    "INSERT INTO webhooks (webhook_id, url, contest_id, events)"
                    " VALUES ($1, $2, $3, $4)",
                    *(webhook_id, url, contest, list(events)),
                )
                await self._note(webhook_id, "before")

    async def remove(self, webhook_id: str) -> bool:
        """Remove a webhook and its log; whether there was one."""
        done: str = await self._connection.execute(
            "DELETE FROM webhooks WHERE webhook_id = $1", webhook_id
        )
        return done.endswith(" 1")

    async def webhooks(self) -> list[Webhook]:
        """All webhooks, the oldest first.

        Raises:
            ScrutinError: the database is not migrated.
        """
        with migrated("tables for webhooks", None):
            rows = await self._connection.fetch(
                "SELECT webhook_id, url, contest_id, events, created_at FROM webhooks"
                " ORDER BY created_at, webhook_id"
            )
        return [Webhook(*row) for row in rows]

    async def log(self, webhook_id: str | None, limit: int) -> list[Delivery]:
        """Deliveries, those of the latest changes first."""
        with migrated("tables for webhooks", None):
            rows = await self._connection.fetch(_LOG, webhook_id, limit)
        return [Delivery(*row) for row in rows]

    async def resend(self, delivery: str) -> bool:
        """Let a delivery be sent once more, with the same id and body; whether there is one."""
        done: str = await self._connection.execute(_RESEND, delivery)
        return done.endswith(" 1")

    async def note_changes(self) -> None:
        """Make deliveries of the changes that webhooks have not been sent."""
        await self._note(None, "pending")

    async def _note(self, webhook_id: str | None, state: str) -> None:
        rows = [tuple(row) for row in await self._connection.fetch(_NEW, webhook_id)]
        await self._connection.executemany(
            _ADD, [(delivery_id(*row[:4]), *row, state) for row in rows]
        )

    async def claim(self, limit: int) -> list[Due]:
        """Take deliveries that are due; each is due again after :data:`LEASE_S`."""
        return [Due(*row) for row in await self._connection.fetch(_CLAIM, limit, LEASE_S)]

    async def keep_body(self, delivery: str, body: bytes) -> None:
        """Keep what is sent, for later attempts."""
        await self._connection.execute(
            "UPDATE webhook_deliveries SET body = $2 WHERE delivery_id = $1", delivery, body
        )

    async def finish(self, delivery: str, state: str, answer: str, *, again_s: float = 0) -> None:
        """Note the outcome of an attempt."""
        await self._connection.execute(_DONE, *(delivery, state, answer, float(again_s)))


def as_row(value: msgspec.Struct) -> dict[str, Any]:
    """A value for `--json`."""
    row: dict[str, Any] = msgspec.to_builtins(value)
    return row

"""Publishes the windows' committed state to the compacted topic `votes.windows`.

The topic must equal PostgreSQL after any crash and with any number of workers, so it is written
from the database: the worker that gets the cursor's lock writes the changes since the cursor, waits
for Kafka, and moves the cursor. Values are totals, so writing one twice is harmless, and the lock
keeps an older total from following a newer one.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any, Final

import structlog

from schemas.codec import encode
from schemas.windows import WindowKey, WindowState
from streams.adapters.kafka.writer import LogWriter
from streams.adapters.postgres import statements
from streams.adapters.postgres.connection import translated
from streams.core.records import OutRecord
from streams.core.rows import unix_us
from streams.core.topics import WINDOWS_TOPIC
from streams.errors import ServiceUnavailable
from streams.worker.postgres_sink import PostgresSink

log = structlog.get_logger(__name__)

INTERVAL_S: Final = 1.0
_RETRY_S: Final = 0.05
_CHUNK: Final = 2000
_FINAL_S: Final = 2.0


@dataclass
class WindowPublisher:
    """The publisher; every worker runs one, and one at a time writes."""

    sink: PostgresSink
    """Gives connections to the database."""
    writer: LogWriter
    """Its own Kafka writer, so that votes never wait for it."""

    def __post_init__(self) -> None:
        self._dirty = asyncio.Event()
        self._dirty.set()
        self._unconfirmed_xid: int | None = None

    def flushed(self) -> None:
        """Record that windows may have changed."""
        self._dirty.set()

    async def run(self) -> None:
        """Publish until cancelled; retries after outages."""
        while True:
            await self._dirty.wait()
            self._dirty.clear()
            try:
                await self.publish()
            except ServiceUnavailable as error:
                # The flushes report the outage; unwritten changes stay after the cursor.
                log.info("windows are published later", error=error.what)
                self._dirty.set()
            await asyncio.sleep(INTERVAL_S)

    async def publish(self) -> int:
        """Publish changed windows; returns how many were written.

        Raises:
            ServiceUnavailable: PostgreSQL or Kafka does not answer.
        """
        async with (
            translated({"table": "vote_windows"}),
            self.sink.connections.acquire() as connection,
            connection.transaction(),
        ):
            written = await self._publish(connection)
        if written is None:
            # Another worker publishes, and may have read before this worker's flush.
            self._dirty.set()
            return 0
        self._unconfirmed_xid = None
        return written

    async def publish_all(self) -> int:
        """Publish until nothing is left; returns how many windows were written.

        Waits for other open transactions on the server that hold back changes.

        Raises:
            ServiceUnavailable: as :meth:`publish`.
        """
        written = 0
        while True:
            self._dirty.clear()
            try:
                written += await self.publish()
            except ServiceUnavailable:
                self._dirty.set()
                raise
            if not self._dirty.is_set():
                return written
            await asyncio.sleep(_RETRY_S)

    async def publish_final(self) -> None:
        """Publish the windows of the last flushes; what fails is published at the next start."""
        try:
            async with asyncio.timeout(_FINAL_S):
                await self.publish_all()
        except (ServiceUnavailable, TimeoutError) as error:
            log.info("windows are published at the next start", error=str(error))

    async def _publish(self, connection: Any) -> int | None:
        cursor = await connection.fetchval(statements.LOCK_WINDOW_CURSOR)
        if cursor is None:
            return None
        if self._unconfirmed_xid is not None:
            # The lock was lost during the last write: its totals may follow another worker's.
            cursor = str(min(int(cursor), self._unconfirmed_xid))
        settled = await connection.fetchval(statements.SETTLED_XID)
        rows = await connection.fetch(statements.CHANGED_WINDOWS, cursor, settled)
        records = [
            OutRecord(
                WINDOWS_TOPIC,
                0,
                encode(WindowState(row["votes"])),
                encode(
                    WindowKey(row["contest"], row["choice"], unix_us(row["window_start"]) // 1000)
                ),
            )
            for row in rows
        ]
        if records:
            self._unconfirmed_xid = int(cursor)
        for first in range(0, len(records), _CHUNK):
            await self.writer.write(records[first : first + _CHUNK])
        if rows:
            await connection.execute(statements.MOVE_WINDOW_CURSOR, settled)
        if await connection.fetchval(statements.UNSETTLED_WINDOWS, settled):
            self._dirty.set()
        return len(rows)

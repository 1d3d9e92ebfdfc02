"""Looks at a running count from outside, while faults last and after."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import asyncpg
from aiokafka.errors import KafkaError

from tests.faults.oracle import Evidence
from tests.faults.reading import Addresses, Lag, read_kafka, read_lag, read_reviews
from tests.faults.stores import read_database, read_mirror
from tests.faults.votes import Votes

APP_ID = "scrutin"
GROUPS = {
    APP_ID: ("votes.validation", "votes.validated"),
    f"{APP_ID}-egress": ("votes.validated",),
    f"{APP_ID}-mirror": ("votes.validated",),
}
"""Consumer groups and what they read."""

_AWAY = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError)
_STILL_S = 60.0


class Observer:
    """Reads, never writes.

    Args:
        addresses: of the services.
    """

    def __init__(self, addresses: Addresses) -> None:
        self._addresses = addresses

    async def rows(self) -> int:
        """Messages that PostgreSQL says are counted or rejected; 0 while it is unavailable."""
        query = "SELECT (SELECT count(*) FROM vote_audit) + (SELECT count(*) FROM rejected_votes)"
        return int(await self.ask(query, 0))

    async def ask(self, query: str, otherwise: object, *arguments: object) -> Any:
        """One value of PostgreSQL, or another while it does not answer."""
        try:
            connection = await self._addresses.postgres()
            try:
                return await connection.fetchval(query, *arguments)
            finally:
                await connection.close(timeout=5)
        except _AWAY:
            return otherwise

    async def lag(self) -> Lag:
        """Uncommitted records of each consumer group."""
        return await read_lag(self._addresses, GROUPS)

    async def evidence(
        self, votes: Votes, *, confirmed: set[int], uncertain: set[int], window_ms: int
    ) -> Evidence:
        """Read everything at a moment when nothing moves.

        The windows' topic follows PostgreSQL, and a message that was delivered twice may still come
        from a bridge that waited longer than another when all that counts has been dealt with.

        Args:
            votes: what was published.
            confirmed: messages that RabbitMQ has confirmed.
            uncertain: messages whose only confirm was lost.
            window_ms: width of the tumbling windows.
        """
        deadline_s = time.monotonic() + _STILL_S
        connection = await self._addresses.postgres()
        try:
            while True:
                try:
                    before = await self.lag()
                    logs = await read_kafka(self._addresses, APP_ID)
                    database = await read_database(connection)
                    lag = await self.lag()
                except KafkaError:
                    # A broker that was frozen or is starved of CPU has no coordinator yet.
                    if time.monotonic() > deadline_s:
                        raise
                    await asyncio.sleep(1)
                    continue
                still = before.ends == lag.ends and not any(lag.records.values())
                if (still and logs.windows == database.windows) or time.monotonic() > deadline_s:
                    break
                await asyncio.sleep(1)
        finally:
            await connection.close()
        redis = self._addresses.redis()
        mirror = await read_mirror(redis)
        await redis.aclose()
        return Evidence(
            messages={message.number: message for message in votes.messages},
            confirmed=confirmed,
            uncertain=uncertain - confirmed,
            logs=logs,
            database=database,
            reviews=await asyncio.to_thread(read_reviews, self._addresses.amqp(), "votes.review"),
            mirror=mirror,
            lag=lag.records,
            window_ms=window_ms,
            weights=votes.weights,
        )

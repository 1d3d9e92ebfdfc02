"""A stand-in for the replaced validation worker and aggregator, written from their documents."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self

from streams.adapters.rabbitmq.client import Channel, connected
from streams.messages.decode import Delivery
from streams.settings.model import Settings
from tests.harness import database, redis_of

_AUDIT = """
INSERT INTO vote_audit (vote_hash, law_id, vote, status, timestamp) VALUES ($1, $2, $3, $4, $5)
"""
_TOTALS = """
INSERT INTO vote_results AS r (law_id, oui_count, non_count, total_votes) VALUES ($1, $2, $3, 1)
ON CONFLICT (law_id) DO UPDATE SET oui_count = r.oui_count + $2, non_count = r.non_count + $3,
    total_votes = r.total_votes + 1, updated_at = now()
"""


class OldServices:
    """Both services, while the context lasts; enter it again to start them again.

    The worker reads `votes.validation`, asks Redis, writes `vote_audit` and passes valid votes to
    `votes.aggregation`. The aggregator adds them to `vote_results`.

    Args:
        settings: the addresses of the old deployment.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as opened:
            self._db = await database(self._settings)
            opened.push_async_callback(self._db.close)
            self._redis = redis_of(self._settings)
            opened.push_async_callback(self._redis.aclose)
            connection = await opened.enter_async_context(
                connected(self._settings.rabbit, "old services")
            )
            self._channel = await connection.channel()
            await self._channel.prefetch(10)
            for queue in ("votes.validation", "votes.aggregation"):
                await self._channel.declare(queue)
            deliveries: asyncio.Queue[tuple[Any, int, bytes]] = asyncio.Queue()
            handling = asyncio.create_task(_handle(deliveries, self._channel))
            opened.push_async_callback(_end, handling)
            for queue, handle in (
                ("votes.validation", self._validate),
                ("votes.aggregation", self._aggregate),
            ):

                def take(came: Sequence[Delivery], handle: Any = handle) -> None:
                    for tag, _, _, body in came:
                        deliveries.put_nowait((handle, tag, body))

                await self._channel.consume(queue, take, lambda: None)
            self._stack = opened.pop_all()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._stack.aclose()

    async def _validate(self, vote: dict[str, Any]) -> None:
        voter, law, choice = vote["hash"], vote["law_id"], vote["vote"]
        at = datetime.fromisoformat(vote["vote_timestamp"]).replace(tzinfo=UTC)
        if not await self._redis.sismember("valid_hashes", voter):
            await self._db.execute(_AUDIT, voter, law, choice, "invalid", at)
            return
        if not await self._redis.sadd("voted_hashes", voter):
            await self._redis.incr(f"duplicate_count:{voter}")
            await self._db.execute(_AUDIT, voter, law, choice, "duplicate", at)
            return
        await self._db.execute(_AUDIT, voter, law, choice, "validated", at)
        self._channel.raw.basic_publish("", "votes.aggregation", json.dumps(vote).encode())

    async def _aggregate(self, vote: dict[str, Any]) -> None:
        oui = int(vote["vote"] == "oui")
        await self._db.execute(_TOTALS, vote["law_id"], oui, 1 - oui)


async def _handle(deliveries: asyncio.Queue[tuple[Any, int, bytes]], channel: Channel) -> None:
    while True:
        handle, tag, body = await deliveries.get()
        await handle(json.loads(body))
        channel.raw.basic_ack(tag)


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait([task])
    if not task.cancelled():
        task.result()

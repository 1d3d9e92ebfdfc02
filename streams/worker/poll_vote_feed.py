"""Votes in polls by name on the Redis channel `global:votes`, in the replaced services' format.

After COMMIT and best effort, like all live messages: only some of the votes if there are very many.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import asyncpg
import msgspec
from redis.asyncio import Redis

from streams.adapters.postgres.connection import translated
from streams.adapters.postgres.statements import POLL_TEXTS
from streams.adapters.redis.client import redis_errors
from streams.core.live_totals import Notice
from streams.core.polls import POLL_PREFIX, is_number
from streams.worker.postgres_sink import PostgresSink

CHANNEL: Final = "global:votes"
MAX_CACHED: Final = 1000
"""Number of polls whose texts are cached."""

_encode: Final = msgspec.json.Encoder().encode


class GlobalVote(msgspec.Struct, frozen=True):
    """The message, as JSON."""

    poll_id: int
    option_id: int
    poll_text: str
    option_text: str
    voter_name: str


@dataclass
class PollVoteFeed:
    """Publishes votes by name."""

    redis: Redis
    """Client."""
    sink: PostgresSink
    """For its database connections."""

    def __post_init__(self) -> None:
        self._texts: dict[int, tuple[str, dict[int, str]] | None] = {}

    async def announce(self, notices: Sequence[Notice]) -> None:
        """Publish votes, except those in polls without a page.

        Raises:
            ServiceUnavailable: Redis or PostgreSQL does not answer.
        """
        messages = [message for notice in notices if (message := await self._message(notice))]
        if not messages:
            return
        async with redis_errors("take votes in polls"):
            pipeline = self.redis.pipeline(transaction=False)
            for message in messages:
                pipeline.publish(CHANNEL, _encode(message))
            await pipeline.execute()

    async def _message(self, notice: Notice) -> GlobalVote | None:
        poll, option = notice.contest.removeprefix(POLL_PREFIX), notice.choice
        if not (is_number(poll) and is_number(option)):
            return None
        texts = await self._texts_of(int(poll))
        if texts is None or int(option) not in texts[1]:
            return None
        title, options = texts
        return GlobalVote(int(poll), int(option), title, options[int(option)], notice.voter_name)

    async def _texts_of(self, poll_id: int) -> tuple[str, dict[int, str]] | None:
        """Title and options, cached: a poll that takes votes can no longer be edited."""
        if poll_id not in self._texts:
            async with translated({"table": "polls"}):
                row: asyncpg.Record | None = await self.sink.connections.fetchrow(
                    POLL_TEXTS, poll_id
                )
            if len(self._texts) >= MAX_CACHED:
                self._texts.clear()
            self._texts[poll_id] = (
                None
                if row is None
                else (row["title"], dict(zip(row["numbers"], row["options"], strict=True)))
            )
        return self._texts[poll_id]

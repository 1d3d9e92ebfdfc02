"""The encrypted tally behind the gateway: opened on first use, polled while it has watchers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, suppress
from typing import Any, Final, Self

import msgspec

from streams.errors import ServiceUnavailable
from streams.gateway.subscriptions import BEAT_S, TooManyWatchers
from streams.settings.processes import TallyConfig
from streams.tally.commands import TallyCommands, tally

POLL_S: Final = 0.5
"""Time between two looks at a watched election, however many watch it."""
MAX_WATCHERS: Final = 2_000


class _ProgressFeed:
    """The progress of one election, and its watchers."""

    def __init__(self) -> None:
        self.watchers = 0
        self.progress = b""
        self.number = 0
        self._sent_s = 0.0
        self.polling: asyncio.Task[None] | None = None
        self._next: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def changed(self) -> None:
        await asyncio.shield(self._next)

    def publish(self, progress: bytes) -> None:
        """Send a progress that is new, or as a heartbeat."""
        now_s = asyncio.get_running_loop().time()
        if progress != self.progress or now_s - self._sent_s >= BEAT_S:
            self.progress = progress
            self.number += 1
            self._sent_s = now_s
            done, self._next = self._next, asyncio.get_running_loop().create_future()
            done.set_result(None)

    def close(self) -> None:
        if self.polling is not None:
            self.polling.cancel()
        self._next.cancel()


class TallyService:
    """The tally of a gateway. Enter it to use it; it connects on first use.

    Args:
        config: where Kafka and PostgreSQL are.
    """

    def __init__(self, config: TallyConfig) -> None:
        self._config = config
        self._resources = AsyncExitStack()
        self._opening = asyncio.Lock()
        self._tally: TallyCommands | None = None
        self._feeds: dict[str, _ProgressFeed] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for feed in self._feeds.values():
            feed.close()
        await self._resources.aclose()

    async def tally(self) -> TallyCommands:
        """The commands of the tally.

        Raises:
            ServiceUnavailable: PostgreSQL does not answer; the next request tries again.
        """
        async with self._opening:
            if self._tally is None:
                self._tally = await self._resources.enter_async_context(tally(self._config))
            return self._tally

    @property
    def watchers(self) -> int:
        """Number of watchers."""
        return sum(feed.watchers for feed in self._feeds.values())

    async def watch(self, election_id: str) -> AsyncGenerator[bytes, None]:
        """Progress of an election as JSON: now, after every change, and the same as a heartbeat.

        Slow readers miss some. Nothing comes while PostgreSQL does not answer.

        Raises:
            TooManyWatchers: there are too many already.
            Refused: there is no such election.
            ServiceUnavailable: PostgreSQL does not answer.
        """
        if self.watchers >= MAX_WATCHERS:
            raise TooManyWatchers
        commands = await self.tally()
        await commands.store.election(election_id)
        feed = self._feeds.setdefault(election_id, _ProgressFeed())
        feed.watchers += 1
        if feed.polling is None:
            feed.polling = asyncio.create_task(self._poll(commands, election_id, feed))
        seen = 0
        try:
            while True:
                if feed.number == seen:
                    await feed.changed()
                seen = feed.number
                yield feed.progress
        finally:
            feed.watchers -= 1
            if not feed.watchers:
                feed.close()
                del self._feeds[election_id]

    async def _poll(self, commands: TallyCommands, election_id: str, feed: _ProgressFeed) -> None:
        while True:
            # While PostgreSQL does not answer, watchers keep the last progress.
            with suppress(ServiceUnavailable):
                feed.publish(msgspec.json.encode(await progress(commands, election_id)))
            await asyncio.sleep(POLL_S)


async def progress(commands: TallyCommands, election_id: str) -> dict[str, Any]:
    """All jobs of an election, and whether its result is published."""
    return {
        "type": "progress",
        "electionId": shown_id(election_id),
        "jobs": [shown_job(job) for job in await commands.jobs(election_id)],
        "ballotsHead": await commands.store.ballots_head(election_id),
        "published": await commands.store.published(election_id) is not None,
    }


def shown_job(job: dict[str, Any]) -> dict[str, Any]:
    """A job in the form that clients of older deployments read."""
    return {**job, "electionId": shown_id(job["electionId"])}


def shown_id(election_id: str) -> str | int:
    """An id in the form of older deployments, where ids are numbers."""
    plain = election_id.isascii() and election_id.isdigit() and len(election_id) <= 15
    return int(election_id) if plain and str(int(election_id)) == election_id else election_id

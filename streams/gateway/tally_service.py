"""The encrypted tally behind the gateway: opened when somebody asks for it, watched for changes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, suppress
from types import TracebackType
from typing import Any, Final, Self

import msgspec

from streams.errors import ServiceUnavailable
from streams.gateway.subscriptions import TooManyWatchers
from streams.settings.model import Settings
from streams.tally.commands import TallyCommands, tally

POLL_S: Final = 0.5
"""An election that somebody watches is looked at so often, however many watch."""
MAX_WATCHERS: Final = 2_000


class _Room:
    """An election with its watchers."""

    def __init__(self) -> None:
        self.watchers = 0
        self.progress = b""
        self.looking: asyncio.Task[None] | None = None
        self._next: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def changed(self) -> None:
        await asyncio.shield(self._next)

    def tell(self, progress: bytes) -> None:
        if progress != self.progress:
            self.progress = progress
            told, self._next = self._next, asyncio.get_running_loop().create_future()
            told.set_result(None)

    def close(self) -> None:
        if self.looking is not None:
            self.looking.cancel()
        self._next.cancel()


class TallyService:
    """The tally of a gateway; a context. One that nobody asks for costs nothing.

    Args:
        settings: of the gateway.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._resources = AsyncExitStack()
        self._opening = asyncio.Lock()
        self._tally: TallyCommands | None = None
        self._rooms: dict[str, _Room] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for room in self._rooms.values():
            room.close()
        await self._resources.aclose()

    async def tally(self) -> TallyCommands:
        """What commands are given to.

        Raises:
            ServiceUnavailable: PostgreSQL is away; the next request tries again.
        """
        async with self._opening:
            if self._tally is None:
                self._tally = await self._resources.enter_async_context(tally(self._settings))
            return self._tally

    @property
    def watchers(self) -> int:
        """How many watch."""
        return sum(room.watchers for room in self._rooms.values())

    async def watch(self, election_id: str) -> AsyncGenerator[bytes, None]:
        """How far an election is, as JSON: now, and after every change. Slow readers miss some.

        Raises:
            Crowded: too many watch.
            Refused: there is no such election.
            ServiceUnavailable: PostgreSQL is away.
        """
        if self.watchers >= MAX_WATCHERS:
            raise TooManyWatchers
        asked = await self.tally()
        await asked.store.election(election_id)
        room = self._rooms.setdefault(election_id, _Room())
        room.watchers += 1
        if room.looking is None:
            room.looking = asyncio.create_task(self._look(asked, election_id, room))
        seen = b""
        try:
            while True:
                if room.progress == seen:
                    await room.changed()
                seen = room.progress
                yield seen
        finally:
            room.watchers -= 1
            if not room.watchers:
                room.close()
                del self._rooms[election_id]

    async def _look(self, asked: TallyCommands, election_id: str, room: _Room) -> None:
        while True:
            # While PostgreSQL is away the watchers keep what they have.
            with suppress(ServiceUnavailable):
                room.tell(msgspec.json.encode(await progress(asked, election_id)))
            await asyncio.sleep(POLL_S)


async def progress(asked: TallyCommands, election_id: str) -> dict[str, Any]:
    """All jobs of an election, and whether its result is there."""
    return {
        "type": "progress",
        "electionId": shown_id(election_id),
        "jobs": [shown_job(job) for job in await asked.jobs(election_id)],
        "published": await asked.store.published(election_id) is not None,
    }


def shown_job(job: dict[str, Any]) -> dict[str, Any]:
    """A job as clients of older deployments read it."""
    return {**job, "electionId": shown_id(job["electionId"])}


def shown_id(election_id: str) -> str | int:
    """An id as older deployments write it: those are numbers."""
    plain = election_id.isascii() and election_id.isdigit() and len(election_id) <= 15
    return int(election_id) if plain and str(int(election_id)) == election_id else election_id

"""Honest voters and watchers: each has a connection of its own, and notes what it sees."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Final

import aiohttp

from tests.integration.gateway_harness import ballot

_OPENING: Final = 20
"""Connections opened at a time."""


@dataclass
class Seen:
    """By honest clients in some time."""

    times_s: list[float] = field(default_factory=list)
    """From the moment at which a vote is due to its answer."""
    errors: list[str] = field(default_factory=list)
    accepted: int = 0


def p99_ms(times_s: list[float]) -> float:
    """99 of 100 are not longer."""
    ranked = sorted(times_s)
    return round(ranked[int(len(ranked) * 0.99)] * 1000, 1) if ranked else 0.0


class Voters:
    """Voters who vote in turns, each over its own connection.

    Args:
        base: address of the gateway.
        count: of voters.
        votes_per_s: of all together.
        persons: numbers on the roll; every vote takes the next, because a person votes once.
    """

    def __init__(self, base: str, count: int, votes_per_s: int, persons: Iterator[int]) -> None:
        self._base = base
        self._period_s = count / votes_per_s
        self._votes_per_s = votes_per_s
        self._persons = persons
        self._sessions = [
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=1)) for _ in range(count)
        ]

    async def close(self) -> None:
        """Close all connections."""
        await asyncio.gather(*(session.close() for session in self._sessions))

    async def vote(self, seen: Seen, enough: asyncio.Event) -> None:
        """Cast votes until it is enough."""
        began_s = time.monotonic()
        await asyncio.gather(
            *(
                self._turns(session, began_s + n / self._votes_per_s, seen, enough)
                for n, session in enumerate(self._sessions)
            )
        )

    async def _turns(
        self, session: aiohttp.ClientSession, due_s: float, seen: Seen, enough: asyncio.Event
    ) -> None:
        while True:
            try:
                async with asyncio.timeout(max(0.0, due_s - time.monotonic())):
                    await enough.wait()
            except TimeoutError:
                pass
            else:
                return
            await self._cast(session, due_s, seen)
            due_s += self._period_s

    async def _cast(self, session: aiohttp.ClientSession, due_s: float, seen: Seen) -> None:
        url, body = f"{self._base}/api/v1/vote", ballot(next(self._persons))
        try:
            async with session.post(url, json=body) as answer:
                await answer.read()
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            seen.errors.append(f"a vote failed with {type(error).__name__}")
            return
        seen.times_s.append(time.monotonic() - due_s)
        if answer.status == 202:
            seen.accepted += 1
        else:
            seen.errors.append(f"a vote was answered {answer.status}")


class Watchers:
    """Watchers of a law: every other one over WebSocket, the others over Server-Sent Events.

    Args:
        base: address of the gateway.
        count: of watchers.
    """

    def __init__(self, base: str, count: int) -> None:
        self._base = base
        self._messages = [0] * count
        self._ended: list[str] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(sock_connect=30)
        )

    async def open(self) -> None:
        """Let them come, until each has its first message."""
        opening = asyncio.Semaphore(_OPENING)
        came = [asyncio.Event() for _ in self._messages]
        self._tasks = [
            asyncio.create_task(self._watch(n, opening, each)) for n, each in enumerate(came)
        ]
        await asyncio.gather(*(each.wait() for each in came))

    async def close(self) -> None:
        """Let them go."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._session.close()

    def errors(self) -> list[str]:
        """Of watchers, since the last question."""
        silent = self._messages.count(0)
        found = self._ended + [f"{silent} watchers saw nothing"] * bool(silent)
        self._ended = []
        self._messages = [0] * len(self._messages)
        return found

    async def _watch(self, number: int, opening: asyncio.Semaphore, came: asyncio.Event) -> None:
        why = "its connection ended"
        try:
            async with AsyncExitStack() as opened:
                if number % 2:
                    async with opening:
                        asked = self._session.get(f"{self._base}/results/L-1/events")
                        answer = await opened.enter_async_context(asked)
                    async for line in answer.content:
                        if line.startswith(b"data:"):
                            self._messages[number] += 1
                            came.set()
                else:
                    async with opening:
                        asked_socket = self._session.ws_connect(f"{self._base}/ws/laws/L-1")
                        socket = await opened.enter_async_context(asked_socket)
                    async for _ in socket:
                        self._messages[number] += 1
                        came.set()
                    why = f"close code {socket.close_code}"
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            why = type(error).__name__
        self._ended.append(f"a watcher was lost: {why}")
        came.set()

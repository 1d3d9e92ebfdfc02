"""Wakes all who wait for the same news, some in each turn of the event loop. Pure asyncio."""

from __future__ import annotations

import asyncio
from typing import Final

WOKEN_AT_ONCE: Final = 64
"""Watchers that are woken in one turn of the loop: votes do not wait for all of them."""


class Bell:
    """A bell that wakes everybody who waits for it when it rings."""

    def __init__(self) -> None:
        self._waiting: list[asyncio.Future[None]] = []

    async def wait(self) -> None:
        """Wait until the bell rings."""
        waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiting)
        await waiting

    def ring(self) -> None:
        """Wake all who wait now."""
        waiting, self._waiting = self._waiting, []
        self._wake(waiting, 0)

    def _wake(self, waiting: list[asyncio.Future[None]], at: int) -> None:
        end = at + WOKEN_AT_ONCE
        for each in waiting[at:end]:
            if not each.done():
                each.set_result(None)
        if end < len(waiting):
            asyncio.get_running_loop().call_soon(self._wake, waiting, end)

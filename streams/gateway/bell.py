"""Wakes all who wait for the same news, some in each turn of the event loop. Pure asyncio."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

WOKEN_AT_ONCE: Final = 64
"""Watchers that are woken in one turn of the loop: votes do not wait for all of them."""


class Bell:
    """A bell that wakes everybody who waits for it when it rings."""

    def __init__(self) -> None:
        self._waiting: list[tuple[asyncio.Future[None], Callable[[], bool] | None]] = []

    async def wait(self, served: Callable[[], bool] | None = None) -> None:
        """Wait until the bell rings.

        Args:
            served: called at each ring; where it is true nobody is woken, and the wait goes on.
        """
        waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((waiting, served))
        await waiting

    def ring(self) -> None:
        """Wake all who wait now."""
        waiting, self._waiting = self._waiting, []
        self._wake(waiting, 0)

    def _wake(
        self, waiting: list[tuple[asyncio.Future[None], Callable[[], bool] | None]], at: int
    ) -> None:
        end = at + WOKEN_AT_ONCE
        for each, served in waiting[at:end]:
            if each.done():
                continue
            if served is not None and served():
                self._waiting.append((each, served))
            else:
                each.set_result(None)
        if end < len(waiting):
            asyncio.get_running_loop().call_soon(self._wake, waiting, end)

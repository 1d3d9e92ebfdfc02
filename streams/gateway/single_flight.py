"""Answers to costly questions, asked once however many callers wait, and kept for a while."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Hashable
from typing import Final, Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

KEPT_TIMES: Final = 10
"""An answer is kept this many times as long as it took, so that asking takes little of the time."""
MAX_KEPT_S: Final = 30.0
MAX_ERROR_KEPT_S: Final = 1.0
_MAX_KEPT: Final = 100


class SingleFlight(Generic[K, V]):
    """Asks for one key at a time; an error is kept too, for a shorter time.

    Args:
        ask: gives the answer for a key.
    """

    def __init__(self, ask: Callable[[K], Awaitable[V]]) -> None:
        self._ask = ask
        self._one_at_a_time = asyncio.Lock()
        self._answers: dict[K, asyncio.Task[V]] = {}
        self._began_s: dict[K, float] = {}
        self._kept_until_s: dict[K, float] = {}

    async def get(self, key: K, since_s: float | None = None) -> V:
        """The answer for a key.

        Args:
            key: what to ask.
            since_s: an answer that was asked for before this time is not enough, and a later one
                is, however long it has been kept; by :func:`time.monotonic`.

        Raises:
            Exception: as `ask` raises.
        """
        answer = self._answers.get(key)
        if since_s is None:
            old = time.monotonic() > self._kept_until_s.get(key, math.inf)
        else:
            old = self._began_s.get(key, math.inf) < since_s
        if answer is None or old:
            self._drop_old()
            answer = self._answers[key] = asyncio.create_task(self._work(key), name="costly answer")
            self._kept_until_s.pop(key, None)
            self._began_s.pop(key, None)
            # All callers may have left; read the error so that asyncio does not log it.
            answer.add_done_callback(lambda done: done.cancelled() or done.exception())
        # Others may wait for the same answer, so a cancelled caller must not cancel it.
        return await asyncio.shield(answer)

    async def _work(self, key: K) -> V:
        async with self._one_at_a_time:
            began_s = self._began_s[key] = time.monotonic()
            longest_s = MAX_ERROR_KEPT_S
            try:
                answer = await self._ask(key)
                longest_s = MAX_KEPT_S
                return answer
            finally:
                now_s = time.monotonic()
                kept_s = min(longest_s, KEPT_TIMES * (now_s - began_s))
                self._kept_until_s[key] = now_s + kept_s

    def _drop_old(self) -> None:
        if len(self._answers) >= _MAX_KEPT:
            for key in list(self._kept_until_s):
                del self._answers[key], self._kept_until_s[key], self._began_s[key]

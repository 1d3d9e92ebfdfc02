"""Single lookups batched into few queries."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection
from itertools import islice
from typing import Final

MAX_KEYS: Final = 1000
"""Most keys in one query."""


class Lookups:
    """Looks up whether keys are known. Keys requested during a query go into the next one.

    Args:
        ask: returns which of some keys are known.
    """

    def __init__(self, ask: Callable[[list[str]], Awaitable[Collection[str]]]) -> None:
        self._ask = ask
        self._waiting: dict[str, asyncio.Future[bool]] = {}
        self._asking: asyncio.Task[None] | None = None

    async def has(self, key: str) -> bool:
        """Whether a key is known.

        Raises:
            Exception: as `ask` raises.
        """
        answer = self._waiting.get(key)
        if answer is None:
            answer = self._waiting[key] = asyncio.get_running_loop().create_future()
        if self._asking is None:
            self._asking = asyncio.create_task(self._work(), name="lookups")
        # Others may wait for the same answer, so a cancelled caller must not cancel it.
        return await asyncio.shield(answer)

    async def _work(self) -> None:
        try:
            while self._waiting:
                keys = list(islice(self._waiting, MAX_KEYS))
                answers = {key: self._waiting.pop(key) for key in keys}
                try:
                    known = frozenset(await self._ask(keys))
                except Exception as error:  # noqa: BLE001 - the callers get it
                    for answer in answers.values():
                        answer.set_exception(error)
                        # All callers may have left; read the error so that asyncio does not log it.
                        answer.exception()
                else:
                    for key, answer in answers.items():
                        answer.set_result(key in known)
        finally:
            self._asking = None

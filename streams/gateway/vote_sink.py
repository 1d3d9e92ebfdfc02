"""Where a gateway sends votes: the interface of both brokers."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from typing import Final, Self

from streams.errors import ServiceUnavailable

MAX_OPEN: Final = 10_000
"""Most unconfirmed votes; further votes are refused."""

AGAIN: Final = "Send the vote again a little later"
COUNTS_ONCE: Final = "Send it again; it counts once, however often it is sent"


class Unconfirmed(ServiceUnavailable):
    """A vote was not confirmed in time; it may or may not have arrived."""


class VoteSink(ABC):
    """Takes votes while its task runs. Enter it to work; it waits for services."""

    def __init__(self) -> None:
        self._task: asyncio.Task[None] | None = None

    @property
    @abstractmethod
    def fault(self) -> str | None:
        """Why no vote can be taken now; None if one can."""

    @abstractmethod
    async def publish(self, body: bytes, message_id: str) -> None:
        """Publish one vote; returns once it is confirmed.

        Raises:
            ServiceUnavailable: it was not taken.
            Unconfirmed: it may or may not have arrived.
        """

    @abstractmethod
    async def _run(self) -> None:
        """Work until cancelled."""

    @property
    def task(self) -> asyncio.Task[None]:
        """Ends only with an error that needs an operator."""
        assert self._task is not None, "the sink is not open"
        return self._task

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run(), name=type(self).__name__)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.task.cancel()
        await asyncio.wait([self.task])

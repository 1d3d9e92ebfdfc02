"""Committed totals to whoever watches: Redis pub/sub, after COMMIT, best effort.

What is published is absolute, so a lost message is made good by the next one, and messages may
come in any order: the higher number is the later. Nothing here can hold up or fail the count:
offering never waits, and what Redis does not take at once is dropped.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Final

import msgspec
import structlog
from redis.asyncio import Redis

from schemas.votes import VoteBatch
from streams.errors import ScrutinError
from streams.events import VerdictEvent
from streams.metrics import WorkerMetrics
from streams.poll_votes import POLL_PREFIX
from streams.ranking import SEPARATOR
from streams.redis_client import redis_errors
from streams.rows import split

log = structlog.get_logger(__name__)

CHANNEL: Final = "scrutin:totals"
PERIOD_S: Final = 0.025
"""Shortest time between two messages of one worker."""
MAX_WAITING: Final = 10_000
"""Choices that wait for Redis; beyond that they are dropped, and watchers ask the database."""

MAX_NOTICES: Final = 50
"""In one message; they are for people to see."""

Totals = dict[str, dict[str, int]]
"""Contest -> choice -> votes."""


class Notice(msgspec.Struct, frozen=True):
    """A vote in a poll whose voters go by name, which is public there."""

    contest: str
    choice: str
    voter_name: str


class TotalsMessage(msgspec.Struct, omit_defaults=True):
    """What is published, as JSON."""

    contests: Totals
    """Only what has changed; each number is a committed total."""
    notices: list[Notice] = []
    """Some of the votes."""


_decoder: Final = msgspec.json.Decoder(TotalsMessage)


def read_message(data: bytes) -> TotalsMessage:
    """A message; an empty one if it is none of ours."""
    try:
        return _decoder.decode(data)
    except msgspec.DecodeError:
        return TotalsMessage({})


def notices(events: Iterable[VerdictEvent]) -> list[Notice]:
    """Counted votes of polls by name, no more than :data:`MAX_NOTICES`."""
    found: list[Notice] = []
    for event in events:
        if not isinstance(event.record, VoteBatch):
            continue
        for _, vote in split(event.verdicts, event.record)[0]:
            if vote.metadata is not None and vote.contest.startswith(POLL_PREFIX):
                name = msgspec.json.decode(vote.metadata).get("voter_name")
                found.append(Notice(vote.contest, vote.choice, str(name)))
                if len(found) >= MAX_NOTICES:
                    return found
    return found


def merge(into: Totals, totals: Mapping[tuple[str, str], int]) -> None:
    """Keep the higher of two totals; rankings are left out, their watchers ask the database."""
    for (contest, choice), votes in totals.items():
        if SEPARATOR in choice:
            continue
        choices = into.setdefault(contest, {})
        choices[choice] = max(votes, choices.get(choice, 0))


class TotalsPublisher:
    """Publishes totals.

    Args:
        redis: client.
        metrics: the worker's.
        announce: told of the notices too.
    """

    def __init__(
        self,
        redis: Redis,
        metrics: WorkerMetrics,
        announce: Callable[[Sequence[Notice]], Awaitable[None]] | None = None,
    ) -> None:
        self._redis = redis
        self._announce = announce
        self._metrics = metrics
        self._waiting: Totals = {}
        self._notices: list[Notice] = []
        self._size = 0
        self._wake = asyncio.Event()

    def offer(
        self, totals: Mapping[tuple[str, str], int], events: Sequence[VerdictEvent] = ()
    ) -> None:
        """Let totals be published soon; never waits.

        Args:
            totals: as committed.
            events: what was counted.
        """
        if not totals or self._size >= MAX_WAITING:
            return
        merge(self._waiting, totals)
        self._size += len(totals)
        room = MAX_NOTICES - len(self._notices)
        if room > 0 and any(contest.startswith(POLL_PREFIX) for contest, _ in totals):
            self._notices += notices(events)[:room]
        self._wake.set()

    async def run(self) -> None:
        """Publish until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            message = TotalsMessage(self._waiting, self._notices)
            self._waiting, self._notices, self._size = {}, [], 0
            try:
                async with redis_errors("take committed totals"):
                    await self._redis.publish(CHANNEL, msgspec.json.encode(message))
                self._metrics.live_messages.labels("published").inc()
                if self._announce is not None and message.notices:
                    await self._announce(message.notices)
            except ScrutinError as error:
                self._metrics.live_messages.labels("dropped").inc()
                log.debug("live totals are not published", error=str(error))
            await asyncio.sleep(PERIOD_S)

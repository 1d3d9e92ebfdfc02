"""Votes in polls by name, in the form of the replaced poll service, for the watchers of all polls.

Each vote is described once for all watchers, and the texts of a poll are asked for once: a poll
that takes votes can no longer be edited.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from typing import Final

import msgspec
import structlog

from streams.core.live_totals import MAX_NOTICES, Notice
from streams.core.polls import POLL_PREFIX, is_number
from streams.errors import ScrutinError

log = structlog.get_logger(__name__)

MAX_CACHED: Final = 1000
"""Number of polls whose texts are cached."""
RETRY_S: Final = 1.0

PollTexts = tuple[str, Mapping[int, str]]
"""Title of a poll, and its options by number."""


class NoticeFeed:
    """The latest votes by name. Run :meth:`run` beside it.

    Args:
        texts_of: asks for the texts of a poll; None if there is no such poll.
    """

    def __init__(self, texts_of: Callable[[int], Awaitable[PollTexts | None]]) -> None:
        self._texts_of = texts_of
        self._texts: dict[int, PollTexts | None] = {}
        self._waiting: deque[Notice] = deque(maxlen=MAX_NOTICES)
        self._offered = asyncio.Event()
        self._latest: deque[tuple[int, bytes]] = deque(maxlen=MAX_NOTICES)
        self._number = 0
        self._described = asyncio.Event()

    def offer(self, notices: Sequence[Notice]) -> None:
        """Take votes that were counted; never waits, and drops the oldest if there are many."""
        self._waiting.extend(notices)
        if notices:
            self._offered.set()

    async def watch(self) -> AsyncGenerator[bytes, None]:
        """Messages from now on, as JSON; slow watchers get only the latest ones."""
        seen = self._number
        while True:
            # One at a time: the oldest ones may be dropped during a send.
            upcoming = next((each for each in self._latest if each[0] > seen), None)
            if upcoming is None:
                await self._described.wait()
            else:
                seen, message = upcoming
                yield message

    async def run(self) -> None:
        """Describe votes until cancelled."""
        while True:
            await self._offered.wait()
            self._offered.clear()
            try:
                while self._waiting:
                    await self._describe(self._waiting.popleft())
            except ScrutinError as error:
                log.warning("votes in polls are not shown", error=str(error))
                await asyncio.sleep(RETRY_S)

    async def _describe(self, notice: Notice) -> None:
        poll, option = notice.contest.removeprefix(POLL_PREFIX), notice.choice
        if not (is_number(poll) and is_number(option)):
            return
        poll_id, number = int(poll), int(option)
        if poll_id not in self._texts:
            found = await self._texts_of(poll_id)
            if len(self._texts) >= MAX_CACHED:
                self._texts.clear()
            self._texts[poll_id] = found
        texts = self._texts[poll_id]
        if texts is None or number not in texts[1]:
            return
        self._number += 1
        message = {
            "type": "vote_notification",
            "voter_name": notice.voter_name,
            "poll_id": poll_id,
            "poll_text": texts[0],
            "option_id": number,
            "option_text": texts[1][number],
        }
        self._latest.append((self._number, msgspec.json.encode(message)))
        described, self._described = self._described, asyncio.Event()
        described.set()

"""Whether votes are in stretches of `counted_votes` that are no longer written, and their upkeep.

Filters of these stretches are in memory. A vote that a filter may hold, and every vote for a
stretch without a filter, is looked up in PostgreSQL, in the transaction that counts it. So a filter
that is missing costs time and nothing else.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import asyncpg
import structlog

from streams.adapters.postgres.stretches import (
    STRETCH_VOTES,
    StretchState,
    open_next,
    sum_up,
)
from streams.core.counted_rows import StoredKey
from streams.core.vote_filters import CAPACITY, FilterBuilder, VoteFilters, key_of

log = structlog.get_logger(__name__)

_KEYS_AT_ONCE: Final = 16_384
_VOTES_A_STEP: Final = 512
"""A flush of fewer votes is followed by one step; nobody waits for a vote of a full queue."""
_SUMMED_UP_PARTS: Final = 32
"""Of the open stretch; a look-up by time reads at most one that is not summed up."""
_TRIED_AGAIN_S: Final = 2.0

_COUNTED_IN: Final = "SELECT counted_in($1::smallint[], $2::boolean[], $3::text[])"
_STORED: Final = "SELECT stretch, part, final FROM vote_filters ORDER BY stretch, part"
_BITS: Final = "SELECT bits FROM vote_filters WHERE stretch = $1 AND part = $2"
_RESUME: Final = """
SELECT s.number, coalesce(max(f.part) + 1, 0) AS part, coalesce(max(f.last_id), 0) AS last_id
FROM vote_stretches AS s LEFT JOIN vote_filters AS f ON f.stretch = s.number
WHERE s.number < $1 GROUP BY s.number HAVING NOT coalesce(bool_or(f.final), false)
ORDER BY s.number LIMIT 1
"""
_KEYS: Final = """
SELECT string_agg(coalesce(vote_key, sha256(convert_to(vote_text, 'UTF8'))), '') AS keys,
    max(id) AS last_id
FROM (
    SELECT id, vote_key, vote_text FROM counted_votes WHERE stretch = $1 AND id > $2
    ORDER BY id LIMIT $3
) AS v
"""
_STORE: Final = """
INSERT INTO vote_filters (stretch, part, last_id, final, bits) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT DO NOTHING
"""


_PASSING: Final = (
    *(asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError),
    *(OSError, TimeoutError),
)


def _columns(
    places: Sequence[tuple[int, int]], votes: Sequence[StoredKey]
) -> tuple[list[int], list[bool], list[str]]:
    """Stretch, whether it is a law's, and hash as readers see it, of each stretch and vote."""
    asked = [votes[place] for _, place in places]
    return (
        [stretch for stretch, _ in places],
        [law for law, _, _ in asked],
        [text or (key or b"").hex() for _, key, text in asked],
    )


@contextmanager
def _may_fail() -> Iterator[None]:
    try:
        yield
    except _PASSING as error:
        log.warning("stretches of votes are not kept up", error=type(error).__name__)


@dataclass
class _Building:
    stretch: int
    part: int
    last_id: int
    filter: FilterBuilder


class Stretches:
    """Filters of a database's stretches, and their upkeep.

    Args:
        votes: after which the next stretch is opened.
    """

    def __init__(self, votes: int = STRETCH_VOTES) -> None:
        self._votes = votes
        self._filters = VoteFilters()
        self._stored: set[tuple[int, int]] = set()
        self._covered: set[int] = set()
        self._begun: int | None = None
        self._building: _Building | None = None
        self._summed_up = (0, 0)
        """The open stretch as it was last looked at, and how many votes of it."""
        self._to_sum_up: deque[int] = deque()
        """Stretches before it."""
        self._try_at_s = 0.0

    async def load(self, connection: Any, state: StretchState) -> None:
        """Take filters in that are stored, and drop those of stretches that were replaced."""
        if state.begun != self._begun:
            self._filters.clear()
            self._stored.clear()
            self._covered.clear()
            self._begun, self._building = state.begun, None
            self._summed_up = (state.first_stretch, 0)
            self._to_sum_up.clear()
        if state.filtered == len(self._covered):
            return
        for row in await connection.fetch(_STORED):
            place = (row["stretch"], row["part"])
            if place not in self._stored:
                bits = await connection.fetchval(_BITS, *place)
                self._filters.add(row["stretch"], bits)
                self._stored.add(place)
            if row["final"]:
                self._covered.add(row["stretch"])

    async def counted(
        self,
        connection: Any,
        state: StretchState,
        votes: Sequence[StoredKey],
        *,
        with_open: bool = False,
    ) -> set[str]:
        """Which of some votes are counted, as the hashes that readers see.

        Args:
            connection: in the transaction that has the state.
            state: with which :meth:`load` was called last.
            votes: what they are stored with.
            with_open: whether to look into the open stretch too; its constraint refuses the votes
                that it has.
        """
        found: set[str] = set()
        stretches = range(state.first_stretch, state.open_stretch + with_open)
        if not stretches or not votes:
            return found
        candidates = self._filters.candidates([key_of(key, text) for _, key, text in votes])
        everything = range(len(votes))
        # At once those that filters may hold: few, in many stretches.
        asked = [[(s, n) for s in stretches if s in self._covered for n in candidates.get(s, [])]]
        asked += [[(s, n) for n in everything] for s in stretches if s not in self._covered]
        for places in asked:
            if places:
                rows = await connection.fetch(_COUNTED_IN, *_columns(places, votes))
                found.update(row["counted_in"] for row in rows)
        return found

    async def open_next(self, connection: Any, state: StretchState) -> bool:
        """Open the next stretch if the open one is full, outside of a transaction."""
        if state.stretch_votes < self._votes or time.monotonic() < self._try_at_s:
            return False
        opened = await open_next(connection, state, self._votes)
        if opened is None:
            # The stretch may become longer.
            self._try_at_s = time.monotonic() + _TRIED_AGAIN_S
        return bool(opened)

    async def keep_up(
        self, connection: Any, state: StretchState, *, builds: bool, votes: int = 0
    ) -> None:
        """Steps of the upkeep, between two flushes. It may fail: the next flush tries again.

        While a filter is missing each vote is looked up, so many votes build it in more steps.

        Args:
            connection: outside of a transaction.
            state: of the flush that was committed.
            builds: whether to build filters too.
            votes: of that flush.
        """
        with _may_fail():
            if not await self.open_next(connection, state) and builds:
                for _ in range(1 + votes // _VOTES_A_STEP):
                    if not await self.build(connection, state):
                        break

    async def step(self, connection: Any, state: StretchState) -> bool:
        """One step of summing up and one of a filter; returns whether there was something to do."""
        summed_up = await self.sum_up(connection, state)
        return await self.build(connection, state) or summed_up

    def has_to_sum_up(self, state: StretchState) -> bool:
        """Whether the index of the time lacks many votes.

        A worker that has just started looks at all stretches: one before may have been killed.
        """
        stretch, votes = self._summed_up
        if stretch < state.open_stretch:
            self._to_sum_up.extendleft(range(stretch, state.open_stretch))
            # At once, so that they are added once though PostgreSQL may refuse.
            self._summed_up = (state.open_stretch, votes := 0)
        newest = state.stretch_votes - votes > self._votes // _SUMMED_UP_PARTS
        return newest or bool(self._to_sum_up)

    async def sum_up_beside(self, connections: asyncpg.Pool, state: StretchState) -> None:
        """Sum up while flushes go on, which need not wait. It may fail, as :meth:`keep_up`."""
        with _may_fail():
            async with connections.acquire() as connection:
                await self.sum_up(connection, state)

    async def sum_up(self, connection: Any, state: StretchState) -> bool:
        """Have the index of the time know the newest votes, or else one more stretch.

        Returns:
            Whether there was something to do and no other program hindered it.
        """
        if not self.has_to_sum_up(state):
            return False
        _, votes = self._summed_up
        if state.stretch_votes - votes > self._votes // _SUMMED_UP_PARTS:
            done = await sum_up(connection, state.open_stretch)
            if done and self._begun == state.begun:
                self._summed_up = (state.open_stretch, state.stretch_votes)
            return done
        stretch, done = self._to_sum_up.popleft(), False
        try:
            done = await sum_up(connection, stretch)
        finally:
            # Others need not wait for one that autovacuum works on.
            if not done and self._begun == state.begun:
                self._to_sum_up.append(stretch)
        return done

    async def build(self, connection: Any, state: StretchState) -> bool:
        """Build a missing filter by one step of some milliseconds; returns whether one is missing.

        An interrupted filter is begun once more.
        """
        if state.open_stretch - state.first_stretch == state.filtered:
            return False
        if self._building is None:
            row = await connection.fetchrow(_RESUME, state.open_stretch)
            if row is None:
                return False
            self._building = _Building(row["number"], row["part"], row["last_id"], FilterBuilder())
        one = self._building
        wanted = min(_KEYS_AT_ONCE, CAPACITY - one.filter.votes)
        row = await connection.fetchrow(_KEYS, one.stretch, one.last_id, wanted)
        keys = row["keys"] or b""
        one.filter.add(keys)
        one.last_id = row["last_id"] or one.last_id
        final = len(keys) // 32 < wanted
        if final or one.filter.votes == CAPACITY:
            bits = one.filter.bits()
            await connection.execute(_STORE, one.stretch, one.part, one.last_id, final, bits)
            self._building = None
        return True

"""Results of contests, made once for all who ask for them or watch them."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final

import asyncpg
import msgspec

from streams.core.keys import is_contest_name
from streams.elections.contest_result import ContestResult, ContestSummary, SignedPlace
from streams.elections.contest_store import ContestReading, list_contests, read_contest
from streams.elections.definitions import Definitions
from streams.elections.patches import change_between
from streams.elections.store import digest_definitions, read_definitions
from streams.errors import ServiceUnavailable
from streams.gateway.bell import Bell
from streams.gateway.shared_text import SharedText
from streams.gateway.single_flight import SingleFlight
from streams.gateway.store import Store
from streams.gateway.subscriptions import (
    BEAT_S,
    PERIOD_S,
    NoSuchContest,
    Subscriptions,
)
from streams.messages.timestamps import EPOCH
from streams.proof.checkpoints import Checkpoint
from streams.proof.store import shown_checkpoint

_encode: Final = msgspec.json.Encoder().encode
_MAX_MESSAGES: Final = 32
_MAX_EARLIER: Final = 8
"""Results of a contest from which a watcher that comes back can go on."""
_MAX_CONTESTS: Final = 100
"""Contests of which earlier results are kept."""
AGE_STEP_S: Final = 0.5
"""Messages of a result with ages that differ by less are the same."""
MAX_LISTED: Final = 500
READ_TIMES: Final = 1
"""A pause is this many times as long as the reading before it, or more."""
SERVED_S: Final = 0.00002
"""Added to a pause for each watcher: what it costs to send a message that is there already."""
MAX_PAUSE_S: Final = 2.0
LATE_S: Final = 4.0
"""A database that has not answered for this long does not answer."""
MAX_BYTES_PER_S: Final = 100_000_000
"""What the watchers of one contest are sent; beyond it they get fewer messages."""
DEFINITIONS_S: Final = 2.0
"""For how long a live result uses the same definitions."""


@dataclass(frozen=True)
class ResultMessage:
    """What watchers get."""

    kind: str
    """`result`, `patch` or `heartbeat`."""
    tag: str
    """Of the result that the watcher has now."""
    age_s: float
    """Time since the database was asked for it."""
    data: bytes
    """JSON."""

    @cached_property
    def text(self) -> SharedText:
        """As a message of a socket, made once for all."""
        head = f'{{"type":"{self.kind}","tag":"{self.tag}","age_s":{self.age_s},"data":'
        return SharedText(f"{head}{self.data.decode()}}}")

    @cached_property
    def event(self) -> bytes:
        """As a Server-Sent Event, made once for all."""
        return b"event: %s\nid: %s\ndata: %s\n\n" % (
            *(self.kind.encode(), self.tag.encode(), self.data),
        )


@dataclass
class SharedResult:
    """A result as it is sent."""

    result: ContestResult
    tag: str
    """A digest of the result without the moment when it was read, for `ETag`."""
    asked_s: float
    """When the database was asked, by a clock that does not go back."""
    _messages: dict[tuple[str, bool, bool, int], ResultMessage] = field(default_factory=dict)

    @cached_property
    def body(self) -> bytes:
        """The result as JSON. Who watches seldom needs all of it."""
        return _encode(self.result)

    @cached_property
    def zipped(self) -> bytes:
        """The result as JSON, compressed by gzip once for all."""
        return gzip.compress(self.body, 6)

    @property
    def sent_bytes(self) -> int:
        """What sockets were sent of it."""
        return sum(message.text.sent_bytes for message in self._messages.values())

    def message(
        self, old: SharedResult | None, *, by_item: bool = False, late: bool = False
    ) -> ResultMessage:
        """The message for a watcher, made once for all that need the same.

        Args:
            old: what the watcher has; None: nothing.
            by_item: see :func:`~streams.elections.patches.change_between`.
            late: whether the database does not answer when it is asked again.
        """
        age_s = max(0.0, time.monotonic() - self.asked_s)
        key = (old.tag if old else "", by_item, late, int(age_s / AGE_STEP_S))
        found = self._messages.get(key)
        if found is None:
            found = self._made(old, by_item, late, round(age_s, 1))
            if len(self._messages) >= _MAX_MESSAGES:
                self._messages.clear()
            self._messages[key] = found
        return found

    def _made(
        self, old: SharedResult | None, by_item: bool, late: bool, age_s: float
    ) -> ResultMessage:
        if old is None:
            return ResultMessage("result", self.tag, age_s, self.body)
        if old.tag == self.tag:
            beat = {"tag": self.tag, "read_at": self.result.read_at, "age_s": age_s, "late": late}
            return ResultMessage("heartbeat", self.tag, age_s, _encode(beat))
        patch = change_between(old.result, self.result, by_item=by_item)
        return ResultMessage("patch", self.tag, age_s, _encode(patch))


class _Watched:
    """A contest that somebody watches: its latest results, and the task that reads them."""

    def __init__(self, first: SharedResult, earlier: deque[SharedResult]) -> None:
        self.latest = first
        self.earlier = earlier
        self.watchers = 0
        self.turn = 0
        """Number of readings."""
        self.late = False
        """Whether the database does not answer."""
        self.took_s = 0.0
        """Time of the last reading."""
        self.bell = Bell()
        self.error: Exception | None = None
        """Why there are no more."""
        self.reading: ContestReading | None = None
        self.task: asyncio.Task[None] | None = None

    def publish(self, new: SharedResult | None = None, *, late: bool = False) -> None:
        """Let all watchers have a new result, or know that it is still the same."""
        self.latest = new or self.latest
        self.late = late
        self.turn += 1
        self.bell.ring()

    def fail(self, error: Exception) -> None:
        """End all watchers."""
        self.error = error
        self.bell.ring()

    async def pause(self) -> None:
        """Wait after a reading: readers and watchers leave time and bytes for votes."""
        pause_s = max(PERIOD_S + self.watchers * SERVED_S, self.took_s * READ_TIMES)
        await asyncio.sleep(min(MAX_PAUSE_S, pause_s))
        more_s = min(MAX_PAUSE_S, self.latest.sent_bytes / MAX_BYTES_PER_S) - pause_s
        if more_s > 0:
            await asyncio.sleep(more_s)


@dataclass(slots=True)
class _Watcher:
    """How far one watcher is."""

    watched: _Watched
    tag: str
    """Of its result. Only that is kept: who is too far behind gets the whole result."""
    by_item: bool
    offer: Callable[[SharedText], bool] | None
    turn: int = -1

    def message(self) -> ResultMessage:
        """What it needs now."""
        earlier = reversed(self.watched.earlier)
        old = next((one for one in earlier if one.tag == self.tag), None)
        watched = self.watched
        return watched.latest.message(old, by_item=self.by_item, late=watched.late)

    def has(self, message: ResultMessage) -> None:
        """Note what it was sent."""
        self.turn, self.tag = self.watched.turn, message.tag

    def served(self) -> bool:
        """Whether it was sent what it needs, without a wait."""
        if self.offer is None or self.watched.error is not None:
            return False
        message = self.message()
        if not self.offer(message.text):
            return False
        self.has(message)
        return True


def place_of(contest: str, checkpoint: Checkpoint, witnesses: int) -> SignedPlace:
    """What a checkpoint says of a contest."""
    statement = checkpoint.statement
    votes = sum(votes for (name, _), votes in statement.totals.items() if name == contest)
    return SignedPlace(
        checkpoint.size,
        checkpoint.root.hex(),
        statement.at,
        None if contest in statement.hidden else votes,
        witnesses,
    )


async def read_shown(
    connection: asyncpg.Connection,
    contest: str,
    definitions: Definitions,
    before: ContestReading | None = None,
) -> ContestReading | None:
    """The result of a contest with the latest checkpoint, as everybody is shown it.

    Args:
        connection: to a migrated database.
        contest: its id.
        definitions: of all elections.
        before: an earlier reading of it; what did not change is not counted again.

    Raises:
        ScrutinError: the database is not migrated.
        ServiceUnavailable: the database does not answer.
    """
    read = await read_contest(connection, contest, definitions, before)
    signed = await shown_checkpoint(connection)
    if read is None or signed is None:
        return read
    checkpoint = place_of(contest, *signed)
    return read._replace(result=msgspec.structs.replace(read.result, checkpoint=checkpoint))


class SharedResults:
    """Results of contests by id.

    Args:
        store: for readers.
        subscriptions: says when a contest changes.
    """

    def __init__(self, store: Store, subscriptions: Subscriptions) -> None:
        self._store = store
        self._subscriptions = subscriptions
        self._definitions: SingleFlight[None, Definitions] = SingleFlight(self._ask_definitions)
        # Candidates without regions need a pass over all counted votes.
        self._results: SingleFlight[str, SharedResult | None] = SingleFlight(self._ask)
        self._lists: SingleFlight[str, list[ContestSummary]] = SingleFlight(self._ask_list)
        # Contest -> its latest results, the newest last.
        self._earlier: dict[str, deque[SharedResult]] = {}
        self._watched: dict[str, _Watched] = {}
        self._known: tuple[str | None, Definitions] | None = None
        """With their digest."""

    async def get(self, contest: str) -> SharedResult | None:
        """The result of a contest; None if there is no such contest.

        Raises:
            ServiceUnavailable: the database does not answer.
        """
        return await self._results.get(contest) if is_contest_name(contest) else None

    async def listed(self, kind: str) -> list[ContestSummary]:
        """Announced contests of a kind, :data:`MAX_LISTED` at most.

        Raises:
            ServiceUnavailable: the database does not answer.
        """
        return await self._lists.get(kind)

    async def watch(
        self,
        contest: str,
        tag: str = "",
        *,
        by_item: bool = False,
        offer: Callable[[SharedText], bool] | None = None,
    ) -> AsyncGenerator[ResultMessage, None]:
        """Messages for one watcher: the whole `result`, then each `patch`, and `heartbeat`s.

        Args:
            contest: its id.
            tag: of the result that the watcher has. If it is a late one the first message is a
                patch of it.
            by_item: see :func:`~streams.elections.patches.change_between`.
            offer: takes the next message without a wait, or returns False; only what it does not
                take is yielded after the first.

        Raises:
            NoSuchContest: there is no such contest.
            TooManyWatchers: the limit is reached.
            ServiceUnavailable: the database does not answer at the beginning.
        """
        if (first := await self.get(contest)) is None:
            raise NoSuchContest
        with self._subscriptions.counted(), self._joined(contest, first) as watched:
            me = _Watcher(watched, tag, by_item, offer)
            while watched.error is None:
                if watched.turn == me.turn:
                    await watched.bell.wait(me.served)
                else:
                    message = me.message()
                    me.has(message)
                    yield message
            # Every watcher adds its frames to the traceback, and would be kept by it.
            raise watched.error.with_traceback(None)

    @contextmanager
    def _joined(self, contest: str, first: SharedResult) -> Iterator[_Watched]:
        watched = self._watched.get(contest)
        if watched is None:
            earlier = self._earlier.setdefault(contest, deque([first], maxlen=_MAX_EARLIER))
            watched = self._watched[contest] = _Watched(first, earlier)
            watched.task = asyncio.create_task(self._follow(contest, watched), name="live result")
        elif first.asked_s > watched.latest.asked_s:
            # Nobody goes back to an older result than the page has loaded.
            watched.publish(first)
        watched.watchers += 1
        try:
            yield watched
        finally:
            watched.watchers -= 1
            if not watched.watchers:
                self._leave(contest, watched)

    def _leave(self, contest: str, watched: _Watched) -> None:
        if self._watched.get(contest) is watched:
            del self._watched[contest]
        if watched.task is not None:
            watched.task.cancel()

    async def _follow(self, contest: str, watched: _Watched) -> None:
        """Read a contest with each change, as long as it is watched."""
        try:
            async with aclosing(self._subscriptions.changes(contest)) as changes:
                async for _ in changes:
                    await self._read_again(contest, watched)
                    await watched.pause()
        except Exception as error:  # noqa: BLE001 - watchers end with it
            self._leave(contest, watched)
            watched.fail(error)

    async def _read_again(self, contest: str, watched: _Watched) -> None:
        """Read a contest; watchers get heartbeats meanwhile, and where nothing can be read."""
        began_s = time.monotonic()
        reading = asyncio.ensure_future(self._results.get(contest, began_s))
        try:
            while not (await asyncio.wait([reading], timeout=BEAT_S))[0]:
                # A costly count takes as long as the last one did.
                waited_s = time.monotonic() - began_s
                watched.publish(late=waited_s > LATE_S + 2 * watched.took_s)
            new = reading.result()
        except ServiceUnavailable:
            watched.publish(late=True)
            return
        finally:
            reading.cancel()
        watched.took_s = time.monotonic() - began_s
        if new is None:
            raise NoSuchContest
        watched.publish(new)

    async def _ask_definitions(self, _: None) -> Definitions:
        async with self._store.connection() as connection:
            # Before they are read, so that a change in between is found the next time.
            digest = await digest_definitions(connection)
            # Counts are used again as long as definitions are the same object.
            if self._known is None or self._known[0] != digest:
                self._known = (digest, await read_definitions(connection))
        return self._known[1]

    async def _ask_list(self, kind: str) -> list[ContestSummary]:
        async with self._store.connection() as connection:
            return await list_contests(connection, kind, MAX_LISTED)

    async def _ask(self, contest: str) -> SharedResult | None:
        watched = self._watched.get(contest)
        before = watched.reading if watched else None
        asked_s = time.monotonic()
        known_s = asked_s - DEFINITIONS_S if watched else None
        read = await self._read(contest, known_s, before)
        if read and before and read.result.phase != before.result.phase:
            # A closing reveals the seed of the lots.
            read = await self._read(contest, asked_s, None)
        if read is None:
            return None
        if watched:
            watched.reading = read
        result = read.result
        told = msgspec.structs.replace(result, read_at=EPOCH, position=[])
        tag = hashlib.sha256(_encode(told)).hexdigest()[:32]
        new = SharedResult(result, tag, asked_s)
        self._keep(contest, new)
        return new

    async def _read(
        self, contest: str, known_s: float | None, before: ContestReading | None
    ) -> ContestReading | None:
        definitions = await self._definitions.get(None, known_s)
        async with self._store.connection() as connection:
            return await read_shown(connection, contest, definitions, before)

    def _keep(self, contest: str, new: SharedResult) -> None:
        watched = self._watched.get(contest)
        kept = self._earlier.pop(contest, None)
        earlier = watched.earlier if watched else kept or deque(maxlen=_MAX_EARLIER)
        if earlier and earlier[-1].tag == new.tag:
            earlier.pop()
        earlier.append(new)
        self._earlier[contest] = earlier
        if len(self._earlier) > _MAX_CONTESTS:
            del self._earlier[next(iter(self._earlier))]

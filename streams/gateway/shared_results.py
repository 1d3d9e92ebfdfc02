"""Results of contests, made once for all who ask for them or watch them."""

from __future__ import annotations

import gzip
import hashlib
import time
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final, NamedTuple

import asyncpg
import msgspec

from streams.core.keys import is_contest_name
from streams.elections.contest_result import (
    ContestResult,
    ContestSummary,
    SignedPlace,
    change_between,
)
from streams.elections.contest_store import list_contests, read_contest_result
from streams.elections.definitions import Definitions
from streams.elections.store import read_definitions
from streams.gateway.single_flight import SingleFlight
from streams.gateway.store import Store
from streams.gateway.subscriptions import NoSuchContest, Subscriptions
from streams.messages.timestamps import EPOCH
from streams.proof.checkpoints import Checkpoint
from streams.proof.store import shown_checkpoint

_encode: Final = msgspec.json.Encoder().encode
_MAX_PATCHES: Final = 16
_MAX_EARLIER: Final = 8
"""Results of a contest from which a watcher that comes back can go on."""
_MAX_CONTESTS: Final = 100
"""Contests of which earlier results are kept."""
MAX_LISTED: Final = 500


@dataclass
class SharedResult:
    """A result as it is sent."""

    result: ContestResult
    body: bytes
    """The result as JSON."""
    tag: str
    """A digest of the result without the moment when it was read, for `ETag`."""
    asked_s: float
    """When the database was asked, by a clock that does not go back."""
    _patches: dict[str, bytes] = field(default_factory=dict)

    @cached_property
    def zipped(self) -> bytes:
        """The result as JSON, compressed by gzip once for all."""
        return gzip.compress(self.body, 6)

    def patch(self, old: SharedResult) -> bytes:
        """A JSON merge patch from an earlier result, made once for all watchers."""
        found = self._patches.get(old.tag)
        if found is None:
            before: Any = msgspec.to_builtins(old.result)
            found = _encode(change_between(before, msgspec.to_builtins(self.result)))
            if len(self._patches) < _MAX_PATCHES:
                self._patches[old.tag] = found
        return found


class ResultMessage(NamedTuple):
    """What a watcher gets."""

    kind: str
    """`result`, `patch` or `heartbeat`."""
    tag: str
    """Of the result that the watcher has now."""
    age_s: float
    """Time since the database was asked for it."""
    data: bytes
    """JSON."""


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


async def read_shown_result(
    connection: asyncpg.Connection, contest: str, definitions: Definitions
) -> ContestResult | None:
    """The result of a contest with the latest checkpoint, as everybody is shown it.

    Raises:
        ScrutinError: the database is not migrated.
        ServiceUnavailable: the database does not answer.
    """
    result = await read_contest_result(connection, contest, definitions)
    signed = await shown_checkpoint(connection)
    if result is None or signed is None:
        return result
    return msgspec.structs.replace(result, checkpoint=place_of(contest, *signed))


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

    async def watch(self, contest: str, tag: str = "") -> AsyncGenerator[ResultMessage, None]:
        """Messages for one watcher: the whole `result`, then each `patch`, and `heartbeat`s.

        Args:
            contest: its id.
            tag: of the result that the watcher has. If it is a late one the first message is a
                patch of it.

        Raises:
            NoSuchContest: there is no such contest.
            TooManyWatchers: the limit is reached.
            ServiceUnavailable: the database does not answer.
        """
        if (new := await self.get(contest)) is None:
            raise NoSuchContest
        last = next((one for one in self._earlier.get(contest, ()) if one.tag == tag), None)
        async with aclosing(self._subscriptions.watch(contest)) as changes:
            # The first says that this is a watcher now.
            await anext(changes)
            yield _message(last, new)
            last = new
            async for _ in changes:
                new = await self.get(contest)
                if new is None:
                    raise NoSuchContest
                yield _message(last, new)
                last = new

    async def _ask_definitions(self, _: None) -> Definitions:
        async with self._store.connection() as connection:
            return await read_definitions(connection)

    async def _ask_list(self, kind: str) -> list[ContestSummary]:
        async with self._store.connection() as connection:
            return await list_contests(connection, kind, MAX_LISTED)

    async def _ask(self, contest: str) -> SharedResult | None:
        definitions = await self._definitions.get(None)
        asked_s = time.monotonic()
        async with self._store.connection() as connection:
            result = await read_shown_result(connection, contest, definitions)
        if result is None:
            return None
        told = msgspec.structs.replace(result, read_at=EPOCH, position=[])
        tag = hashlib.sha256(_encode(told)).hexdigest()[:32]
        new = SharedResult(result, _encode(result), tag, asked_s)
        self._keep(contest, new)
        return new

    def _keep(self, contest: str, new: SharedResult) -> None:
        earlier = self._earlier.pop(contest, None) or deque(maxlen=_MAX_EARLIER)
        if earlier and earlier[-1].tag == new.tag:
            earlier.pop()
        earlier.append(new)
        self._earlier[contest] = earlier
        if len(self._earlier) > _MAX_CONTESTS:
            del self._earlier[next(iter(self._earlier))]


def _message(last: SharedResult | None, new: SharedResult) -> ResultMessage:
    age_s = round(max(0.0, time.monotonic() - new.asked_s), 1)
    if last is None:
        return ResultMessage("result", new.tag, age_s, new.body)
    if last.tag == new.tag:
        beat = {"tag": new.tag, "read_at": new.result.read_at, "age_s": age_s}
        return ResultMessage("heartbeat", new.tag, age_s, _encode(beat))
    return ResultMessage("patch", new.tag, age_s, new.patch(last))

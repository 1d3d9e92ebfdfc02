"""Results of contests, made once for all who ask for them or watch them."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from streams.core.keys import is_contest_name
from streams.elections.contest_result import ContestResult, change_between
from streams.elections.contest_store import read_contest_result
from streams.elections.definitions import Definitions
from streams.elections.store import read_definitions
from streams.gateway.single_flight import SingleFlight
from streams.gateway.store import Store
from streams.gateway.subscriptions import NoSuchContest, Subscriptions
from streams.messages.timestamps import EPOCH

_encode: Final = msgspec.json.Encoder().encode
_MAX_PATCHES: Final = 16


@dataclass
class Published:
    """A result as it is sent."""

    result: ContestResult
    body: bytes
    """The result as JSON."""
    tag: str
    """A digest of the result without the moment when it was read, for `ETag`."""
    _patches: dict[str, bytes] = field(default_factory=dict)

    def patch(self, old: Published) -> bytes:
        """A JSON merge patch from an earlier result, made once for all watchers."""
        found = self._patches.get(old.tag)
        if found is None:
            before: Any = msgspec.to_builtins(old.result)
            found = _encode(change_between(before, msgspec.to_builtins(self.result)))
            if len(self._patches) < _MAX_PATCHES:
                self._patches[old.tag] = found
        return found


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
        self._results: SingleFlight[str, Published | None] = SingleFlight(self._ask)

    async def get(self, contest: str) -> Published | None:
        """The result of a contest; None if there is no such contest.

        Raises:
            ServiceUnavailable: the database does not answer.
        """
        return await self._results.get(contest) if is_contest_name(contest) else None

    async def watch(self, contest: str) -> AsyncGenerator[tuple[str, bytes], None]:
        """Messages for one watcher: the whole `result`, then each `patch`, and `heartbeat`s.

        Yields:
            The kind of message, and its JSON.

        Raises:
            NoSuchContest: there is no such contest.
            TooManyWatchers: the limit is reached.
            ServiceUnavailable: the database does not answer.
        """
        if (last := await self.get(contest)) is None:
            raise NoSuchContest
        async with aclosing(self._subscriptions.watch(contest)) as changes:
            # The first says that this is a watcher now.
            await anext(changes)
            yield "result", last.body
            async for _ in changes:
                new = await self.get(contest)
                if new is None:
                    raise NoSuchContest
                if new.tag == last.tag:
                    yield "heartbeat", _encode({"tag": new.tag, "read_at": new.result.read_at})
                else:
                    yield "patch", new.patch(last)
                    last = new

    async def _ask_definitions(self, _: None) -> Definitions:
        async with self._store.connection() as connection:
            return await read_definitions(connection)

    async def _ask(self, contest: str) -> Published | None:
        definitions = await self._definitions.get(None)
        async with self._store.connection() as connection:
            result = await read_contest_result(connection, contest, definitions)
        if result is None:
            return None
        told = msgspec.structs.replace(result, read_at=EPOCH, position=[])
        tag = hashlib.sha256(_encode(told)).hexdigest()[:32]
        return Published(result, _encode(result), tag)

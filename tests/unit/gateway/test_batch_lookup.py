"""Single questions that share a query."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any, cast

import msgspec
import pytest

from streams.errors import ServiceUnavailable
from streams.gateway import batch_lookup
from streams.gateway.batch_lookup import Lookups
from streams.gateway.handlers.poll_views import Cards
from streams.gateway.poll_store import Card


class Source:
    """Knows some keys, and answers when it may."""

    def __init__(self, *known: str) -> None:
        self.known = set(known)
        self.asked: list[list[str]] = []
        self.may_answer = asyncio.Event()
        self.error: Exception | None = None

    async def ask(self, keys: list[str]) -> set[str]:
        self.asked.append(keys)
        await self.may_answer.wait()
        if self.error is not None:
            raise self.error
        return self.known & set(keys)


async def turns() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_lookups_during_a_query_share_the_next_one() -> None:
    source = Source("a", "c")
    found = Lookups(source.ask)
    first = asyncio.ensure_future(found.has("a"))
    await turns()
    rest = [asyncio.ensure_future(found.has(key)) for key in ("b", "c", "c", "d")]
    await turns()
    source.may_answer.set()
    assert await first is True
    assert await asyncio.gather(*rest) == [False, True, True, False]
    assert source.asked == [["a"], ["b", "c", "d"]]
    # Nothing is cached: a voter may be counted at any moment.
    source.known.add("b")
    assert await found.has("b") is True


async def test_a_query_holds_no_more_than_it_may(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_lookup, "MAX_KEYS", 2)
    source = Source("e")
    source.may_answer.set()
    found = Lookups(source.ask)
    assert await asyncio.gather(*(found.has(key) for key in "abcde")) == [False] * 4 + [True]
    assert source.asked == [["a", "b"], ["c", "d"], ["e"]]


async def test_a_caller_that_leaves_takes_no_answer_with_it() -> None:
    source = Source("a")
    found = Lookups(source.ask)
    gone, there = (asyncio.ensure_future(found.has("a")) for _ in range(2))
    await turns()
    gone.cancel()
    source.may_answer.set()
    assert await there is True


async def test_an_outage_reaches_all_callers_of_the_query_and_no_later_one() -> None:
    source = Source("a")
    source.may_answer.set()
    source.error = ServiceUnavailable("PostgreSQL does not answer", todo="Wait")
    found = Lookups(source.ask)
    told = await asyncio.gather(found.has("a"), found.has("b"), return_exceptions=True)
    assert told == [source.error, source.error]
    source.error = None
    assert await found.has("a") is True


class Polls:
    """One poll, told when it may be."""

    def __init__(self) -> None:
        self.asked = 0
        self.may_answer = asyncio.Event()
        now = datetime.now(UTC)
        self.card = Card(
            7, "poll:7", "Old", "", "Ann", "name", b"", now, "open", None, now, {1: "Yes", 2: "No"}
        )

    async def one(self, poll_id: int) -> Card | None:
        self.asked += 1
        card = self.card if poll_id == self.card.id else None
        await self.may_answer.wait()
        return card


async def test_all_voters_of_a_poll_share_one_query() -> None:
    polls = Polls()
    cards = Cards(cast("Any", polls))
    asking = [asyncio.ensure_future(cards.get(7)) for _ in range(50)]
    await turns()
    asking.pop().cancel()
    polls.may_answer.set()
    assert await asyncio.gather(*asking) == [polls.card] * 49
    assert await cards.get(7) == polls.card
    assert polls.asked == 1
    assert await cards.get(7, fresh=True) == polls.card
    assert polls.asked == 2


async def test_a_query_from_before_a_change_is_not_used_after_it() -> None:
    polls = Polls()
    cards = Cards(cast("Any", polls))
    early = asyncio.ensure_future(cards.get(7))
    await turns()
    polls.card = msgspec.structs.replace(polls.card, title="New")
    cards.forget(7)
    late = asyncio.ensure_future(cards.get(7))
    await turns()
    polls.may_answer.set()
    assert ((await early).title, (await late).title) == ("Old", "New")

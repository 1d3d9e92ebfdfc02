"""Contest feeds and subscriptions: snapshots, deltas, gaps, slow watchers; without services."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from contextlib import aclosing
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from redis.asyncio import Redis

from streams.core.live_totals import MAX_NOTICES, Notice, merge, read_message
from streams.gateway import subscriptions
from streams.gateway.contest_feed import ContestFeed, ContestStanding
from streams.gateway.subscriptions import Subscriptions, TooManyWatchers
from streams.runtime.metrics import GatewayMetrics, WorkerMetrics
from streams.worker.totals_publisher import MAX_WAITING, TotalsPublisher
from tests.harness import until

OPEN = ContestStanding("open")
CHOICES = st.dictionaries(st.sampled_from("abcd"), st.integers(1, 50), max_size=4)


class Reader:
    """Follows messages as a page does."""

    def __init__(self) -> None:
        self.number: int | None = None
        self.totals: dict[str, int] = {}
        self.standing: dict[str, Any] = {}
        self.kinds: list[str] = []

    def take(self, data: bytes) -> None:
        message = json.loads(data)
        self.kinds.append(message["type"])
        if message["type"] == "snapshot":
            self.totals = message["totals"]
        else:
            assert message["continues"] == self.number, "a gap"
            self.totals |= message["totals"]
        self.number = message["number"]
        assert message["total"] == sum(self.totals.values())
        for name in ("state", "final", "closes_at"):
            if name in message:
                self.standing[name] = message[name]


@given(
    steps=st.lists(
        st.one_of(
            st.tuples(st.just("raise"), CHOICES),
            st.tuples(st.just("replace"), CHOICES),
            st.tuples(st.just("state"), st.sampled_from(["open", "closed"])),
            st.tuples(st.just("read"), st.integers(0, 2)),
        ),
        max_size=40,
    )
)
def test_every_reader_ends_with_the_current_totals(steps: list[tuple[str, Any]]) -> None:
    """However seldom a reader reads, one message brings it up to date."""
    feed = ContestFeed("poll:1")
    readers = [Reader() for _ in range(3)]
    for kind, what in [*steps, ("read", 0), ("read", 1), ("read", 2)]:
        if kind == "raise":
            feed.raise_totals(what)
        elif kind == "replace":
            feed.replace(what, feed.standing)
        elif kind == "state":
            feed.replace(dict(feed.totals), ContestStanding(what))
        else:
            readers[what].take(feed.message(readers[what].number))
    for reader in readers:
        assert reader.totals == feed.totals
        assert reader.standing["state"] == feed.standing.state


def test_a_late_lower_total_changes_nothing() -> None:
    feed = ContestFeed("L")
    assert feed.raise_totals({"oui": 5})
    assert not feed.raise_totals({"oui": 4})
    assert feed.totals == {"oui": 5}


def test_a_delta_has_only_what_changed() -> None:
    feed = ContestFeed("L")
    feed.replace({"oui": 5, "non": 1}, OPEN)
    seen = feed.number
    feed.raise_totals({"non": 2})
    delta = json.loads(feed.message(seen))
    assert delta == {
        "type": "delta",
        "contest": "L",
        "continues": seen,
        "number": seen + 1,
        "totals": {"non": 2},
        "total": 7,
    }


def subscriptions_of(stored: dict[str, tuple[dict[str, int], ContestStanding]]) -> Subscriptions:
    async def ask(contests: Sequence[str]) -> dict[str, tuple[dict[str, int], ContestStanding]]:
        return {contest: stored.get(contest, ({}, ContestStanding())) for contest in contests}

    return Subscriptions(Redis(port=1), ask, GatewayMetrics(CollectorRegistry()))


async def test_a_slow_watcher_gets_one_delta_for_all_it_missed() -> None:
    subscribed = subscriptions_of({"L": ({"oui": 1}, OPEN)})
    reader = Reader()
    async with aclosing(subscribed.watch("L")) as messages:
        first = asyncio.ensure_future(anext(messages))
        await asyncio.sleep(0)
        await subscribed.refresh()
        reader.take(await first)
        for votes in range(2, 500):
            subscribed.take({"L": {"oui": votes}})
        reader.take(await anext(messages))
        assert reader.totals == {"oui": 499}
        waiting = asyncio.ensure_future(anext(messages))
        await asyncio.sleep(0.1)
        assert not waiting.done(), "nothing was left to tell"
        subscribed.take({"L": {"non": 1}})
        reader.take(await waiting)
    assert reader.kinds == ["snapshot", "delta", "delta"]
    assert subscribed.watchers == 0


async def test_a_database_answer_older_than_redis_takes_nothing_back() -> None:
    subscribed = subscriptions_of({})
    asked = asyncio.Event()
    answer = asyncio.Event()

    async def load(contests: Sequence[str]) -> dict[str, tuple[dict[str, int], ContestStanding]]:
        asked.set()
        await answer.wait()
        return dict.fromkeys(contests, ({"oui": 3}, OPEN))

    subscribed = Subscriptions(Redis(port=1), load, GatewayMetrics(CollectorRegistry()))
    async with aclosing(subscribed.watch("L")) as messages:
        first = asyncio.ensure_future(anext(messages))
        await asyncio.sleep(0)
        refreshing = asyncio.create_task(subscribed.refresh())
        await asked.wait()
        subscribed.take({"L": {"oui": 7}})
        answer.set()
        await refreshing
        reader = Reader()
        reader.take(await first)
        assert reader.totals == {"oui": 7}
        # The next one is newer than all that Redis said, and may say less: a rehearsal is over.
        await subscribed.refresh()
        reader.take(await anext(messages))
        assert reader.totals == {"oui": 3}


async def test_watchers_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subscriptions, "MAX_WATCHERS", 1)
    subscribed = subscriptions_of({})
    first = subscribed.watch("a")
    taking = asyncio.ensure_future(anext(first))
    await asyncio.sleep(0)
    with pytest.raises(TooManyWatchers):
        await anext(subscribed.watch("b"))
    await subscribed.refresh()
    await taking
    await first.aclose()
    assert subscribed.watchers == 0


def test_offering_never_waits_and_is_bounded() -> None:
    metrics = WorkerMetrics(CollectorRegistry())
    publisher = TotalsPublisher(Redis(port=1), metrics)
    for number in range(2 * MAX_WAITING):
        publisher.offer({(f"L-{number}", "oui"): 1})
    assert len(publisher._waiting) <= MAX_WAITING


async def test_without_redis_totals_are_dropped_and_the_task_lives() -> None:
    metrics = WorkerMetrics(CollectorRegistry())
    redis = Redis(port=1)
    publisher = TotalsPublisher(redis, metrics)
    running = asyncio.create_task(publisher.run())
    publisher.offer({("L", "oui"): 1})
    dropped = metrics.live_messages.labels("dropped")

    async def counted() -> bool:
        return bool(dropped._value.get())

    await until(counted, "a message was dropped")
    assert not running.done()
    running.cancel()
    await redis.aclose()


def test_totals_merge_to_the_higher() -> None:
    into: dict[str, dict[str, int]] = {}
    merge(into, {("L", "oui"): 5})
    merge(into, {("L", "oui"): 4, ("L", "non"): 1})
    assert into == {"L": {"oui": 5, "non": 1}}
    assert read_message(b'{"contests":{"L":{"oui":5}}}').contests == {"L": {"oui": 5}}
    assert read_message(b"no").contests == {}


async def test_notices_go_to_watchers_of_all_polls() -> None:
    subscribed = subscriptions_of({})
    watching = subscribed.watch_notices()
    waiting = asyncio.ensure_future(anext(watching))
    await asyncio.sleep(0)
    subscribed.notify([Notice("poll:1", "2", "Ann"), Notice("poll:1", "1", "Bob")])
    assert (await waiting).voter_name == "Ann"
    assert (await anext(watching)).voter_name == "Bob"
    subscribed.notify([Notice("poll:1", "1", str(n)) for n in range(1000)])
    # Who is slow sees the latest.
    assert int((await anext(watching)).voter_name) >= 1000 - MAX_NOTICES
    await watching.aclose()
    assert subscribed.watchers == 0

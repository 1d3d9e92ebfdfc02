"""Contest feeds and subscriptions: snapshots, deltas, gaps, slow watchers; without services."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from contextlib import aclosing
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from redis.asyncio import Redis

from streams.core.live_totals import (
    MAX_AGE_MS,
    MAX_NOTICES,
    Notice,
    TotalsMessage,
    is_genuine,
    merge,
    read_message,
    totals_key,
    write_message,
)
from streams.errors import ServiceUnavailable, StageFailed
from streams.gateway import subscriptions
from streams.gateway.contest_feed import ContestFeed, ContestStanding
from streams.gateway.notices import NoticeFeed
from streams.gateway.subscriptions import (
    READ_AT_ONCE,
    NoSuchContest,
    SnapshotLoader,
    Subscriptions,
    TooManyWatchers,
)
from streams.runtime.metrics import GatewayMetrics, WorkerMetrics
from streams.worker.totals_publisher import MAX_WAITING, TotalsPublisher
from tests.harness import until

OPEN = ContestStanding("open")
KEY = totals_key("a secret of this test, 32 characters")
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

    return made(ask)


def made(load: SnapshotLoader) -> Subscriptions:
    """Subscriptions without Redis."""
    return Subscriptions(
        Redis(port=1),
        load,
        GatewayMetrics(CollectorRegistry()),
        notices=NoticeFeed(no_texts),
        key=KEY,
    )


async def no_texts(_: int) -> None:
    """No poll is known."""


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

    subscribed = made(load)
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


async def test_each_notice_is_described_once_and_each_poll_asked_for_once() -> None:
    asked: list[int] = []

    async def texts_of(poll_id: int) -> tuple[str, dict[int, str]] | None:
        asked.append(poll_id)
        return None if poll_id == 9 else ("Best fruit?", {1: "Apple", 2: "Pear"})

    feed = NoticeFeed(texts_of)
    running = asyncio.create_task(feed.run())
    watching = [feed.watch() for _ in range(50)]
    waiting = [asyncio.ensure_future(anext(each)) for each in watching]
    await asyncio.sleep(0)
    # A poll that is unknown and numbers that are none are left out.
    feed.offer([Notice("poll:9", "1", "Eve"), Notice("poll:x", "1", "Eve")])
    feed.offer([Notice("poll:1", "3", "Eve"), Notice("poll:1", "2", "Ann")])
    assert {await each for each in waiting} == {
        b'{"type":"vote_notification","voter_name":"Ann","poll_id":1,"poll_text":"Best fruit?",'
        b'"option_id":2,"option_text":"Pear"}'
    }
    feed.offer([Notice("poll:1", "1", str(n)) for n in range(1000)])
    # Slow watchers get only the latest ones.
    latest = json.loads(await anext(watching[0]))
    assert int(latest["voter_name"]) >= 1000 - MAX_NOTICES
    assert asked == [9, 1]
    running.cancel()
    for each in watching:
        await each.aclose()


async def test_a_contest_that_was_never_read_says_so_instead_of_0(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(subscriptions, "REFRESH_S", 0.01)

    async def load(_: Sequence[str]) -> dict[str, tuple[dict[str, int], ContestStanding]]:
        raise ServiceUnavailable("PostgreSQL does not answer")

    subscribed = made(load)
    async with aclosing(subscribed.watch("L")) as messages:
        assert json.loads(await anext(messages)) == {"type": "waiting", "contest": "L"}
        assert subscribed.snapshot("L") is None
        # Totals of one choice do not say what the others have.
        subscribed.take({"L": {"oui": 5}})
        with pytest.raises(ServiceUnavailable):
            await subscribed.refresh()
        assert subscribed.snapshot("L") is None


async def test_one_contest_that_cannot_be_read_does_not_spoil_the_others() -> None:
    async def load(names: Sequence[str]) -> dict[str, tuple[dict[str, int], ContestStanding]]:
        if "bad" in names:
            raise StageFailed("PostgreSQL reports DataError")
        return dict.fromkeys(names, ({"oui": 3}, OPEN))

    subscribed = made(load)
    names = ["a", "b", "bad", "c", "d"]
    watching = {name: subscribed.watch(name) for name in names}
    waiting = {name: asyncio.ensure_future(anext(each)) for name, each in watching.items()}
    await asyncio.sleep(0)
    await subscribed.refresh()
    for name in ("a", "b", "c", "d"):
        assert json.loads(await waiting[name])["totals"] == {"oui": 3}
    assert subscribed.snapshot("bad") is None
    for name, each in watching.items():
        waiting[name].cancel()
        await asyncio.wait([waiting[name]])
        await each.aclose()


async def test_watchers_of_few_contests_are_woken_in_one_turn_of_the_loop() -> None:
    subscribed = subscriptions_of({})
    turn, ready_in = 0, []

    async def watch(name: str) -> None:
        async with aclosing(subscribed.watch(name)) as messages:
            await anext(messages)
            ready_in.append(turn)

    watching = [asyncio.create_task(watch(f"L-{n}")) for n in range(10 * READ_AT_ONCE)]
    await asyncio.sleep(0)
    refreshing = asyncio.create_task(subscribed.refresh())
    while not all(each.done() for each in watching):
        turn += 1
        await asyncio.sleep(0)
    await refreshing
    assert max(map(ready_in.count, ready_in)) <= READ_AT_ONCE


@pytest.mark.parametrize("name", ["", "L\0", "\ud800", "x" * 265, "é" * 133])
async def test_a_name_that_no_contest_can_have_is_refused(name: str) -> None:
    subscribed = subscriptions_of({})
    with pytest.raises(NoSuchContest):
        await anext(subscribed.watch(name))
    assert subscribed.watchers == 0


async def test_heartbeats_continue_the_feed_and_have_the_age(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(subscriptions, "BEAT_S", 0.01)
    subscribed = subscriptions_of({"L": ({"oui": 1}, OPEN)})
    reader = Reader()
    async with aclosing(subscribed.watch("L")) as messages:
        first = asyncio.ensure_future(anext(messages))
        await asyncio.sleep(0)
        await subscribed.refresh()
        reader.take(await first)
        beat = await anext(messages)
        reader.take(beat)
        assert json.loads(beat)["heartbeat"] is True
        assert json.loads(beat)["totals"] == {}
    feed = ContestFeed("L")
    feed.replace({"oui": 1}, OPEN, 100.0)
    assert json.loads(feed.heartbeat(107.25))["age_s"] == 7.2
    assert json.loads(feed.message(None, 107.25))["age_s"] == 7.2
    feed.replace({"oui": 1}, OPEN, 107.0)
    assert json.loads(feed.heartbeat(107.25))["age_s"] == 0.2


def test_only_what_a_worker_signed_lately_is_genuine() -> None:
    message = TotalsMessage({"L": {"oui": 5}}, [Notice("poll:1", "1", "Ann")], 1_000_000)
    sent = write_message(message, KEY)
    assert read_message(sent) == message
    assert is_genuine(sent, message, KEY, 1_000_000)
    assert is_genuine(sent, message, KEY, 1_000_000 + MAX_AGE_MS)
    assert not is_genuine(sent, message, KEY, 1_000_001 + MAX_AGE_MS)
    forged = sent.replace(b'"oui":5', b'"oui":6')
    assert not is_genuine(forged, read_message(forged), KEY, 1_000_000)
    unsigned = write_message(message, b"")
    assert not is_genuine(unsigned, message, KEY, 1_000_000)
    other = write_message(message, totals_key("another secret, of 32 characters"))
    assert not is_genuine(other, message, KEY, 1_000_000)
    # Without a secret nothing is.
    assert not is_genuine(write_message(message, b""), message, b"", 1_000_000)


async def test_a_forged_total_is_not_shown_but_read() -> None:
    stored = {"L": ({"oui": 3}, OPEN)}
    subscribed = subscriptions_of(stored)
    reader = Reader()
    async with aclosing(subscribed.watch("L")) as messages:
        first = asyncio.ensure_future(anext(messages))
        await asyncio.sleep(0)
        await subscribed.refresh()
        reader.take(await first)
        now_ms = time.time_ns() // 1_000_000
        for key in (b"", b"guessed"):
            subscribed.take_message(
                write_message(TotalsMessage({"L": {"oui": 9}}, [], now_ms), key)
            )
        waiting = asyncio.ensure_future(anext(messages))
        assert subscribed._metrics.unsigned_totals._value.get() == 2
        # What the message named is read at once instead.
        assert subscribed._due == {"L"}
        stored["L"] = ({"oui": 4}, OPEN)
        await subscribed.refresh(subscribed._due)
        reader.take(await waiting)
        assert reader.totals == {"oui": 4}
        subscribed.take_message(write_message(TotalsMessage({"L": {"oui": 5}}, [], now_ms), KEY))
        reader.take(await anext(messages))
        assert reader.totals == {"oui": 5}


async def test_a_stream_of_totals_does_not_keep_the_database_from_correcting_them() -> None:
    subscribed = subscriptions_of({"L": ({"oui": 3}, OPEN)})
    reader = Reader()
    async with aclosing(subscribed.watch("L")) as messages:
        first = asyncio.ensure_future(anext(messages))
        await asyncio.sleep(0)
        subscribed.take({"L": {"oui": 1000}})
        await subscribed.refresh()
        reader.take(await first)
        assert reader.totals == {"oui": 3}

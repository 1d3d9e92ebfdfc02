"""`votes.windows` must equal PostgreSQL, whatever happens to who publishes it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import asyncpg
import pytest

from schemas.codec import decode_window_key, decode_window_state
from streams.adapters.kafka.reader import LogReader
from streams.adapters.kafka.writer import LogWriter
from streams.core.records import OutRecord
from streams.devstack import Stack
from streams.errors import ServiceUnavailable
from streams.runtime.outages import OutageTracker
from streams.settings.model import Settings
from streams.worker import window_publisher
from streams.worker.window_publisher import WindowPublisher
from tests.harness import until
from tests.integration.kafka_names import own_topic, servers
from tests.integration.sink_harness import Log, OneSink, severed
from tests.strategies import LAWS, make_batch, make_vote

START_MS = 1_760_000_000_000

Windows = dict[tuple[str, str, int], int]


@pytest.fixture
async def topic(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[str]:
    async with own_topic(stack, config={"cleanup.policy": "compact"}) as name:
        monkeypatch.setattr(window_publisher, "WINDOWS_TOPIC", name)
        yield name


@pytest.fixture
async def writer(stack: Stack) -> AsyncIterator[LogWriter]:
    writer = LogWriter(servers(stack), outages=OutageTracker(3))
    yield writer
    await writer.close()


@pytest.fixture
async def sinks(own: Settings) -> AsyncIterator[list[OneSink]]:
    """Two workers' sinks, the second of another log partition."""
    one, two = OneSink(own), OneSink(own)
    async with one.sink, two.sink:
        yield [one, two]


def batch(name: str, second: int, *, votes: int = 2, choice: str = "oui") -> Any:
    return make_batch(
        *(
            make_vote(f"{name}-{second}-{n}", contest=LAWS[n % 2], choice=choice)
            for n in range(votes)
        ),
        ingest_ms=START_MS + second * 1000,
    )


async def in_kafka(stack: Stack, topic: str) -> Windows:
    reader = LogReader(servers(stack))
    end = await reader.end_offset(topic, 0)
    windows: Windows = {}
    async for record in reader.read(topic, 0, 0, end):
        key = decode_window_key(record.key)
        windows[key.contest, key.choice, key.window_start_ms] = decode_window_state(
            record.value
        ).votes
    return windows


async def in_database(db: asyncpg.Connection) -> Windows:
    found = await db.fetch(
        "SELECT contest, choice, (extract(epoch FROM window_start) * 1000)::bigint, votes"
        " FROM vote_windows"
    )
    return {(row[0], row[1], row[2]): row[3] for row in found}


async def check_equal(stack: Stack, topic: str, db: asyncpg.Connection) -> None:
    expected = await in_database(db)
    assert expected
    assert await in_kafka(stack, topic) == expected


async def settled(db: asyncpg.Connection) -> None:
    """Wait until no other transaction on the server is open that could hold windows back."""
    query = (
        "SELECT pg_snapshot_xmin(snapshot) = pg_snapshot_xmax(snapshot)"
        " FROM pg_current_snapshot() AS snapshot"
    )

    async def nobody() -> bool:
        return bool(await db.fetchval(query))

    await until(nobody, "no transaction is open")


class Faulty:
    """A writer that fails, or waits, after so many groups of records."""

    def __init__(self, inner: LogWriter, *, fail_after: int | None = None) -> None:
        self.inner = inner
        self.fail_after = fail_after
        self.groups = 0
        self.reached = asyncio.Event()
        self.go_on = asyncio.Event()

    async def write(self, records: Sequence[OutRecord]) -> list[Any]:
        self.groups += 1
        if self.fail_after is None and self.groups == 2:
            self.reached.set()
            await self.go_on.wait()
        written = await self.inner.write(records)
        if self.groups == self.fail_after:
            raise ServiceUnavailable("the process ended here")
        return written


async def test_what_changed_is_published_and_no_more(
    stack: Stack, topic: str, db: asyncpg.Connection, writer: LogWriter, sinks: list[OneSink]
) -> None:
    publisher, log = WindowPublisher(sinks[0].sink, writer), Log()
    assert await publisher.publish_all() == 0
    await sinks[0].sink.flush(log.decide(batch("a", 1), batch("a", 2)))
    assert await publisher.publish_all() == 4
    await check_equal(stack, topic, db)
    assert await publisher.publish_all() == 0
    await sinks[0].sink.flush(log.decide(batch("late", 1, votes=1)))
    assert await publisher.publish_all() == 1
    await check_equal(stack, topic, db)


async def test_several_workers_publish_side_by_side(
    stack: Stack, topic: str, db: asyncpg.Connection, writer: LogWriter, sinks: list[OneSink]
) -> None:
    publishers = [WindowPublisher(one.sink, writer) for one in sinks]

    async def work(number: int) -> None:
        log = Log(number)
        for second in range(25):
            await sinks[number].sink.flush(log.decide(batch(f"w{number} {second}", second % 5)))
            publishers[number].flushed()
            await publishers[number].publish()

    await asyncio.gather(work(0), work(1))
    await publishers[0].publish_all()
    await check_equal(stack, topic, db)
    assert sum((await in_database(db)).values()) == 100


async def test_a_crash_between_kafka_and_the_cursor(
    stack: Stack, topic: str, db: asyncpg.Connection, writer: LogWriter, sinks: list[OneSink]
) -> None:
    await sinks[0].sink.flush(Log().decide(batch("a", 1), batch("a", 2)))
    await settled(db)
    crashed = WindowPublisher(sinks[0].sink, Faulty(writer, fail_after=1))  # type: ignore[arg-type]
    with pytest.raises(ServiceUnavailable):
        await crashed.publish()
    successor = WindowPublisher(sinks[1].sink, writer)
    assert await successor.publish_all() == 4
    await check_equal(stack, topic, db)


async def test_a_crash_in_the_middle_of_many(
    *,
    stack: Stack,
    topic: str,
    db: asyncpg.Connection,
    writer: LogWriter,
    sinks: list[OneSink],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(window_publisher, "_CHUNK", 3)
    log = Log()
    await sinks[0].sink.flush(log.decide(*(batch("a", second) for second in range(10))))
    await settled(db)
    crashed = WindowPublisher(sinks[0].sink, Faulty(writer, fail_after=2))  # type: ignore[arg-type]
    with pytest.raises(ServiceUnavailable):
        await crashed.publish()
    await sinks[0].sink.flush(log.decide(batch("b", 1)))
    await WindowPublisher(sinks[1].sink, writer).publish_all()
    await check_equal(stack, topic, db)


async def test_a_flush_that_is_not_committed_yet_is_not_forgotten(
    stack: Stack, topic: str, db: asyncpg.Connection, writer: LogWriter, sinks: list[OneSink]
) -> None:
    """It began before others that are published; its transaction's number is lower."""
    publisher, log = WindowPublisher(sinks[0].sink, writer), Log()
    await sinks[0].sink.flush(log.decide(batch("a", 1)))
    async with db.transaction():
        await db.execute(
            "UPDATE vote_windows SET votes = votes, updated_xid = pg_current_xact_id()"
        )
        await sinks[1].sink.flush(Log(1).decide(batch("b", 7)))
        await publisher.publish()
        await db.execute("UPDATE vote_windows SET votes = votes + 10 WHERE contest = $1", LAWS[0])
        assert publisher._dirty.is_set()
        last_words = asyncio.create_task(publisher.publish_all())
        await asyncio.sleep(0.2)
        assert not last_words.done()
    await last_words
    await check_equal(stack, topic, db)


async def test_who_does_not_get_the_lock_looks_again(
    topic: str, db: asyncpg.Connection, writer: LogWriter, sinks: list[OneSink]
) -> None:
    publisher = WindowPublisher(sinks[0].sink, writer)
    await sinks[0].sink.flush(Log().decide(batch("a", 1)))
    publisher._dirty.clear()
    async with db.transaction():
        await db.execute("SELECT * FROM window_cursor FOR UPDATE")
        async with asyncio.timeout(60):
            assert await publisher.publish() == 0
    assert publisher._dirty.is_set()
    assert await publisher.publish_all() == 2


async def test_older_totals_of_a_publisher_that_lost_its_lock_do_not_stay(
    *,
    stack: Stack,
    topic: str,
    db: asyncpg.Connection,
    own: Settings,
    writer: LogWriter,
    sinks: list[OneSink],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A worker was frozen in the middle of publishing, PostgreSQL ended its session, another
    published newer totals; then it thaws and writes what it still held."""
    monkeypatch.setattr(window_publisher, "_CHUNK", 1)
    log = Log()
    await sinks[0].sink.flush(log.decide(batch("a", 1), batch("a", 2)))
    await settled(db)
    slow = Faulty(writer)
    frozen = WindowPublisher(sinks[0].sink, slow)  # type: ignore[arg-type]
    publishing = asyncio.create_task(frozen.publish())
    await slow.reached.wait()
    await severed(own, "state = 'idle in transaction'")
    await sinks[1].sink.flush(log.decide(batch("b", 1), batch("b", 2)))
    await WindowPublisher(sinks[1].sink, writer).publish_all()
    slow.go_on.set()
    with pytest.raises(ServiceUnavailable):
        await publishing
    await frozen.publish_all()
    await check_equal(stack, topic, db)


async def test_the_loop_publishes_when_told_and_waits_out_an_outage(
    stack: Stack, topic: str, db: asyncpg.Connection, writer: LogWriter, sinks: list[OneSink]
) -> None:
    publisher = WindowPublisher(sinks[0].sink, Faulty(writer, fail_after=1))  # type: ignore[arg-type]
    await sinks[0].sink.flush(Log().decide(batch("a", 1)))
    running = asyncio.create_task(publisher.run())
    cursor = "SELECT emitted_xid::text::bigint FROM window_cursor"
    async with asyncio.timeout(60):
        while not await db.fetchval(cursor):  # noqa: ASYNC110 - the cursor is in PostgreSQL
            await asyncio.sleep(0.05)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await check_equal(stack, topic, db)

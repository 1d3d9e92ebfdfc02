"""The fenced sink: what PostgreSQL knows better, and PostgreSQL going away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from streams.errors import ServiceUnavailable
from streams.runtime.outages import OutageTracker, Retry
from streams.settings.model import Settings
from streams.worker import postgres_sink as sink_module
from streams.worker.postgres_sink import ALREADY_COUNTED
from tests.integration.sink_harness import (
    Log,
    OneSink,
    check_sums,
    commit_swallower,
    fence,
    rows,
    severed,
)
from tests.strategies import (
    LAWS,
    make_batch,
    make_vote,
)

LAW = LAWS[0]


# The database has the last word.


async def test_a_vote_that_the_database_already_has_becomes_a_rejection(
    one: OneSink, db: asyncpg.Connection
) -> None:
    """The voted table was lost and built wrongly: it accepts what is counted."""
    log = Log(0)
    await one.sink.flush(log.decide(make_batch(make_vote(1), make_vote(2))))
    forgetful = Log(1)
    result = await one.sink.flush(
        forgetful.decide(make_batch(make_vote(1, choice="non"), make_vote(3), make_vote(2)))
    )
    assert result.already_counted == 2
    assert result.counted == {(LAW, "oui"): 1}
    assert await rows(
        db,
        "SELECT source_partition, source_index, status, reason FROM rejected_votes ORDER BY 2",
    ) == [(1, 0, "duplicate", ALREADY_COUNTED), (1, 2, "duplicate", ALREADY_COUNTED)]
    await check_sums(db, {(LAW, "oui"): 3})
    assert await fence(db) == [(0, 0, 0), (1, 0, 0)]
    conflict = {"operation": "flush", "status": "conflict"}
    assert one.metric("database_operations_total", conflict) == 1


async def test_a_surplus_vote_does_not_lower_the_number_of_attempts(
    one: OneSink, db: asyncpg.Connection
) -> None:
    await one.sink.flush(Log(0).decide(make_batch(make_vote(1))))
    again = [make_vote(1, message=n) for n in range(4)]
    await one.sink.flush(Log(1).decide(make_batch(*again)))
    assert await db.fetchval("SELECT attempt_count FROM duplicate_attempts") == 4


async def test_the_same_vote_twice_in_one_flush_is_counted_once(
    one: OneSink, db: asyncpg.Connection
) -> None:
    logs = [Log(0), Log(1)]
    events = [event for log in logs for event in log.decide(make_batch(make_vote(1)))]
    result = await one.sink.flush(events)
    assert result.already_counted == 1
    await check_sums(db, {(LAW, "oui"): 1})
    assert await rows(db, "SELECT source_partition FROM vote_audit") == [(0,)]


async def test_the_slow_path_can_be_taken_again_and_again(
    one: OneSink, db: asyncpg.Connection
) -> None:
    await one.sink.flush(Log(0).decide(make_batch(make_vote(1))))
    forgetful = Log(1)
    forgetful.decide(make_batch(make_vote(1)))
    for event in forgetful.events():
        await one.sink.flush([event])
    forgetful.table = type(forgetful.table)(1)
    forgetful.table.applied = 0
    await one.sink.flush(forgetful.decide(make_batch(make_vote(1), make_vote(2)))[:1])
    await check_sums(db, {(LAW, "oui"): 2})


# Outages.


async def test_a_backend_that_ends_before_commit_has_counted_nothing(
    one: OneSink,
    db: asyncpg.Connection,
    own: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    add = sink_module.add_and_move

    async def end_the_backend(connection: Any, *given: Any) -> None:
        await add(connection, *given)
        monkeypatch.setattr(sink_module, "add_and_move", add)
        assert await severed(own, f"pid = {connection.get_server_pid()}") == 1

    monkeypatch.setattr(sink_module, "add_and_move", end_the_backend)
    log = Log()
    events = log.decide(make_batch(make_vote(1), make_vote(2)))
    with pytest.raises(ServiceUnavailable, match="PostgreSQL"):
        await one.sink.flush(events)
    assert await db.fetchval("SELECT count(*) FROM vote_audit") == 0
    assert (await one.sink.flush(events)).counted.total() == 2
    await check_sums(db, log.counted())


async def test_a_lost_answer_to_commit_counts_once(own: Settings, db: asyncpg.Connection) -> None:
    """PostgreSQL committed, the worker never heard of it and flushes again."""
    async with commit_swallower(own) as (port, swallow):
        through = own.model_copy(update={"postgres_host": "127.0.0.1", "postgres_port": port})
        one = OneSink(through)
        async with one.sink:
            log = Log()
            await one.sink.flush(log.decide(make_batch(make_vote(1))))
            events = log.decide(make_batch(make_vote(2), make_vote(2, message="again")))
            swallow.set()
            with pytest.raises(ServiceUnavailable):
                await one.sink.flush(events)
            # The connection is gone; what it did is not.
            assert await db.fetchval("SELECT count(*) FROM vote_audit") == 2
            again = await one.sink.flush(events)
            assert (again.replays, again.counted.total()) == (1, 0)
    await check_sums(db, log.counted())
    assert await db.fetchval("SELECT count(*) FROM rejected_votes") == 1


async def test_a_worker_frozen_among_its_rows_gives_the_fence_back(
    one: OneSink, db: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PostgreSQL waits for its rows without end, and holds the fence that another worker needs."""
    monkeypatch.setattr(sink_module, "FROZEN_AFTER_S", 1)
    log = Log()
    await one.sink.flush(log.decide(make_batch(make_vote(1))))
    thawed = asyncio.Event()

    async def rows_of_the_frozen() -> AsyncIterator[bytes]:
        await thawed.wait()
        yield b""

    async with one.sink.connections.acquire() as frozen:
        transaction = frozen.transaction()
        await transaction.start()
        await frozen.fetch("SELECT partition FROM sink_offsets FOR UPDATE")
        await frozen.execute("CREATE TEMPORARY TABLE pending (line text)")
        copying = asyncio.create_task(
            frozen.copy_to_table("pending", source=rows_of_the_frozen(), format="text")
        )
        events = log.decide(make_batch(make_vote(2)))
        with pytest.raises(ServiceUnavailable, match="LockNotAvailable"):
            await one.sink.flush(events)
        assert (await one.sink.flush(events)).counted.total() == 1
        thawed.set()
        with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, OSError)):
            await copying
    await check_sums(db, log.counted())


async def test_a_database_that_went_away_comes_back(
    one: OneSink, db: asyncpg.Connection, own: Settings
) -> None:
    log = Log()
    await one.sink.flush(log.decide(make_batch(make_vote(1))))
    assert await severed(own, "application_name LIKE 'scrutin-worker%'") >= 1
    events = log.decide(make_batch(make_vote(2)))
    await Retry(OutageTracker(3), 0.01)("PostgreSQL", lambda: one.sink.flush(events))
    await check_sums(db, log.counted())


async def test_a_database_that_is_read_only_is_an_outage(
    one: OneSink, db: asyncpg.Connection, own: Settings
) -> None:
    name = own.postgres_db
    await db.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    events = Log().decide(make_batch(make_vote(1)))
    with pytest.raises(ServiceUnavailable):
        await one.sink.flush(events)


async def test_nobody_listening_is_an_outage(own: Settings) -> None:
    nowhere = own.model_copy(update={"postgres_port": 1})
    one = OneSink(nowhere)
    async with one.sink:
        with pytest.raises(ServiceUnavailable):
            await one.sink.positions()


async def test_a_sink_does_not_connect_before_it_is_used(own: Settings) -> None:
    nowhere = own.model_copy(update={"postgres_host": "nowhere.invalid"})
    OneSink(nowhere)

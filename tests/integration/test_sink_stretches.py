"""Stretches of counted votes: a voter counts once, in whichever stretch the first vote is."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator

import asyncpg
import pytest

from schemas.control import EpochOpened
from schemas.genesis import RehearsalGenesis
from schemas.votes import Kind, Vote
from streams.adapters.postgres.stretches import read_state
from streams.maintenance.shadow import SCHEMA, begin, replace
from streams.settings.model import Settings
from streams.worker import stretch_filters
from streams.worker.stretch_filters import Stretches
from tests.harness import database, keep_stretches_up, until
from tests.integration.sink_harness import (
    KNOWN_BY_TIME,
    NOT_SUMMED_UP,
    TWO_RANGES,
    Log,
    OneSink,
    check_sums,
    rows,
)
from tests.strategies import LOG_ID, make_batch, make_vote, under

STRETCH = 10
"""A flush finds a stretch full that was so before it, so with flushes of 10 votes it has 20."""
SIZES = "SELECT stretch, count(*) FROM counted_votes GROUP BY 1 ORDER BY 1"
STRETCHES = "SELECT number::int FROM vote_stretches ORDER BY 1"
ROWS = "SELECT coalesce(vote_text, encode(vote_key, 'hex')), stretch"
WAITS = (
    "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND objid = 7 AND NOT granted)"
)
FILTERS = "SELECT stretch::int FROM vote_filters WHERE final ORDER BY 1"


@pytest.fixture
async def small(own: Settings) -> AsyncIterator[OneSink]:
    """A worker's sink with small stretches."""
    one = OneSink(own, stretch_votes=STRETCH)
    async with one.sink:
        yield one


def votes(first: int, number: int) -> list[Vote]:
    """Of laws and of an election, with hashes in binary and as texts."""
    return [
        make_vote(
            n if n % 3 else f"text {n}",
            kind=Kind.CANDIDATE if n % 2 else Kind.LAW,
            contest="election:1" if n % 2 else "L2025-001",
            choice="1" if n % 2 else "oui",
        )
        for n in range(first, first + number)
    ]


async def count(one: OneSink, log: Log, first: int, number: int) -> int:
    """Count votes; returns how many the database had already."""
    result = await one.sink.flush(log.decide(make_batch(*votes(first, number))))
    return result.already_counted


async def test_a_vote_counts_once_across_stretches(
    small: OneSink, own: Settings, db: asyncpg.Connection
) -> None:
    log = Log(0)
    for first in range(0, 80, 10):
        assert await count(small, log, first, 10) == 0
    assert await rows(db, STRETCHES) == [(0,), (1,), (2,), (3,), (4,)]
    assert await rows(db, SIZES) == [(0, 20), (1, 20), (2, 20), (3, 20)]
    # One flush after the other built a filter.
    for extra in range(6):
        await count(small, log, 80 + extra, 1)
    assert await rows(db, FILTERS) == [(0,), (1,), (2,), (3,)]
    # Verdicts of a validation that knows none of these voters.
    faulty = Log(1)
    assert await count(small, faulty, 0, 90) == 86
    # A worker that has just started, and one that knows nothing of filters.
    again = OneSink(own, stretch_votes=STRETCH)
    async with again.sink:
        assert await count(again, Log(3), 0, 90) == 90
    await db.execute("TRUNCATE vote_filters")
    blind = OneSink(own, stretch_votes=1000)
    async with blind.sink:
        assert await count(blind, Log(2), 5, 90) == 85
    found = await rows(db, "SELECT count(*), count(DISTINCT vote_hash) FROM vote_audit")
    assert found == [(95, 95)]


async def test_two_workers_write_one_stretch(
    small: OneSink, own: Settings, db: asyncpg.Connection
) -> None:
    """The next one is opened when no transaction writes any more, and nobody waits long for it."""
    other = OneSink(own, stretch_votes=STRETCH)
    first, second = Log(0), Log(1)
    async with other.sink:
        writer = await database(own)
        transaction = writer.transaction()
        await transaction.start()
        await writer.execute("SELECT open_stretch()")
        await count(small, first, 0, 12)
        assert await rows(db, STRETCHES) == [(0,)]
        await transaction.rollback()
        await writer.close()
        await asyncio.gather(
            *(count(one, log, n, 12) for one, log, n in ((small, first, 100), (other, second, 200)))
        )
        for n in range(4):
            await count(other, second, 300 + n * 10, 10)
    assert len(await rows(db, STRETCHES)) > 2
    await check_sums(db, first.counted() + second.counted())


async def test_filters_are_built_by_one_worker_alone(
    small: OneSink, db: asyncpg.Connection
) -> None:
    log = Log(3)
    for first in range(0, 60, 10):
        await count(small, log, first, 10)
    # The worker of partition 0 builds them.
    assert await rows(db, FILTERS) == []
    await keep_stretches_up(db)
    assert await rows(db, FILTERS) == [(0,), (1,), (2,)]
    assert await count(small, Log(1), 0, 61) == 60


async def test_many_votes_build_more_of_a_filter(
    small: OneSink, db: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stretch_filters, "_KEYS_AT_ONCE", 4)
    monkeypatch.setattr(stretch_filters, "_VOTES_A_STEP", 10)
    log = Log(0)
    await count(small, log, 0, 20)
    # The first of these opens the next stretch, the second is followed by one step of six.
    for n in (20, 21):
        await count(small, log, n, 1)
    assert await rows(db, FILTERS) == []
    await count(small, log, 22, 60)
    assert await rows(db, FILTERS) == [(0,)]


async def test_stretches_are_summed_up_once_though_it_was_refused_before(
    small: OneSink, db: asyncpg.Connection
) -> None:
    for first in "abc":
        await db.execute(TWO_RANGES, first)
        await count(small, Log(3), ord(first), 1)
    stretches, state = Stretches(), await read_state(db)
    await stretches.load(db, state)
    await db.execute("ALTER FUNCTION sum_up_stretch RENAME TO refused")
    for _ in range(3):
        assert stretches.has_to_sum_up(state)
        with pytest.raises(asyncpg.UndefinedFunctionError):
            await stretches.sum_up(db, state)
    await db.execute("ALTER FUNCTION refused RENAME TO sum_up_stretch")
    # Autovacuum may hinder some.
    assert sum([await stretches.sum_up(db, state) for _ in range(20)]) == 3


async def test_a_look_up_by_time_need_not_read_what_was_counted_before(
    small: OneSink, own: Settings, db: asyncpg.Connection
) -> None:
    for first in "abc":
        await db.execute(TWO_RANGES, first)
        await count(small, Log(3), ord(first), 1)
    assert await rows(db, STRETCHES) == [(0,), (1,), (2,), (3,)]
    # The worker of partition 0 sums up, also what another one left when it was killed.
    assert await rows(db, KNOWN_BY_TIME) == []
    log, vacuum, numbers = Log(0), await database(own), itertools.count()
    other = OneSink(own, stretch_votes=100_000)

    async def known(*stretches: str) -> None:
        async def counted() -> bool:
            # It is done beside flushes, which do not wait for it.
            await count(other, log, next(numbers), 1)
            return await rows(db, KNOWN_BY_TIME) == [(f"counted_law_votes{s}",) for s in stretches]

        await until(counted, f"stretches {stretches} are summed up")

    try:
        async with other.sink, vacuum.transaction():
            await vacuum.execute("LOCK counted_law_votes_1 IN SHARE UPDATE EXCLUSIVE MODE")
            # Others do not wait for the one that autovacuum works on.
            await known("", "_2")
            await vacuum.execute("ROLLBACK; BEGIN")
            await db.execute(TWO_RANGES, "d")
            await known("", "_1", "_2", "_3")
    finally:
        await vacuum.close()
    assert await db.fetchval(NOT_SUMMED_UP) == 0


async def test_a_worker_does_not_wait_for_summing_up(own: Settings, db: asyncpg.Connection) -> None:
    await db.execute(
        "CREATE OR REPLACE FUNCTION sum_up_stretch(one smallint) RETURNS boolean"
        " LANGUAGE sql AS 'SELECT pg_advisory_lock(7) IS NOT NULL'"
    )
    log, slow = Log(0), await database(own)
    one = OneSink(own, stretch_votes=STRETCH)
    try:
        await slow.execute("SELECT pg_advisory_lock(7)")
        async with asyncio.timeout(60), one.sink:
            for n in range(3):
                await count(one, log, n, 1)
            await until(lambda: db.fetchval(WAITS), "it waits")
            assert await count(one, log, 3, 40) == 0
            assert await count(one, log, 43, 1) == 0
        # Nor does its end.
        await until(lambda: db.fetchval(f"SELECT NOT ({WAITS})"), "it is given up")
    finally:
        await slow.close()
    assert await rows(db, STRETCHES) == [(0,), (1,)]


async def test_a_reset_leaves_one_stretch(small: OneSink, db: asyncpg.Connection) -> None:
    log = Log(0)
    log.begin(RehearsalGenesis(LOG_ID, 0, "rehearsal"))
    await small.sink.flush(log.events())
    for first in range(0, 60, 10):
        await count(small, log, first, 10)
    await keep_stretches_up(db)
    # Votes of the same flush were in stretches that are gone.
    opened = log.decide(EpochOpened(1, b"e" * 16, 0, 1))
    again = log.decide(under(make_batch(*votes(0, 30)), 0, epoch=1))
    result = await small.sink.flush([*opened, *again])
    assert result.already_counted == 0
    assert await rows(db, STRETCHES) == [(3,)]
    assert await rows(db, SIZES) == [(3, 30)]
    tables = await rows(db, "SELECT count(*) FROM pg_partition_tree('counted_votes') WHERE isleaf")
    assert tables == [(2,)]


async def test_a_rebuild_replaces_the_stretches(
    small: OneSink, own: Settings, db: asyncpg.Connection
) -> None:
    """Workers have filters of the stretches before, whose numbers were the same."""
    log = Log(0)
    for first in range(0, 60, 10):
        await count(small, log, first, 10)
    await keep_stretches_up(db)
    await begin(db)
    rebuilt = OneSink(own, schema=SCHEMA, stretch_votes=25)
    async with rebuilt.sink:
        for event in log.events():
            await rebuilt.sink.flush([event])
    in_shadow = await rows(db, f"{ROWS} FROM {SCHEMA}.counted_votes ORDER BY id")
    assert {stretch for _, stretch in in_shadow} == {0, 1}
    await replace(db)
    assert await rows(db, f"{ROWS} FROM counted_votes ORDER BY id") == in_shadow
    assert await rows(db, STRETCHES) == [(0,), (1,)]
    assert len(await rows(db, KNOWN_BY_TIME)) == 2
    assert await count(small, Log(1), 0, 62) == 60
    for first in range(100, 160, 10):
        await count(small, log, first, 10)
    assert (await rows(db, STRETCHES))[-1] > (2,)


async def test_who_writes_through_the_view_asks_every_stretch(
    small: OneSink, db: asyncpg.Connection
) -> None:
    log = Log(0)
    for first in range(0, 60, 10):
        await count(small, log, first, 10)
    before = await rows(db, "SELECT vote_hash FROM vote_audit ORDER BY id")
    copied = (
        "INSERT INTO vote_audit (vote_hash, voter_hash, contest, choice, timestamp,"
        " processed_timestamp, source_partition, source_offset, source_index)"
        " SELECT vote_hash, voter_hash, contest, choice, timestamp, processed_timestamp,"
        " 9, 9, 9 FROM vote_audit WHERE vote_hash = $1"
    )
    for (vote_hash,) in before[::7]:
        with pytest.raises(asyncpg.UniqueViolationError, match="counted already"):
            await db.execute(copied, vote_hash)
    await db.execute("DELETE FROM vote_audit WHERE vote_hash = $1", before[0][0])
    await db.execute("UPDATE vote_audit SET citizen_id = 'c' WHERE vote_hash = $1", before[1][0])
    assert await rows(db, "SELECT vote_hash FROM vote_audit ORDER BY id") == before[1:]

"""Log and database must belong together."""

from __future__ import annotations

from collections.abc import AsyncIterator

import asyncpg
import pytest

from schemas.genesis import Genesis
from streams.devstack import Stack
from streams.errors import ExitCode, LogMismatch
from streams.identity import check_database
from streams.settings import Settings
from tests.harness import database
from tests.integration.core_world import Log, OneSink, own_database
from tests.strategies import LOG_ID, make_batch, make_vote

OURS = {0: Genesis(LOG_ID, 0), 1: Genesis(LOG_ID, 0)}
OTHER = {0: Genesis(LOG_ID, 0), 1: Genesis(b"?" * 16, 0)}


@pytest.fixture
async def own(stack: Stack) -> AsyncIterator[Settings]:
    async with own_database(stack) as own:
        yield own


@pytest.fixture
async def one(own: Settings) -> AsyncIterator[OneSink]:
    one = OneSink(own)
    async with one.sink:
        yield one


@pytest.fixture
async def db(own: Settings) -> AsyncIterator[asyncpg.Connection]:
    connection = await database(own)
    yield connection
    await connection.close()


async def test_a_new_log_and_an_empty_database_belong_together(one: OneSink) -> None:
    await check_database(one.sink, OURS)


async def test_a_log_and_its_own_database_belong_together(one: OneSink) -> None:
    await one.sink.flush(Log(1).decide(make_batch(make_vote(1))))
    await check_database(one.sink, OURS)


async def test_a_database_behind_or_before_its_log_is_none_of_this_check(one: OneSink) -> None:
    await one.sink.flush(Log(1).decide(*(make_batch() for _ in range(50))))
    await check_database(one.sink, OURS)


async def test_a_database_of_another_log_is_refused(one: OneSink) -> None:
    await one.sink.flush(Log(1).decide(make_batch(make_vote(1))))
    with pytest.raises(LogMismatch, match="results of another log") as caught:
        await check_database(one.sink, OTHER)
    assert caught.value.where == {"table": "sink_offsets", "partition": 1}
    assert caught.value.exit_code == ExitCode.LOG_MISMATCH
    assert "POSTGRES_DB" in caught.value.todo


async def test_a_database_that_only_knows_the_log_is_refused_too(one: OneSink) -> None:
    """Nothing was counted yet, but the fence stands."""
    await one.sink.flush(Log(1).decide(make_batch()))
    with pytest.raises(LogMismatch):
        await check_database(one.sink, OTHER)


async def test_votes_that_no_log_accounts_for_are_refused(
    one: OneSink, db: asyncpg.Connection
) -> None:
    await db.execute(
        "INSERT INTO vote_audit (vote_hash, voter_hash, contest, choice, timestamp,"
        " processed_timestamp, source_partition, source_offset, source_index)"
        " VALUES ('h', 'h', 'L', 'oui', now(), now(), 0, 0, 0)"
    )
    with pytest.raises(LogMismatch, match="no log of Scrutin accounts for") as caught:
        await check_database(one.sink, OURS)
    assert caught.value.where == {"table": "vote_audit"}

"""Log and database must belong together."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from types import SimpleNamespace
from typing import Any

import asyncpg
import pytest

from schemas.codec import encode
from schemas.genesis import Genesis
from schemas.votes import Kind, VoteBatch
from streams.errors import ExitCode, LogMismatch
from streams.worker import log_check
from streams.worker.log_check import check_database
from tests.integration.sink_harness import Log, OneSink
from tests.strategies import LOG_ID, make_batch, make_vote

OURS = {0: Genesis(LOG_ID, 0), 1: Genesis(LOG_ID, 0)}
OTHER = {0: Genesis(LOG_ID, 0), 1: Genesis(b"?" * 16, 0)}


class InputLog:
    """Partition 1 of an input log in memory, read as a `LogReader` reads Kafka."""

    def __init__(self, *batches: VoteBatch) -> None:
        self.values = [encode(batch) for batch in batches]

    async def end_offsets(self, _: str, partitions: Sequence[int]) -> dict[int, int]:
        return {p: len(self.values) if p == 1 else 1 for p in partitions}

    async def read(self, _: str, __: int, start: int, end: int) -> AsyncGenerator[Any, None]:
        for value in self.values[start:end]:
            yield SimpleNamespace(value=value)


BATCHES = [make_batch(make_vote(n), make_vote(n, message="again")) for n in range(1, 4)]


async def check(db: asyncpg.Connection, genesis: dict[int, Genesis], *log: VoteBatch) -> Any:
    return await check_database(db, genesis, InputLog(*log))  # type: ignore[arg-type]


async def test_a_new_log_and_an_empty_database_belong_together(db: asyncpg.Connection) -> None:
    assert await check(db, OURS) == {}


async def test_a_log_and_its_own_database_belong_together(
    one: OneSink, db: asyncpg.Connection
) -> None:
    await one.sink.flush(Log(1).decide(*BATCHES))
    assert await check(db, OURS, *BATCHES) == {1: 2}
    assert await check(db, OURS, *BATCHES, make_batch(make_vote(9))) == {1: 2}


async def test_a_database_of_another_log_is_refused(one: OneSink, db: asyncpg.Connection) -> None:
    await one.sink.flush(Log(1).decide(*BATCHES))
    with pytest.raises(LogMismatch, match="results of another log") as caught:
        await check(db, OTHER, *BATCHES)
    assert caught.value.where == {"table": "sink_offsets", "partition": 1}
    assert caught.value.exit_code == ExitCode.LOG_MISMATCH
    assert "`scrutin rebuild log`" in caught.value.todo
    assert "`scrutin fresh`" in caught.value.todo


async def test_a_database_that_only_knows_the_log_is_refused_too(
    one: OneSink, db: asyncpg.Connection
) -> None:
    """Nothing was counted yet, but the fence stands."""
    await one.sink.flush(Log(1).decide(make_batch()))
    with pytest.raises(LogMismatch):
        await check(db, OTHER, make_batch())


async def test_a_database_that_is_newer_than_the_log_is_refused(
    one: OneSink, db: asyncpg.Connection
) -> None:
    await one.sink.flush(Log(1).decide(*BATCHES))
    with pytest.raises(LogMismatch, match="applied input offset 2, the log ends at 1") as caught:
        await check(db, OURS, *BATCHES[:2])
    assert "`scrutin rebuild log`" in caught.value.todo


@pytest.mark.parametrize("newest", [0, 1, 100])
@pytest.mark.parametrize(
    "instead", [make_batch(make_vote(7)), make_batch(), make_batch(make_vote(3, contest="L"))]
)
async def test_a_log_that_lost_its_end_and_was_written_on_is_refused(
    one: OneSink,
    db: asyncpg.Connection,
    monkeypatch: pytest.MonkeyPatch,
    instead: VoteBatch,
    newest: int,
) -> None:
    """Its offsets are beyond the fence again, and what they hold would be taken for replays."""
    # Its last vote is the second newest of all.
    monkeypatch.setattr(log_check, "NEWEST_VOTES", newest)
    lost = make_batch(make_vote(3, contest="L", kind=Kind.CANDIDATE))
    await one.sink.flush(Log(1).decide(*BATCHES[:2], lost))
    await one.sink.flush(Log(2).decide(make_batch(make_vote(8))))
    with pytest.raises(LogMismatch, match="lost its end and was written on") as caught:
        await check(db, OURS, *BATCHES[:2], instead, *BATCHES)
    assert caught.value.where["offset"] == 2


async def test_votes_that_no_log_accounts_for_are_refused(db: asyncpg.Connection) -> None:
    await db.execute(
        "INSERT INTO vote_audit (vote_hash, voter_hash, contest, choice, timestamp,"
        " processed_timestamp, source_partition, source_offset, source_index)"
        " VALUES ('h', 'h', 'L', 'oui', now(), now(), 0, 0, 0)"
    )
    with pytest.raises(LogMismatch, match="no log of Scrutin accounts for") as caught:
        await check(db, OURS)
    assert caught.value.where == {"table": "vote_audit"}

"""Control records in the sink on a real PostgreSQL: progress, finality, epochs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import msgspec
import pytest

from schemas.control import ContestState
from schemas.genesis import Genesis, RehearsalGenesis
from schemas.votes import VoteBatch
from streams.devstack import Stack
from streams.settings.model import Settings
from tests.integration.sink_harness import Log, OneSink, check_sums, own_database, rows
from tests.strategies import (
    LAWS,
    LOG_ID,
    contests_changed,
    epoch_opened,
    make_batch,
    make_contest,
    make_malformed,
    make_vote,
    under,
)

PARTITIONS = 2


@pytest.fixture
async def own(stack: Stack) -> AsyncIterator[Settings]:
    async with own_database(stack, SCRUTIN_PARTITIONS=str(PARTITIONS)) as own:
        yield own


@pytest.fixture
async def sinks(own: Settings) -> AsyncIterator[list[OneSink]]:
    """Two workers' sinks on the same database."""
    one, two = OneSink(own), OneSink(own)
    async with one.sink, two.sink:
        yield [one, two]


def two_logs(*, rehearsal: bool = True) -> list[Log]:
    """With a genesis each."""
    logs = [Log(partition) for partition in range(PARTITIONS)]
    for log in logs:
        log.begin(RehearsalGenesis(LOG_ID, 0, "dry-run") if rehearsal else Genesis(LOG_ID, 0))
    return logs


def voters(first: int, count: int, epoch: int = 0) -> VoteBatch:
    batch = make_batch(*(make_vote(n) for n in range(first, first + count)))
    return under(batch, 0, epoch=epoch) if epoch else batch


async def final(db: Any) -> tuple[int, bool] | None:
    row = await db.fetchrow("SELECT passed, final FROM contest_finals")
    return None if row is None else (row["passed"], row["final"])


async def test_a_number_that_the_database_cannot_hold_stops_no_sink(
    sinks: list[OneSink], db: asyncpg.Connection
) -> None:
    log = Log(0)
    log.begin(Genesis(LOG_ID, 0))
    log.decide(contests_changed(2**64 - 1, make_contest(closes_ms=99)), voters(0, 3))
    log.decide(contests_changed(1, make_contest()))
    await sinks[0].sink.flush(log.events(0))
    assert await rows(db, "SELECT number FROM contests") == [(1,)]
    assert await rows(db, "SELECT number FROM control_commands") == [(1,)]


async def test_a_result_is_final_when_every_partition_has_passed_the_closing(
    sinks: list[OneSink], db: asyncpg.Connection
) -> None:
    opened = contests_changed(1, make_contest())
    closed = contests_changed(2, make_contest(state=ContestState.CLOSED))
    logs = two_logs()
    for log in logs:
        number = 10 * log.partition
        log.decide(opened, under(voters(number, 3)), closed, under(voters(number + 5, 1)))
    sink = sinks[0].sink
    await sink.flush(logs[0].events(0, 3))
    assert await final(db) is None
    assert await rows(db, "SELECT contest_id, state FROM contests") == [(LAWS[0], "open")]
    await sink.flush(logs[0].events(3))
    assert await final(db) == (1, False)
    # What is behind the closing comes first, what is before it later: the same transaction order
    # holds within a partition only.
    await sinks[1].sink.flush(logs[1].events(0, 2))
    assert await final(db) == (1, False)
    await sinks[1].sink.flush(logs[1].events(2))
    assert await final(db) == (2, True)
    vector = await db.fetchval("SELECT vector::text FROM contest_finals")
    assert vector.count('"offset": 3') == PARTITIONS
    assert LOG_ID.hex() in vector
    await check_sums(db, {(LAWS[0], "oui"): 6})
    assert await rows(db, "SELECT reason, count(*) FROM rejected_votes GROUP BY 1") == [
        ("contest_closed", 2)
    ]


async def test_a_closing_that_nobody_enforces_makes_nothing_final(
    sinks: list[OneSink], db: asyncpg.Connection
) -> None:
    closed = contests_changed(2, make_contest(state=ContestState.CLOSED), enforced=False)
    for log in two_logs():
        log.decide(closed)
        await sinks[0].sink.flush(log.events())
    assert await final(db) == (PARTITIONS, False)


async def test_a_database_made_anew_from_the_log_knows_the_contests(
    sinks: list[OneSink], db: asyncpg.Connection
) -> None:
    """Also when the partitions are read one after the other, and each more than once."""
    contest = make_contest(choices=["oui", 'n"on'], closes_ms=1_760_000_000_000)
    for log in two_logs():
        log.decide(
            contests_changed(1, contest),
            contests_changed(2, msgspec.structs.replace(contest, state=ContestState.CLOSED)),
            contests_changed(3, msgspec.structs.replace(contest, state=ContestState.ARCHIVED)),
        )
        for _ in range(2):
            await sinks[0].sink.flush(log.events())
    assert await final(db) == (PARTITIONS, True)
    assert await rows(db, "SELECT state, number FROM contests") == [("archived", 3)]
    assert await rows(
        db, "SELECT number, written_at IS NOT NULL, issued_by FROM control_commands ORDER BY 1"
    ) == [(n, True, "log") for n in (1, 2, 3)]
    # The closing is the proof, not the archiving.
    assert await db.fetchval("SELECT number FROM contest_finals") == 2


async def test_a_forged_record_takes_no_contest_back_and_stops_no_sink(
    sinks: list[OneSink], db: asyncpg.Connection
) -> None:
    opened, over = make_contest(choices=["oui"]), make_contest(state=ContestState.CLOSED)
    over = msgspec.structs.replace(over, choices=["oui"])
    other = make_contest(LAWS[1])
    for log in two_logs():
        log.decide(
            contests_changed(1, opened, other),
            contests_changed(2, over),
            contests_changed(3, opened, msgspec.structs.replace(other, roll="open")),
            contests_changed(4, make_contest(choices=["oui", "non"])),
            contests_changed(5, msgspec.structs.replace(other, state="nonsense")),
        )
        await sinks[0].sink.flush(log.events())
    assert await rows(
        db, "SELECT contest_id, state, choices, roll, number FROM contests ORDER BY 1"
    ) == [(LAWS[0], "closed", ["oui"], "default", 2), (LAWS[1], "open", None, "default", 1)]
    assert await final(db) == (PARTITIONS, True)


async def test_a_proof_is_shown_for_its_own_contest_only(
    sinks: list[OneSink], db: asyncpg.Connection
) -> None:
    closed = contests_changed(2, make_contest(state=ContestState.CLOSED))
    for log in two_logs():
        log.decide(contests_changed(1, make_contest(), make_contest(LAWS[1])), closed)
        await sinks[0].sink.flush(log.events())
    query = "SELECT contest_id, passed, final FROM contest_finals ORDER BY 1"
    assert await rows(db, query) == [(LAWS[0], PARTITIONS, True)]
    steal = "UPDATE contests SET closed_by = $1 WHERE contest_id = $2"
    await db.execute(steal, closed.command_id, LAWS[1])
    assert await rows(db, query) == [(LAWS[0], PARTITIONS, True)]
    await db.execute("UPDATE contests SET state = 'closed' WHERE contest_id = $1", LAWS[1])
    assert await rows(db, query) == [(LAWS[0], PARTITIONS, True), (LAWS[1], 0, False)]
    # A row that says that one partition is enough is not believed.
    await db.execute("UPDATE control_commands SET partitions = 1")
    await db.execute("DELETE FROM control_progress WHERE partition = 1")
    assert (LAWS[0], 1, False) in await rows(db, query)


async def test_a_log_that_is_no_rehearsal_is_not_emptied(
    sinks: list[OneSink], db: asyncpg.Connection
) -> None:
    for log in two_logs(rehearsal=False):
        log.decide(voters(10 * log.partition, 3))
        log.decide(epoch_opened(5, 1))
        await sinks[0].sink.flush(log.events())
    await check_sums(db, {(LAWS[0], "oui"): 6})
    assert sinks[0].metric("scrutin_ignored_commands_total", {"stage": "sink"}) == PARTITIONS
    assert await rows(db, "SELECT DISTINCT epoch FROM sink_offsets") == [(0,)]
    assert await rows(db, "SELECT count(*) FROM control_progress") == [(0,)]


async def results(db: Any) -> int:
    return int(await db.fetchval("SELECT count(*) FROM vote_audit"))


async def test_an_epoch_empties_everything_once_and_voids_what_comes_late(
    sinks: list[OneSink], db: asyncpg.Connection
) -> None:
    logs = two_logs()
    for log in logs:
        number = 10 * log.partition
        bad = make_batch(make_vote(number), malformed=(make_malformed(number),))
        log.decide(voters(number, 3), bad)
        log.decide(epoch_opened(5, 1), voters(number, 3, epoch=1), voters(number + 6, 1))
    one, two = (one.sink for one in sinks)
    await one.flush(logs[0].events(0, 3))
    await two.flush(logs[1].events(0, 2))
    assert await results(db) == 6
    # The first partition opens the epoch; the second is still before it.
    await one.flush(logs[0].events(3, 5))
    assert await results(db) == 3
    await two.flush(logs[1].events(2, 3))
    assert await rows(db, "SELECT count(*) FROM rejected_votes") == [(0,)]
    await two.flush(logs[1].events(3))
    await one.flush(logs[0].events(5))
    assert await rows(db, "SELECT DISTINCT epoch FROM sink_offsets") == [(1,)]
    await check_sums(db, {(LAWS[0], "oui"): 6})
    assert await rows(db, "SELECT count(*) FROM rejected_votes") == [(0,)]


async def test_an_epoch_in_the_middle_of_a_flush_counts_what_is_behind_it(
    sinks: list[OneSink], db: asyncpg.Connection
) -> None:
    log = two_logs()[0]
    log.decide(voters(0, 3), epoch_opened(5, 1), voters(1, 4, epoch=1), epoch_opened(5, 1))
    for _ in range(2):
        await sinks[0].sink.flush(log.events())
    await check_sums(db, {(LAWS[0], "oui"): 4})


async def test_two_workers_open_an_epoch_at_once(
    sinks: list[OneSink], db: asyncpg.Connection
) -> None:
    logs = two_logs()
    for log in logs:
        log.decide(voters(10 * log.partition, 3))
    for round_ in range(1, 6):
        for log in logs:
            log.decide(epoch_opened(round_, round_), voters(10 * log.partition, 3, epoch=round_))
        await asyncio.gather(
            *(one.sink.flush(log.events()) for one, log in zip(sinks, logs, strict=True))
        )
        await check_sums(db, {(LAWS[0], "oui"): 6})

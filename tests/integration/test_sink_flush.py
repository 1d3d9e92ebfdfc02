"""The fenced sink on a real PostgreSQL: exact rows, and every way to count twice or not at all."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from msgspec.structs import replace

from schemas.votes import Flag, Kind, VoteBatch
from streams import sink as sink_module
from streams.availability import Availability, persistently
from streams.devstack import Stack
from streams.errors import LogMismatch, ServiceUnavailable
from streams.keys import voter_key
from streams.settings import Settings
from streams.sink import SURPLUS_REASON, Gap, PostgresSink
from streams.windows import Windows
from tests.harness import database, until
from tests.integration.core_world import (
    Log,
    OneSink,
    check_sums,
    commit_swallower,
    own_database,
    rows,
    severed,
)
from tests.strategies import (
    LAWS,
    identity,
    law_hash,
    logs,
    make_batch,
    make_malformed,
    make_vote,
)

LAW = LAWS[0]
INGEST_MS = 1_760_000_000_123
INGESTED = datetime(2025, 10, 9, 8, 53, 20, 123_000, tzinfo=UTC)
WINDOW = datetime(2025, 10, 9, 8, 53, 20, tzinfo=UTC)
DAY_US = 86_400_000_000


@pytest.fixture
async def given_settings(stack: Stack) -> AsyncIterator[Settings]:
    async with own_database(stack) as own:
        yield own


@pytest.fixture
async def one(given_settings: Settings) -> AsyncIterator[OneSink]:
    one = OneSink(given_settings)
    async with one.sink:
        yield one


@pytest.fixture
async def two(given_settings: Settings) -> AsyncIterator[OneSink]:
    """A second worker's sink on the same database."""
    two = OneSink(given_settings)
    async with two.sink:
        yield two


@pytest.fixture
async def db(given_settings: Settings) -> AsyncIterator[asyncpg.Connection]:
    connection = await database(given_settings)
    yield connection
    await connection.close()


async def fence(db: asyncpg.Connection) -> list[tuple[Any, ...]]:
    return await rows(
        db, "SELECT partition, source_offset, validated_offset FROM sink_offsets ORDER BY 1"
    )


# Exact rows.


async def test_a_counted_vote_is_in_every_table(one: OneSink, db: asyncpg.Connection) -> None:
    vote = make_vote(
        1,
        timestamp_us=1_760_000_000_000_001,
        citizen_id="citizen",
        metadata='{"ip_address": "::1"}',
    )
    result = await one.sink.flush(Log(3).decide(make_batch(vote, ingest_ms=INGEST_MS)))
    assert result.counted == {(LAW, "oui"): 1}
    (row,) = await db.fetch("SELECT * FROM vote_audit")
    expected = {
        "vote_hash": vote.hash,
        "voter_hash": vote.hash,
        "citizen_id": "citizen",
        "law_id": LAW,
        "contest": LAW,
        "candidate_id": None,
        "choice": "oui",
        "timestamp": datetime(2025, 10, 9, 8, 53, 20, 1, tzinfo=UTC),
        "vote_timestamp": datetime(2025, 10, 9, 8, 53, 20, 1),  # noqa: DTZ001 - as the seeds' column
        "status": "accepted",
        "processed_timestamp": INGESTED,
        "metadata": '{"ip_address": "::1"}',
        "source_partition": 3,
        "source_offset": 0,
        "source_index": 0,
    }
    assert {name: row[name] for name in expected} == expected
    assert await rows(db, "SELECT law_id, oui_count, non_count, total_votes FROM vote_results") == [
        (LAW, 1, 0, 1)
    ]
    assert await rows(db, "SELECT contest_id, choice, votes FROM contest_results") == [
        (LAW, "oui", 1)
    ]
    assert await rows(db, "SELECT contest, choice, window_start, votes FROM vote_windows") == [
        (LAW, "oui", WINDOW, 1)
    ]
    assert await fence(db) == [(3, 0, 0)]
    assert await rows(db, "SELECT * FROM rejected_votes") == []
    assert await rows(db, "SELECT * FROM duplicate_attempts") == []
    statistics = await db.fetchrow("SELECT * FROM vote_statistics")
    assert statistics is not None
    assert (statistics["oui_percentage"], statistics["non_percentage"]) == (100, 0)


async def test_candidate_votes(one: OneSink, db: asyncpg.Connection) -> None:
    def cast(voter: int, contest: str, choice: str) -> Any:
        return make_vote(voter, contest=contest, kind=Kind.CANDIDATE, choice=choice)

    log = Log()
    await one.sink.flush(
        log.decide(
            make_batch(
                cast(1, "election:1", "42"),
                cast(1, "election:2", "42"),
                cast(2, "election:1", "independent"),
                cast(1, "election:1", "7"),
            )
        )
    )
    assert await rows(
        db,
        "SELECT vote_hash, voter_hash, law_id, contest, candidate_id, choice FROM vote_audit"
        " ORDER BY source_index",
    ) == [
        (
            voter_key(law_hash(voter), contest, Kind.CANDIDATE).hex(),
            law_hash(voter),
            None,
            contest,
            number,
            choice,
        )
        for voter, contest, choice, number in [
            (1, "election:1", "42", 42),
            (1, "election:2", "42", 42),
            (2, "election:1", "independent", None),
        ]
    ]
    assert await rows(db, "SELECT * FROM vote_results") == []
    await check_sums(db, log.counted())
    assert await rows(db, "SELECT contest, law_id, attempt_count FROM duplicate_attempts") == [
        ("election:1", None, 2)
    ]


async def test_rejected_items_have_a_row_each(one: OneSink, db: asyncpg.Connection) -> None:
    batch = make_batch(
        make_vote(1, message="first"),
        make_vote(1, message="again", choice="non"),
        make_vote(2, choice="maybe", message="unknown"),
        make_vote(3, flags=0, message="absent"),
        malformed=(make_malformed("bad", reason="not_json", body=b"{broken"),),
        ingest_ms=INGEST_MS,
    )
    result = await one.sink.flush(Log().decide(batch))
    assert result.rejected == 4
    assert await rows(
        db,
        "SELECT source_index, status, reason, attempt_count, voter_hash, choice, identity,"
        " body_head, body_length, processed_timestamp FROM rejected_votes ORDER BY source_index",
    ) == [
        (
            1,
            "duplicate",
            "already_voted",
            1,
            law_hash(1),
            "non",
            identity("again"),
            None,
            None,
            INGESTED,
        ),
        (
            2,
            "invalid",
            "unknown_choice",
            0,
            law_hash(2),
            "maybe",
            identity("unknown"),
            None,
            None,
            INGESTED,
        ),
        (
            3,
            "invalid",
            "not_on_roll",
            0,
            law_hash(3),
            "oui",
            identity("absent"),
            None,
            None,
            INGESTED,
        ),
        (4, "malformed", "not_json", 0, None, None, identity("bad"), b"{broken", 7, INGESTED),
    ]
    seen = await rows(db, "SELECT status, count(*) FROM validation_audit GROUP BY 1 ORDER BY 1")
    assert seen == [("duplicate", 1), ("invalid", 2), ("malformed", 1), ("valid", 1)]


async def test_attempts_of_a_voter(one: OneSink, db: asyncpg.Connection) -> None:
    def at(day: int, message: str, choice: str = "oui") -> Any:
        return make_vote(1, message=message, choice=choice, timestamp_us=day * DAY_US)

    log = Log()
    await one.sink.flush(log.decide(make_batch(at(1, "a"), at(3, "b"), at(4, "c"))))
    query = (
        "SELECT vote_hash, law_id, attempt_count, choice, first_attempt, last_attempt, reason"
        " FROM duplicate_attempts"
    )
    day = [datetime(1970, 1, 1 + n, tzinfo=UTC) for n in range(8)]
    assert await rows(db, query) == [(law_hash(1), LAW, 3, "oui", day[1], day[4], "already_voted")]
    await one.sink.flush(log.decide(make_batch(at(6, "d", "non"))))
    await one.sink.flush(log.decide(make_batch(at(5, "e", "oui"))))
    assert await rows(db, query) == [(law_hash(1), LAW, 5, "oui", day[1], day[6], "already_voted")]


async def test_windows_of_late_votes_add_up(one: OneSink, db: asyncpg.Connection) -> None:
    log = Log()
    for second in (20, 21, 20):
        vote = make_vote(f"voter {len(log.verdicts)}")
        await one.sink.flush(
            log.decide(make_batch(vote, ingest_ms=1_760_000_000_000 + second * 1000 + 999))
        )
    assert await rows(
        db, "SELECT extract(epoch FROM window_start)::bigint, votes FROM vote_windows ORDER BY 1"
    ) == [(1_760_000_020, 2), (1_760_000_021, 1)]
    await check_sums(db, log.counted())


async def test_an_empty_record_moves_the_fence(one: OneSink, db: asyncpg.Connection) -> None:
    await one.sink.flush(Log().decide(make_batch(), make_batch()))
    assert await fence(db) == [(0, 1, 1)]


async def test_positions_are_behind_what_was_applied(one: OneSink) -> None:
    assert await one.sink.positions() == {}
    await one.sink.flush(Log(0).decide(make_batch(make_vote(1))))
    await one.sink.flush(Log(2).decide(make_batch(make_vote(2)), make_batch(make_vote(3))))
    assert await one.sink.positions() == {0: 1, 2: 2}


@settings(
    max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(log=logs)
def test_results_windows_and_rows_agree(stack: Stack, log: list[VoteBatch]) -> None:
    async def run() -> None:
        async with own_database(stack) as own:
            one, source, db = OneSink(own), Log(), await database(own)
            async with one.sink:
                for batch in log:
                    await one.sink.flush(source.decide(batch))
            await check_sums(db, source.counted())
            counted = await db.fetchval("SELECT count(*) FROM vote_audit")
            assert counted == len(source.table)
            await db.close()

    asyncio.run(run())


# Once and not twice.


async def test_a_replay_is_dropped_and_counted(one: OneSink, db: asyncpg.Connection) -> None:
    log = Log()
    events = log.decide(
        make_batch(make_vote(1), make_vote(1, message="b")), make_batch(make_vote(2))
    )
    await one.sink.flush(events)
    again = await one.sink.flush(events)
    assert again.replays == 2
    assert not again.counted
    assert again.rejected == 0
    await check_sums(db, log.counted())
    assert await db.fetchval("SELECT count(*) FROM rejected_votes") == 1
    assert await db.fetchval("SELECT attempt_count FROM duplicate_attempts") == 2


async def test_half_a_replay_counts_its_new_half(one: OneSink, db: asyncpg.Connection) -> None:
    log = Log()
    await one.sink.flush(log.decide(make_batch(make_vote(1))))
    log.decide(make_batch(make_vote(2)))
    result = await one.sink.flush(log.events())
    assert (result.replays, result.counted.total()) == (1, 1)
    await check_sums(db, log.counted())


async def test_verdicts_written_twice_are_counted_once(
    one: OneSink, db: asyncpg.Connection
) -> None:
    """A zombie's verdicts stand in the log beside the owner's; the chain goes on after them."""
    log = Log()
    log.decide(make_batch(make_vote(1)), make_batch(make_vote(2)))
    log.verdicts += log.verdicts
    log.decide(make_batch(make_vote(3)))
    result = await one.sink.flush(log.events())
    assert (result.replays, result.counted.total()) == (2, 3)
    assert await fence(db) == [(0, 2, 4)]
    await check_sums(db, log.counted())


async def test_a_worker_and_a_zombie_on_one_partition_count_once(
    one: OneSink, two: OneSink, db: asyncpg.Connection
) -> None:
    log = Log()
    for round_ in range(10):
        events = log.decide(
            make_batch(*(make_vote(f"voter {round_}-{n}") for n in range(50))),
            make_batch(make_vote(f"voter {round_}-0", message="again")),
        )
        results = await asyncio.gather(one.sink.flush(events), two.sink.flush(events))
        assert sorted(r.replays for r in results) == [0, 2]
        assert sorted(r.counted.total() for r in results) == [0, 50]
    await check_sums(db, log.counted())
    assert await db.fetchval("SELECT count(*) FROM rejected_votes") == 10
    surplus = one.metric("scrutin_surplus_votes_total") + two.metric("scrutin_surplus_votes_total")
    assert surplus == 0


async def test_a_zombie_waits_for_the_fence_and_is_late(
    one: OneSink, two: OneSink, db: asyncpg.Connection
) -> None:
    log = Log()
    await one.sink.flush(log.decide(make_batch(make_vote(1))))
    transaction = db.transaction()
    await transaction.start()
    await db.execute("SELECT * FROM sink_offsets WHERE partition = 0 FOR UPDATE")
    events = log.decide(make_batch(make_vote(2)))
    late = asyncio.create_task(two.sink.flush(events))

    async def waits() -> bool:
        # Unlike pg_stat_activity, not one snapshot for the whole transaction.
        query = "SELECT count(*) FROM pg_locks WHERE NOT granted"
        return bool(await db.fetchval(query))

    await until(waits, "the zombie waits")
    await db.execute("UPDATE sink_offsets SET source_offset = 1, validated_offset = 1")
    await transaction.commit()
    assert (await late).replays == 1
    assert await db.fetchval("SELECT count(*) FROM vote_audit") == 1


async def test_partitions_flush_side_by_side(
    one: OneSink, two: OneSink, db: asyncpg.Connection
) -> None:
    """The same laws and windows from two partitions: no deadlock, no lost update."""
    halves = [Log(0), Log(1)]
    for round_ in range(15):
        events = [
            log.decide(
                make_batch(
                    *(
                        make_vote(
                            f"{log.partition} {round_} {n}",
                            contest=LAWS[(n + log.partition) % 2],
                            choice=("oui", "non")[n % 2],
                        )
                        for n in range(20)
                    )
                )
            )
            for log in halves
        ]
        await asyncio.gather(one.sink.flush(events[0]), two.sink.flush(events[1]))
    await check_sums(db, halves[0].counted() + halves[1].counted())


# Gaps.


async def test_a_gap_applies_nothing_and_names_what_is_missing(
    one: OneSink, db: asyncpg.Connection
) -> None:
    log = Log(1)
    await one.sink.flush(log.decide(make_batch(make_vote(1))))
    log.decide(*(make_batch(make_vote(n)) for n in (2, 3, 4)))
    with pytest.raises(Gap) as caught:
        await one.sink.flush(log.events(3))
    assert (caught.value.partition, caught.value.start, caught.value.end) == (1, 1, 3)
    assert await fence(db) == [(1, 0, 0)]
    await one.sink.flush(log.events(1))
    await check_sums(db, log.counted())


async def test_a_gap_in_the_middle_of_a_flush_begins_at_the_fence(
    one: OneSink, db: asyncpg.Connection
) -> None:
    """What came before it was rolled back as well."""
    log = Log()
    log.decide(*(make_batch(make_vote(n)) for n in range(5)))
    with pytest.raises(Gap) as caught:
        await one.sink.flush([*log.events(0, 2), *log.events(4)])
    assert (caught.value.start, caught.value.end) == (0, 4)
    assert await fence(db) == [(0, -1, -1)]
    await one.sink.flush(log.events())
    await check_sums(db, log.counted())


async def test_a_gap_in_one_partition_keeps_the_others_back_too(
    one: OneSink, db: asyncpg.Connection
) -> None:
    whole, holed = Log(0), Log(1)
    events = whole.decide(make_batch(make_vote(1)))
    holed.decide(make_batch(make_vote(2)), make_batch(make_vote(3)))
    with pytest.raises(Gap):
        await one.sink.flush([*events, *holed.events(1)])
    assert await db.fetchval("SELECT count(*) FROM vote_audit") == 0
    await one.sink.flush([*events, *holed.events()])
    await check_sums(db, whole.counted() + holed.counted())


async def test_verdicts_of_another_log_are_refused(one: OneSink, db: asyncpg.Connection) -> None:
    await one.sink.flush(Log().decide(make_batch(make_vote(1))))
    with pytest.raises(LogMismatch, match=r"another input log than the database .*partition 0"):
        await one.sink.flush(Log(log_id=b"?" * 16).decide(make_batch(make_vote(2))))
    assert await db.fetchval("SELECT count(*) FROM vote_audit") == 1


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
    assert result.surplus == 2
    assert result.counted == {(LAW, "oui"): 1}
    assert await rows(
        db,
        "SELECT source_partition, source_index, status, reason FROM rejected_votes ORDER BY 2",
    ) == [(1, 0, "duplicate", SURPLUS_REASON), (1, 2, "duplicate", SURPLUS_REASON)]
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
    assert result.surplus == 1
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
    given_settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    add = sink_module._add

    async def end_the_backend(connection: Any, deltas: Any) -> None:
        await add(connection, deltas)
        monkeypatch.setattr(sink_module, "_add", add)
        assert await severed(given_settings, f"pid = {connection.get_server_pid()}") == 1

    monkeypatch.setattr(sink_module, "_add", end_the_backend)
    log = Log()
    events = log.decide(make_batch(make_vote(1), make_vote(2)))
    with pytest.raises(ServiceUnavailable, match="PostgreSQL cannot do it now"):
        await one.sink.flush(events)
    assert await db.fetchval("SELECT count(*) FROM vote_audit") == 0
    assert (await one.sink.flush(events)).counted.total() == 2
    await check_sums(db, log.counted())


async def test_a_lost_answer_to_commit_counts_once(
    given_settings: Settings, db: asyncpg.Connection
) -> None:
    """PostgreSQL committed, the worker never heard of it and flushes again."""
    async with commit_swallower(given_settings) as (port, swallow):
        through = given_settings.model_copy(
            update={"postgres_host": "127.0.0.1", "postgres_port": port}
        )
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


async def test_a_database_that_went_away_comes_back(
    one: OneSink, db: asyncpg.Connection, given_settings: Settings
) -> None:
    log = Log()
    await one.sink.flush(log.decide(make_batch(make_vote(1))))
    assert await severed(given_settings, "application_name LIKE 'scrutin-worker%'") >= 1
    events = log.decide(make_batch(make_vote(2)))
    await persistently(
        lambda: one.sink.flush(events),
        service="PostgreSQL",
        availability=Availability(3),
        retry_delay_s=0.01,
    )
    await check_sums(db, log.counted())


async def test_a_database_that_is_read_only_is_an_outage(
    one: OneSink, db: asyncpg.Connection, given_settings: Settings
) -> None:
    name = given_settings.postgres_db
    await db.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    events = Log().decide(make_batch(make_vote(1)))
    with pytest.raises(ServiceUnavailable):
        await one.sink.flush(events)


async def test_nobody_listening_is_an_outage(given_settings: Settings) -> None:
    nowhere = given_settings.model_copy(update={"postgres_port": 1})
    one = OneSink(nowhere)
    async with one.sink:
        with pytest.raises(ServiceUnavailable):
            await one.sink.positions()


async def test_a_sink_does_not_connect_before_it_is_used(given_settings: Settings) -> None:
    nowhere = given_settings.model_copy(update={"postgres_host": "nowhere.invalid"})
    OneSink(nowhere)
    PostgresSink(nowhere, Windows(1000), OneSink(nowhere).metrics)


# Rejections that come again.


@pytest.mark.parametrize("flag", [Flag.REDELIVERED, Flag.REPRODUCED, Flag.MESSAGE_ID])
async def test_a_rejected_message_delivered_again_is_not_doubled(
    one: OneSink, db: asyncpg.Connection, flag: Flag
) -> None:
    absent = make_vote(1, message="absent", flags=0)
    bad = make_malformed("bad", flags=0)
    log = Log()
    await one.sink.flush(log.decide(make_batch(absent, malformed=(bad,))))
    again = make_batch(replace(absent, flags=int(flag)), malformed=(replace(bad, flags=int(flag)),))
    result = await one.sink.flush(log.decide(again))
    assert result.rejected == 0
    assert await db.fetchval("SELECT count(*) FROM rejected_votes") == 2
    assert one.metric("scrutin_replays_total", {"stage": "sink"}) == 2


async def test_both_deliveries_of_a_rejected_message_in_one_flush(
    one: OneSink, db: asyncpg.Connection
) -> None:
    bad = make_malformed("bad", flags=Flag.MESSAGE_ID)
    log = Log()
    await one.sink.flush(log.decide(make_batch(malformed=(bad, bad)), make_batch(malformed=(bad,))))
    assert await db.fetchval("SELECT count(*) FROM rejected_votes") == 1


async def test_the_same_bad_message_sent_twice_is_two(one: OneSink, db: asyncpg.Connection) -> None:
    """Without a message id and without a flag they are two submissions."""
    log = Log()
    await one.sink.flush(log.decide(make_batch(malformed=(make_malformed(), make_malformed()))))
    await one.sink.flush(log.decide(make_batch(malformed=(make_malformed(),))))
    assert await db.fetchval("SELECT count(*) FROM rejected_votes") == 3


async def test_attempts_are_rows_also_when_redelivered_flags_are_set(
    one: OneSink, db: asyncpg.Connection
) -> None:
    """Validation has told replays from attempts; the sink does not judge them again."""
    flagged = Flag.ON_ROLL | Flag.REDELIVERED
    log = Log()
    await one.sink.flush(log.decide(make_batch(make_vote(1, message="a"))))
    for message in "bc":
        vote = make_vote(1, message=message, flags=flagged)
        await one.sink.flush(log.decide(make_batch(vote)))
    await one.sink.flush(log.decide(make_batch(make_vote(1, message="c", flags=flagged))))
    assert await rows(
        db, "SELECT attempt_count FROM rejected_votes WHERE status = 'duplicate' ORDER BY 1"
    ) == [(1,), (2,)]

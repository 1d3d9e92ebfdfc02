"""The fenced sink on a real PostgreSQL: exact rows for everything that is counted."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import asyncpg
from hypothesis import HealthCheck, given, settings

from schemas.votes import Kind, VoteBatch
from streams.core.keys import voter_key
from streams.devstack import Stack
from tests.harness import database
from tests.integration.sink_harness import (
    Log,
    OneSink,
    check_sums,
    fence,
    own_database,
    rows,
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
    # All of a row is of one attempt: a hash may come with another law.
    elsewhere = make_vote(1, message="f", contest="another law", choice="non", timestamp_us=DAY_US)
    await one.sink.flush(log.decide(make_batch(elsewhere)))
    assert await rows(
        db, "SELECT contest, law_id, choice, attempt_count FROM duplicate_attempts"
    ) == [("another law", "another law", "non", 6)]


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

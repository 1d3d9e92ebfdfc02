"""Weights and replaced votes in the sink on a real PostgreSQL."""

from __future__ import annotations

import random
from collections import Counter
from datetime import UTC, datetime

import asyncpg
import msgspec
import pytest

from schemas.control import Conduct, WeighedRollChanged
from schemas.votes import Kind, VoteBatch
from streams.core.keys import voter_key
from streams.core.records import VerdictEvent
from streams.errors import ServiceUnavailable
from streams.maintenance import shadow
from streams.settings.model import Settings
from streams.worker.postgres_sink import ALREADY_COUNTED
from tests.integration.sink_harness import (
    Log,
    OneSink,
    check_sums,
    commit_swallower,
    rows,
)
from tests.strategies import (
    contests_changed,
    identity,
    law_hash,
    make_batch,
    make_contest,
    make_vote,
    roll_changed,
    under,
)

ELECTION, OTHER = "election:1", "election:2"
CHOICES = ["1", "2", "3"]
VOTERS = 12
WEIGHTS = {voter: voter for voter in range(2, VOTERS, 2)}
OPENED = contests_changed(
    1, make_contest(ELECTION, choices=CHOICES, conduct=Conduct(revote=True, weighted=True))
)
FIRST_COUNTS = contests_changed(2, make_contest(OTHER, choices=CHOICES))


def ballot(voter: int, choice: str, number: int, contest: str = ELECTION) -> VoteBatch:
    vote = make_vote(voter, contest=contest, kind=Kind.CANDIDATE, choice=choice)
    sent = msgspec.structs.replace(vote, identity=identity(number))
    return under(make_batch(sent, ingest_ms=1_760_000_000_000 + number * 400))


def key_of(voter: int, contest: str = ELECTION) -> bytes:
    return voter_key(law_hash(voter), contest, Kind.CANDIDATE)


def weighing() -> WeighedRollChanged:
    keys = tuple(map(key_of, WEIGHTS))
    plain = roll_changed(3, added=keys)
    return WeighedRollChanged(*msgspec.structs.astuple(plain), list(WEIGHTS.values()))


def chance_log(seed: int, votes: int = 150) -> tuple[Log, list[VerdictEvent], Counter[str]]:
    """A log, its verdicts, and what must be counted by choice."""
    chance = random.Random(seed)
    log = Log()
    last: dict[int, str] = {}
    records = []
    for number in range(10, 10 + votes):
        voter, choice = chance.randrange(VOTERS), chance.choice(CHOICES)
        last[voter] = choice
        records.append(ballot(voter, choice, number))
    events = log.decide(OPENED, FIRST_COUNTS, weighing(), *records)
    totals: Counter[str] = Counter()
    for voter, choice in last.items():
        totals[choice] += WEIGHTS.get(voter, 1)
    return log, events, totals


def in_flushes(events: list[VerdictEvent], seed: int) -> list[list[VerdictEvent]]:
    chance, parts = random.Random(seed), []
    while events:
        size = chance.choice([1, 1, 2, 5, 30])
        parts.append(events[:size])
        events = events[size:]
    return parts


async def test_totals_move_once_however_flushes_fall(
    own: Settings, one: OneSink, two: OneSink, db: asyncpg.Connection
) -> None:
    """Flushes of any size, some repeated by a second worker, some whose answer is lost."""
    log, events, totals = chance_log(1)
    async with commit_swallower(own) as (port, swallow):
        cut = OneSink(own.model_copy(update={"postgres_port": port}))
        async with cut.sink:
            for number, part in enumerate(in_flushes(events, 2)):
                if number % 5 == 0:
                    swallow.set()
                    with pytest.raises(ServiceUnavailable):
                        await cut.sink.flush(part)
                await one.sink.flush(part)
                await two.sink.flush(part)
    await check_sums(db, {(ELECTION, choice): votes for choice, votes in totals.items()})
    assert one.metric("scrutin_surplus_votes_total") == 0
    audit = await db.fetch("SELECT vote_hash, weight FROM vote_audit")
    keys = {key_of(voter).hex(): WEIGHTS.get(voter, 1) for voter in range(VOTERS)}
    assert {row["vote_hash"]: row["weight"] for row in audit} == keys
    # Each message is in one place, and the later votes of a voter are after the replaced ones.
    places = (
        "SELECT source_offset FROM vote_audit UNION ALL SELECT source_offset FROM rejected_votes"
    )
    assert sorted(row[0] for row in await db.fetch(places)) == list(range(3, log.table.applied + 1))
    assert await rows(db, "SELECT DISTINCT status, reason FROM rejected_votes") == [
        ("replaced", "revoted")
    ]
    assert not await db.fetchval(
        "SELECT EXISTS (SELECT FROM rejected_votes r JOIN vote_audit a USING (vote_hash)"
        " WHERE r.source_offset > a.source_offset)"
    )


async def test_another_grouping_leaves_the_same_rows(
    own: Settings, one: OneSink, db: asyncpg.Connection
) -> None:
    """As a rebuild, which compares rows, needs it."""
    _, events, _ = chance_log(3)
    for part in in_flushes(events, 4):
        await one.sink.flush(part)
    await shadow.begin(db)
    rebuilt = OneSink(own)
    rebuilt.sink = type(one.sink)(
        own.postgres,
        rebuilt.windows,
        rebuilt.metrics,
        name="rebuild",
        partitions=own.partitions,
        schema=shadow.SCHEMA,
    )
    async with rebuilt.sink:
        await rebuilt.sink.flush(events)
    assert [d for d in await shadow.compare(db) if not d.equal] == []
    assert await shadow.consistent(db)
    # A weight that the log does not give is noticed.
    forged = "UPDATE vote_audit SET weight = weight + $1 WHERE vote_hash = $2"
    await db.execute(forged, 1, key_of(2).hex())
    assert [d.table for d in await shadow.compare(db) if not d.equal] == ["vote_audit"]
    await db.execute(forged, -1, key_of(2).hex())
    await shadow.replace(db)


async def test_the_database_takes_no_vote_back_where_the_first_counts(
    one: OneSink, db: asyncpg.Connection
) -> None:
    """A voted table that forgot its voters, or lets them vote again, changes no total."""
    log = Log()
    first = log.decide(FIRST_COUNTS, ballot(1, "1", 10, OTHER))
    await one.sink.flush(first)
    log.table.voters.clear()
    log.table.rules.revoted.add(OTHER)
    again = log.decide(ballot(1, "2", 11, OTHER), ballot(1, "3", 12, OTHER))
    for event in again:
        result = await one.sink.flush([event])
        assert result.already_counted == 1
    await check_sums(db, {(OTHER, "1"): 1})
    assert await rows(db, "SELECT choice, reason FROM rejected_votes ORDER BY 1") == [
        ("2", ALREADY_COUNTED),
        ("3", ALREADY_COUNTED),
    ]


async def test_a_replaced_vote_keeps_all_that_was_known_of_it(
    one: OneSink, db: asyncpg.Connection
) -> None:
    log = Log()
    await one.sink.flush(log.decide(OPENED, weighing(), ballot(2, "1", 10)))
    result = await one.sink.flush(log.decide(ballot(2, "3", 11)))
    assert result.counted == {(ELECTION, "3"): 2}
    # Totals that may fall are not announced; watchers ask for them.
    assert result.totals == {(ELECTION, ""): 0}
    row = await db.fetchrow("SELECT * FROM rejected_votes")
    expected = {
        "vote_hash": key_of(2).hex(),
        "voter_hash": law_hash(2),
        "contest": ELECTION,
        "candidate_id": 1,
        "choice": "1",
        "status": "replaced",
        "weight": 2,
        "processed_timestamp": datetime(2025, 10, 9, 8, 53, 24, tzinfo=UTC),
        "source_offset": 2,
    }
    assert {name: row[name] for name in expected} == expected
    windows = "SELECT choice, votes FROM vote_windows ORDER BY 1"
    assert await rows(db, windows) == [("1", 0), ("3", 2)]

"""The fenced sink on a real PostgreSQL: every way to count twice or not at all."""

from __future__ import annotations

import asyncio

import asyncpg
import pytest
from msgspec.structs import replace

from schemas.votes import Flag
from streams.core.fence import MissingRange
from streams.errors import LogMismatch
from streams.worker.postgres_sink import PLANNED_CONNECTIONS
from tests.harness import until
from tests.integration.sink_harness import (
    Log,
    OneSink,
    check_sums,
    fence,
    rows,
)
from tests.strategies import (
    LAWS,
    make_batch,
    make_malformed,
    make_vote,
)

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


async def test_a_sink_that_prepares_plans_flushes_and_writes_nothing(
    one: OneSink, db: asyncpg.Connection
) -> None:
    await one.sink.prepare()
    assert one.sink.connections.get_idle_size() == PLANNED_CONNECTIONS
    for table in ("sink_offsets", "contest_results", "vote_windows", "proof_leaves"):
        assert await db.fetchval(f"SELECT count(*) FROM {table}") == 0
    log = Log()
    await one.sink.flush(log.decide(make_batch(make_vote(1))))
    await check_sums(db, log.counted())


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
    with pytest.raises(MissingRange) as caught:
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
    with pytest.raises(MissingRange) as caught:
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
    with pytest.raises(MissingRange):
        await one.sink.flush([*events, *holed.events(1)])
    assert await db.fetchval("SELECT count(*) FROM vote_audit") == 0
    await one.sink.flush([*events, *holed.events()])
    await check_sums(db, whole.counted() + holed.counted())


async def test_verdicts_of_another_log_are_refused(one: OneSink, db: asyncpg.Connection) -> None:
    await one.sink.flush(Log().decide(make_batch(make_vote(1))))
    with pytest.raises(LogMismatch, match=r"another input log than the database .*partition 0"):
        await one.sink.flush(Log(log_id=b"?" * 16).decide(make_batch(make_vote(2))))
    assert await db.fetchval("SELECT count(*) FROM vote_audit") == 1


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

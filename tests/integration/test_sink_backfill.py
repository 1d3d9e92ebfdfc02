"""The aggregation stage heals what a committed offset had skipped, from the log itself."""

from __future__ import annotations

from collections.abc import AsyncIterator

import asyncpg
import pytest

from schemas.codec import encode
from streams.adapters.kafka.reader import LogReader
from streams.devstack import Stack
from streams.errors import LogMismatch, PoisonRecord
from streams.runtime.outages import OutageTracker, Retry
from streams.worker import aggregation
from streams.worker.aggregation import Aggregation
from tests.integration.kafka_names import own_topic, producer, servers
from tests.integration.sink_harness import Log, OneSink, check_sums
from tests.strategies import make_batch, make_vote


@pytest.fixture
async def topic(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[str]:
    async with own_topic(stack, partitions=2) as name:
        monkeypatch.setattr(aggregation, "VALIDATED_TOPIC", name)
        yield name


@pytest.fixture
def stage(stack: Stack, one: OneSink) -> Aggregation:
    return Aggregation(
        sink=one.sink,
        reader=LogReader(servers(stack)),
        retry=Retry(OutageTracker(3), 0.001),
        metrics=one.metrics,
        flushed=lambda: None,
        committed=lambda *_: None,
    )


async def publish(
    stack: Stack, topic: str, log: Log, *, without: frozenset[int] = frozenset()
) -> None:
    async with producer(stack) as client:
        for offset, verdicts in enumerate(log.verdicts):
            if offset not in without:
                await client.send(topic, encode(verdicts), partition=log.partition)
        await client.flush()


def a_log(count: int, partition: int = 0) -> Log:
    log = Log(partition)
    log.decide(*(make_batch(make_vote(f"voter {partition} {n // 2}")) for n in range(count)))
    return log


async def test_a_gap_before_the_first_event(
    *, stack: Stack, topic: str, one: OneSink, db: asyncpg.Connection, stage: Aggregation
) -> None:
    log = a_log(60)
    await publish(stack, topic, log)
    await stage.process(log.events(0, 10))
    await stage.process(log.events(50))
    await check_sums(db, log.counted())
    assert one.metric("scrutin_gaps_healed_total", {"stage": "sink"}) == 1
    assert await one.sink.positions() == {0: 60}


async def test_a_gap_in_the_middle_of_a_group(
    *, stack: Stack, topic: str, db: asyncpg.Connection, stage: Aggregation
) -> None:
    log = a_log(60)
    await publish(stack, topic, log)
    await stage.process([*log.events(0, 10), *log.events(50)])
    await check_sums(db, log.counted())


async def test_gaps_in_two_partitions_of_a_group(
    *, stack: Stack, topic: str, one: OneSink, db: asyncpg.Connection, stage: Aggregation
) -> None:
    logs = [a_log(30, partition) for partition in range(2)]
    for log in logs:
        await publish(stack, topic, log)
    await stage.process([*logs[0].events(20), *logs[1].events(25)])
    await check_sums(db, logs[0].counted() + logs[1].counted())
    assert one.metric("scrutin_gaps_healed_total", {"stage": "sink"}) == 2


async def test_a_long_gap_is_healed_in_parts(
    *,
    stack: Stack,
    topic: str,
    one: OneSink,
    db: asyncpg.Connection,
    stage: Aggregation,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(aggregation, "BACKFILL_VOTES", 10)
    log = a_log(55)
    await publish(stack, topic, log)
    await stage.process(log.events(54))
    await check_sums(db, log.counted())
    flushes = {"operation": "flush", "status": "success"}
    assert one.metric("database_operations_total", flushes) == 7


@pytest.mark.parametrize("missing", [5, 20])
async def test_a_hole_in_the_log_itself_cannot_be_healed(
    *, stack: Stack, topic: str, stage: Aggregation, missing: int
) -> None:
    """At the end of what is read, or within it."""
    log = a_log(21)
    hole = frozenset({missing})
    await publish(stack, topic, log, without=hole)
    written = [v for n, v in enumerate(log.verdicts) if n not in hole]
    log.verdicts = written if missing == 5 else [*written, *a_log(22).verdicts[21:]]
    if missing == 20:
        async with producer(stack) as client:
            await client.send_and_wait(topic, encode(log.verdicts[-1]), partition=0)
    with pytest.raises(LogMismatch, match="gap in the log itself"):
        await stage.process(log.events(len(log.verdicts) - 1))


async def test_a_skipped_record_that_cannot_be_decoded_names_its_place(
    *, stack: Stack, topic: str, stage: Aggregation
) -> None:
    log = a_log(3)
    async with producer(stack) as client:
        for value in (encode(log.verdicts[0]), b"junk", encode(log.verdicts[2])):
            await client.send_and_wait(topic, value, partition=0)
    with pytest.raises(PoisonRecord) as caught:
        await stage.process(log.events(2))
    assert caught.value.where["offset"] == 1

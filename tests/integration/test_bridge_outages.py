"""Services that stop and return during a run; signals while they are unavailable."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiokafka.structs import TopicPartition
from prometheus_client import CollectorRegistry

from schemas.codec import decode_input, encode
from schemas.votes import Flag, Vote, VoteBatch
from streams.core.topics import VALIDATION_TOPIC
from streams.devstack import Stack
from streams.errors import ExitCode
from streams.intake.input_log import InputLog
from streams.messages.decode import decode
from streams.runtime.metrics import BridgeMetrics
from streams.runtime.outages import OutageTracker, Retry
from tests.harness import until
from tests.integration.bridge_harness import (
    PARTITIONS,
    VALIDATION,
    BridgeHarness,
    json_body,
    law_vote,
    soon,
)


@pytest.fixture
async def world(stack: Stack, tmp_path: Path) -> AsyncIterator[BridgeHarness]:
    async with BridgeHarness(stack, tmp_path) as world:
        yield world
    # Whatever a failed test left stopped or frozen.
    for name in ("kafka", "rabbitmq", "redis"):
        await asyncio.to_thread(stack.resume, name)
        await asyncio.to_thread(stack.start, name)


@pytest.mark.parametrize("service", ["rabbitmq", "kafka", "redis"])
@pytest.mark.timeout(240)
async def test_a_service_restarts_in_the_middle(world: BridgeHarness, service: str) -> None:
    count = 10_000
    await world.load_roll(range(count))
    if service == "redis":
        # The stack's Redis may keep nothing over a restart; the roll is loaded again below.
        await world.redis.save()
    world.publish(law_vote(n) for n in range(count - 10))
    async with world.bridge(RABBITMQ_PREFETCH_COUNT="1000") as bridge:

        async def begun() -> bool:
            return await world.log_count() > 1000

        await until(begun, "first votes")
        await asyncio.to_thread(world.stack.stop, service)
        bridge.check()
        await asyncio.to_thread(world.stack.start, service)
        if service == "redis":
            await world.load_roll(range(count))
        world.publish(law_vote(n) for n in range(count - 10, count))
        placed = await world.logged(count, within_s=120)
        bridge.check()
        await bridge.ready()
        assert await bridge.terminate() == ExitCode.OK
    assert world.ready(VALIDATION) == 0
    assert_repeats_say_so(placed)
    assert all(p.item.flags & Flag.ON_ROLL for p in placed)


def assert_repeats_say_so(placed: list) -> None:  # type: ignore[type-arg]
    seen: set[bytes] = set()
    for p in placed:
        if p.item.identity in seen:
            assert p.item.flags & (Flag.REDELIVERED | Flag.REPRODUCED)
        seen.add(p.item.identity)


async def test_order_within_a_partition_survives_an_outage(world: BridgeHarness) -> None:
    """The votes of one voter stand in the log in the order in which they were delivered."""
    await world.load_roll([0])
    async with world.bridge() as bridge:
        await bridge.ready()
        world.publish([law_vote(0, timestamp=n) for n in range(50)])
        await world.logged(50)
        await asyncio.to_thread(world.stack.pause, "kafka")
        for start in (50, 80, 110):
            world.publish([law_vote(0, timestamp=n) for n in range(start, start + 30)])
            # Several flushes have to pile up behind the frozen broker.
            await asyncio.sleep(0.1)
        await asyncio.to_thread(world.stack.resume, "kafka")
        placed = await world.logged(140)
    times = [p.item.timestamp_us for p in placed if isinstance(p.item, Vote)]
    assert times == [n * 1_000_000 for n in range(140)]


async def test_sigterm_while_kafka_is_away_ends_in_time_and_loses_nothing(
    world: BridgeHarness,
) -> None:
    await world.load_roll(range(10))
    bridge = world.bridge(SCRUTIN_DRAIN_TIMEOUT_S="4")
    bridge.start()
    await bridge.ready()
    await asyncio.to_thread(world.stack.pause, "kafka")
    world.publish(law_vote(n) for n in range(10))
    await soon(lambda: world.ready(VALIDATION) == 0, "deliveries wait in the bridge")
    # Kafka is still away: only the limit ends it.
    assert await bridge.terminate() == ExitCode.OK
    assert "draining did not finish in time" in bridge.log.read_text()
    await asyncio.to_thread(world.stack.resume, "kafka")
    await soon(lambda: world.ready(VALIDATION) == 10, "all is back")
    async with world.bridge():
        placed = await world.logged(10)
    assert_repeats_say_so(placed)


async def test_second_signal_ends_at_once(world: BridgeHarness) -> None:
    await world.load_roll(range(10))
    bridge = world.bridge(SCRUTIN_DRAIN_TIMEOUT_S="60")
    bridge.start()
    await bridge.ready()
    await asyncio.to_thread(world.stack.pause, "kafka")
    world.publish(law_vote(n) for n in range(10))
    bridge.send(signal.SIGTERM)

    async def draining() -> bool:
        return any("draining" in line for line in bridge.tail())

    await until(draining, "draining")
    bridge.send(signal.SIGINT)
    # Draining would go on for as long as that, and end with another code.
    async with asyncio.timeout(50):
        assert await bridge.ended() == ExitCode.INTERRUPTED


async def test_starts_before_its_services_and_ends_on_a_signal(world: BridgeHarness) -> None:
    await asyncio.to_thread(world.stack.stop, "kafka")
    bridge = world.bridge(MAX_RETRY_ATTEMPTS="1")
    bridge.start()

    async def says_so() -> bool:
        status, text = await world.fetch(bridge, "ready")
        return status == 503 and "kafka is unavailable" in text

    await until(says_so, "not ready")
    assert (await world.fetch(bridge, "live"))[0] == 200
    assert await bridge.terminate() == ExitCode.OK


# The producer ----------------------------------------------------------------------------------


def batch(number: int) -> bytes:
    item = decode(
        json_body(law_vote(number)),
        None,
        redelivered=False,
        prevalidated=False,
        ingest_us=0,
        max_body_bytes=65536,
    ).item
    assert isinstance(item, Vote)
    return encode(VoteBatch(0, "test", [item], []))


async def test_a_hole_in_the_sequence_brings_a_new_producer(
    world: BridgeHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A batch that aiokafka gave up leaves a hole; Kafka then refuses all that follows."""
    metrics = BridgeMetrics(CollectorRegistry())
    log = InputLog(
        world.servers,
        partitions=PARTITIONS,
        retry=Retry(OutageTracker(3), 0.1),
        metrics=metrics,
    )
    producers = []
    start = log._start

    async def watched():  # type: ignore[no-untyped-def]
        producers.append(await start())
        return producers[-1]

    monkeypatch.setattr(log, "_start", watched)
    confirmed: list[int] = []
    running = asyncio.create_task(log.run())
    try:
        log.submit(0, batch(0), lambda: confirmed.append(0))
        async with asyncio.timeout(60):
            await log.settled()
        producers[0]._txn_manager.increment_sequence_number(TopicPartition(VALIDATION_TOPIC, 0), 5)
        for number in range(1, 6):
            log.submit(0, batch(number), lambda number=number: confirmed.append(number))
        log.submit(1, batch(6), lambda: None)
        async with asyncio.timeout(60):
            await log.settled()
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    assert confirmed == list(range(6))
    assert len(producers) == 2
    placed = [p for p in await world.log() if p.partition == 0]
    order = [p.item.identity for p in placed]
    assert order == [decode_one(batch(n)) for n in range(6)]
    assert placed[0].item.flags == Flag.ON_ROLL
    # Kafka refused them, which the producer cannot know of all that was under way.
    assert placed[1].item.flags == Flag.ON_ROLL | Flag.REPRODUCED
    assert metrics.registry.get_sample_value("scrutin_bridge_reproduced_total") >= 1


def decode_one(value: bytes) -> bytes:
    found = decode_input(value)
    assert isinstance(found, VoteBatch)
    return found.votes[0].identity

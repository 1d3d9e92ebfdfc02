"""Queues that remove messages: which the bridge refuses, and that waiting costs no vote."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any

import pika
import pytest

from streams.devstack import Stack
from streams.errors import ExitCode
from streams.load.programs import Program
from tests.harness import until
from tests.integration.bridge_harness import VALIDATION, BridgeHarness, json_body, law_vote, soon

LIMIT = 3
QUORUM: dict[str, Any] = {"x-queue-type": "quorum"}
LIMITED = QUORUM | {"x-delivery-limit": LIMIT}
ACCEPTED = {"SCRUTIN_ACCEPT_QUEUE_LOSS": VALIDATION}
NO_MANAGEMENT = {"SCRUTIN_RABBITMQ_MANAGEMENT_URL": "http://127.0.0.1:1"}


@pytest.fixture
async def world(stack: Stack, tmp_path: Path) -> AsyncIterator[BridgeHarness]:
    async with BridgeHarness(stack, tmp_path) as world:
        yield world
        with world.channel() as channel:
            channel.queue_delete(VALIDATION)
    await asyncio.to_thread(stack.resume, "kafka")


def declare(world: BridgeHarness, arguments: dict[str, Any]) -> None:
    with world.channel() as channel:
        channel.queue_delete(VALIDATION)
        channel.queue_declare(VALIDATION, durable=True, arguments=arguments)


def publish(world: BridgeHarness, numbers: Iterable[int]) -> None:
    with world.channel() as channel:
        channel.confirm_delivery()
        for number in numbers:
            body = json_body(law_vote(number))
            channel.basic_publish("", VALIDATION, body, pika.BasicProperties(delivery_mode=2))


async def unavailable(world: BridgeHarness, bridge: Program, service: str) -> None:
    async def says_so() -> bool:
        return f"{service} is unavailable" in (await world.fetch(bridge, "ready"))[1]

    await until(says_so, f"{service} is unavailable")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
async def test_ends_of_bridges_while_the_roll_is_missing_cost_no_vote(
    world: BridgeHarness, number: signal.Signals
) -> None:
    declare(world, LIMITED)
    publish(world, range(30))
    for _ in range(2 * LIMIT):
        bridge = world.bridge(MAX_RETRY_ATTEMPTS="5", SCRUTIN_DRAIN_TIMEOUT_S="4", **ACCEPTED)
        bridge.start()
        await unavailable(world, bridge, "roll")
        bridge.send(number)
        await bridge.ended()
    await soon(lambda: world.released(VALIDATION), "RabbitMQ has seen the last bridge go")
    assert world.ready(VALIDATION) == 30
    await world.load_roll(range(30))
    async with world.bridge(**ACCEPTED):
        await world.logged(30, within_s=60)


async def test_nothing_is_taken_while_kafka_does_not_answer(world: BridgeHarness) -> None:
    await world.load_roll(range(60))
    async with world.bridge(MAX_RETRY_ATTEMPTS="1") as bridge:
        await bridge.ready()
        world.publish(law_vote(n) for n in range(30))
        await world.logged(30)
        await soon(lambda: world.ready(VALIDATION) == 0, "all is taken")
        await asyncio.to_thread(world.stack.pause, "kafka")
        await unavailable(world, bridge, "kafka")
        await soon(lambda: world.released(VALIDATION), "no consumer is left")
        world.publish(law_vote(n) for n in range(30, 60))
        assert world.ready(VALIDATION) == 30
        await asyncio.to_thread(world.stack.resume, "kafka")
        placed = await world.logged(60)
        assert await bridge.terminate() == ExitCode.OK
    assert len(placed) == 60
    assert world.ready(VALIDATION) == 0


async def refused(world: BridgeHarness, **settings: str) -> str:
    bridge = world.bridge(**settings)
    bridge.start()
    assert await bridge.ended() == ExitCode.TOPOLOGY_MISMATCH
    return bridge.log.read_text()


async def test_a_limit_that_loses_votes_is_refused_unless_accepted(world: BridgeHarness) -> None:
    await world.load_roll(range(3))
    declare(world, LIMITED)
    publish(world, range(3))
    text = await refused(world)
    assert f"The queue loses votes: delivery limit {LIMIT}" in text
    assert f"SCRUTIN_ACCEPT_QUEUE_LOSS={VALIDATION}" in text
    assert world.ready(VALIDATION) == 3
    async with world.bridge("accepting", **ACCEPTED) as bridge:
        await world.logged(3)
        assert "which SCRUTIN_ACCEPT_QUEUE_LOSS accepts" in bridge.log.read_text()
        gauge = f'scrutin_bridge_queue_delivery_limit{{queue="{VALIDATION}"}}'
        assert await world.metric(bridge, gauge) == LIMIT


@pytest.mark.parametrize(
    "arguments",
    [
        LIMITED | {"x-dead-letter-exchange": "votes.dead"},
        {"x-message-ttl": 86_400_000, "x-max-length": 1_000_000},
    ],
)
async def test_what_leaves_a_trace_or_is_deployed_is_a_warning(
    world: BridgeHarness, arguments: dict[str, Any]
) -> None:
    await world.load_roll(range(3))
    declare(world, arguments)
    publish(world, range(3))
    async with world.bridge() as bridge:
        await world.logged(3)
        assert "the queue can lose votes" in bridge.log.read_text()


@pytest.mark.parametrize("settings", [{}, ACCEPTED, NO_MANAGEMENT])
async def test_a_stream_is_refused(world: BridgeHarness, settings: dict[str, str]) -> None:
    declare(world, {"x-queue-type": "stream"})
    assert "The queue loses votes: a stream queue" in await refused(world, **settings)


async def test_without_the_management_api_a_queue_with_arguments_is_read(
    world: BridgeHarness,
) -> None:
    await world.load_roll(range(3))
    for arguments in (QUORUM, {"x-message-ttl": 86_400_000}, {}):
        declare(world, arguments)
        async with world.bridge(**NO_MANAGEMENT) as bridge:
            await bridge.ready()
            told = "the queue's delivery limit is unknown" in bridge.log.read_text()
            assert told is (arguments == QUORUM)
            bridge.log.unlink()

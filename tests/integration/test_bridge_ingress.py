"""Ingress: from queues to the input log, acknowledged when Kafka has it."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pika
import pytest

from schemas.votes import Flag, Kind, Malformed, Vote
from streams.core.keys import partition_of, voter_key
from streams.devstack import Stack
from streams.errors import ExitCode
from streams.load.programs import Program
from tests.harness import stopped, until
from tests.integration.bridge_harness import (
    AGGREGATION,
    PARTITIONS,
    VALIDATION,
    BridgeHarness,
    law_vote,
    soon,
    voter,
)


@pytest.fixture
async def world(stack: Stack, tmp_path: Path) -> AsyncIterator[BridgeHarness]:
    async with BridgeHarness(stack, tmp_path) as world:
        yield world


NOON = "2025-11-14T12:00:00Z"
SPELLINGS: list[tuple[dict[str, object], tuple[str, int, str]]] = [
    (
        {"vote_hash": voter(0), "citizen_id": "c", "law_id": "a", "choice": "oui", "timestamp": 0},
        ("a", Kind.LAW, "oui"),
    ),
    (
        {"voter_hash": voter(1), "candidate_id": 7, "vote_timestamp": NOON},
        ("election:", Kind.CANDIDATE, "7"),
    ),
    (
        {
            "hash": voter(2),
            "nas": "123456789",
            "code": "SECRET",
            "law_id": "b",
            "vote": "NON",
            "submitted_at": NOON,
            "vote_timestamp": "2025-11-14T12:00:00.5",
        },
        ("b", Kind.LAW, "non"),
    ),
    (
        {
            "voter_hash": voter(3),
            "law_id": 12,
            "vote": "oui",
            "vote_timestamp": NOON,
            "status": "valid",
            "processed_timestamp": NOON,
        },
        ("12", Kind.LAW, "oui"),
    ),
    (
        {"voter_hash": voter(4), "candidate_id": "x", "election_id": 3, "vote_timestamp": 1.5},
        ("election:3", Kind.CANDIDATE, "x"),
    ),
    (
        {"vote_hash": voter(5), "law_id": "a", "choice": "oui", "metadata": {"ip_address": "::1"}},
        ("a", Kind.LAW, "oui"),
    ),
]

MALFORMED: dict[str, bytes | dict[str, object]] = {
    "not_json": b"not json",
    "not_utf8": b'{"vote_hash":"\xff"}',
    "not_an_object": b"[]",
    "missing_hash": {"law_id": "a", "choice": "oui"},
    "missing_contest": {"vote_hash": voter(9), "choice": "oui"},
    "missing_choice": {"vote_hash": voter(9), "law_id": "a"},
    "wrong_type": {"vote_hash": 9, "law_id": "a", "choice": "oui"},
    "bad_hash": {"vote_hash": "", "law_id": "a", "choice": "oui"},
    "bad_timestamp": law_vote(9, timestamp="99999-01-01T00:00:00Z"),
    "nul_in_string": law_vote(9, citizen_id="a\0b"),
    "lone_surrogate": law_vote(9, citizen_id="\ud800"),
    "conflicting_fields": law_vote(9, choice="oui", vote="non"),
    "reserved_law_id": law_vote(9, law_id="election:1"),
    "too_long": law_vote(9, law_id="x" * 256),
    "too_large": b'{"x":"' + b"y" * (2 << 20) + b'"}',
    "bad_metadata": b'{"vote_hash":"h","law_id":"a","choice":"oui","x":'
    + b"[" * 50
    + b"]" * 50
    + b"}",
}


async def test_every_spelling_and_every_fault(world: BridgeHarness) -> None:
    await world.load_roll(range(6))
    with world.channel() as channel:
        channel.exchange_declare("dead", "fanout", durable=True)
        channel.queue_declare("dead", durable=True)
        channel.queue_bind("dead", "dead")
        # An existing queue is used as it is, arguments included.
        channel.queue_declare(
            VALIDATION, durable=True, arguments={"x-dead-letter-exchange": "dead"}
        )
        for body in (*(spelling for spelling, _ in SPELLINGS), *MALFORMED.values()):
            raw = body if isinstance(body, bytes) else pika.compat.as_bytes(json_of(body))
            channel.basic_publish("", VALIDATION, raw)
    async with world.bridge() as bridge:
        placed = await world.logged(len(SPELLINGS) + len(MALFORMED))
        received = f'scrutin_bridge_received_total{{queue="{VALIDATION}"}}'

        async def counted() -> bool:
            return await world.metric(bridge, received) == len(SPELLINGS) + len(MALFORMED)

        await until(counted, "metric")
        assert await world.metric(bridge, 'scrutin_bridge_malformed_total{reason="too_large"}') == 1
    votes = {p.item.hash: p for p in placed if isinstance(p.item, Vote)}
    for body, expected in SPELLINGS:
        name = next(n for n in ("vote_hash", "voter_hash", "hash") if n in body)
        found = votes[str(body[name])]
        assert isinstance(found.item, Vote)
        assert (found.item.contest, found.item.kind, found.item.choice) == expected
        assert found.item.flags == Flag.ON_ROLL
        key = voter_key(found.item.hash, found.item.contest, found.item.kind)
        assert found.partition == partition_of(key, PARTITIONS)
    assert "SECRET" not in str(placed)
    assert sorted(p.item.reason for p in placed if isinstance(p.item, Malformed)) == sorted(
        MALFORMED
    )
    # Only the malformed ones were rejected; nothing is left. RabbitMQ moves them by itself.
    await soon(lambda: world.ready("dead") >= len(MALFORMED), "rejected messages")
    dead = sorted(len(body) for _, body in world.drain_queue("dead"))
    assert dead == sorted(
        len(b if isinstance(b, bytes) else json_of(b)) for b in MALFORMED.values()
    )
    assert world.ready(VALIDATION) == 0
    with world.channel() as channel:
        channel.queue_delete("dead")
        channel.exchange_delete("dead")


def json_of(body: dict[str, object]) -> str:
    return json.dumps(body)


async def test_kill_in_the_middle_loses_nothing_and_flags_what_comes_again(
    world: BridgeHarness,
) -> None:
    count = 20_000
    await world.load_roll(range(count))
    world.publish(law_vote(n) for n in range(count))
    bridge = world.bridge(RABBITMQ_PREFETCH_COUNT="2000")
    bridge.start()

    async def begun() -> bool:
        return await world.log_count() > 1000

    await until(begun, "first votes")
    assert await bridge.kill() == -signal.SIGKILL
    async with bridge:
        placed = await world.logged(count)

        async def empty() -> bool:
            return world.ready(VALIDATION) == 0

        await until(empty, "queue empty")
    seen: set[bytes] = set()
    again = 0
    for p in placed:
        if p.item.identity in seen:
            again += 1
            assert p.item.flags & Flag.REDELIVERED, "a second delivery has to say so"
        seen.add(p.item.identity)
    assert len(seen) == count
    assert again <= 2000, "no more than the prefetch can come again"
    assert world.ready(VALIDATION) == 0


async def test_an_error_between_kafka_and_the_acknowledgement_ends_the_bridge(
    world: BridgeHarness,
) -> None:
    await world.load_roll(range(100))
    world.publish(law_vote(n) for n in range(100))
    bridge = world.bridge(
        SCRUTIN_TEST_DEPLOYMENT="true", SCRUTIN_TEST_FAILPOINTS="after_kafka_ack:raise"
    )
    async with bridge, asyncio.timeout(120):
        assert await bridge.ended() == ExitCode.STAGE_FAILED
    assert "this process fails on purpose" in bridge.log.read_text()
    assert await world.log_count() > 0
    await soon(lambda: world.released(VALIDATION), "RabbitMQ has seen the bridge go")
    assert world.ready(VALIDATION) > 0, "what was not acknowledged is back"


async def test_sigterm_passes_on_what_was_delivered(world: BridgeHarness) -> None:
    count = 30_000
    await world.load_roll(range(count))
    world.publish(law_vote(n) for n in range(count))
    # It stops in the middle, so that the signal comes while most of the votes are waiting.
    bridge = world.bridge(
        SCRUTIN_TEST_DEPLOYMENT="true",
        SCRUTIN_TEST_FAILPOINTS="after_kafka_ack:stop@6",
        RABBITMQ_PREFETCH_COUNT="2000",
    )
    bridge.start()

    async def stands() -> bool:
        bridge.check()
        return stopped(bridge)

    await until(stands, "the bridge is stopped")
    bridge.send(signal.SIGTERM)
    bridge.send(signal.SIGCONT)
    async with asyncio.timeout(60):
        assert await bridge.ended() == ExitCode.OK
    in_log = await world.log()
    identities = {p.item.identity for p in in_log}
    assert len(identities) == len(in_log), "nothing is there twice"
    # The bridge cancelled its consumer, so RabbitMQ returns the rest only after the channel has
    # ended: see test_deliveries_of_a_cancelled_consumer_come_back_after_the_channel.
    left = count - len(identities)
    assert left
    await soon(lambda: world.ready(VALIDATION) == left, "what is not there is in the queue")


async def test_deliveries_of_a_cancelled_consumer_come_back_after_the_channel(
    world: BridgeHarness,
) -> None:
    """No consumer is left, and yet not everything is back: what `released` does not say."""
    world.publish(law_vote(n) for n in range(10))
    taken: list[bytes] = []
    with world.channel() as channel:
        consumer = channel.basic_consume(VALIDATION, lambda *given: taken.append(given[-1]))
        while len(taken) < 10:
            channel.connection.process_data_events(time_limit=1)
        channel.basic_cancel(consumer)
        assert world.released(VALIDATION)
        assert world.ready(VALIDATION) == 0
    await soon(lambda: world.ready(VALIDATION) == 10, "all is back")


async def test_a_consumer_that_rabbitmq_cancels_is_not_told_as_a_deleted_queue(
    world: BridgeHarness,
) -> None:
    """As RabbitMQ 4.3 does after its acknowledgement timeout: the queue is there."""
    await world.load_roll(range(1))
    async with world.bridge() as bridge:
        await bridge.ready()
        bridge.send(signal.SIGSTOP)
        with world.channel() as channel:
            channel.queue_delete(VALIDATION)
            channel.queue_declare(VALIDATION, durable=True)
        bridge.send(signal.SIGCONT)
        world.publish([law_vote(0)])
        await world.logged(1)
        text = bridge.log.read_text()
    assert "deliveries waited longer than the acknowledgement timeout" in text
    assert "the queue was deleted" not in text


async def test_missing_queue_is_declared_and_a_deleted_one_again(world: BridgeHarness) -> None:
    await world.load_roll(range(2))
    async with world.bridge() as bridge:
        await bridge.ready()
        world.publish([law_vote(0)])
        await world.logged(1)
        with world.channel() as channel:
            channel.queue_delete(VALIDATION)
        await soon(lambda: world.exists(VALIDATION), "queue declared again")
        world.publish([law_vote(1)])
        await world.logged(2)
        with world.channel() as channel:
            # Durable and without arguments: the same declaration is accepted.
            channel.queue_declare(VALIDATION, durable=True)


async def test_a_missing_queue_is_declared_as_deployed_clients_declare_it(
    world: BridgeHarness,
) -> None:
    deployed = {
        VALIDATION: {"x-message-ttl": 86_400_000, "x-max-length": 1_000_000},
        AGGREGATION: {"x-max-priority": 10},
    }
    given = ",".join(
        f"{queue}:{name}={value}"
        for queue, arguments in deployed.items()
        for name, value in arguments.items()
    )
    ingress = ",".join(deployed)
    await world.load_roll(range(1))
    async with world.bridge(SCRUTIN_QUEUE_ARGUMENTS=given, SCRUTIN_INGRESS=ingress) as bridge:
        await bridge.ready()
        with world.channel() as channel:
            for n, (queue, arguments) in enumerate(deployed.items()):
                channel.queue_declare(queue, durable=True, arguments=arguments)
                channel.basic_publish("", queue, json.dumps(law_vote(n)).encode())
        await world.logged(2)


async def test_what_is_in_hand_outlives_its_queue_with_two_bridges(world: BridgeHarness) -> None:
    await world.load_roll(range(400))
    held = {"SCRUTIN_MAX_LAG_RECORDS": "3", "RABBITMQ_PREFETCH_COUNT": "100"}
    one, other = world.bridge("one", **held), world.bridge("other", **held)
    async with one, other:
        await one.ready()
        await other.ready()

        await fall_behind(world, one, other)
        world.publish([law_vote(n) for n in range(20, 80)])
        await soon(lambda: world.ready(VALIDATION) == 0, "deliveries wait in both bridges")
        with world.channel() as channel:
            channel.queue_delete(VALIDATION)
            # The first one declares it again; the bridges find it there.
            channel.queue_declare(VALIDATION, durable=True)
        count = 'scrutin_bridge_reconnects_total{service="rabbitmq"}'

        async def back() -> bool:
            return min([await world.metric(b, count) for b in (one, other)]) >= 1

        await until(back, "both read again")
        await catch_up(world, 80, one, other)


async def fall_behind(world: BridgeHarness, *bridges: Program) -> None:
    """Publish votes of the first 20 voters until the bridges are stopped; they hold few.

    Nobody reads: the records, genesis included, soon are more than may wait.
    """
    sent = 0

    async def paused() -> bool:
        nonlocal sent
        found = [await world.metric(bridge, "scrutin_bridge_paused") for bridge in bridges]
        if all(found):
            return True
        if len(await world.log()) == sent:
            sent += world.publish([law_vote(n) for n in range(20)])
        return False

    await until(paused, "pause")


async def catch_up(world: BridgeHarness, count: int, *bridges: Program) -> None:
    """Let the workers be at the end of the log, until it has so many submissions."""

    async def flowing() -> bool:
        await world.commit_workers()
        found = [await world.metric(bridge, "scrutin_bridge_paused") for bridge in bridges]
        return not any(found) and await world.log_count() >= count

    await until(flowing, f"the intake goes on, {count} submissions in the log")


async def test_exchange_of_deployed_clients_is_bound(world: BridgeHarness) -> None:
    await world.load_roll(range(1))
    with world.channel() as channel:
        channel.exchange_declare("votes.exchange", "topic", durable=True)
    async with world.bridge() as bridge:
        await bridge.ready()
        with world.channel() as channel:
            channel.basic_publish("votes.exchange", "vote.submitted", json_of(law_vote(0)).encode())
        await world.logged(1)
    with world.channel() as channel:
        channel.exchange_delete("votes.exchange")


async def test_roll_decides_and_prevalidated_votes_do_not_ask(world: BridgeHarness) -> None:
    await world.load_roll([0, 1])
    # Others may write hashes in capital letters.
    await world.redis.sadd("valid_hashes", voter(2).upper())
    world.publish([law_vote(0), law_vote(1), law_vote(2), law_vote(5)], message_id="m")
    world.publish([law_vote(6)], queue=AGGREGATION)
    async with world.bridge(SCRUTIN_INGRESS=f"{VALIDATION},{AGGREGATION}"):
        placed = await world.logged(5)
    flags = {p.item.hash: p.item.flags for p in placed if isinstance(p.item, Vote)}
    assert flags == {
        voter(0): Flag.ON_ROLL | Flag.MESSAGE_ID,
        voter(1): Flag.ON_ROLL | Flag.MESSAGE_ID,
        voter(2): Flag.ON_ROLL | Flag.MESSAGE_ID,
        voter(5): Flag.MESSAGE_ID,
        voter(6): Flag.ON_ROLL | Flag.PREVALIDATED,
    }


async def test_prevalidated_queue_alone_needs_no_roll(world: BridgeHarness) -> None:
    world.publish([law_vote(0)], queue=AGGREGATION)
    async with world.bridge(SCRUTIN_INGRESS=AGGREGATION) as bridge:
        await world.logged(1)
        await bridge.ready()


async def test_missing_or_shrunken_roll_is_an_outage(world: BridgeHarness) -> None:
    world.publish([law_vote(0)])
    async with world.bridge(MAX_RETRY_ATTEMPTS="2") as bridge:

        async def not_ready() -> bool:
            status, text = await world.fetch(bridge, "ready")
            return status == 503 and "roll is unavailable" in text

        await until(not_ready, "not ready without a roll")
        assert await world.log_count() == 0
        await world.load_roll(range(100))
        placed = await world.logged(1)
        assert placed[0].item.flags == Flag.ON_ROLL
        await bridge.ready()

        await world.redis.srem("valid_hashes", *[voter(n) for n in range(2, 60)])
        await until(not_ready, "not ready with a shrunken roll")
        world.publish([law_vote(1)])
        await world.load_roll(range(2, 60))
        placed = await world.logged(2)
        assert {p.item.flags for p in placed} == {Flag.ON_ROLL}


async def test_open_roll_asks_nobody(world: BridgeHarness) -> None:
    world.publish([law_vote(0)])
    async with world.bridge(SCRUTIN_ROLL="open") as bridge:
        (placed,) = await world.logged(1)
        await bridge.ready()
    assert placed.item.flags == Flag.ON_ROLL


async def test_small_prefetch_does_not_wait_for_the_timer(world: BridgeHarness) -> None:
    """With the timer alone 100 votes in fives would take 19 s from the first to the last."""
    await world.load_roll(range(100))
    world.publish(law_vote(n) for n in range(100))
    async with world.bridge(RABBITMQ_PREFETCH_COUNT="5", SCRUTIN_FLUSH_MS="1000") as bridge:
        await bridge.ready()
        placed = await world.logged(100)
    took_ms = max(p.batch.ingest_ms for p in placed) - min(p.batch.ingest_ms for p in placed)
    assert took_ms < 19_000


async def test_workers_that_lag_hold_the_intake_back(world: BridgeHarness) -> None:
    await world.load_roll(range(40))
    async with world.bridge(SCRUTIN_MAX_LAG_RECORDS="3") as bridge:
        await bridge.ready()
        await fall_behind(world, bridge)
        world.publish([law_vote(n) for n in range(20, 40)])
        await soon(lambda: world.ready(VALIDATION) == 0, "deliveries wait in the bridge")
        written = {p.item.hash for p in await world.log() if isinstance(p.item, Vote)}
        assert not written & {voter(n) for n in range(20, 40)}
        await catch_up(world, 40, bridge)


async def test_odd_headers_stop_nobody(world: BridgeHarness) -> None:
    """pika itself raises on a header with a time in milliseconds."""
    await world.load_roll(range(2))
    world.publish([law_vote(0)], headers={"sent": FarFuture(2000, 1, 1, tzinfo=UTC)})
    world.publish([law_vote(1)])
    async with world.bridge() as bridge:
        await world.logged(2)
        assert (
            await world.metric(bridge, 'scrutin_bridge_reconnects_total{service="rabbitmq"}') == 0
        )


class FarFuture(datetime):
    """Encodes as a time that no datetime can hold."""

    def utctimetuple(self):  # type: ignore[no-untyped-def]
        return (9999, 12, 31, 10**9, 0, 0, 0, 1, 0)


async def test_bad_settings_have_their_exit_code(world: BridgeHarness) -> None:
    bridge = world.bridge(SCRUTIN_FLUSH="20")
    bridge.start()
    assert await asyncio.wait_for(bridge.ended(), 120) == ExitCode.BAD_SETTINGS
    assert "SCRUTIN_FLUSH" in "\n".join(bridge.tail())

"""Egress: verdicts to RabbitMQ, committed when RabbitMQ has them."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from schemas.verdicts import Reason, Rejection, Status
from schemas.votes import Malformed, Vote
from streams.core.topics import VALIDATED_TOPIC, egress_group
from streams.devstack import Stack
from streams.errors import ExitCode
from tests.harness import until, wipe
from tests.integration.bridge_harness import (
    AGGREGATION,
    APP_ID,
    REVIEW,
    BridgeHarness,
    law_vote,
    soon,
    voter,
)


@pytest.fixture
async def world(stack: Stack, tmp_path: Path) -> AsyncIterator[BridgeHarness]:
    async with BridgeHarness(stack, tmp_path) as world:
        yield world


def odd_ones_are_duplicates(index: int, item: Vote | Malformed) -> Rejection | None:
    if isinstance(item, Malformed):
        return Rejection(index, Status.MALFORMED, item.reason)
    if int(item.citizen_id.rpartition("-")[2]) % 2:  # type: ignore[union-attr]
        return Rejection(index, Status.DUPLICATE, Reason.ALREADY_VOTED, 1)
    return None


async def egress_committed(world: BridgeHarness) -> int:
    """Records of `votes.validated` whose reviews RabbitMQ has."""
    return await world.committed(egress_group(APP_ID))


async def filled(world: BridgeHarness, count: int, **settings: str) -> None:
    """Bring votes and one malformed message into the log."""
    await world.load_roll(range(count))
    world.publish([*(law_vote(n) for n in range(count)), b"no vote"])
    async with world.bridge("filler", **settings):
        await world.logged(count + 1)


async def test_every_rejection_is_reviewed_once_and_committed(world: BridgeHarness) -> None:
    await filled(world, 1000)
    judged = await world.validator(odd_ones_are_duplicates)
    async with world.bridge() as bridge:
        await soon(lambda: world.ready(REVIEW) >= 501, "reviews")
        await until_committed(world, len(judged))
        published = f'scrutin_bridge_published_total{{queue="{REVIEW}"}}'
        assert await world.metric(bridge, published) == 501
    messages = world.drain_queue(REVIEW)
    assert len(messages) == 501
    assert len({properties.message_id for properties, _ in messages}) == 501
    for properties, _ in messages:
        assert properties.content_type == "application/json"
        assert properties.delivery_mode == 2
    reviews = [json.loads(body) for _, body in messages]
    assert Counter(r["status"] for r in reviews) == {"duplicate": 500, "malformed": 1}
    assert {r["voter_hash"] for r in reviews if r["voter_hash"]} == {
        voter(n) for n in range(1, 1000, 2)
    }
    # A second bridge goes on behind the commit.
    async with world.bridge() as bridge:
        await bridge.ready()
        await world.validator(lambda *_: None)
        await until_committed(world, 2 * len(judged))
    assert world.ready(REVIEW) == 0


async def until_committed(world: BridgeHarness, count: int) -> None:
    """Wait until so many are; those before them have all their reviews then."""

    async def there() -> bool:
        found = await egress_committed(world)
        assert found <= count
        return found == count

    await until(there, f"{count} records committed")


async def test_a_full_queue_is_tried_again_and_does_not_stop_the_intake(
    world: BridgeHarness,
) -> None:
    await filled(world, 40)
    judged = await world.validator(odd_ones_are_duplicates)
    with world.channel() as channel:
        channel.queue_delete(REVIEW)
        channel.queue_declare(
            REVIEW, durable=True, arguments={"x-max-length": 5, "x-overflow": "reject-publish"}
        )
    seen: set[str | None] = set()
    async with world.bridge() as bridge:
        await soon(lambda: world.ready(REVIEW) >= 5, "a full queue")
        # The intake goes on while the egress is stuck.
        await world.load_roll(range(1000, 1010))
        world.publish(law_vote(n) for n in range(1000, 1010))
        await world.logged(51)
        bridge.check()

        async def taken() -> bool:
            all_there = await egress_committed(world) == len(judged)
            # Also what comes twice, or there would be no room for the rest.
            for properties, _ in await asyncio.to_thread(world.drain_queue, REVIEW):
                seen.add(properties.message_id)
            return all_there

        await until(taken, "all reviews", within_s=120)
    assert len(seen) == 21


async def test_a_review_queue_that_vanishes_is_declared_again(world: BridgeHarness) -> None:
    await filled(world, 20)
    async with world.bridge() as bridge:
        await bridge.ready()
        judged = await world.validator(odd_ones_are_duplicates)
        await until_committed(world, len(judged))
        assert world.ready(REVIEW) == 11
        with world.channel() as channel:
            channel.queue_delete(REVIEW)
        await world.validator(odd_ones_are_duplicates)
        await until_committed(world, 2 * len(judged))
        assert await world.metric(bridge, f'scrutin_bridge_returned_total{{queue="{REVIEW}"}}') > 0
    messages = world.drain_queue(REVIEW)
    assert len({properties.message_id for properties, _ in messages}) == 11


async def test_killed_egress_repeats_with_the_same_ids(world: BridgeHarness) -> None:
    await filled(world, 5000)
    judged = await world.validator(odd_ones_are_duplicates)
    bridge = world.bridge()
    bridge.start()
    await soon(lambda: world.ready(REVIEW) > 0, "first reviews")
    await bridge.kill()
    async with world.bridge() as second:
        await second.ready()
        # Their number tells nothing: what the first had published comes again.
        await until_committed(world, len(judged))
    messages = world.drain_queue(REVIEW)
    assert len({properties.message_id for properties, _ in messages}) == 2501


async def test_rabbitmq_restarts_under_the_egress(world: BridgeHarness) -> None:
    await filled(world, 2000)
    async with world.bridge() as bridge:
        await bridge.ready()
        judged = await world.validator(odd_ones_are_duplicates)
        await asyncio.to_thread(world.stack.stop, "rabbitmq")
        await asyncio.to_thread(world.stack.start, "rabbitmq")
        # Some may come twice, so that their number tells nothing.
        await until_committed(world, len(judged))
        bridge.check()
    messages = world.drain_queue(REVIEW)
    assert len({properties.message_id for properties, _ in messages}) == 1001


async def test_counted_votes_for_another_aggregator(world: BridgeHarness) -> None:
    await filled(world, 20)
    await world.validator(odd_ones_are_duplicates)
    async with world.bridge(SCRUTIN_SINK="off", SCRUTIN_EGRESS=f"{REVIEW},{AGGREGATION}"):
        await soon(lambda: world.ready(REVIEW) == 11, "reviews")
        await soon(lambda: world.ready(AGGREGATION) == 10, "counted votes")
    messages = world.drain_queue(AGGREGATION)
    assert {json.loads(body)["voter_hash"] for _, body in messages} == {
        voter(n) for n in range(0, 20, 2)
    }
    assert {json.loads(body)["status"] for _, body in messages} == {"valid"}
    assert len({properties.message_id for properties, _ in messages}) == 10


async def test_an_undecodable_record_ends_the_bridge_by_name(world: BridgeHarness) -> None:
    await world.write_verdicts(b"\xc1 not MessagePack", partition=2)
    bridge = world.bridge()
    bridge.start()
    async with asyncio.timeout(120):
        assert await bridge.ended() == ExitCode.POISON_RECORD
    text = "\n".join(bridge.tail())
    assert f"topic {VALIDATED_TOPIC}, partition 2, offset 0" in text
    # It would stop the next reader of this topic.
    await wipe(world.stack.env())


async def test_readers_find_the_review_queue_before_the_first_review(world: BridgeHarness) -> None:
    await world.load_roll(range(1))
    async with world.bridge() as bridge:
        await bridge.ready()

        async def declared() -> bool:
            return world.exists(REVIEW)

        await until(declared, "the review queue")

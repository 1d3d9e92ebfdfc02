"""The harness goes red: each scenario runs a product that breaks an invariant on purpose.

They are the ordinary scenarios that are most fit to reveal it. What the oracle must find is named;
a broken product that passes is a failure.
"""

from __future__ import annotations

import asyncio

from streams.runtime.failpoints import Action, Point
from tests.faults.registry import scenario
from tests.faults.scenarios_failpoints import SOON, dead, strike
from tests.faults.scenarios_postgres import lose_commit_replies
from tests.faults.scenarios_queues import FORM as QUEUE_FORM
from tests.faults.scenarios_queues import LIMIT, LIMITED, end_often_without_roll
from tests.faults.surroundings import broken, proxied_postgres, queue_of
from tests.faults.world import World

GROUP = "broken"
VOTES = 10_000
RATE = 500.0
DRAIN_S = 15.0
"""A broken product may never be done."""


@scenario(
    GROUP,
    votes=VOTES,
    assembly=False,
    rate=RATE,
    drain_s=DRAIN_S,
    around=broken("ack_before_kafka"),
    reveals=frozenset({"lost_before_kafka"}),
)
async def broken_acknowledged_before_kafka(world: World) -> None:
    """RabbitMQ is acknowledged before Kafka has the votes; bridges die while Kafka is down."""
    async with world.voting():
        await world.counted(0.2)
        await asyncio.to_thread(world.stack.pause, "kafka")
        try:
            await asyncio.sleep(2)
            for bridge in world.bridges:
                await world.kill(bridge)
        finally:
            await asyncio.to_thread(world.stack.resume, "kafka")
        for bridge in world.bridges:
            world.begin(bridge)


@scenario(
    GROUP,
    votes=VOTES,
    assembly=False,
    rate=RATE,
    drain_s=DRAIN_S,
    around=broken("no_fence", proxied_postgres),
    # What comes twice meets the database's own keys, which ends the worker: the count stays right
    # in this case, by luck, but nobody may die of an answer that was lost.
    reveals=frozenset({"counted_and_rejected", "rejected_twice", "unexpected_exit"}),
)
async def broken_without_fence(world: World) -> None:
    """The sink does not know what it has applied; answers to COMMIT are lost."""
    await lose_commit_replies(world, times=5)


@scenario(
    GROUP,
    votes=VOTES,
    assembly=False,
    rate=RATE,
    drain_s=DRAIN_S,
    around=broken("changelog_after_verdict"),
    reveals=frozenset({"changelog_missing"}),
    exits=frozenset({21}),
)
async def broken_changelog_after_verdict(world: World) -> None:
    """Verdicts go out before the voted table's changelog; workers die in between."""
    await strike(world, Point.AFTER_VERDICT, Action.KILL, dead, passages=SOON)


@scenario(
    GROUP,
    votes=VOTES,
    assembly=False,
    rate=RATE,
    drain_s=DRAIN_S,
    around=broken("no_redelivery_identity"),
    reveals=frozenset({"counted_and_rejected"}),
)
async def broken_without_identity(world: World) -> None:
    """A redelivered message is not recognised; bridges die before they acknowledge."""
    await strike(world, Point.AFTER_KAFKA_ACK, Action.KILL, dead, passages=SOON)


@scenario(
    GROUP,
    votes=VOTES,
    assembly=False,
    rate=RATE,
    drain_s=DRAIN_S,
    around=broken("takes_in_outages", queue_of(LIMITED, accepted=True)),
    settings=QUEUE_FORM["settings"],
    reveals=frozenset({"lost_before_kafka"}),
)
async def broken_takes_in_outages(world: World) -> None:
    """Bridges take votes while the roll is missing, and end more often than the queue allows."""
    async with world.voting():
        await world.counted(0.2)
        await end_often_without_roll(world, LIMIT + 1)

"""Each type of queue that RabbitMQ has, with more ends of bridges in an outage than it allows.

A quorum queue removes a message that was returned more often than its delivery limit. So the roll
is missing until every bridge has ended more often than that, and the oracle looks for each vote.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

import aiohttp

from streams.errors import ExitCode
from streams.load.programs import Program
from tests.faults.registry import Run, scenario
from tests.faults.scenarios_postgres import told
from tests.faults.services import VALIDATION, Rabbit
from tests.faults.surroundings import queue_of
from tests.faults.world import World
from tests.harness import until

GROUP: Final = "queue"
LIMIT: Final = 2
OWN_LIMIT: Final = 20
"""Of a quorum queue from RabbitMQ 4.0 on."""
DEAD: Final = "votes.dead"
QUORUM: Final = {"x-queue-type": "quorum"}
LIMITED: Final = {**QUORUM, "x-delivery-limit": LIMIT}
DEAD_LETTERS: Final = {"dead-letter-exchange": "", "dead-letter-routing-key": DEAD}
SINGLE: Final = {"x-single-active-consumer": True}
_SHORT_PATIENCE_MS: Final = 3_000
_TOO_LATE: Final = (
    "delivery acknowledgement on channel",
    "longer than the acknowledgement timeout",
)
_TOLD_WITHIN_S: Final = 15.0
"""Classic queues have no such limit from RabbitMQ 4.3 on."""
FORM: Final[Mapping[str, Any]] = {
    "votes": 15_000,
    "rate": 200.0,
    "workers": 1,
    "settings": {"MAX_RETRY_ATTEMPTS": "1", "SCRUTIN_DRAIN_TIMEOUT_S": "4"},
}


def faults_in_turn(about: str, ends: int = LIMIT + 1) -> Run:
    """A scenario: outages of Kafka and of the roll, kills and SIGTERMs, acknowledgements too late.

    Args:
        about: the queue in a line.
        ends: how often each bridge ends while the roll is missing.
    """

    async def run(world: World) -> None:
        rabbit = Rabbit(world.stack)
        async with world.voting():
            await world.counted(0.05)
            await end_often_without_roll(world, ends)
            if world.short:
                return
            for end in (world.kill, world.terminate):
                for bridge in world.bridges:
                    await end(bridge)
                    world.begin(bridge)
                    await world.ready(bridge)
            async with _no_kafka(world):
                # A bridge that starts in it takes nothing by construction: it knows no topic yet.
                await _end_often(world, "kafka", LIMIT + 1)
            async with rabbit.impatient(_SHORT_PATIENCE_MS):
                await _end_all(world, kill=False)
                await world.all_ready()
                async with _no_kafka(world):
                    with suppress(AssertionError):
                        await told(world.bridges, *_TOO_LATE, within_s=_TOLD_WITHIN_S)
            await _end_all(world, kill=True)

    run.__doc__ = f"{about}: bridges end again and again in outages, and acknowledge too late."
    return run


@asynccontextmanager
async def _no_kafka(world: World) -> AsyncIterator[None]:
    await asyncio.to_thread(world.stack.pause, "kafka")
    try:
        yield
    finally:
        await asyncio.to_thread(world.stack.resume, "kafka")


async def _end_all(world: World, *, kill: bool) -> None:
    """Each bridge ends and starts again, all at the same time."""
    end = world.kill if kill else world.terminate
    await asyncio.gather(*(end(bridge) for bridge in world.bridges))
    for bridge in world.bridges:
        world.begin(bridge)


async def end_often_without_roll(world: World, ends: int) -> None:
    """The roll is missing, until each bridge has ended that often."""
    redis = world.addresses.redis()
    await redis.unlink("valid_hashes")
    await redis.aclose()
    await _end_often(world, "roll", ends)
    await world.fill_roll()


async def _end_often(world: World, service: str, ends: int) -> None:
    """End the bridges that often, each time when they wait for a service; SIGKILL comes first."""
    for number in range(ends):
        await _wait_for(world.bridges, service)
        await _end_all(world, kill=number % 2 == 0)
    await _wait_for(world.bridges, service)


async def _wait_for(bridges: list[Program], service: str) -> None:
    async def all_say_so() -> bool:
        pages = [await _ready_page(bridge) for bridge in bridges]
        return all(f"{service} is unavailable" in page for page in pages)

    await until(all_say_so, f"each bridge says that {service} is unavailable", within_s=90)


async def _ready_page(program: Program) -> str:
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as session,
            session.get(f"http://127.0.0.1:{program.port}/ready") as answer,
        ):
            return await answer.text()
    except (aiohttp.ClientError, TimeoutError):
        return ""


_KINDS: Final[Mapping[str, tuple[str, Mapping[str, Any]]]] = {
    "classic": ("A classic queue", {}),
    "classic-single": ("A classic queue with a single active consumer", SINGLE),
    "classic-priority": ("A classic queue that orders by priority", {"x-max-priority": 9}),
    "quorum": ("A quorum queue without a delivery limit", QUORUM),
    "quorum-single": ("A quorum queue with a single active consumer", {**QUORUM, **SINGLE}),
    "quorum-priority": ("A quorum queue whose messages have priorities", QUORUM),
}
for _name, (_about, _arguments) in _KINDS.items():
    scenario(
        GROUP,
        name=_name,
        around=queue_of(_arguments),
        priorities=_name.endswith("priority"),
        **FORM,
    )(faults_in_turn(_about))
scenario(
    GROUP,
    name="quorum-limit",
    around=queue_of(LIMITED, accepted=True),
    short=True,
    short_votes=1_500,
    **FORM,
)(faults_in_turn(f"A quorum queue with a delivery limit of {LIMIT}"))
scenario(
    GROUP,
    name="quorum-own-limit",
    around=queue_of(QUORUM, accepted=True, own_limit=True),
    **FORM,
)(faults_in_turn(f"A quorum queue with RabbitMQ's own limit of {OWN_LIMIT}", OWN_LIMIT + 1))


@scenario(GROUP, around=queue_of(QUORUM, {"delivery-limit": LIMIT, **DEAD_LETTERS}), **FORM)
async def quorum_dead_letters(world: World) -> None:
    """Somebody looks at the queue more often than its limit; the dead letters are moved back."""
    rabbit = Rabbit(world.stack)
    await rabbit.declare(DEAD, {})
    try:
        async with world.voting():
            await world.counted(0.05)
            await _without_bridges(world)
            await world.published(0.5)
            async with world.publisher.held():
                for _ in range(LIMIT + 1):
                    await until(lambda: rabbit.ready(VALIDATION), "the votes are back")
                    await rabbit.take_all(VALIDATION)
                await until(lambda: rabbit.ready(DEAD), "votes are dead letters")
            for bridge in world.bridges:
                world.begin(bridge)

        async def all_moved() -> bool:
            await rabbit.move_back(DEAD, VALIDATION)
            return await world.observer.rows() >= len(world.publisher.confirmed)

        await until(all_moved, "the dead letters are moved back and counted", within_s=120)
    finally:
        await rabbit.delete_queue(DEAD)


@scenario(GROUP, exits=frozenset({ExitCode.TOPOLOGY_MISMATCH}), **FORM)
async def stream_refused(world: World) -> None:
    """A stream queue is refused and keeps its messages, until they are moved to a classic queue."""
    rabbit = Rabbit(world.stack)
    async with world.voting():
        await world.counted(0.05)
        async with world.publisher.held():
            await until(lambda: _empty(rabbit), "all votes are taken")
            await _without_bridges(world)
            await rabbit.delete_queue(VALIDATION)
            await rabbit.declare(VALIDATION, {"x-queue-type": "stream"})
            before = world.publisher.sent
        await world.published(0.5)
        for bridge in world.bridges:
            world.begin(bridge)
        await told(world.bridges, "The queue loses votes: a stream queue")
        async with world.publisher.held():
            await _without_bridges(world)
            kept = await rabbit.take_all(
                VALIDATION,
                {"x-stream-offset": "first"},
                at_least=world.publisher.sent - before,
            )
            await rabbit.delete_queue(VALIDATION)
            await rabbit.declare(VALIDATION, {})
            await rabbit.publish(VALIDATION, kept)
        for bridge in world.bridges:
            world.begin(bridge)


async def _without_bridges(world: World) -> None:
    """Every bridge ends; none has deliveries then."""
    await asyncio.gather(*(world.terminate(bridge) for bridge in world.bridges if bridge.running))


async def _empty(rabbit: Rabbit) -> bool:
    return await rabbit.ready(VALIDATION) == 0

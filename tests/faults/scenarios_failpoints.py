"""Processes die, or are frozen, exactly between two writes."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final

from streams.errors import StackError
from streams.load.programs import Program
from streams.runtime.failpoints import Action, Point
from tests.faults.oracle import Finding
from tests.faults.registry import scenario
from tests.faults.world import World
from tests.harness import stopped

_PASSAGES: Final = 30
SOON: Final = 5
"""Few votes come in the time that a frozen process takes."""
_PATIENCE_S: Final = 90.0
_FROZEN_S: Final = 16.0
"""Longer than the session timeout of 10 s: the partitions have another owner by then."""

Struck = Callable[[World, Program], Awaitable[None]]


async def strike(
    world: World, point: Point, action: Action, struck: Struck, passages: int = _PASSAGES
) -> None:
    """Every process that has the point meets it again and again while votes come.

    Args:
        world: the running count.
        point: where.
        action: what happens there.
        struck: waits until it has happened to a program, and for what follows.
        passages: a process reaches its point at most so many passages after its start.
    """
    bridges = point in {Point.AFTER_KAFKA_ACK, Point.AFTER_CONFIRM}
    programs = world.bridges if bridges else world.workers
    once = asyncio.Event()

    async def again_and_again(program: Program) -> None:
        while True:
            await start_armed(world, program, point, action, passages)
            await struck(world, program)
            once.set()

    async def long_enough() -> None:
        await world.published(0.9)
        # Where starting takes long, votes wait for the processes that are to be struck.
        with suppress(TimeoutError):
            await asyncio.wait_for(once.wait(), _PATIENCE_S)

    async with world.voting():
        await world.counted(0.05)
        striking = [asyncio.create_task(again_and_again(program)) for program in programs]
        enough = asyncio.create_task(long_enough())
        await asyncio.wait([enough, *striking], return_when=asyncio.FIRST_COMPLETED)
        for task in (enough, *striking):
            task.cancel()
        for outcome in await asyncio.gather(enough, *striking, return_exceptions=True):
            if isinstance(outcome, Exception):
                raise outcome
        for program in programs:
            # Some are on their way to the point.
            await world.kill(program)
            world.begin(program)
    if not once.is_set():
        world.findings.append(Finding("no_strike", f"nobody came to {point}"))


async def start_armed(
    world: World, program: Program, point: Point, action: Action, passages: int
) -> None:
    """Start a program, or restart it, so that it meets a point at one of its first passages."""
    if program.running:
        await world.terminate(program)
    passage = world.random.randint(1, passages)
    program.start(
        SCRUTIN_TEST_DEPLOYMENT="true",
        SCRUTIN_TEST_FAILPOINTS=f"{point}:{action}@{passage}",
    )


async def dead(world: World, program: Program) -> None:
    """It kills itself."""
    code = await program.ended()
    if code != -signal.SIGKILL:
        what = f"{program.name} ended with {code} before its failpoint, {program.log}"
        world.findings.append(Finding("unexpected_exit", what))


async def frozen(world: World, program: Program) -> None:
    """It stops itself; when others have taken over it goes on as if nothing had been."""
    del world
    while not stopped(program):  # noqa: ASYNC110 - nothing tells us
        await asyncio.sleep(0.05)
    try:
        await asyncio.sleep(_FROZEN_S)
    finally:
        program.send(signal.SIGCONT)
    # It finds out that its partitions are gone while the count goes on.
    await asyncio.sleep(2)


@scenario("failpoint", short=True, rate=200)
async def killed_between_writes(world: World) -> None:
    """Each process dies once between two writes, all at about the same time."""
    deaths = [
        (world.workers[0], Point.AFTER_CHANGELOG),
        (world.bridges[0], Point.AFTER_KAFKA_ACK),
        (world.workers[1], Point.BEFORE_COMMIT),
        (world.workers[2], Point.AFTER_COMMIT),
        (world.bridges[1], Point.AFTER_CONFIRM),
    ]

    async def arm(program: Program, point: Point) -> None:
        await start_armed(world, program, point, Action.KILL, passages=5)
        # What waits already may bring it to the point.
        with suppress(StackError):
            await program.ready()

    async def die(program: Program) -> None:
        async with asyncio.timeout(_PATIENCE_S):
            await dead(world, program)
        world.begin(program)

    async with world.voting():
        await world.published(0.1)
        chosen = deaths[: 2 if world.short else None]
        async with world.publisher.held():
            # Starting takes long where much else runs: enough votes must be left to come by.
            await world.counted(0.05)
            await asyncio.gather(*(arm(*one) for one in chosen))
        await asyncio.gather(*(die(program) for program, _ in chosen))


@scenario("failpoint", heavy=True, rate=2500)
async def killed_after_kafka_ack(world: World) -> None:
    """Bridges die when Kafka has a record and RabbitMQ has no acknowledgement."""
    await strike(world, Point.AFTER_KAFKA_ACK, Action.KILL, dead)


@scenario("failpoint", heavy=True, rate=2500)
async def killed_after_changelog(world: World) -> None:
    """Workers die when the changelog has a group and its verdicts are not written."""
    await strike(world, Point.AFTER_CHANGELOG, Action.KILL, dead)


@scenario("failpoint", heavy=True, rate=2500)
async def killed_after_verdict(world: World) -> None:
    """Workers die when verdicts are written and the input is not committed."""
    await strike(world, Point.AFTER_VERDICT, Action.KILL, dead)


@scenario("failpoint", heavy=True, rate=2500)
async def killed_before_commit(world: World) -> None:
    """Workers die when a transaction is complete but for its COMMIT."""
    await strike(world, Point.BEFORE_COMMIT, Action.KILL, dead)


@scenario("failpoint", heavy=True, rate=2500)
async def killed_after_commit(world: World) -> None:
    """Workers die when PostgreSQL has committed and Kafka has not."""
    await strike(world, Point.AFTER_COMMIT, Action.KILL, dead)


@scenario("failpoint", heavy=True, rate=2500)
async def killed_after_confirm(world: World) -> None:
    """Bridges die when RabbitMQ has confirmed the reviews and Kafka has no commit."""
    await strike(world, Point.AFTER_CONFIRM, Action.KILL, dead)


@scenario("zombie", rate=400)
async def frozen_after_changelog(world: World) -> None:
    """Workers are frozen between changelog and verdicts; their later writes are late."""
    await strike(world, Point.AFTER_CHANGELOG, Action.STOP, frozen, passages=SOON)


@scenario("zombie", rate=400)
async def frozen_before_commit(world: World) -> None:
    """Workers are frozen before COMMIT, with the fence locked, until PostgreSQL ends them."""
    await strike(world, Point.BEFORE_COMMIT, Action.STOP, frozen, passages=SOON)


@scenario("zombie", rate=400)
async def frozen_after_kafka_ack(world: World) -> None:
    """Bridges are frozen with deliveries that Kafka has and RabbitMQ may hand out again."""
    await strike(world, Point.AFTER_KAFKA_ACK, Action.STOP, frozen, passages=SOON)

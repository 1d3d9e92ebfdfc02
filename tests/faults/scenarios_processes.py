"""Workers and bridges are killed, ended, frozen, and come back."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from streams.load.programs import Program
from tests.faults.registry import scenario
from tests.faults.services import Postgres
from tests.faults.world import World

FROZEN_S = 16.0
"""Beyond the workers' session timeout of 10 s: the group takes their partitions away."""


@scenario("calm")
async def calm(world: World) -> None:
    """Nothing happens: the harness itself is right."""
    async with world.voting():
        await world.counted(0.2)


async def killed(world: World, program: Program) -> None:
    """A program is killed in the middle and started again."""
    async with world.voting():
        await world.counted(0.2)
        await world.kill(program)
        world.begin(program)
        await world.ready(program)


@scenario("kill")
async def worker_killed(world: World) -> None:
    """One worker is killed and started again."""
    await killed(world, world.workers[0])


@scenario("kill")
async def bridge_killed(world: World) -> None:
    """One bridge is killed and started again."""
    await killed(world, world.bridges[0])


@scenario("kill", short=True, rate=400, short_votes=7000)
async def processes_in_turn(world: World) -> None:
    """A worker is killed, a bridge too, a worker ended, and one frozen beyond its session."""
    first, second, third = world.workers
    async with world.voting():
        await world.counted(0.1)
        for program in (first, world.bridges[0]):
            await world.kill(program)
            world.begin(program)
            await world.ready(program)
        await world.terminate(second)
        world.begin(second)
        await world.freeze(third, FROZEN_S)


async def while_voting(world: World, strike: Callable[[], Awaitable[None]]) -> None:
    """Strike again and again until the last vote is sent; at the end everything runs."""
    async with world.voting():
        await world.counted(0.05)
        while not world.all_sent:
            await strike()
        await world.restart_all()


@scenario("kill", heavy=True, rate=1500)
async def random_kills(world: World) -> None:
    """Workers and bridges are killed at random, one every 5 to 20 s."""

    async def strike() -> None:
        await asyncio.sleep(world.random.uniform(5, 20) * world.span_s(1, 0.2))
        program = world.random.choice(world.programs)
        await world.kill(program)
        await asyncio.sleep(world.random.uniform(0, 3))
        world.begin(program)

    await while_voting(world, strike)


@scenario("kill", rate=800)
async def ended_under_load(world: World) -> None:
    """Workers and bridges are ended by SIGTERM at random, one every few seconds."""

    async def strike() -> None:
        program = world.random.choice(world.programs)
        await world.terminate(program)
        await asyncio.sleep(world.random.uniform(0, 1))
        world.begin(program)
        await asyncio.sleep(world.random.uniform(0, 4))

    await while_voting(world, strike)


@scenario("kill", rate=800)
async def rolling_restart(world: World) -> None:
    """As an upgrade does it: each worker, then each bridge is ended, started and awaited."""
    async with world.voting():
        await world.counted(0.1)
        for program in (*world.workers, *world.bridges):
            await world.terminate(program)
            world.begin(program)
            await world.ready(program)


@scenario("kill", rate=800)
async def all_killed(world: World) -> None:
    """Everything is killed at once, twice."""
    async with world.voting():
        for share in (0.2, 0.5):
            await world.counted(share)
            await asyncio.gather(*(world.kill(program) for program in world.programs))
            await asyncio.sleep(2)
            await world.restart_all()


@scenario("zombie", heavy=True, rate=1700)
async def worker_frozen(world: World) -> None:
    """Each worker in turn is frozen beyond its session, others take over, and it thaws."""
    async with world.voting():
        await world.counted(0.05)
        for worker in world.workers:
            await world.freeze(worker, FROZEN_S)
            await asyncio.sleep(world.random.uniform(0, 3))


@scenario("zombie", rate=400)
async def two_workers_frozen(world: World) -> None:
    """Two workers are frozen beyond their session and thaw at the same moment, twice."""
    async with world.voting():
        await world.counted(0.05)
        for _ in range(2):
            frozen = world.random.sample(world.workers, 2)
            await asyncio.gather(*(world.freeze(worker, FROZEN_S) for worker in frozen))
            await asyncio.sleep(world.random.uniform(3, 6))


@scenario("zombie", rate=500)
async def bridge_frozen(world: World) -> None:
    """A bridge is frozen for 30 s with unacknowledged deliveries and records, and thaws."""
    async with world.voting():
        await world.counted(0.1)
        await world.freeze(world.bridges[0], 30)


@scenario("storm", heavy=True, rate=900)
async def rebalance_storm(world: World) -> None:
    """Three workers come and go by SIGTERM, SIGKILL and 16 s of SIGSTOP, all at once."""

    async def come_and_go(worker: Program) -> None:
        await asyncio.sleep(world.random.uniform(0, 8))
        how = world.random.choice(("SIGTERM", "SIGKILL", "SIGSTOP"))
        if how == "SIGSTOP":
            await world.freeze(worker, FROZEN_S)
        else:
            await (world.terminate if how == "SIGTERM" else world.kill)(worker)
            await asyncio.sleep(world.random.uniform(0, 5))
            world.begin(worker)
        await asyncio.sleep(world.random.uniform(0, 8))

    async def always(worker: Program) -> None:
        while not world.all_sent:
            await come_and_go(worker)

    async with world.voting():
        await world.counted(0.02)
        await asyncio.gather(*(always(worker) for worker in world.workers))
        await world.restart_all()


@scenario("zombie", rate=500)
async def acks_after_revoke(world: World) -> None:
    """Flushes outlast the assignment under which they began: PostgreSQL makes them wait."""
    joining = world.workers[-1]
    postgres = Postgres(world.stack)
    async with world.voting():
        await world.counted(0.05)
        for _ in range(3):
            await world.terminate(joining)
            async with postgres.locked():
                # Long enough for every worker to have a flush in progress.
                await asyncio.sleep(1)
                world.begin(joining)
                # The rebalance waits 3 s for a flush, then goes on without it.
                await asyncio.sleep(8)
            await world.ready(joining)

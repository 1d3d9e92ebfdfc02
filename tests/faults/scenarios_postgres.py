"""PostgreSQL dies, refuses, waits, or does not say whether it has committed."""

from __future__ import annotations

import asyncio
import signal

from streams.load.programs import Program
from tests.faults.proxy import Blackhole
from tests.faults.registry import scenario
from tests.faults.services import Postgres
from tests.faults.surroundings import proxied_postgres
from tests.faults.world import World
from tests.harness import until

GROUP = "postgres"


async def told(programs: list[Program], *texts: str, within_s: float = 60.0) -> None:
    """Wait until one of the programs has written one of the texts to its log."""

    async def seen() -> bool:
        logs = [program.log.read_text(errors="replace") for program in programs]
        return any(text in log for text in texts for log in logs)

    await until(seen, f"{' or '.join(texts)} in a log", within_s=within_s, poll_s=0.2)


@scenario(GROUP)
async def postgres_killed(world: World) -> None:
    """PostgreSQL ends at once (SIGQUIT), three times, and recovers from its log."""
    async with world.voting():
        for share in (0.2, 0.4, 0.6):
            await world.counted(share)
            await asyncio.to_thread(world.stack.stop, "postgres", signal.SIGQUIT)
            await asyncio.sleep(2)
            await world.start_service("postgres")


@scenario(GROUP, rate=1000)
async def postgres_backends_terminated(world: World) -> None:
    """Every connection of the workers is ended, again and again."""
    postgres = Postgres(world.stack)
    ended = 0
    async with world.voting():
        await world.counted(0.1)
        for _ in range(20):
            ended += await postgres.terminate_backends()
            await asyncio.sleep(world.random.uniform(0.05, 0.6))
    assert ended, "there was no connection to end"


async def lose_commit_replies(world: World, times: int) -> None:
    """Let so many COMMITs arrive whose answers do not."""

    async def lost() -> bool:
        return world.proxy.stats.lost_replies == times

    async with world.voting():
        await world.published(0.1)
        async with world.publisher.held():
            # However long a look takes, votes are left whose COMMIT is to be answered.
            await world.counted(0.05)
            world.proxy.lose_reply(b"COMMIT;", times=times, reset_after_s=0.2)
        await until(lost, f"{times} answers to COMMIT lost", within_s=90)


@scenario(GROUP, short=True, around=proxied_postgres)
async def commit_reply_lost(world: World) -> None:
    """PostgreSQL commits and the reply is lost, so the outcome is unknown; a dozen times."""
    await lose_commit_replies(world, times=5 if world.short else 12)


@scenario(GROUP, rate=500, around=proxied_postgres)
async def postgres_partitioned(world: World) -> None:
    """Nothing passes between PostgreSQL and the workers; one of them may hold the fence."""
    async with world.voting():
        await world.counted(0.2)
        world.proxy.set(to_server=Blackhole(), to_client=Blackhole())
        await asyncio.sleep(20)
        world.proxy.heal()


@scenario(GROUP, rate=250)
async def fence_locked(world: World) -> None:
    """Somebody's transaction holds the fence for longer than a statement may take."""
    async with world.voting():
        await world.counted(0.2)
        async with Postgres(world.stack).locked():
            await asyncio.sleep(70)


@scenario(GROUP)
async def postgres_disk_full(world: World) -> None:
    """The disk of the tables that grow is full, then grows."""
    async with world.voting():
        await world.counted(0.2)
        async with Postgres(world.stack).full_disk(free_mib=1):
            await told(world.workers, "DiskFullError")
            await asyncio.sleep(world.span_s(15, 1))


@scenario(GROUP)
async def postgres_read_only(world: World) -> None:
    """PostgreSQL takes no writes for a while."""
    async with world.voting():
        await world.counted(0.2)
        async with Postgres(world.stack).read_only():
            await told(world.workers, "ReadOnlySQLTransactionError")
            await asyncio.sleep(world.span_s(15, 1))

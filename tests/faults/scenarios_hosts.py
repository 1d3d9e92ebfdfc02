"""The machine that a process runs on has a wrong clock, too few files, or too little memory."""

from __future__ import annotations

import asyncio
import resource
from pathlib import Path

from streams.devstack.packages import Need, ensure, newest
from streams.load.programs import Program
from tests.faults.registry import scenario
from tests.faults.services import Postgres
from tests.faults.world import World

HOUR_S = 3600
NAMED = frozenset({31, 32, 33})
"""STAGE_FAILED, NO_PROGRESS, RECOVERY_FAILED."""
ABORTED = frozenset({-6, -11})
"""SIGABRT, SIGSEGV: C code that cannot have memory ends the process."""


def wrong_clock(offset_s: int) -> dict[str, str]:
    """Environment in which a process sees another time of day, from Debian's libfaketime.

    The monotonic clock stays right, as it does when a machine's clock is set.
    """

    def library() -> Path | None:
        return newest("/usr/lib/*/faketime/libfaketime.so.1")

    ensure([Need("libfaketime", "libfaketime", library)], lambda _: None)
    return {
        "LD_PRELOAD": str(library()),
        "FAKETIME": f"{offset_s:+d}",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }


async def with_wrong_clock(world: World, program: Program, offset_s: int) -> None:
    """A program is replaced by one with a wrong clock, which in the end is replaced again."""
    async with world.voting():
        await world.counted(0.1)
        await world.terminate(program)
        world.begin(program, **wrong_clock(offset_s))
        await world.ready(program)
        await world.counted(0.8)
        await world.terminate(program)
        world.begin(program)


@scenario("host")
async def worker_an_hour_ahead(world: World) -> None:
    """The clock of one worker is an hour ahead."""
    await with_wrong_clock(world, world.workers[0], HOUR_S)


@scenario("host")
async def worker_an_hour_behind(world: World) -> None:
    """The clock of one worker is an hour behind."""
    await with_wrong_clock(world, world.workers[0], -HOUR_S)


@scenario("host")
async def bridge_an_hour_behind(world: World) -> None:
    """The clock of one bridge, which stamps the votes, is an hour behind."""
    await with_wrong_clock(world, world.bridges[0], -HOUR_S)


@scenario("host", exits=NAMED, settings={"SCRUTIN_WATCHDOG_TIMEOUT_S": "10"})
async def no_files_left(world: World) -> None:
    """A worker and a bridge may open no file while all their connections are cut."""
    hurt = [world.workers[0], world.bridges[0]]
    async with world.voting():
        await world.counted(0.2)
        before = [resource.prlimit(one.pid, resource.RLIMIT_NOFILE) for one in hurt]
        pids = [one.pid for one in hurt]
        for pid, (_, hard) in zip(pids, before, strict=True):
            # Below every number that is in use, so that one that is closed does not help.
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (3, hard))
        await world.cut_connections()
        await asyncio.sleep(12)
        for pid, limits in zip(pids, before, strict=True):
            # Those that ended have been started again without the limit.
            if any(one.running and one.pid == pid for one in hurt):
                resource.prlimit(pid, resource.RLIMIT_NOFILE, limits)


def address_space(pid: int) -> int:
    """Bytes of address space that a process has."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[0]) * resource.getpagesize()


@scenario(
    "host",
    rate=4000,
    exits=NAMED | ABORTED,
    settings={"SCRUTIN_WATCHDOG_TIMEOUT_S": "10"},
)
async def worker_out_of_memory(world: World) -> None:
    """Two workers can allocate no more memory while votes pile up in them."""
    limited = world.workers[:2]
    async with world.voting():
        await world.counted(0.02)
        pids = [worker.pid for worker in limited]
        for pid in pids:
            resource.prlimit(pid, resource.RLIMIT_AS, (address_space(pid), -1))
        async with Postgres(world.stack).locked():
            await world.published(0.9)
        await asyncio.sleep(10)
        for worker, pid in zip(limited, pids, strict=True):
            # Those that ended have been started again without the limit.
            if worker.running and worker.pid == pid:
                resource.prlimit(pid, resource.RLIMIT_AS, (-1, -1))

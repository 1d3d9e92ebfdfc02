"""A worker that does not move is ended, by name; one that waits for a service is not."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from streams.devstack import Stack
from streams.errors import ExitCode
from streams.load.programs import Program
from tests.harness import until
from tests.integration.worker_harness import WorkerHarness, ending

pytestmark = pytest.mark.timeout(300)

ROOT = Path(__file__).parents[2]
WATCHDOG_S = 3


@pytest.fixture
async def world(stack: Stack, tmp_path: Path) -> AsyncIterator[WorkerHarness]:
    timeouts = {
        "SCRUTIN_WATCHDOG_TIMEOUT_S": str(WATCHDOG_S),
        # Joining the group after a worker that just died takes up to its session's time.
        "SCRUTIN_RECOVERY_TIMEOUT_S": "60",
    }
    async with WorkerHarness(stack, tmp_path, **timeouts) as world:
        yield world


def stalled(world: WorkerHarness, stall: str, **settings: str) -> Program:
    """A worker that stalls at a place; see tests/integration/stalled.py."""
    program = world.worker("stalled", STALL=stall, PYTHONPATH=str(ROOT), **settings)
    program.argv[program.argv.index("topology")] = "tests.integration.stalled"
    return program


@pytest.mark.parametrize(
    ("stall", "code", "said"),
    [
        ("stage", ExitCode.NO_PROGRESS, "records wait and none was processed"),
        ("consumer", ExitCode.NO_PROGRESS, "records wait and none was processed"),
        ("restore", ExitCode.RECOVERY_FAILED, "restore of the voted table has not moved"),
    ],
)
async def test_a_worker_that_stands_still_is_ended(
    world: WorkerHarness, stall: str, code: ExitCode, said: str
) -> None:
    await world.write(10)
    deadline_s = WATCHDOG_S if stall == "restore" else 60
    program = stalled(world, stall, SCRUTIN_RECOVERY_TIMEOUT_S=str(deadline_s)).start()
    async with asyncio.timeout(150):
        assert await program.ended() == code
    assert said in ending(program.log.read_text())["error"]
    assert await world.applied() in {0, 2}, "the genesis records are no votes"
    # A supervisor starts it again; nothing is lost. One that is only slow is not to be ended.
    await world.started("after", SCRUTIN_WATCHDOG_TIMEOUT_S="60")
    await world.counted()


async def test_a_stop_that_stands_still_ends_with_a_name(world: WorkerHarness) -> None:
    await world.write(10)
    program = stalled(world, "stop", SCRUTIN_DRAIN_TIMEOUT_S="1").start()
    await program.ready()
    await world.counted()
    program.send(signal.SIGTERM)
    async with asyncio.timeout(60):
        assert await program.ended() == ExitCode.NO_PROGRESS
    log = program.log.read_text()
    assert "The stop has not come to its end" in ending(log)["error"]
    assert "_for_ever (stalled.py:" in log


async def test_a_worker_that_waits_for_a_lock_is_left_alone(world: WorkerHarness) -> None:
    worker = await world.started()
    await world.write(10)
    await world.counted()
    async with world.db.transaction():
        await world.db.execute("SELECT FROM sink_offsets FOR UPDATE")
        await world.write(10)

        async def told() -> bool:
            return worker.log.read_text().count("LockNotAvailableError") > 4

        # Each of them took a third of the watchdog's time.
        await until(told, "the worker says that it waits", within_s=120)
        worker.check()
    await world.counted()
    worker.check()

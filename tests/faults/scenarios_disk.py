"""Kafka's disk is full."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from pathlib import Path

from tests.faults.registry import scenario
from tests.faults.services import NotPossibleHere, record_of
from tests.faults.world import World
from tests.harness import until

_ROOMY = "1g"


class SmallDisk:
    """A disk in memory in the place of a folder, whose size can be changed; needs root.

    Args:
        folder: of a service that is stopped.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._aside = folder.with_name(f"{folder.name}.aside")

    def put_in_place(self) -> None:
        """Mount the disk and copy the folder onto it."""
        self._folder.rename(self._aside)
        self._folder.mkdir()
        _run("mount", "-t", "tmpfs", "-o", f"size={_ROOMY}", "tmpfs", str(self._folder))
        shutil.copytree(self._aside, self._folder, dirs_exist_ok=True)

    def leave_room(self, free_kib: int) -> None:
        """Let the disk have so much room beside what is on it."""
        size = shutil.disk_usage(self._folder).used + free_kib * 1024
        _run("mount", "-o", f"remount,size={size}", str(self._folder))

    def make_room(self) -> None:
        """Let the disk have plenty of room."""
        _run("mount", "-o", f"remount,size={_ROOMY}", str(self._folder))

    def take_away(self) -> None:
        """Copy what is on the disk back into a folder, and unmount it."""
        shutil.rmtree(self._aside)
        shutil.copytree(self._folder, self._aside)
        _run("umount", "-l", str(self._folder))
        self._folder.rmdir()
        self._aside.rename(self._folder)


def _run(*argv: str) -> None:
    subprocess.run(argv, check=True, capture_output=True, text=True, timeout=30)


@scenario("kafka", rate=400)
async def kafka_disk_full(world: World) -> None:
    """Kafka's disk has no room for another record, until it grows; the broker ends meanwhile."""
    if os.geteuid() != 0:
        raise NotPossibleHere("mounting a small disk takes root")
    disk = SmallDisk(Path(record_of(world.stack, "kafka").data))
    await world.stop_service("kafka")
    await asyncio.to_thread(disk.put_in_place)
    try:
        await world.start_service("kafka")
        async with world.voting():
            await world.counted(0.2)
            await asyncio.to_thread(disk.leave_room, 64)

            async def broker_ended() -> bool:
                status = await asyncio.to_thread(world.stack.status)
                return any(one.name == "kafka" and one.condition == "stopped" for one in status)

            await until(
                broker_ended, "the broker ends because its disk is full", within_s=60, poll_s=0.5
            )
            await asyncio.sleep(world.span_s(10, 2))
            await asyncio.to_thread(disk.make_room)
            await world.start_service("kafka")
        await world.drained()
    finally:
        await world.stop_service("kafka")
        await asyncio.to_thread(disk.take_away)
        await world.start_service("kafka")

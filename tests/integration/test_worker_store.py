"""A worker whose voted table is on disk: stopped, killed, and after another had its partitions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from streams.devstack import Stack
from streams.load.programs import Program
from tests.integration.worker_harness import PARTITIONS, WorkerHarness


def said(program: Program, event: str) -> list[dict[str, Any]]:
    """What it logged about each partition at the latest start."""
    lines = [json.loads(x) for x in program.log.read_text().splitlines() if x.startswith("{")]
    return [x for x in lines if x.get("event") == event][-PARTITIONS:]


def found_on_disk(program: Program) -> list[int]:
    """Input offsets that its folders had applied, by partition, at the latest start."""
    by_partition = {x["partition"]: x["applied"] for x in said(program, "voters are on disk")}
    return [applied for _, applied in sorted(by_partition.items())]


@pytest.mark.timeout(300)
async def test_a_count_goes_on_from_disk(stack: Stack, tmp_path: Path) -> None:
    async with WorkerHarness(stack, tmp_path, SCRUTIN_STORE="rocksdb") as world:
        worker = await world.started("a")
        await world.write(30)
        await world.counted()
        await worker.terminate()
        whole = [log.table.applied for log in world.logs.values()]

        worker.start()
        await worker.ready()
        assert found_on_disk(worker) == whole
        async with world.load():
            await world.moving()
            await worker.kill()
        worker.start()
        await world.counted()
        after_kill = found_on_disk(worker)
        assert all(found >= before for found, before in zip(after_kill, whole, strict=True))
        await worker.terminate()
        mine = [log.table.applied for log in world.logs.values()]
        voters = [len(log.table) for log in world.logs.values()]

        # Its folders are empty, and are filled from the whole changelog.
        other = await world.started("b")
        filled = {x["partition"]: x["voters"] for x in said(other, "voters are read")}
        assert [filled.get(partition, 0) for partition in world.logs] == voters
        await world.write(30)
        await world.counted()
        await other.terminate()
        worker.start()
        await world.write(10)
        await world.counted()
        assert found_on_disk(worker) == mine
        await worker.terminate()

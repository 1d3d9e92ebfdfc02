"""A roll from each form it comes in: loaded, checked, exported; `make long-roll` at full size."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from streams.devstack import Stack
from streams.load.programs import Program, worker
from tests.harness import until
from tests.integration.bridge_harness import BridgeHarness, scrutin

ENTRIES = int(os.environ.get("ROLL_ENTRIES", "20000"))
PATIENCE_S = 120 + ENTRIES / 5000
CHUNK = 500_000


def hashes(start: int, end: int) -> list[str]:
    return [hashlib.sha256(b"%d" % n).hexdigest() for n in range(start, end)]


def parts() -> Iterator[list[str]]:
    for start in range(0, ENTRIES, CHUNK):
        yield hashes(start, min(start + CHUNK, ENTRIES))


async def run(env: dict[str, str], *arguments: str, code: int = 0) -> tuple[Any, float]:
    """JSON of a `scrutin roll` command that must end with a code, and its seconds."""
    began_s = time.monotonic()
    done = await asyncio.to_thread(scrutin, env, "roll", *arguments, "--json", timeout_s=PATIENCE_S)
    assert done.returncode == code, done.stderr
    took_s = time.monotonic() - began_s
    return json.loads(done.stdout) if done.stdout else None, took_s


def write_csv(path: Path) -> None:
    with path.open("w") as lines:
        lines.write("name,hash\n")
        for part in parts():
            lines.writelines(f"x,{each}\n" for each in part)


def write_parquet(path: Path) -> None:
    schema = pa.schema([("hash", pa.string())])
    with parquet.ParquetWriter(path, schema) as writer:
        for part in parts():
            writer.write_table(pa.table({"hash": part}, schema))


def peak_mib(program: Program) -> float:
    """The most memory that a process has held so far."""
    status = Path(f"/proc/{program.pid}/status").read_text()
    [line] = [line for line in status.splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) / 1024


@pytest.mark.timeout(240 if ENTRIES <= 100_000 else 3600)
async def test_a_roll_from_each_form(stack: Stack, tmp_path: Path) -> None:
    """CSV into the set; Parquet, and the set, into the log; what came twice is there once."""
    async with BridgeHarness(stack, tmp_path) as world:
        write_csv(tmp_path / "roll.csv")
        write_parquet(tmp_path / "roll.parquet")
        counter = worker({**world.env, "SCRUTIN_ROLL": "table"}, tmp_path, "worker")
        async with counter:
            await counter.ready()
            figures = await figures_of(world, tmp_path)
            figures["worker, MiB"] = peak_mib(counter)
            await counter.terminate()
            began_s = time.monotonic()
            counter.start()
            await counter.ready(within_s=PATIENCE_S)
            figures["worker restored"] = time.monotonic() - began_s
        await world.redis.flushdb()
        print(f"{ENTRIES:,} entries, seconds:")
        for what, figure in figures.items():
            print(f"  {what:15} {figure:8.1f}")


async def figures_of(world: BridgeHarness, directory: Path) -> dict[str, float]:
    into_redis = {**world.env, "SCRUTIN_ROLL": "redis"}
    into_log = {**world.env, "SCRUTIN_ROLL": "table"}
    figures: dict[str, float] = {}
    done, figures["csv to redis"] = await run(into_redis, "load", str(directory / "roll.csv"))
    assert (done["read"], done["size"]) == (ENTRIES, ENTRIES)
    done, figures["parquet to log"] = await run(into_log, "load", str(directory / "roll.parquet"))
    assert (done["read"], done["resumed_at"]) == (ENTRIES, 0)
    done, figures["redis to log"] = await run(into_log, "load", "--from-redis")
    assert done["read"] == ENTRIES

    async def everybody() -> bool:
        found, figures["stats"] = await run(into_log, "stats")
        return bool(found["entries"] == ENTRIES)

    await until(everybody, "every entry is in the table", within_s=PATIENCE_S)
    [middle] = hashes(ENTRIES // 2, ENTRIES // 2 + 1)
    found, figures["check"] = await run(into_log, "check", middle)
    assert found["on_roll"] is True
    unknown, _ = await run(into_log, "check", "0" * 64, code=1)
    assert unknown["on_roll"] is False
    out = directory / "out.parquet"
    arguments = ("roll", "export", "--format", "parquet", "-o", str(out))
    began_s = time.monotonic()
    written = await asyncio.to_thread(scrutin, into_log, *arguments, timeout_s=PATIENCE_S)
    figures["export"] = time.monotonic() - began_s
    assert written.returncode == 0, written.stderr
    assert parquet.read_metadata(out).num_rows == ENTRIES
    return figures

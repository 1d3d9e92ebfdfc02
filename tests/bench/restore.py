"""How long a worker takes to be ready when millions have voted, and what memory it needs."""

from __future__ import annotations

import time
from pathlib import Path
from typing import NamedTuple

from streams.load.programs import Program, child_environment, worker
from streams.settings.load import load_settings
from tests.bench.figure import Figure, Found, Row, Run
from tests.bench.voters import Voters, write_voted
from tests.harness import wipe

VOTERS_A_RECORD = 50
"""About what a bridge puts into a record of each of 4 partitions at 10,000 votes a second."""

GOAL_S = {("memory", "first"): 15, ("rocksdb", "first"): 25, ("rocksdb", "second"): 3}
GOAL_BYTES = 90
GOAL_PER_CPU_S = 1_200_000
SIZES = (1_000_000, 4_000_000, 8_000_000)
LONG_SIZE = 50_000_000
"""In memory only."""
QUICK_SIZES = (200_000,)
GOAL_VOTERS = 8_000_000
_WITHIN_S = 300.0


async def measure(run: Run) -> Found:
    """Seconds from the start of the process to `/ready`, and resident memory then."""
    sizes = QUICK_SIZES if run.quick else (*SIZES, LONG_SIZE) if run.long else SIZES
    await wipe(run.stack.env())
    env = child_environment(run.stack.env(), SCRUTIN_SINK="off")
    empty = worker(env, run.directory, "restore-empty")
    base = await _ready(empty)
    await empty.terminate()
    found: Found = {
        "voters_a_record": VOTERS_A_RECORD,
        "empty": {
            "ready_s": round(base.seconds, 2),
            "cpu_s": round(base.cpu_s, 2),
            "rss_mib": base.resident_bytes >> 20,
        },
        "restores": [],
    }
    for count in sizes:
        await wipe(run.stack.env())
        run.say(f"writing the changelog of {count:,} voters")
        voters = await write_voted(load_settings(env), Voters(count, VOTERS_A_RECORD))
        programs = {
            store: worker({**env, "SCRUTIN_STORE": store}, run.directory, f"{store}-{count}")
            for store in ("memory", "rocksdb")
        }
        for store, start in GOAL_S:
            if store == "memory" or count < LONG_SIZE:
                program = programs[store]
                run.say(f"{store} store, {start} start")
                ready = await _ready(program)
                await program.terminate()
                more_bytes = ready.resident_bytes - base.resident_bytes
                per_cpu_s = round(voters / max(ready.cpu_s - base.cpu_s, 0.01))
                run.say(
                    f"ready after {ready.seconds:.1f} s, {ready.cpu_s:.1f} s of CPU,"
                    f" {more_bytes / voters:.0f} bytes a voter"
                )
                found["restores"].append(
                    {
                        "voters": voters,
                        "store": store,
                        "start": start,
                        "ready_s": round(ready.seconds, 2),
                        "cpu_s": round(ready.cpu_s, 2),
                        "rss_mib": ready.resident_bytes >> 20,
                        "bytes_per_voter": round(more_bytes / voters, 1),
                        "voters_per_cpu_s": per_cpu_s,
                    }
                )
    return found


class _Ready(NamedTuple):
    seconds: float
    cpu_s: float
    resident_bytes: int


async def _ready(program: Program) -> _Ready:
    started = time.perf_counter()
    program.start()
    await program.ready(within_s=_WITHIN_S)
    seconds = time.perf_counter() - started
    return _Ready(seconds, program.cpu_s(), resident_bytes(program.pid))


def resident_bytes(pid: int) -> int:
    """Resident memory of a process."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise AssertionError(f"process {pid} has ended")


def rows(found: Found) -> list[Row]:
    """Lines for people."""
    lines = [Row("no voters: ready", f"{found['empty']['ready_s']:.1f} s")]
    for one in found["restores"]:
        what = f"{one['voters']:,} voters, {one['store']} store, {one['start']} start"
        large = one["voters"] > GOAL_VOTERS * 0.99
        goal = f"{GOAL_S[one['store'], one['start']]} s" if large else ""
        lines.append(Row(f"{what}: ready", f"{one['ready_s']:.1f} s", goal))
        if one["start"] == "first":
            per_cpu_s = f"{one['voters_per_cpu_s']:,} voters/s of CPU"
            goal = f"{GOAL_PER_CPU_S:,}" if large and one["store"] == "memory" else ""
            lines.append(Row("  beyond the start without voters", per_cpu_s, goal))
        size = f"{one['bytes_per_voter']:.0f} bytes a voter, {one['rss_mib']:,} MiB in all"
        limit = f"{GOAL_BYTES}" if one["store"] == "memory" and large else ""
        lines.append(Row(f"{what}: memory", size, limit))
    return lines


FIGURE = Figure("restore", measure, rows, usual=False)

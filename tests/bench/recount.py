"""`scrutin audit verify`: how long it takes, and what memory it needs as the count grows.

The command runs as an office types it. Its memory is the most that each of its processes held, of
which there are as many as cores; the voted table is once in memory and once on disk, as beyond
five million leaves.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from streams.load.election import LoadPlan
from streams.proof.notes import Signer
from streams.proof.store import take_checkpoint
from tests.bench.cpu import members_of, memory_mib
from tests.bench.figure import Figure, Found, Row, Run
from tests.bench.spread import plan_of
from tests.harness import Chain, database, until

MILLION = 1_000_000
GOAL_S = 20
_EVERY_S = 1.0
_LOOK_S = 0.05
_WITHIN_S = 1800.0
_TABLES = {"memory": (), "disk": ("--in-memory", "0")}


async def measure(run: Run) -> Found:
    """Count some of the votes and then all of them, and verify each count twice."""
    votes = 5 * run.votes
    found: Found = {"verified": []}
    async with Chain(run.stack, run.directory) as chain:
        db = await database(chain.settings)
        signer = Signer.new("votes.example.org")
        counted = 0
        try:
            for seed, share in ((1, votes // 4), (2, votes // 4), (3, votes // 2)):
                plan = replace(plan_of(share), seed=seed, duplicates=0.01)
                counted += plan.votes
                run.say(f"counting until there are {counted:,} votes")
                await _count(chain, db, plan, signer, counted)
                # As autovacuum does it before an audit.
                await db.execute("VACUUM ANALYZE")
                for table, options in _TABLES.items():
                    one = await asyncio.to_thread(_verify, chain, signer, run.directory, options)
                    run.say(f"{table}: {one['seconds']} s, {one['cpu_s']} s of CPU")
                    found["verified"].append({"votes": counted, "table": table, **one})
        finally:
            await db.close()
    return found


async def _count(chain: Chain, db: Any, plan: LoadPlan, signer: Signer, goal: int) -> None:
    """Count votes, with a checkpoint every second."""

    async def signed() -> bool:
        await take_checkpoint(db, signer)
        query = "SELECT coalesce(sum(votes), 0)::bigint FROM contest_results"
        return int(await db.fetchval(query)) >= goal

    await chain.load_roll(plan)
    if not any(program.running for program in chain.programs):
        await chain.start()
    await chain.publish(plan)
    await until(signed, f"{goal:,} votes counted", _WITHIN_S, _EVERY_S)
    await take_checkpoint(db, signer)


def _verify(chain: Chain, signer: Signer, directory: Path, options: tuple[str, ...]) -> Found:
    script = str(Path(sys.executable).with_name("scrutin"))
    words = [script, "audit", "verify", "--json", "--key", signer.verifier.text, *options]
    output = directory / "verified.json"
    started = time.perf_counter()
    peaks_mib: dict[int, float] = {}
    with output.open("wb") as out:
        process = subprocess.Popen(words, env=chain.env, stdout=out)
    while not os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG):
        for pid in members_of([process.pid]):
            peaks_mib[pid] = max(peaks_mib.get(pid, 0.0), memory_mib(pid)[1])
        time.sleep(_LOOK_S)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.perf_counter() - started
    report = json.loads(output.read_text())
    assert report["equal"], report
    return {
        "seconds": round(seconds, 1),
        "cpu_s": round(used.ru_utime + used.ru_stime, 1),
        "largest_mib": round(max(peaks_mib.values())),
        "all_mib": round(sum(peaks_mib.values())),
        "leaves": report["leaves"],
        "checkpoints": report["checkpoints"],
    }


def rows(found: Found) -> list[Row]:
    """Lines for people."""
    return [
        Row(
            f"audit verify of {one['votes']:,} votes, voted table in {one['table']}",
            f"{one['seconds']} s, {one['cpu_s']} s of CPU,"
            f" {one['largest_mib']} MiB in the largest process, {one['all_mib']} in all",
            f"{GOAL_S} s" if (one["table"], one["votes"]) == ("memory", MILLION) else "",
        )
        for one in found["verified"]
    ]


FIGURE = Figure("recount", measure, rows, usual=False)

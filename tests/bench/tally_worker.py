"""A tally worker on real services: memory with few and many ballots, ballots a second, idle cost.

The ballots are random numbers in place of ciphertexts, without proofs, put straight into the
database: they are read and multiplied as real ones are, and nothing is decrypted.
"""

from __future__ import annotations

import asyncio
import os
import random
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from streams.devstack import Stack
from streams.load.programs import Program, child_environment, worker
from streams.settings.build import tally_config
from streams.settings.load import load_settings
from streams.settings.model import Settings
from streams.tally.commands import TallyCommands, tally
from streams.tally.crypto.documents import to_json
from streams.tally.crypto.manifest import plain_manifest
from streams.tally.packing import ELEMENT_BYTES
from streams.tally.work import DescribedElection
from tests.bench.cpu import tree_seconds
from tests.harness import database, until
from tests.small_election import begin_election

CANDIDATES: Final = 10
CHUNK_SIZE: Final = 50
IDLE_S: Final = 20.0
_WITHIN_S: Final = 1_500.0
_STYLE: Final = {"mayor": [f"candidate-{number}" for number in range(CANDIDATES)]}


def measure_worker(ballots: int) -> dict[str, Any]:
    """Figures of fresh workers, one for each number of ballots; MiB, seconds, shares of a core."""
    with tempfile.TemporaryDirectory(prefix="scrutin-bench-") as folder:
        stack = Stack(Path(folder) / "stack", environ={})
        stack.up()
        try:
            return asyncio.run(_measure(stack, Path(folder), ballots))
        finally:
            stack.down()


async def _measure(stack: Stack, directory: Path, ballots: int) -> dict[str, Any]:
    env = child_environment(
        stack.env(),
        SCRUTIN_STAGES="tally",
        SCRUTIN_TALLY_HELPERS="1",
        SCRUTIN_TALLY_IN_FLIGHT="4",
    )
    settings = load_settings({k: v for k, v in env.items() if k in stack.env()})
    found: dict[str, Any] = {"chunk_size": CHUNK_SIZE, "helpers": 1}
    async with tally(tally_config(settings)) as asked:
        for count in (1_000, ballots):
            name = f"bench-{count}"
            await _put(asked, settings, name, count)
            async with worker(env, directory, f"worker-{count}") as program:
                await program.ready()
                if count == 1_000:
                    found["idle"] = await _idle(program)
                found[str(count)] = await _tallied(asked, program, name, count)
    few, many = (found[str(count)]["together_mib"] for count in (1_000, ballots))
    found["growth_percent"] = round(100 * (many - few) / few, 1)
    return found


async def _put(asked: TallyCommands, settings: Settings, name: str, count: int) -> None:
    manifest = plain_manifest(name, _STYLE, moment=datetime(2026, 1, 1, tzinfo=UTC))
    held = begin_election(manifest, random.Random(1), guardians=1, quorum=1)
    election = held.election
    documents = (to_json(each).decode() for each in (manifest, election.context, held.keys))
    await asked.store.put_election(DescribedElection(name, *documents), [])
    connection = await database(settings)
    try:
        await connection.copy_records_to_table(
            "encrypted_ballots",
            records=_ballots(name, count),
            columns=["election_id", "ballot_id", "state", "ciphertexts", "ballot"],
        )
        await connection.execute("ANALYZE encrypted_ballots")
    finally:
        await connection.close()


def _ballots(name: str, count: int) -> Iterator[tuple[str, str, int, bytes, str]]:
    for number in range(count):
        # A first byte of zero: less than p.
        elements = [b"\0" + os.urandom(ELEMENT_BYTES - 1) for _ in range(2 * CANDIDATES)]
        yield name, f"ballot-{number}", 1, b"".join(elements), "{}"


async def _idle(program: Program) -> dict[str, float]:
    before, begin = tree_seconds([program.pid]), time.monotonic()
    await asyncio.sleep(IDLE_S)
    used = tree_seconds([program.pid]) - before
    return {
        "cores": round(used / (time.monotonic() - begin), 4),
        "worker_mib": _mib(program.pid, "VmRSS"),
    }


async def _tallied(
    asked: TallyCommands, program: Program, name: str, count: int
) -> dict[str, float]:
    before, begin = tree_seconds([program.pid]), time.monotonic()
    created = await asked.create(name, chunk_size=CHUNK_SIZE)

    async def complete() -> bool:
        program.check()
        job = await asked.job(created.job_id)
        return bool(job is not None and job["status"] == "COMPLETED")

    await until(complete, f"the tally of {count} ballots", _WITHIN_S)
    took_s = time.monotonic() - begin
    used_s = tree_seconds([program.pid]) - before
    own = _mib(program.pid, "VmHWM")
    helpers = sum(_mib(pid, "VmHWM") for pid in _children(program.pid))
    return {
        "worker_mib": own,
        "helper_mib": helpers,
        "together_mib": round(own + helpers, 1),
        "ballots_per_s": round(count / took_s),
        "ballots_per_core_s": round(count / used_s),
    }


def _children(pid: int) -> list[int]:
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(child) for child in text.split()]


def _mib(pid: int, name: str) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    (line,) = [line for line in lines if line.startswith(f"{name}:")]
    return round(int(line.split()[1]) / 1024, 1)

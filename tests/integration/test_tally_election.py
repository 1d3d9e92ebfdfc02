"""A whole encrypted election on the real stack, whose workers die: its result is the votes'.

The long target (`make long-tally`) holds it with 10,000 ballots.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from streams.adapters.kafka.admin import ensure_topics
from streams.adapters.postgres.connection import connected
from streams.devstack import Stack
from streams.proof.notes import Signer
from streams.proof.store import take_checkpoint
from streams.settings.build import deployment_config, tally_config
from streams.tally.commands import TallyCommands, tally
from streams.tally.crypto.documents import from_json, to_json
from streams.tally.crypto.election import CryptoElection
from streams.tally.crypto.tallies import EncryptedTally, combine_tallies
from streams.tally.helpers import Helpers
from streams.tally.record import verify
from streams.tally.record_files import BALLOTS as BALLOTS_FILE
from streams.tally.record_files import TALLIES as TALLIES_FILE
from streams.tally.record_files import RecordedTally
from tests.harness import until
from tests.integration.cli_harness import run_cli
from tests.integration.proof_harness import checked
from tests.integration.tally_harness import (
    TallyHarness,
    counts,
    plain_election,
    statuses,
    tally_harness,
)
from tests.oracle.program import Reference, running
from tests.small_election import Voting, begin_election

BALLOTS = int(os.environ.get("SCRUTIN_TEST_TALLY_BALLOTS", "200"))
"""Cast in the election; the long target has 10,000."""
LONG = BALLOTS >= 1_000
CHUNK_SIZE = 50 if LONG else 10
DEATHS = 6 if LONG else 1
"""Each costs the time in which Kafka notices it."""
SAMPLE = 100 if LONG else 10
"""Ballots whose proofs the reference checks; it adds all of them up in the long target."""
NAME = "7"

pytestmark = pytest.mark.timeout(480 + BALLOTS)


DONE_TASKS = """
SELECT (SELECT count(*) FROM tally_worker_log WHERE election_id = $1)
     + (SELECT count(*) FROM decryption_worker_log WHERE election_id = $1)
     + (SELECT count(*) FROM combine_worker_log WHERE election_id = $1) AS tasks
"""


class Told:
    """Prints how long each step took."""

    def __init__(self) -> None:
        self._begin = time.monotonic()

    def __call__(self, step: str) -> None:
        now = time.monotonic()
        print(f"{now - self._begin:8.1f} s  {step}", flush=True)
        self._begin = now


async def test_an_election_with_a_guardian_absent_while_workers_die(
    stack: Stack, tmp_path: Path
) -> None:
    seed = random.randrange(10**6)
    rng = random.Random(seed)
    told = Told()
    told(f"seed {seed}, {BALLOTS} ballots")
    held = begin_election(plain_election(NAME, 10), random.Random(seed), guardians=3, quorum=2)
    async with (
        tally_harness(stack, tmp_path) as world,
        tally(tally_config(world.settings)) as asked,
    ):
        # A stalled worker is replaced here, and not waited for.
        world.env["SCRUTIN_WATCHDOG_TIMEOUT_S"] = "20"
        described = await world.put_election(asked, NAME, held)
        outcome = await world.admit(
            asked, described, map(to_json, held.ballots(cast=BALLOTS, spoiled=2))
        )
        assert outcome.admitted == BALLOTS + 2
        told("encrypted and admitted")
        await tallied_while_workers_die(world, asked, held, rng)
        told("tallied, decrypted, published")
        result = await asked.store.published(NAME)
        assert result is not None
        assert counts(result) == held.counts
        assert result["results"]["total_valid_ballots"] == BALLOTS
        assert {
            name: {line: votes for line, votes in lines.items() if "placeholder" not in line}
            for name, lines in result["results"]["spoiled_ballots"].items()
        } == held.spoiled_counts
        await all_jobs_are_completed(world, asked)
        record = await published(world, tmp_path)
        told("exported")
    async with Helpers(2) as helpers:
        verified = await verify(record, helpers)
    assert (verified.cast, verified.spoiled, verified.counts) == (BALLOTS, 2, held.counts)
    told("record verified")
    with running(tmp_path / "reference.log") as reference:
        the_reference_agrees(reference, held, record, rng)
    told("the reference agrees")


async def published(world: TallyHarness, directory: Path) -> Path:
    """The record, in a bundle that `scrutin audit publish --tally` has made."""
    config = deployment_config(world.settings)
    await ensure_topics(config.kafka)
    signer = Signer.new("votes.example.org")
    async with connected(config.postgres) as connection:
        await take_checkpoint(connection, signer)
    folder = directory / "bundle"
    words = ("audit", "publish", str(folder), "--tally", NAME)
    done = await asyncio.to_thread(run_cli, world.env, *words)
    assert done.returncode == 0, done.stderr
    said = await checked(folder, signer.verifier.text)
    assert any("scrutin tally verify" in line for line in said["not_checked"])
    return folder / "tally" / NAME


async def tallied_while_workers_die(
    world: TallyHarness, asked: TallyCommands, held: Voting, rng: random.Random
) -> None:
    """Ask for everything at once, and kill workers after random tasks."""
    await world.seal(asked, NAME, held, 0, 2)
    created = await asked.create(NAME, chunk_size=CHUNK_SIZE, by="somebody")
    assert created.ballots == BALLOTS
    await asked.decrypt(NAME, "guardian-1")
    await asked.decrypt(NAME, "guardian-3")
    await asked.combine(NAME)
    running_now = [world.worker(f"tally-{number}") for number in range(2 if LONG else 1)]
    # Plan, chunks, total, shares of two guardians and their parts for the third, two combinations.
    deaths = sorted(rng.sample(range(1, BALLOTS // CHUNK_SIZE + 9), DEATHS))

    async def kill_until_published() -> bool:
        if await asked.store.published(NAME) is not None:
            return True
        for number, program in enumerate(running_now):
            # As a supervisor does: a stalled worker ends itself.
            if not program.running:
                running_now[number] = world.worker(f"tally-{len(world.programs) + 1}")
        (log,) = await asked.store.jobs(DONE_TASKS, NAME)
        if deaths and log["tasks"] >= deaths[0]:
            print(f"            a worker dies after {log['tasks']} tasks", flush=True)
            deaths.pop(0)
            victim = rng.randrange(len(running_now))
            await running_now[victim].kill()
            running_now[victim] = world.worker(f"tally-{len(world.programs) + 1}")
        return False

    await until(kill_until_published, "result", 400 + BALLOTS / 4)


async def all_jobs_are_completed(world: TallyHarness, asked: TallyCommands) -> None:
    """The jobs' mirror and the views over it say so."""

    async def completed() -> bool:
        found = await statuses(asked, NAME)
        return len(found) == 6 and set(found.values()) == {"COMPLETED"}

    # The mirror follows the result.
    await until(completed, "all jobs completed", 60)
    done = await statuses(asked, NAME)
    assert ("COMPENSATED_DECRYPTION", "guardian-1") in done
    # In the mode `single` no chunk is ever decrypted.
    async for row in asked.store.centers(NAME):
        assert (row["election_result"] is None) == (row["kind"] == "chunk")
    tallied, combined = await asked.tally_status(NAME), await asked.combine_status(NAME)
    assert tallied is not None
    assert tallied["status"] == "completed"
    assert combined is not None
    assert combined["status"] == "completed"
    shares = await asked.decryption_status(NAME)
    assert [row["guardian_id"] for row in shares] == ["guardian-1", "guardian-3"]
    for row in shares:
        assert (row["status"], row["current_phase"]) == ("completed", "completed")
        assert row["processed_compensated_guardians"] == 1
    assert not await asked.active_jobs()
    (job,) = [job for job in await asked.jobs(NAME) if job["operationType"] == "TALLY"]
    assert job["totalChunks"] == job["processedChunks"] == BALLOTS // CHUNK_SIZE
    assert job["progressPercent"] == 100.0
    # The new owner of the jobs updates the mirror: its last writer may have died.
    await asked.store.log("DELETE FROM election_jobs WHERE election_id = $1", NAME)
    world.worker("tally-late")
    await until(completed, "the mirror is there again", 60)


def the_reference_agrees(
    reference: Reference, held: Voting, record: Path, rng: random.Random
) -> None:
    """It accepts ballots and the published count, and its product of the ballots is ours."""
    election = held.election
    about = {
        "manifest": json.loads(to_json(election.manifest)),
        "context": json.loads(to_json(election.context)),
    }
    checked = set(rng.sample(range(BALLOTS), SAMPLE))
    sample = [json.loads(line) for n, line in enumerate(ballots_of(record)) if n in checked]
    assert reference("ballots", ballots=sample, **about) == [True] * SAMPLE
    lines = (record / TALLIES_FILE).read_bytes().splitlines()
    recorded = [from_json(RecordedTally, line) for line in lines]
    (total,) = [each for each in recorded if each.kind == "total"]
    assert len(recorded) == 3
    keys = [json.loads(to_json(key)) for key in held.keys]
    plain = json.loads(to_json(total.plain))
    assert reference("plain", plain=plain, keys=keys, **about) == held.counts
    if LONG:
        assert total.encrypted == product_by(reference, election, record, about)


def product_by(
    reference: Reference, election: CryptoElection, record: Path, about: dict[str, Any]
) -> EncryptedTally:
    """The cast ballots multiplied by the reference, a hundred at a time."""
    parts = []
    lines = ballots_of(record)
    while group := [json.loads(line) for line in islice(lines, 100)]:
        part = reference("tally", ballots=group, **about)
        parts.append(from_json(EncryptedTally, json.dumps(part)))
    return combine_tallies(election, "tally", parts)


def ballots_of(record: Path) -> Iterator[str]:
    """Lines of the record's ballots."""
    with (record / BALLOTS_FILE).open() as file:
        yield from file

"""Encrypted tallies on the real stack: equal to the plaintext count, whatever dies on the way."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from schemas.tally import Mode
from streams.devstack import Stack
from streams.errors import ExitCode
from streams.load.amqp import Link, connection_parameters
from streams.settings import load_settings
from streams.tally.commands import Tally, tally
from streams.tally.crypto.decryption import PlainTally
from streams.tally.crypto.documents import from_json
from streams.tally.crypto.group import to_hex
from streams.tally.refusals import Check, Refused
from tests.harness import until
from tests.integration.tally_world import TallyWorld, small_election, tally_world

BALLOTS = int(os.environ.get("SCRUTIN_TEST_TALLY_BALLOTS", "200"))
"""Cast in the election whose workers die; the long target has 10,000."""

CHUNK_SIZE = max(10, BALLOTS // 40)
pytestmark = pytest.mark.timeout(480 + BALLOTS // 10)


DONE_TASKS = """
SELECT (SELECT count(*) FROM tally_worker_log WHERE election_id = $1)
     + (SELECT count(*) FROM decryption_worker_log WHERE election_id = $1)
     + (SELECT count(*) FROM combine_worker_log WHERE election_id = $1) AS tasks
"""


def counts(result: dict) -> dict[str, int]:
    lines = result["results"]["contests"]["mayor"]
    return {name: line["votes"] for name, line in lines.items()}


async def statuses(asked: Tally, election: str) -> dict[tuple[str, str | None], str]:
    return {
        (job["operationType"], job["guardianId"]): job["status"]
        for job in await asked.jobs(election)
    }


async def test_an_election_is_tallied_with_a_guardian_absent_while_workers_die(
    stack: Stack, tmp_path: Path
) -> None:
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    rng = random.Random(seed)
    held = small_election("7", seed, cast=BALLOTS, spoiled=2, candidates=10)
    async with tally_world(stack, tmp_path) as world, tally(world.settings) as asked:
        await world.put(asked, "7", held)
        await world.seal(asked, "7", held, 0, 2)
        created = await asked.create("7", chunk_size=CHUNK_SIZE, by="somebody")
        assert created.ballots == BALLOTS
        await asked.decrypt("7", "guardian-1")
        await asked.decrypt("7", "guardian-3")
        await asked.combine("7")
        world.worker()
        # A death costs the time in which Kafka notices it.
        deaths = sorted(rng.sample(range(1, 28), 1 if BALLOTS < 1_000 else 3))

        async def kill_until_published() -> bool:
            if await asked.store.published("7") is not None:
                return True
            (log,) = await asked.store.jobs(DONE_TASKS, "7")
            if deaths and log["tasks"] >= deaths[0]:
                deaths.pop(0)
                await world.programs[-1].kill()
                world.worker(f"tally-{len(world.programs) + 1}")
            return False

        await until(kill_until_published, "result", 400 + BALLOTS / 20)
        result = await asked.store.published("7")
        assert result is not None
        assert counts(result) == held.counts
        assert result["results"]["total_valid_ballots"] == BALLOTS
        assert {
            name: {line: votes for line, votes in lines.items() if "placeholder" not in line}
            for name, lines in result["results"]["spoiled_ballots"].items()
        } == held.spoiled_counts

        async def completed() -> bool:
            found = await statuses(asked, "7")
            return len(found) == 6 and set(found.values()) == {"COMPLETED"}

        # The mirror follows the result.
        await until(completed, "all jobs completed")
        done = await statuses(asked, "7")
        assert ("COMPENSATED_DECRYPTION", "guardian-1") in done
        # In the mode `single` no chunk is ever decrypted.
        async for row in asked.store.centers("7"):
            assert (row["election_result"] is None) == (row["kind"] == "chunk")
        tallied, combined = await asked.tally_status("7"), await asked.combine_status("7")
        assert tallied is not None
        assert tallied["status"] == "completed"
        assert combined is not None
        assert combined["status"] == "completed"
        shares = await asked.decryption_status("7")
        assert [row["guardian_id"] for row in shares] == ["guardian-1", "guardian-3"]
        for row in shares:
            assert (row["status"], row["current_phase"]) == ("completed", "completed")
            assert row["processed_compensated_guardians"] == 1
        assert not await asked.active_jobs()
        job = await asked.job(created.job_id)
        assert job is not None
        assert job["totalChunks"] == job["processedChunks"] == BALLOTS // CHUNK_SIZE
        assert job["progressPercent"] == 100.0
        # Whoever takes the jobs over brings the mirror up to date: its last writer may have died.
        await asked.store.log("DELETE FROM election_jobs WHERE election_id = $1", "7")
        world.worker("tally-late")
        await until(completed, "the mirror is there again", 60)


@pytest.fixture(scope="module")
def world(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TallyWorld]:
    """One worker for the tests in which none dies."""
    world = TallyWorld(stack, tmp_path_factory.mktemp("tally"))
    asyncio.run(world.prepare())
    program = world.worker()
    yield world
    program.send(signal.SIGTERM)
    assert asyncio.run(program.ended()) == ExitCode.OK


async def test_every_chunk_is_decrypted_where_that_is_asked_for(world: TallyWorld) -> None:
    held = small_election("c", 5, cast=5)
    async with tally(world.settings) as asked:
        await world.put(asked, "c", held)
        await world.seal(asked, "c", held, 0, 1, 2)
        await asked.create("c", mode=Mode.CHUNKED, chunk_size=2)
        for key in held.keys:
            await asked.decrypt("c", key.owner_id)
        await world.published(asked, "c")
        result = await asked.store.published("c")
        assert result is not None
        assert counts(result) == held.counts
        chunks = {}
        async for row in asked.store.centers("c"):
            (plain,) = from_json(list[PlainTally], row["election_result"])
            chunks[row["unit"]] = sum(plain.counts().values())
        assert list(chunks) == [0, 1]
        assert sum(chunks.values()) == sum(held.counts.values())


async def test_a_poison_chunk_fails_visibly_alone_and_the_job_can_be_resumed(
    world: TallyWorld,
) -> None:
    held = small_election("p", 11, cast=4)
    async with tally(world.settings) as asked:
        await world.put(asked, "p", held)
        ballot = held.ballots[0].object_id
        where = "election_id = 'p' AND ballot_id = $1"
        poison = f"UPDATE encrypted_ballots SET ciphertexts = $2 WHERE {where}"
        (row,) = await asked.store.jobs(
            f"SELECT ciphertexts FROM encrypted_ballots WHERE {where}", ballot
        )
        await asked.store.log(poison, ballot, b"poison")
        await asked.create("p", chunk_size=2)

        async def failed() -> bool:
            return (await statuses(asked, "p")).get(("TALLY", None)) == "FAILED"

        await until(failed, "the job fails", 60)
        (job,) = await asked.jobs("p")
        assert job["failedChunks"] == 1
        assert job["processedChunks"] == 1
        assert "format" in job["errorMessage"]
        log = await asked.store.jobs(
            "SELECT attempt FROM tally_worker_log WHERE status = 'FAILED' AND election_id = 'p'"
            " ORDER BY id"
        )
        assert [row["attempt"] for row in log] == [1, 2, 3]
        await asked.store.log(poison, ballot, row["ciphertexts"])
        await asked.resume("p")

        async def completed() -> bool:
            return (await statuses(asked, "p")).get(("TALLY", None)) == "COMPLETED"

        await until(completed, "the job completes", 60)


async def test_no_secret_of_a_guardian_can_be_read_anywhere(world: TallyWorld) -> None:
    held = small_election("s", 2, cast=1)
    async with tally(world.settings) as asked:
        await world.put(asked, "s", held)
        with pytest.raises(Refused) as caught:
            await asked.decrypt("s", "guardian-1")
        assert caught.value.check == Check.SECRET
        await world.seal(asked, "s", held, 0, 1, 2)
        await asked.create("s")
        for key in held.keys:
            await asked.decrypt("s", key.owner_id)
        await world.published(asked, "s")
    dump = await world.dump()
    for secret in held.secrets:
        for coefficient in secret.coefficients:
            assert to_hex(coefficient) not in dump
            assert str(coefficient) not in dump


async def test_messages_of_older_deployments_queues_are_commands(world: TallyWorld) -> None:
    held = small_election("123", 8, cast=2)
    queues = ("tally.creation.queue", "decryption.queue", "combine.decryption.queue")
    settings = load_settings(world.stack.env())
    async with (
        tally(world.settings) as asked,
        world.bridge(SCRUTIN_TALLY_QUEUES=",".join(queues)) as bridge,
        Link(connection_parameters(settings)) as link,
    ):
        await world.put(asked, "123", held)
        await world.seal(asked, "123", held, 0, 1)
        await bridge.ready()

        def send(queue: str, **message: object) -> None:
            body = json.dumps({"electionId": 123, "chunkNumber": 0, **message})
            link.channel.basic_publish("", queue, body.encode())

        secret = str(held.secrets[0].key)
        send("decryption.queue", guardianId=1, decryptedPrivateKey=secret)
        for chunk in range(3):
            send("tally.creation.queue", chunkNumber=chunk)

        async def asked_for() -> bool:
            return bool(await asked.jobs("123"))

        await until(asked_for, "the tally begins")
        send("decryption.queue", guardianId=1)
        send("decryption.queue", guardianSequenceOrder="2")
        send("combine.decryption.queue")
        await world.published(asked, "123")
        result = await asked.store.published("123")
        assert result is not None
        assert counts(result) == held.counts
        present = [g["id"] for g in result["verification"]["guardians"] if g["present"]]
        assert present == ["guardian-1", "guardian-2"]
        log = bridge.log.read_text()
        assert "decryptedPrivateKey" in log
        assert secret not in log

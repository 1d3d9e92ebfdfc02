"""What tally workers do on the real stack; a whole election has a module of its own."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import Iterator

import pytest

from schemas.tally import Mode
from streams.adapters.rabbitmq.client import connected
from streams.devstack import Stack
from streams.errors import ExitCode
from streams.settings.build import tally_config
from streams.settings.load import load_settings
from streams.tally.commands import tally
from streams.tally.crypto.decryption import PlainTally
from streams.tally.crypto.documents import from_json, to_json
from streams.tally.crypto.group import to_hex
from streams.tally.crypto.tallies import Accumulator, BallotLines
from streams.tally.refusals import RefusalCheck, Refused
from tests.harness import until
from tests.integration.tally_harness import TallyHarness, counts, small_election, statuses

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def world(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TallyHarness]:
    """One worker for the tests in which none dies."""
    world = TallyHarness(stack, tmp_path_factory.mktemp("tally"))
    asyncio.run(world.prepare())
    program = world.worker()
    yield world
    program.send(signal.SIGTERM)
    assert asyncio.run(program.ended()) == ExitCode.OK


async def test_every_chunk_is_decrypted_where_that_is_asked_for(world: TallyHarness) -> None:
    held = small_election("c", 5, cast=5)
    async with tally(tally_config(world.settings)) as asked:
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


async def test_elections_take_turns(world: TallyHarness) -> None:
    names = ("t1", "t2")
    async with tally(tally_config(world.settings)) as asked:
        for name in names:
            await world.put(asked, name, small_election(name, 6, cast=4))
        # Both are asked for before either begins.
        (program,) = world.programs
        program.send(signal.SIGSTOP)
        try:
            for name in names:
                await asked.create(name, chunk_size=1)
        finally:
            program.send(signal.SIGCONT)
        for name in names:
            await world.tallied(asked, name)
        log = await asked.store.jobs(
            "SELECT election_id, election_center_id FROM tally_worker_log"
            " WHERE phase = 'tally' AND election_id = ANY($1::text[]) ORDER BY id",
            list(names),
        )
        places = {
            name: [place for place, row in enumerate(log) if row["election_id"] == name]
            for name in names
        }
        for name, other in (names, names[::-1]):
            assert places[name][0] < places[other][-1]
        # Each entry names the product it is about.
        assert len({row["election_center_id"] for row in log} - {None}) == 8


async def test_a_poison_chunk_fails_visibly_alone_and_the_job_can_be_resumed(
    world: TallyHarness,
) -> None:
    held = small_election("p", 11, cast=4)
    async with tally(tally_config(world.settings)) as asked:
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


async def test_no_secret_of_a_guardian_can_be_read_anywhere(world: TallyHarness) -> None:
    held = small_election("s", 2, cast=1)
    async with tally(tally_config(world.settings)) as asked:
        await world.put(asked, "s", held)
        with pytest.raises(Refused) as caught:
            await asked.decrypt("s", "guardian-1")
        assert caught.value.check == RefusalCheck.SECRET
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


async def test_a_worker_opens_no_product_but_that_of_the_admitted_ballots(
    world: TallyHarness,
) -> None:
    held = small_election("f", 7, cast=3, spoiled=1)
    async with tally(tally_config(world.settings)) as asked:
        await world.put(asked, "f", held)
        await world.seal(asked, "f", held, 0)
        await asked.create("f")
        await world.tallied(asked, "f")

        async def products() -> bool:
            return await asked.store.count_centers("f") == 2

        await until(products, "the products are there", 60)
        # Who writes in the database replaces the total by one cast ballot.
        lines = from_json(BallotLines, to_json(held.ballots[0])).lines()
        accumulator = Accumulator(held.election)
        accumulator.add(lines)
        forged = to_json([accumulator.result("tally")]).decode()
        change = "UPDATE election_center SET encrypted_tally = $1 WHERE election_id = 'f'"
        await asked.store.log(change + " AND kind = 'total'", forged)
        await asked.decrypt("f", "guardian-1")

        async def failed() -> bool:
            return (await statuses(asked, "f")).get(("DECRYPTION", "guardian-1")) == "FAILED"

        await until(failed, "the guardian's job fails", 60)
        (job,) = [job for job in await asked.jobs("f") if job["operationType"] == "DECRYPTION"]
        assert "not that of the admitted ballots" in job["errorMessage"]
        assert job["processedChunks"] == 1
        assert await asked.store.count_shares("f", "guardian-1") == 1


async def test_messages_of_older_deployments_queues_are_commands(world: TallyHarness) -> None:
    held = small_election("123", 8, cast=2)
    queues = ("tally.creation.queue", "decryption.queue", "combine.decryption.queue")
    settings = load_settings(world.stack.env())
    async with (
        tally(tally_config(world.settings)) as asked,
        world.bridge(SCRUTIN_TALLY_QUEUES=",".join(queues)) as bridge,
        connected(settings.rabbit, "scrutin test") as connection,
    ):
        channel = await connection.channel()
        await world.put(asked, "123", held)
        await world.seal(asked, "123", held, 0, 1)
        await bridge.ready()

        def send(queue: str, **message: object) -> None:
            body = json.dumps({"electionId": 123, "chunkNumber": 0, **message})
            channel.raw.basic_publish("", queue, body.encode())

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

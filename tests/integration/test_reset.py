"""`scrutin reset` on a running rehearsal under load."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from schemas.codec import decode_input, encode
from schemas.control import EpochOpened
from schemas.votes import Vote, VoteBatch
from streams.adapters.redis.keys import THROTTLE_PREFIX
from streams.control.issuer import insert_command
from streams.core.topics import WINDOWS_TOPIC
from streams.devstack import Stack
from streams.errors import ExitCode
from streams.load.programs import worker
from streams.proof.notes import Signer
from streams.settings.build import deployment_config
from streams.settings.load import load_settings
from tests.harness import database, until
from tests.integration.bridge_harness import PARTITIONS, BridgeHarness, law_vote, scrutin
from tests.integration.proof_harness import published, recounted
from tests.strategies import epoch_opened

NAME = "dry-run"
RESULTS = ("vote_audit", "rejected_votes", "vote_results", "duplicate_attempts", "vote_windows")


async def reset(world: BridgeHarness, *arguments: str) -> Any:
    done = await asyncio.to_thread(
        scrutin, world.env, "reset", *(arguments or ("--confirm", NAME)), "--json"
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


async def rows(db: Any) -> dict[str, int]:
    return {table: await db.fetchval(f"SELECT count(*) FROM {table}") for table in RESULTS}


async def counted(db: Any, votes: int) -> None:
    async def look() -> bool:
        return bool(await db.fetchval("SELECT count(*) = $1 FROM vote_audit", votes))

    await until(look, f"{votes} votes counted", within_s=120)


@pytest.mark.timeout(400)
async def test_a_rehearsal_is_emptied_while_it_runs(stack: Stack, tmp_path: Path) -> None:
    async with BridgeHarness(stack, tmp_path, rehearsal=NAME) as world:
        world.env |= {"SCRUTIN_ROLL": "open", "SCRUTIN_REHEARSAL": NAME}
        counter = worker(world.env, tmp_path, "worker")
        db = await database(load_settings(stack.env()))
        try:
            async with world.bridge() as bridge, counter:
                await asyncio.gather(bridge.ready(), counter.ready())
                world.publish(law_vote(n) for n in range(500))
                world.publish([law_vote(1, n=2), b"junk"])
                await counted(db, 500)
                await world.redis.set(f"{THROTTLE_PREFIX}:LIMITS/address/somebody/10/1/minute", 10)
                await _under_load(world, db)
                assert [name async for name in world.redis.scan_iter(f"{THROTTLE_PREFIX}*")] == []
                # The voters of the first rehearsal can vote again; each once.
                world.publish(law_vote(n) for n in range(500))
                await counted(db, 500)
                world.publish(law_vote(n, n=3) for n in range(5))

                async def duplicates() -> bool:
                    return bool(await db.fetchval("SELECT count(*) = 5 FROM rejected_votes"))

                await until(duplicates, "second votes of this rehearsal are duplicates")
                await _mirrored(world, 500, 5)
                # The epoch comes back with the changelog.
                await counter.terminate()
                counter.start()
                await counter.ready()
                signer = Signer.new("votes.example.org")
                await _proved(world, signer, tmp_path / "first", 1)
                await _while_votes_flow(world, db)
                await _proved(world, signer, tmp_path / "second", 2)
        finally:
            await db.close()


async def _proved(world: BridgeHarness, signer: Signer, folder: Path, epoch: int) -> None:
    """The trees go on over resets; totals are those of the latest epoch."""
    config = deployment_config(load_settings(world.env))
    report = await recounted(config, signer)
    assert report.last_checkpoint is not None
    assert report.last_checkpoint.statement.epoch == epoch
    assert report.audit_rows < report.leaves
    await published(config, signer, folder)


async def _mirrored(world: BridgeHarness, voters: int, counters: int) -> None:
    """Wait for what the bridge writes to Redis, whatever PostgreSQL has."""

    async def there() -> bool:
        keys = [key async for key in world.redis.scan_iter("duplicate_count:*")]
        return (await world.redis.scard("voted_hashes"), len(keys)) == (voters, counters)

    await until(there, f"{voters} voters and {counters} counters in the mirror")


async def _under_load(world: BridgeHarness, db: Any) -> None:
    async def rejected() -> bool:
        return (await rows(db))["rejected_votes"] == 2

    await until(rejected, "both bad votes are in the database")
    assert all((await rows(db)).values())
    enough = asyncio.Event()

    async def publish_on() -> int:
        sent = 0
        while not enough.is_set():
            await asyncio.to_thread(
                world.publish, [law_vote(10_000 + sent + n, law_id="old") for n in range(200)]
            )
            sent += 200
        return sent

    publishing = asyncio.create_task(publish_on())

    async def flowing() -> bool:
        return bool(await db.fetchval("SELECT count(*) > 700 FROM vote_audit"))

    await until(flowing, "votes are being counted", within_s=120)
    enough.set()
    await publishing
    assert (await reset(world))["epoch"] == 1
    assert not any((await rows(db)).values())
    assert world.ready("votes.validation") == world.ready("votes.review") == 0
    assert await world.redis.exists("voted_hashes") == 0
    opened = {}
    for record in await world.records():
        decoded = decode_input(record.value)
        if isinstance(decoded, EpochOpened):
            opened[record.partition] = record.offset
        elif isinstance(decoded, VoteBatch) and record.partition in opened:
            # What a bridge still held has the old epoch's number, and is void.
            assert getattr(decoded, "epoch", 0) == 0
    assert len(opened) == PARTITIONS
    stale = [
        placed.item
        for placed in await world.log()
        if placed.offset > opened[placed.partition] and isinstance(placed.item, Vote)
    ]
    assert await db.fetchval("SELECT count(*) FROM vote_audit") == 0, len(stale)
    windows = {r.key: r.value for r in await world.records(WINDOWS_TOPIC, 1)}
    assert windows
    assert not any(windows.values())


async def _while_votes_flow(world: BridgeHarness, db: Any) -> None:
    """Nobody stops publishing: what RabbitMQ had before does not count, what comes after does."""
    sent: Counter[str] = Counter()
    phase = "before"

    async def publish_on() -> None:
        number = 10**6
        while phase != "over":
            law, first = phase, number
            await asyncio.to_thread(
                world.publish, [law_vote(first + n, law_id=law) for n in range(100)]
            )
            number += 100
            sent[law] += 100

    async def of(law: str) -> int:
        query = "SELECT count(*) FROM vote_audit WHERE law_id = $1"
        return int(await db.fetchval(query, law))

    async def sent_in(law: str, votes: int) -> bool:
        return sent[law] >= votes

    publishing = asyncio.create_task(publish_on())
    try:
        await until(lambda: of("before"), "votes are being counted", within_s=120)
        phase = "during"
        # The last batch of before is in RabbitMQ once this one is.
        await until(lambda: sent_in("during", 100), "publishing goes on", within_s=120)
        done = await reset(world)
        phase = "after"
        await until(lambda: sent_in("after", 300), "publishing goes on", within_s=120)
    finally:
        phase = "over"
        await publishing
    assert done["epoch"] == 2
    print(f"reset of {sent.total()} votes on their way in {done['took_s']} s")

    async def all_of_after() -> bool:
        return await of("after") == sent["after"]

    await until(all_of_after, "votes after the reset are counted", within_s=120)
    assert await of("before") == 0
    assert await of("during") <= sent["during"]
    assert await db.fetchval("SELECT count(*) FROM vote_audit") == sum(
        [await of("during"), await of("after")]
    )
    assert await db.fetchval("SELECT count(*) FROM rejected_votes") == 0


async def test_a_reset_needs_the_name_of_a_rehearsal(stack: Stack, tmp_path: Path) -> None:
    async with BridgeHarness(stack, tmp_path, rehearsal=NAME) as world:
        refused = scrutin(world.env, "reset", "--confirm", NAME)
        assert refused.returncode == 10
        assert "not marked as a rehearsal" in refused.stderr
        other = scrutin({**world.env, "SCRUTIN_REHEARSAL": "other"}, "reset", "--confirm", NAME)
        assert other.returncode == 10
        assert "another name" in other.stderr
        scrutin(world.env, "migrate")
        unlike = scrutin({**world.env, "SCRUTIN_REHEARSAL": "other"}, "reset", "--confirm", "other")
        assert unlike.returncode == ExitCode.LOG_MISMATCH
        assert "began as the rehearsal 'dry-run'" in unlike.stderr
        early = scrutin({**world.env, "SCRUTIN_REHEARSAL": NAME}, "reset", "--confirm", NAME)
        assert early.returncode == 1
        assert "Only 0 of 4 partitions were ever counted" in early.stderr
        assert len(await world.records()) == PARTITIONS


@pytest.mark.timeout(400)
async def test_a_real_vote_is_not_emptied_by_the_name_of_a_rehearsal(
    stack: Stack, tmp_path: Path
) -> None:
    """Not by the command in a shell that says so, and not by records and rows that are forged."""
    async with BridgeHarness(stack, tmp_path) as world:
        world.env |= {"SCRUTIN_ROLL": "open"}
        rehearsing = {**world.env, "SCRUTIN_REHEARSAL": NAME}
        counter = worker(rehearsing, tmp_path, "worker")
        db = await database(load_settings(stack.env()))
        try:
            async with world.bridge() as bridge, counter:
                await asyncio.gather(bridge.ready(), counter.ready())
                world.publish(law_vote(n) for n in range(200))
                await counted(db, 200)
                refused = await asyncio.to_thread(scrutin, rehearsing, "reset", "--confirm", NAME)
                assert refused.returncode == ExitCode.LOG_MISMATCH
                assert "did not begin as a rehearsal" in refused.stderr
                number = time.time_ns() // 1_000_000
                for partition in range(PARTITIONS):
                    await world.write_input(encode(epoch_opened(number, 1)), partition=partition)
                # A row in the table of commands is written to every partition by a worker.
                await insert_command(
                    db, epoch_opened(number + 1, 2), PARTITIONS, "forger", written_ms=None
                )

                async def ignored() -> bool:
                    stages = [
                        await world.metric(
                            counter, f'scrutin_ignored_commands_total{{stage="{stage}"}}'
                        )
                        for stage in ("validation", "sink")
                    ]
                    return stages == [2 * PARTITIONS] * 2

                await until(ignored, "both resets are ignored everywhere", within_s=60)
                world.publish(law_vote(n) for n in range(250))
                await counted(db, 250)
                await _mirrored(world, 250, 200)
                assert await db.fetchval("SELECT max(epoch) FROM sink_offsets") == 0
        finally:
            await db.close()

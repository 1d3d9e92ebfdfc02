"""The cut-over that docs/adopting.md describes, rehearsed with its way back."""

from __future__ import annotations

import asyncio
import hashlib
import json
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from streams.adapters.rabbitmq.client import connected
from streams.devstack import Stack
from streams.errors import ExitCode
from streams.settings.load import load_settings
from streams.settings.queues import VOTES_EXCHANGE
from tests.harness import database, redis_of, until, wipe
from tests.integration.adopt_harness import Before, Running
from tests.integration.bridge_harness import scrutin
from tests.integration.old_services import OldServices
from tests.integration.old_systems import VOTING

SHADOW = "votes.shadow"
SHADOW_SETTINGS = {"VALIDATION_QUEUE": SHADOW, "REDIS_DB": "1", "SCRUTIN_EGRESS": ""}


def vote(number: int) -> dict[str, object]:
    return {
        "hash": hashlib.sha256(f"cutover {number}".encode()).hexdigest(),
        "law_id": f"law-{number % 2}",
        "vote": "oui" if number % 3 else "non",
        "vote_timestamp": f"2026-11-29T12:{number // 60 % 60:02}:{number % 60:02}",
    }


class World:
    """The old system with its publisher, and Scrutin beside it."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.before = before = Before(stack)
        self.old = load_settings({**before.env, "POSTGRES_DB": "voting"})
        before.env.update(SHADOW_SETTINGS)
        self.services = OldServices(self.old)
        self.sent: Counter[tuple[str, str]] = Counter()

    async def publish(self, *numbers: int) -> None:
        """As the old API does; of each tenth voter twice, and one vote of a stranger."""
        async with connected(self.old.rabbit, "old API") as connection:
            channel = await connection.channel()
            for number in numbers:
                body = json.dumps(vote(number)).encode()
                for _ in range(1 + (number % 10 == 0)):
                    channel.raw.basic_publish(VOTES_EXCHANGE, "vote.submitted", body)
                self.sent[str(vote(number)["law_id"]), str(vote(number)["vote"])] += 1
            stranger = {**vote(numbers[0]), "hash": "f" * 64}
            channel.raw.basic_publish(
                VOTES_EXCHANGE, "vote.submitted", json.dumps(stranger).encode()
            )

    async def in_results(self, votes: int) -> None:
        """Wait until the old aggregator has counted so many."""
        db = await database(self.old)

        async def there() -> bool:
            found = await db.fetchval("SELECT coalesce(sum(total_votes), 0) FROM vote_results")
            return bool(found == votes)

        try:
            await until(there, f"the old services count {votes}")
        finally:
            await db.close()


@pytest.fixture
async def world(stack: Stack) -> AsyncIterator[World]:
    await wipe(stack.env())
    made = World(stack)
    admin, redis = await database(made.before.settings), redis_of(made.old)
    await admin.execute("DROP DATABASE IF EXISTS voting WITH (FORCE)")
    await admin.execute("CREATE DATABASE voting")
    db = await database(made.old)
    await db.execute(VOTING)
    await db.close()
    await redis.sadd("valid_hashes", *(str(vote(number)["hash"]) for number in range(400)))
    async with connected(made.old.rabbit, "old deployment") as connection:
        channel = await connection.channel()
        channel.raw.exchange_declare(VOTES_EXCHANGE, "topic", durable=True)
        await channel.declare("votes.validation")
        await channel.bind("votes.validation", VOTES_EXCHANGE, "vote.submitted")
    try:
        yield made
    finally:
        await admin.execute("DROP DATABASE voting WITH (FORCE)")
        await admin.close()
        await redis.flushall()
        await redis.aclose()
        async with connected(made.old.rabbit, "old deployment") as connection:
            channel = await connection.channel()
            channel.raw.queue_delete(SHADOW)
            channel.raw.exchange_delete(VOTES_EXCHANGE)
        await wipe(stack.env())


@pytest.mark.timeout(300)
async def test_a_shadow_run_a_switch_and_the_way_back(world: World, tmp_path: Path) -> None:
    """Both count the same; after the switch only Scrutin does; the way back loses nothing."""
    async with world.services:
        await world.publish(*range(100))
        await world.in_results(100)
        # From now on Scrutin's queue gets a copy of each vote.
        async with connected(world.old.rabbit, "operator") as connection:
            channel = await connection.channel()
            await channel.declare(SHADOW)
            await channel.bind(SHADOW, VOTES_EXCHANGE, "vote.submitted")
        # Both in the old tables and in Scrutin's queue.
        await world.publish(*range(100, 200))
        await world.in_results(200)
    redis = redis_of(world.old)
    await redis.copy("valid_hashes", "valid_hashes", destination_db=1)
    code, done = await world.before.run("adopt", "--from-database", "voting", REDIS_DB="0")
    assert (code, done["facts"]["votes"], done["moved"]) == (0, 200, []), done

    async with Running(world.stack, tmp_path, bridges=1, settings=SHADOW_SETTINGS):
        async with world.services:
            await world.publish(*range(200, 300))
            await watched(world, 300)
            code, shown = await world.before.run("compare", "voting", "--wait", "60")
            assert (code, shown["equal"]) == (0, True), shown
            assert {(r["contest"], r["choice"]): r["new"] for r in shown["contests"]} == world.sent
            assert shown["old"]["read"] == {"law": "vote_results"}
            assert shown["old"]["age_s"] is not None
        # The switch: Scrutin alone counts, and each vote waits for the old worker too.
        await world.publish(*range(300, 400))
        await counted(world, 400)
        code, shown = await world.before.run("compare", "voting")
        assert code == ExitCode.DIFFERENT
        assert sum(row["difference"] for row in shown["contests"]) == 100
        said = await asyncio.to_thread(scrutin, world.before.env, "compare", "voting")
        assert "4 of 4 totals differ" in said.stdout
        assert "who voted, and when" in said.stdout
        # The way back: the old services count what waited for them.
        async with world.services:
            await world.in_results(400)
        code, shown = await world.before.run("compare", "voting")
        assert (code, {(r["contest"], r["choice"]): r["old"] for r in shown["contests"]}) == (
            0,
            world.sent,
        )
    assert await redis.scard("voted_hashes") == 400
    await redis.aclose()


async def watched(world: World, votes: int) -> None:
    """Watch until both have counted so many, as an operator would."""
    watching = await asyncio.create_subprocess_exec(
        str(Path(sys.executable).with_name("scrutin")),
        *("compare", "voting", "--watch", "--interval", "0.2", "--json"),
        env={"PATH": "/usr/bin:/bin", **world.before.env},
        stdout=asyncio.subprocess.PIPE,
    )
    assert watching.stdout is not None
    async with asyncio.timeout(120):
        async for line in watching.stdout:
            shown = json.loads(line)
            if shown["equal"] and shown["old"]["votes"] == votes:
                break
        watching.send_signal(signal.SIGINT)
        await watching.communicate()
    assert watching.returncode == 0


async def counted(world: World, votes: int) -> None:
    async def there() -> bool:
        return await world.before.rows("SELECT count(*) FROM vote_audit") == [(votes,)]

    await until(there, f"Scrutin counts {votes}")

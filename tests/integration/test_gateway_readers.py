"""Readers of results, however slow their questions are, do not keep votes waiting."""

from __future__ import annotations

import asyncio
from pathlib import Path

from streams.devstack import Stack
from streams.gateway.submissions import election_hashes
from streams.load.programs import child_environment, gateway
from tests.harness import database, redis_of, until
from tests.integration.gateway_harness import NO_LIMITS, Client, client_of
from tests.integration.sink_harness import own_database

READERS = 60
WAITING = """
SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND wait_event_type = 'Lock'
"""


async def test_votes_do_not_wait_for_readers(stack: Stack, tmp_path: Path) -> None:
    async with own_database(stack) as settings:
        redis = redis_of(settings)
        await redis.sadd("valid_hashes", *election_hashes("987001000", "CODE"))
        await redis.aclose()
        env = child_environment(
            stack.env(),
            POSTGRES_DB=settings.postgres_db,
            SCRUTIN_ENFORCE_CONTESTS="false",
            **NO_LIMITS,
        )
        db, watching = await database(settings), await database(settings)
        try:
            async with gateway(env, tmp_path) as program, client_of(program) as client:
                await program.ready()
                # As slow as can be: no answer while the lock is held.
                async with db.transaction():
                    await db.execute("LOCK TABLE elections IN ACCESS EXCLUSIVE MODE")
                    await votes_pass(client, watching)
        finally:
            await db.close()
            await watching.close()


async def votes_pass(client: Client, db: object) -> None:
    """Vote while many wait for results.

    Args:
        client: of the gateway.
        db: outside the transaction with the lock, where the activity would be seen only once.
    """
    reading = [
        asyncio.create_task(client.get(f"/api/v1/elections/{number % 3}/results"))
        for number in range(READERS)
    ]

    async def waits() -> bool:
        return bool(await db.fetchval(WAITING))  # type: ignore[attr-defined]

    await until(waits, "a reader waits for the lock")
    ballot = {"nas": "987001000", "code": "CODE", "election_id": 1, "candidate_id": 7}
    status, _ = await client.post("/api/v1/elections/vote", ballot)
    assert status == 202
    assert not any(task.done() for task in reading), "a reader was answered before the vote"
    # Equal questions are asked once, and different ones one after the other.
    assert await db.fetchval(WAITING) == 1  # type: ignore[attr-defined]
    assert {status for status, _ in await asyncio.gather(*reading)} == {503}

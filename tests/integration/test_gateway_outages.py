"""Votes over HTTP while things fail: a killed gateway, a RabbitMQ without memory."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from streams.core.rows import moment
from streams.devstack import Stack
from streams.intake.receipts import Receipts
from tests.faults.services import NotPossibleHere, Rabbit
from tests.harness import database, metrics, until
from tests.integration.gateway_harness import (
    NO_LIMITS,
    SECRET,
    Client,
    GatewayChain,
    ballot,
    client_of,
)

SETTINGS = {**NO_LIMITS, "SCRUTIN_ROLL": "open", "SCRUTIN_CONFIRM_TIMEOUT_S": "5"}
AT_ONCE = 32
KILLS = 2
BETWEEN_KILLS = 100
"""Answered votes."""


@pytest.mark.timeout(400)
@pytest.mark.parametrize("confirm", ["rabbitmq", "kafka"])
async def test_a_gateway_that_is_killed_loses_no_answered_vote(
    stack: Stack, tmp_path: Path, confirm: str
) -> None:
    """Voters who get no answer vote again; every answered vote ends in one place."""
    settings = {**SETTINGS, "SCRUTIN_CONFIRM": confirm}
    async with GatewayChain(stack, tmp_path, settings=settings) as chain:
        await chain.start()
        program = chain.gateways[0]
        receipts: list[str] = []
        async with client_of(program) as client, crowd(client, receipts) as voters:
            for kill in range(1, KILLS + 1):

                async def busy(least: int = kill * BETWEEN_KILLS) -> bool:
                    return len(receipts) >= least

                await until(busy, "votes are answered", within_s=120)
                await program.kill()
                program.start()
                await program.ready()
        assert len(receipts) >= KILLS * BETWEEN_KILLS
        await all_in_one_place(chain, receipts, voters)


@asynccontextmanager
async def crowd(client: Client, receipts: list[str]) -> AsyncIterator[set[int]]:
    """Voters come while the block runs, and none leaves without an answer."""
    numbers, voters = count(1), set[int]()
    over = asyncio.Event()

    async def come() -> None:
        while not over.is_set():
            number = next(numbers)
            voters.add(number)
            while True:
                body = await answer(client, number)
                if body is not None:
                    receipts.append(body["receipt"])
                    break
                await asyncio.sleep(0.02)

    tasks = [asyncio.create_task(come()) for _ in range(AT_ONCE)]
    try:
        yield voters
        over.set()
        async with asyncio.timeout(120):
            await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()


async def answer(client: Client, voter: int) -> dict[str, Any] | None:
    """A vote's answer; None if there was none, or 503."""
    with contextlib.suppress(aiohttp.ClientError, ConnectionError):
        status, body = await client.post("/api/v1/vote", ballot(voter))
        assert status in {202, 503}, body
        return body if status == 202 else None
    return None


async def all_in_one_place(chain: GatewayChain, receipts: list[str], voters: set[int]) -> None:
    """Every receipt's vote is counted or rejected, once; every voter counts once."""
    opened = [Receipts(SECRET.encode()).open(receipt) for receipt in receipts]
    db = await database(chain.settings)
    counted = """
        SELECT count(*) FROM vote_audit AS v
        JOIN unnest($1::text[], $2::timestamptz[]) AS r (vote_hash, at)
            ON v.vote_hash = r.vote_hash AND v."timestamp" = r.at
    """
    rejected = """
        SELECT count(*) AS rows, count(DISTINCT r.identity) AS votes
        FROM rejected_votes AS r WHERE identity = ANY($1::bytea[]) AND status = 'duplicate'
    """

    async def places() -> tuple[int, int, int]:
        hashes = [each.stored_hash for each in opened]
        times = [moment(each.timestamp_us) for each in opened]
        twice = await db.fetchrow(rejected, [each.identity for each in opened])
        return await db.fetchval(counted, hashes, times), twice["votes"], twice["rows"]

    async def settled() -> bool:
        return sum((await places())[:2]) >= len(receipts)

    try:
        await until(settled, "every answered vote has its place", within_s=60)
        votes, duplicates, rows = await places()
        assert (votes + duplicates, rows) == (len(receipts), duplicates)
        assert await db.fetchval("SELECT oui_count FROM vote_results") == len(voters)
        assert await db.fetchval("SELECT count(*) FROM vote_audit") == len(voters)
    finally:
        await db.close()


@pytest.mark.timeout(400)
async def test_while_rabbitmq_is_out_of_memory_votes_are_turned_away(
    stack: Stack, tmp_path: Path
) -> None:
    """503 with Retry-After, at once after the first; a client that tries again is counted once."""
    try:
        rabbit = Rabbit(stack)
    except NotPossibleHere as reason:
        pytest.skip(str(reason))
    voters = range(1, 21)
    async with GatewayChain(stack, tmp_path, settings=SETTINGS) as chain:
        await chain.start()
        async with client_of(chain.gateways[0]) as client:
            async with rabbit.memory_alarm():
                # RabbitMQ says so to each publisher.
                assert await answer(client, 1) is None

                async def blocked() -> bool:
                    return (await client.get("/ready"))[1]["faults"] != []

                await until(blocked, "the gateway knows")
                assert (await client.get("/ready"))[1]["faults"] == [
                    "RabbitMQ is short of memory or disk"
                ]
                for voter in voters:
                    async with client.session.post(
                        f"{client.base}/api/v1/vote", json=ballot(voter)
                    ) as turned_away:
                        assert turned_away.status == 503
                        assert int(turned_away.headers["Retry-After"]) > 0
                        assert turned_away.content_type == "application/problem+json"
                assert (await metrics(chain.gateways[0]))["scrutin_gateway_blocked"] == 1
            await chain.gateways[0].ready()
            receipts = [body["receipt"] for v in voters if (body := await answer(client, v))]
            assert len(receipts) == len(voters)
            fates = [(await client.fate(receipt))["status"] for receipt in receipts]
            # The first may have got through when there was memory again.
            assert fates[0] in {"counted", "duplicate"}
            assert set(fates[1:]) == {"counted"}
        db = await database(chain.settings)
        try:
            assert await db.fetchval("SELECT oui_count FROM vote_results") == len(voters)
        finally:
            await db.close()

"""Live feeds on real services: forged totals, names that no contest can have, heartbeats."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from redis.asyncio import Redis

from streams.core.live_totals import CHANNEL, TotalsMessage, totals_key, write_message
from streams.devstack import Stack
from streams.load.programs import child_environment, gateway
from tests.harness import database, redis_of
from tests.integration.gateway_harness import SECRET, Client, client_of
from tests.integration.sink_harness import own_database

BAD_NAMES = ["%00", "L%00", "x" * 265, "%C3%A9" * 133]
NO_SUCH = 4404


@pytest.mark.parametrize("secret", [SECRET, ""], ids=["signed", "no secret"])
async def test_watchers_see_what_is_committed(stack: Stack, tmp_path: Path, secret: str) -> None:
    async with own_database(stack) as settings:
        env = child_environment(
            stack.env(), POSTGRES_DB=settings.postgres_db, SCRUTIN_SECRET=secret
        )
        db, redis = await database(settings), redis_of(settings)
        try:
            await db.execute("INSERT INTO contest_results VALUES ('L-1', 'oui', 3)")
            async with gateway(env, tmp_path) as program, client_of(program) as client:
                await program.ready()
                url = f"{client.base}/ws/laws/L-1/"
                async with client.session.ws_connect(url) as socket:
                    first = await message(socket)
                    assert (first["type"], first["totals"]) == ("snapshot", {"oui": 3})
                    await events_have_heartbeats(client)
                    await names_that_cannot_be(client)
                    await forged_totals_are_not_shown(redis, socket)
                    await db.execute("UPDATE contest_results SET votes = 4")
                    if secret:
                        await redis.publish(CHANNEL, totals(4, secret))
                    assert await next_totals(socket) == {"oui": 4}
        finally:
            await db.close()
            await redis.aclose()


async def events_have_heartbeats(client: Client) -> None:
    """Server-Sent Events are the same messages."""
    url = f"{client.base}/results/L-1/events"
    async with client.session.get(url) as events, asyncio.timeout(60):
        kinds = []
        while True:
            line = await events.content.readline()
            if line.strip():
                found = json.loads(line.removeprefix(b"data: "))
                kinds.append(found["type"])
                if found.get("heartbeat"):
                    break
    assert (kinds, found["totals"], found["total"]) == (["snapshot", "delta"], {}, 3)


async def names_that_cannot_be(client: Client) -> None:
    """Contests that PostgreSQL cannot hold are refused, alike everywhere."""
    for name in BAD_NAMES:
        for kind in ("laws", "elections", "polls"):
            url = f"{client.base}/ws/{kind}/{name}/"
            async with client.session.ws_connect(url) as socket:
                received = await socket.receive(timeout=30)
                assert (received.type, received.data) == (aiohttp.WSMsgType.CLOSE, NO_SUCH)
        for path in ("events", "timeline", ""):
            status, _ = await client.get(f"/results/{name}/{path}")
            assert status == 404, path


async def forged_totals_are_not_shown(
    redis: Redis, socket: aiohttp.ClientWebSocketResponse
) -> None:
    """Messages of somebody who may publish in Redis, until two heartbeats have come."""
    beats = 0
    while beats < 2:
        await redis.publish(CHANNEL, totals(1_000_000, "a secret that is guessed by somebody"))
        await redis.publish(CHANNEL, b'{"contests":{"L-1":{"oui":999}}}')
        try:
            found = await message(socket, 0.05)
        except TimeoutError:
            continue
        assert found["totals"] == {}
        assert found["total"] == 3
        assert found["age_s"] < 30
        beats += found["heartbeat"]


def totals(votes: int, secret: str) -> bytes:
    """What a worker with this secret publishes."""
    now_ms = time.time_ns() // 1_000_000
    return write_message(TotalsMessage({"L-1": {"oui": votes}}, [], now_ms), totals_key(secret))


async def message(socket: aiohttp.ClientWebSocketResponse, within_s: float = 60) -> dict[str, Any]:
    """The next message.

    Raises:
        TimeoutError: none came.
    """
    async with asyncio.timeout(within_s):
        found: dict[str, Any] = json.loads((await socket.receive()).data)
    return found


async def next_totals(socket: aiohttp.ClientWebSocketResponse) -> dict[str, int]:
    """The next totals that changed."""
    while True:
        found = await message(socket)
        if found["totals"]:
            changed: dict[str, int] = found["totals"]
            return changed

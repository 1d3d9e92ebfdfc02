"""Polls on the real chain: created, voted in, watched, closed at an exact point, archived."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections import Counter
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pika
import pytest

from streams.devstack import Stack
from tests.harness import database, redis_of, until
from tests.integration.gateway_world import NO_LIMITS, Client, GatewayChain, client_of

API_KEY = "key of a test"
SETTINGS = {
    **NO_LIMITS,
    "SCRUTIN_API_KEYS": hashlib.sha256(API_KEY.encode()).hexdigest(),
    "BATCH_TIMEOUT_SECONDS": "0.1",
}
WATCHERS = 300


def poll(seconds: float = 3600, **more: object) -> dict[str, object]:
    end = datetime.now(UTC) + timedelta(seconds=seconds)
    return {
        "title": "Best fruit?",
        "creator_name": "Ann",
        "end_time": end.isoformat(),
        "options": [{"text": "Apple"}, {"text": "Pear"}, {"text": "<b>Plum</b>"}],
        **more,
    }


async def message(socket: aiohttp.ClientWebSocketResponse) -> dict[str, Any]:
    received = await socket.receive(timeout=30)
    found: dict[str, Any] = json.loads(received.data)
    return found


async def until_told(
    socket: aiohttp.ClientWebSocketResponse, totals: dict[str, int], *, final: bool = False
) -> None:
    """Follow a socket, as a page does, until it shows some totals."""
    first = await message(socket)
    assert first["type"] == "snapshot"
    shown, number = first["totals"], first["number"]
    done = first["final"]
    while shown != totals or (final and not done):
        delta = await message(socket)
        assert (delta["type"], delta["continues"]) == ("delta", number), "a gap"
        shown |= delta["totals"]
        number = delta["number"]
        done = delta.get("final", done)


@pytest.mark.timeout(240)
async def test_a_poll_from_its_creation_to_its_final_result(stack: Stack, tmp_path: Path) -> None:
    async with GatewayChain(stack, tmp_path, settings=SETTINGS) as chain:
        redis = redis_of(chain.settings)
        await redis.sadd("valid_hashes", "some-voter")
        await redis.aclose()
        await chain.start()
        async with client_of(chain.gateways[0]) as client, AsyncExitStack() as sockets:
            await by_name_until_it_closes(client, sockets)
            await every_kind_of_voter(client)
            await stuffing_is_in_vain(chain, client)
            await drafts_are_edited_and_archived(client)


async def by_name_until_it_closes(client: Client, sockets: AsyncExitStack) -> None:
    status, made = await client.post("/api/polls/create/", poll(seconds=20))
    assert status == 201
    poll_id = made["id"]
    url = f"{client.base}/ws/polls/{poll_id}/"
    watching = [
        await sockets.enter_async_context(client.session.ws_connect(url)) for _ in range(WATCHERS)
    ]
    everything = await sockets.enter_async_context(
        client.session.ws_connect(f"{client.base}/ws/global/")
    )
    names = [f"Voter {n}" for n in range(30)]
    answers = await asyncio.gather(
        *(
            client.post(
                "/api/vote/", {"poll_id": poll_id, "option_id": n % 2 + 1, "voter_name": name}
            )
            for n, name in enumerate([*names, *names[:5]])
        )
    )
    # One of a pair may be turned away early; the log turns away the rest.
    assert {status for status, _ in answers} <= {202, 409}
    fates = [await client.fate(body["receipt"]) for status, body in answers if status == 202]
    assert Counter(fate["status"] for fate in fates)["counted"] == 30
    totals = {"1": 15, "2": 15}
    notice = await message(everything)
    assert notice.pop("voter_name") in names
    option = notice.pop("option_id")
    assert notice == {
        "type": "vote_notification",
        "poll_id": poll_id,
        "poll_text": "Best fruit?",
        "option_text": ["Apple", "Pear"][option - 1],
    }
    told = asyncio.gather(*(until_told(socket, totals, final=True) for socket in watching))
    _, listed = await client.get("/api/polls/get-list/?full_name=VOTER%200&page_size=5")
    [shown] = listed["results"]
    assert (listed["count"], shown["has_voted"], shown["total_votes"]) == (1, True, 30)
    assert [option["voted"] for option in shown["options"]] == [True, False, False]
    # All are told that it has closed by itself, and of the final result.
    async with asyncio.timeout(120):
        await told
    status, late = await client.post(
        "/votes/", {"poll_id": poll_id, "option_id": 1, "voter_name": "Late"}
    )
    assert (status, late["detail"]) == (400, "The poll is closed")
    _, shown = await client.get(f"/api/polls/{poll_id}/?full_name=voter%201")
    assert (shown["state"], shown["is_active"], shown["voted_option_id"]) == ("closed", False, 2)
    proof = shown["final"]
    assert (proof["final"], len(proof["vector"])) == (True, proof["partitions"])
    _, result = await client.get(f"/results/poll:{poll_id}")
    assert (result["choices"], result["state"]) == (totals, "closed")
    async with client.session.get(f"{client.base}/results/poll:{poll_id}/events") as events:
        line = (await events.content.readline()).decode()
        assert json.loads(line.removeprefix("data: "))["totals"] == totals
    await watching[0].send_str("snapshot")
    again = await message(watching[0])
    assert (again["type"], again["totals"]) == ("snapshot", totals)


async def every_kind_of_voter(client: Client) -> None:
    _, cookie = await client.post("/polls/", poll(who="cookie"))
    vote = {"poll_id": cookie["id"], "option_id": 1}
    _, accepted = await client.post("/votes/", vote)
    assert (await client.fate(accepted["receipt"]))["status"] == "counted"
    # The browser is known by its cookie; another one is another voter.
    assert (await client.post("/votes/", vote))[0] == 409
    _, listed = await client.get("/polls/?search=fruit&status=active&creator=Ann")
    assert listed["results"][0]["has_voted"]
    async with aiohttp.ClientSession() as session:
        other = Client(session, int(client.base.rpartition(":")[2]))
        status, accepted = await other.post("/votes/", vote)
        assert status == 202
        assert (await other.fate(accepted["receipt"]))["status"] == "counted"

    _, keyed = await client.post("/polls/", poll(who="key"))
    vote = {"poll_id": keyed["id"], "option_id": 2}
    assert (await client.post("/votes/", vote))[0] == 401
    _, accepted = await client.post("/votes/", vote, headers={"X-API-Key": API_KEY})
    assert (await client.fate(accepted["receipt"]))["status"] == "counted"

    _, rolled = await client.post("/polls/", poll(who="roll"))
    vote = {"poll_id": rolled["id"], "option_id": 3}
    assert (await client.post("/votes/", vote))[0] == 400
    _, accepted = await client.post("/votes/", {**vote, "voter_hash": "some-voter"})
    assert (await client.fate(accepted["receipt"]))["status"] == "counted"
    _, accepted = await client.post("/votes/", {**vote, "voter_hash": "nobody"})
    fate = await client.fate(accepted["receipt"])
    assert (fate["status"], fate["reason"]) == ("invalid", "not_on_roll")


async def stuffing_is_in_vain(chain: GatewayChain, client: Client) -> None:
    """A password of the queue does not make a voter."""
    _, made = await client.post("/polls/", poll())
    forged = {
        "poll_id": str(made["id"]),
        "option_id": "1",
        "voter_hash": "f" * 64,
        "vote_timestamp": "2026-01-01T00:00:00Z",
        "who": "cookie",
        "signature": "0" * 64,
    }
    settings = chain.settings
    credentials = pika.PlainCredentials(
        settings.rabbitmq_user, settings.rabbitmq_password.get_secret_value()
    )
    connection = pika.BlockingConnection(
        pika.ConnectionParameters(
            settings.rabbitmq_host, settings.rabbitmq_port, credentials=credentials
        )
    )
    connection.channel().basic_publish("", "votes.validation", json.dumps(forged).encode())
    connection.close()
    db = await database(settings)

    async def rejected() -> bool:
        query = "SELECT count(*) FROM rejected_votes WHERE reason = 'bad_signature'"
        return await db.fetchval(query) == 1

    try:
        await until(rejected, "the forged vote is rejected")
    finally:
        await db.close()
    assert (await client.get(f"/results/poll:{made['id']}"))[1]["total_votes"] == 0


async def drafts_are_edited_and_archived(client: Client) -> None:
    opens = (datetime.now(UTC) + timedelta(minutes=30)).isoformat()
    _, made = await client.post("/polls/", poll(opens_at=opens))
    path = f"/polls/{made['id']}/"
    vote = {"poll_id": made["id"], "option_id": 1, "voter_name": "Early"}
    assert (await client.post("/votes/", vote))[1]["detail"] == "The poll is not open yet"
    new = poll(title="Best nut?", opens_at=opens, options=[{"text": "a"}, {"text": "b"}])
    token = {"X-Edit-Token": made["edit_token"]}
    async with client.session.put(client.base + path, json=new) as answer:
        assert answer.status == 403
    async with client.session.put(client.base + path, json=new, headers=token) as answer:
        assert (answer.status, (await answer.json())["title"]) == (200, "Best nut?")
    async with client.session.delete(client.base + path, headers=token) as answer:
        assert answer.status == 204
    assert (await client.get(path))[0] == 404
    _, opened = await client.post("/polls/", poll())
    path, token = f"/polls/{opened['id']}/", {"X-Edit-Token": opened["edit_token"]}
    async with client.session.put(client.base + path, json=new, headers=token) as answer:
        assert answer.status == 409

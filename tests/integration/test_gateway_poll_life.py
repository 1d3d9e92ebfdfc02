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
from urllib.parse import parse_qsl, urlsplit

import aiohttp
import pytest
from redis.asyncio.client import PubSub

from streams.devstack import Stack
from streams.load.programs import gateway
from tests.harness import database, metrics, redis_of, until
from tests.integration.cli_harness import run_cli
from tests.integration.gateway_harness import (
    NO_LIMITS,
    Client,
    GatewayChain,
    amqp,
    client_of,
    poll,
)

API_KEY = "key of a test"
SETTINGS = {
    **NO_LIMITS,
    "SCRUTIN_API_KEYS": hashlib.sha256(API_KEY.encode()).hexdigest(),
    "BATCH_TIMEOUT_SECONDS": "0.1",
    "SCRUTIN_EGRESS": "votes.review,poll_vote_updates",
}
WATCHERS = 300


async def message(socket: aiohttp.ClientWebSocketResponse) -> dict[str, Any]:
    received = await socket.receive(timeout=120)
    found: dict[str, Any] = json.loads(received.data)
    return found


async def final_totals(socket: aiohttp.ClientWebSocketResponse) -> dict[str, int]:
    """Follow a socket, as a page does, until it shows the final result."""
    first = await message(socket)
    assert first["type"] == "snapshot"
    shown: dict[str, int] = first["totals"]
    number, final = first["number"], first["final"]
    while not final:
        delta = await message(socket)
        assert (delta["type"], delta["continues"]) == ("delta", number), "a gap"
        shown |= delta["totals"]
        number = delta["number"]
        final = delta.get("final", final)
    return shown


@pytest.mark.timeout(400)
async def test_a_poll_from_its_creation_to_its_final_result(stack: Stack, tmp_path: Path) -> None:
    async with GatewayChain(stack, tmp_path, settings=SETTINGS) as chain:
        redis = redis_of(chain.settings)
        await redis.sadd("valid_hashes", "some-voter")
        await redis.aclose()
        await chain.start()
        async with client_of(chain.gateways[0]) as client, AsyncExitStack() as sockets:
            redis = redis_of(chain.settings)
            sockets.push_async_callback(redis.aclose)
            announced = redis.pubsub(ignore_subscribe_messages=True)
            sockets.push_async_callback(announced.aclose)
            await announced.subscribe("global:votes")
            poll_id, late = await by_name_until_it_closes(chain, client, sockets)
            await told_as_before(chain, announced, poll_id, late)
            await every_kind_of_voter(client)
            await voters_on_the_roll_of_a_poll(chain, client)
            await stuffing_is_in_vain(chain, client)
            await drafts_are_edited_and_archived(client)
            await polls_have_limits(chain, client, tmp_path)


async def by_name_until_it_closes(
    chain: GatewayChain, client: Client, sockets: AsyncExitStack
) -> tuple[int, int]:
    """Returns the poll's id, and how many voted in its last moments."""
    status, made = await client.post("/api/polls/create/", poll())
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
            client.post("/api/vote/", vote(poll_id, n % 2 + 1, name))
            for n, name in enumerate([*names, *names[:5]])
        )
    )
    # One of a pair may be turned away early; the log turns away the rest.
    assert {status for status, _ in answers} <= {202, 409}
    fates = [await client.fate(body["receipt"]) for status, body in answers if status == 202]
    assert Counter(fate["status"] for fate in fates)["counted"] == 30
    await names_are_not_stored(chain)
    notice = await message(everything)
    assert notice.pop("voter_name") in names
    option = notice.pop("option_id")
    assert notice == {
        "type": "vote_notification",
        "poll_id": poll_id,
        "poll_text": "Best fruit?",
        "option_text": ["Apple", "Pear"][option - 1],
    }
    told = asyncio.gather(*(final_totals(socket) for socket in watching))
    _, listed = await client.get("/api/polls/get-list/?full_name=VOTER%200&page_size=5")
    [shown] = listed["results"]
    assert (listed["count"], shown["has_voted"], shown["total_votes"]) == (1, True, 30)
    assert [option["voted"] for option in shown["options"]] == [True, False, False]
    late = await closing_time(chain, client, poll_id)
    totals = {"1": 15, "2": 15} | ({"3": late} if late else {})
    # All are told that it has closed by itself, and of the final result.
    async with asyncio.timeout(120):
        assert all(shown == totals for shown in await told)
    status, refused = await client.post("/votes/", vote(poll_id, 1, "Late"))
    assert (status, refused["detail"]) == (400, "The poll is closed")
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
    while (again := await message(watching[0]))["type"] == "delta":
        # A heartbeat that was on its way.
        assert again["totals"] == {}
    assert (again["type"], again["totals"]) == ("snapshot", totals)
    return poll_id, late


async def closing_time(chain: GatewayChain, client: Client, poll_id: int) -> int:
    """Let the poll's end come while people vote; returns how many of them were in time."""
    db = await database(chain.settings)
    receipts: list[str] = []
    over = asyncio.Event()

    async def come(who: int) -> None:
        for number in range(1000):
            status, body = await client.post("/votes/", vote(poll_id, 3, f"Late {who} {number}"))
            if status != 202:
                assert body["detail"] == "The poll is closed"
                return
            receipts.append(body["receipt"])
            over.set()

    coming = [asyncio.create_task(come(who)) for who in range(4)]
    try:
        await over.wait()
        await db.execute(
            "UPDATE contests SET closes_at = now() WHERE contest_id = $1", f"poll:{poll_id}"
        )
        async with asyncio.timeout(60):
            await asyncio.gather(*coming)
    finally:
        for task in coming:
            task.cancel()
        await db.close()
    fates = Counter([fate_of(await client.fate(receipt)) for receipt in receipts])
    assert fates.keys() <= {"counted", "contest_closed"}
    return fates["counted"]


def fate_of(fate: dict[str, Any]) -> str:
    return str(fate.get("reason") or fate["status"])


def vote(poll_id: int, option: int, name: str) -> dict[str, object]:
    return {"poll_id": poll_id, "option_id": option, "voter_name": name}


async def told_as_before(chain: GatewayChain, announced: PubSub, poll_id: int, late: int) -> None:
    """The channel and the queue of the replaced services have every counted vote by name."""
    expected = {(f"Voter {n}", n % 2 + 1) for n in range(30)}
    channel_saw: list[dict[str, Any]] = []

    async def all_announced() -> bool:
        while message := await announced.get_message(timeout=0.05):
            channel_saw.append(json.loads(message["data"]))
        return names_of(channel_saw) >= expected

    await until(all_announced, "all votes are announced")
    assert names_of(channel_saw) == expected
    assert {(v["poll_id"], v["poll_text"]) for v in channel_saw} == {(poll_id, "Best fruit?")}
    texts = {(v["option_id"], v["option_text"]) for v in channel_saw if v["option_id"] < 3}
    assert texts == {(1, "Apple"), (2, "Pear")}
    queue_saw: list[dict[str, Any]] = []
    with amqp(chain.settings) as channel:

        async def all_told() -> bool:
            while (found := channel.basic_get("poll_vote_updates", auto_ack=True))[0]:
                queue_saw.append(json.loads(found[2]))
            return len(queue_saw) >= len(expected) + late

        await until(all_told, "all votes are in the queue")
    assert names_of(queue_saw) == expected
    assert {(v["poll_id"], v["delta"]) for v in queue_saw} == {(poll_id, 1)}
    assert len(queue_saw) == len(expected) + late


async def names_are_not_stored(chain: GatewayChain) -> None:
    db = await database(chain.settings)
    try:
        rows = await db.fetch(
            "SELECT to_jsonb(r)::text FROM vote_audit AS r"
            " UNION ALL SELECT to_jsonb(r)::text FROM rejected_votes AS r"
        )
        assert len(rows) >= 30
        assert not any("Voter " in row[0] for row in rows)
    finally:
        await db.close()


def names_of(votes: list[dict[str, Any]]) -> set[tuple[str, int]]:
    """Names and options of all but those who came late."""
    return {(v["voter_name"], v["option_id"]) for v in votes if v["option_id"] < 3}


async def every_kind_of_voter(client: Client) -> None:
    _, cookie = await client.post("/polls/", poll(who="cookie"))
    ballot = {"poll_id": cookie["id"], "option_id": 1}
    _, accepted = await client.post("/votes/", ballot)
    assert (await client.fate(accepted["receipt"]))["status"] == "counted"
    # The browser is known by its cookie; another one is another voter.
    assert (await client.post("/votes/", ballot))[0] == 409
    _, listed = await client.get("/polls/?search=fruit&status=active&creator=Ann")
    assert listed["results"][0]["has_voted"]
    await pages_of_polls(client)
    async with aiohttp.ClientSession() as session:
        other = Client(session, int(client.base.rpartition(":")[2]))
        status, accepted = await other.post("/votes/", ballot)
        assert status == 202
        assert (await other.fate(accepted["receipt"]))["status"] == "counted"

    _, keyed = await client.post("/polls/", poll(who="key"))
    ballot = {"poll_id": keyed["id"], "option_id": 2}
    assert (await client.post("/votes/", ballot))[0] == 401
    _, accepted = await client.post("/votes/", ballot, headers={"X-API-Key": API_KEY})
    assert (await client.fate(accepted["receipt"]))["status"] == "counted"


async def pages_of_polls(client: Client) -> None:
    """A link to another page keeps the filters, and no character of a search is a wildcard."""
    titles = ["100 % of it", "100_0 of it", "100 \\ of it"]
    for title in titles:
        await client.post("/polls/", poll(title=title, creator_name="Zoë & co"))
    for character, title in zip("%_\\", titles, strict=True):
        _, listed = await client.get("/polls/", params={"search": character})
        assert [each["title"] for each in listed["results"]] == [title]
    asked = {"search": "OF it", "creator": "Zoë & co", "status": "active", "page_size": "1"}
    _, page = await client.get("/polls/", params=asked)
    found = page["results"]
    while page["next"] is not None:
        _, page = await client.get(page["next"].removeprefix(client.base))
        found += page["results"]
    assert [each["title"] for each in found] == titles[::-1]
    assert dict(parse_qsl(urlsplit(page["previous"]).query)) == {**asked, "page": "2"}


async def voters_on_the_roll_of_a_poll(chain: GatewayChain, client: Client) -> None:
    """The poll is edited without `who` before it opens; hashes of laws are no entries of it."""
    opens = datetime.now(UTC) + timedelta(minutes=30)
    _, made = await client.post("/polls/", poll(who="roll", opens_at=opens.isoformat()))
    contest, path = f"poll:{made['id']}", f"/polls/{made['id']}/"
    token = {"X-Edit-Token": made["edit_token"]}

    async def edited(**more: object) -> dict[str, Any]:
        form = poll(title="Best berry?", **more)
        async with client.session.put(client.base + path, json=form, headers=token) as answer:
            assert answer.status == 200
            found: dict[str, Any] = await answer.json()
            return found

    db = await database(chain.settings)
    try:
        for form, who, roll in (
            ({}, "roll", "table"),
            ({"who": "name"}, "name", "open"),
            ({"who": "roll"}, "roll", "table"),
        ):
            shown = await edited(**form)
            assert (shown["who"], shown["state"]) == (who, "draft")
            assert (await client.get(path))[1]["who"] == who
            row = await db.fetchrow("SELECT roll, state FROM contests WHERE contest_id=$1", contest)
            assert tuple(row) == (roll, "draft")
    finally:
        await db.close()
    members = chain.directory / "members.txt"
    members.write_text("member\n", encoding="utf-8")
    loaded = await asyncio.to_thread(
        run_cli, chain.env, "roll", "load", str(members), "--kind", "text", "--contest", contest
    )
    assert loaded.returncode == 0, loaded.stderr
    await edited(opens_at=datetime.now(UTC).isoformat())
    ballot = {"poll_id": made["id"], "option_id": 3}
    assert (await client.post("/votes/", ballot))[0] == 400
    # `some-voter` is in the set `valid_hashes`, as the hash of a law is.
    for voter, reason in (
        ("member", "counted"),
        ("some-voter", "not_on_roll"),
        ("x", "not_on_roll"),
    ):
        status, accepted = await client.post("/votes/", {**ballot, "voter_hash": voter})
        assert status == 202
        assert fate_of(await client.fate(accepted["receipt"])) == reason


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
    with amqp(chain.settings) as channel:
        channel.basic_publish("", "votes.validation", json.dumps(forged).encode())
    db = await database(chain.settings)

    async def rejected() -> bool:
        query = "SELECT count(*) FROM rejected_votes WHERE reason = 'bad_signature'"
        return await db.fetchval(query) == 1

    try:
        await until(rejected, "the forged vote is rejected")
    finally:
        await db.close()
    assert (await client.get(f"/results/poll:{made['id']}"))[1]["total_votes"] == 0


async def polls_have_limits(chain: GatewayChain, client: Client, directory: Path) -> None:
    """Of votes from one address, by one voter and in one poll, whichever comes first."""
    limits = {
        "SCRUTIN_THROTTLE_ADDRESS": "3/hour",
        "SCRUTIN_THROTTLE_VOTER": "2/hour",
        "SCRUTIN_THROTTLE_POLL": "6/hour",
        "SCRUTIN_TRUSTED_PROXIES": "1",
    }
    _, made = await client.post("/polls/", poll())
    async with gateway({**chain.env, **limits}, directory, "limited") as program:
        await program.ready()

        async def status_of(address: str, name: str) -> int:
            async with client.session.post(
                f"http://127.0.0.1:{program.port}/votes/",
                json=vote(made["id"], 1, name),
                headers={"X-Forwarded-For": f"10.9.9.9, {address}"},
            ) as answer:
                if answer.status == 429:
                    detail = (await answer.json(content_type=None))["detail"]
                    wait_s = int(answer.headers["Retry-After"])
                    assert 1 <= wait_s <= 3600
                    assert f"{wait_s} seconds" in detail
                return answer.status

        votes = [("10.0.0.1", f"Limited {n}") for n in range(4)]
        assert [await status_of(*each) for each in votes] == [202, 202, 202, 429]
        # A repeat is a 409 once it is counted; it uses the limits up all the same.
        again = [await status_of(f"10.0.0.{n}", "Limited 0") for n in (2, 3)]
        assert again[0] in {202, 409}
        assert again[1] == 429
        votes = [(f"10.0.0.{n}", f"Limited {n}") for n in (4, 5, 6)]
        assert [await status_of(*each) for each in votes] == [202, 202, 429]
        found = await metrics(program)
        for limit in ("address", "voter", "poll"):
            assert found[f'scrutin_gateway_throttled_total{{limit="{limit}"}}'] == 1


async def drafts_are_edited_and_archived(client: Client) -> None:
    opens = (datetime.now(UTC) + timedelta(minutes=30)).isoformat()
    _, made = await client.post("/polls/", poll(opens_at=opens))
    path = f"/polls/{made['id']}/"
    early = vote(made["id"], 1, "Early")
    assert (await client.post("/votes/", early))[1]["detail"] == "The poll is not open yet"
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

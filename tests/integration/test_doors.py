"""Every door of a gateway on the real stack, with the bad values of its kind: refused, and soon."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest
from yarl import URL

from streams.adapters.kafka.admin import ensure_topics
from streams.devstack import Stack
from streams.load.programs import child_environment, gateway
from tests.doors.places import Door, http_doors, socket_doors
from tests.doors.values import BAD, BODIES
from tests.harness import wipe
from tests.integration.gateway_harness import NO_LIMITS, SECRET, Client, client_of, poll
from tests.integration.sink_harness import own_database

ANSWER_S = 15.0
HTTP, SOCKETS = http_doors(), socket_doors()
UNLIMITED = {
    **NO_LIMITS,
    "SCRUTIN_SECRET": SECRET,
    "SCRUTIN_ROLL": "open",
    "SCRUTIN_TALLY_API_KEYS": "*",
    "SCRUTIN_THROTTLE_REFUSED_ADDRESS": "off",
    "SCRUTIN_THROTTLE_REFUSED_PERSON": "off",
}
LAW = {"nas": "123456789", "code": "ABC123", "law_id": "L-1", "vote": "oui"}
CANDIDATE = {"nas": "123456789", "code": "ABC123", "election_id": "1", "candidate_id": "7"}
RANKED = {**CANDIDATE, "voting_method": "ranked_choice", "region_id": "2"}


@asynccontextmanager
async def a_gateway(stack: Stack, folder: Path) -> AsyncIterator[Client]:
    await wipe(stack.env())
    async with own_database(stack) as settings:
        await ensure_topics(settings.kafka)
        env = child_environment(stack.env(), POSTGRES_DB=settings.postgres_db, **UNLIMITED)
        async with gateway(env, folder) as program:
            await program.ready()
            async with client_of(program) as client:
                yield client


def encoded(value: str) -> str:
    """Percent-encoded as somebody may send it, with what is no UTF-8 too."""
    return quote(value.encode("utf-8", "surrogatepass"), safe="")


async def status_of(client: Client, method: str, path: str, **options: Any) -> int:
    """The status of an answer; 400 where the server closes the connection before the end."""
    url = URL(client.base + path, encoded=True)
    try:
        async with (
            asyncio.timeout(ANSWER_S),
            client.session.request(method, url, allow_redirects=False, **options) as answer,
        ):
            return answer.status
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError):
        return 400


def text(fields: Mapping[str, object]) -> dict[str, Any]:
    """A JSON body with halves of pairs, as JSON can write them."""
    return {
        "data": json.dumps(fields).encode(),
        "headers": {"Content-Type": "application/json"},
    }


class Walk:
    """Sends bad values to one gateway.

    Args:
        client: of the gateway.
        poll: a poll that is open.
        draft: one that is not open yet, which may be edited.
    """

    def __init__(self, client: Client, poll: dict[str, Any], draft: dict[str, Any]) -> None:
        self._client = client
        self._token = {"X-Edit-Token": draft["edit_token"]}
        self._draft = draft
        self._ballot = {"poll_id": poll["id"], "option_id": 1, "voter_name": "Ann"}
        self.faults: list[str] = []
        self.requests = 0

    async def harmless(self) -> None:
        """Without a bad value every body is taken, so it is the bad value that is refused."""
        for path, body, status in (
            ("/api/v1/vote", LAW, 202),
            ("/api/v1/elections/vote", CANDIDATE, 202),
            ("/api/v1/elections/vote", {**RANKED, "ranked_choices": ["7", "8"]}, 202),
            ("/votes", self._ballot, 202),
            ("/polls", poll(), 201),
        ):
            assert await status_of(self._client, "POST", path, **text(body)) == status, path

    async def one(self, door: Door) -> None:
        """Send every bad value to a door."""
        if door.rule.what == "body":
            for label, body in BODIES.items():
                await self._send(door, label, data=body)
            return
        for label, value in BAD[door.rule.what].items():
            if label == "empty" and ":" in door.value:
                # Another path.
                continue
            await self._send(door, label, value)

    async def _send(
        self, door: Door, label: str, value: str = "", *, data: bytes | None = None
    ) -> None:
        method, path, options = self._request(door, value, data)
        self.requests += 1
        try:
            status = await status_of(self._client, method, path, **options)
        except TimeoutError:
            status = 0
        # The framework replaces halves of pairs in addresses.
        replaced = method == "GET" and label == "half of a pair"
        taken = 200 <= status < 400 and door.rule.what != "ignored" and not replaced
        if not 200 <= status < 500 or taken:
            self.faults.append(f"{door.place}, {door.value}: {label}: {status}")

    def _request(
        self, door: Door, value: str, data: bytes | None
    ) -> tuple[str, str, dict[str, Any]]:
        if door.place == "page":
            name = door.value[door.value.index("{") :]
            return "GET", door.value.replace(name, encoded(value)), {}
        if door.place == "any request":
            return self._anywhere(door.value, value)
        method, path = door.place.split(" or ")[0].split(" ")
        headers = self._token if method in {"PUT", "DELETE"} else {}
        for name, given in {"poll_id:int": self._draft["id"], "contest:str": "L-1"}.items():
            if name != door.value:
                path = path.replace(f"{{{name}}}", str(given))
        if f"{{{door.value}}}" in path:
            path = path.replace(f"{{{door.value}}}", encoded(value))
            for other in ("election_id:int", "region_id:int", "election_id:str"):
                path = path.replace(f"{{{other}}}", "1")
            return method, path, {"headers": headers, **self._body_of(method, headers)}
        if data is not None:
            sent = {**headers, "Content-Type": "application/json"}
            return method, path, {"data": data, "headers": sent}
        if method == "GET":
            return method, f"{path}?{door.value}={encoded(value)}", {}
        return method, path, self._with_field(path, door.value, value, headers)

    def _body_of(self, method: str, headers: dict[str, str]) -> dict[str, Any]:
        if method != "PUT":
            return {}
        return {"json": poll(), "headers": headers}

    def _with_field(
        self, path: str, field: str, value: object, headers: dict[str, str]
    ) -> dict[str, Any]:
        base: dict[str, Any] = {
            "/api/v1/vote": LAW,
            "/api/v1/elections/vote": CANDIDATE,
            "/votes": self._ballot,
        }.get(path, poll())
        if field == "options":
            value = [{"text": "Apple"}, {"text": value}]
        elif field == "ranked_choices":
            base, value = RANKED, ["7", value]
        options = text({**base, field: value})
        return {**options, "headers": {**options["headers"], **headers}}

    def _anywhere(self, door: str, value: str) -> tuple[str, str, dict[str, Any]]:
        where, name = door.split(" ")
        if where == "query":
            path = {
                "electionId": "/api/initiate-combine",
                "guardianId": "/api/guardian/decryption-status/e",
            }[name]
            method = "POST" if name == "electionId" else "GET"
            return method, f"{path}?{name}={encoded(value)}", {}
        # What no HTTP client can send in a header is sent over a socket of tests/hostile.
        line = "".join(c for c in value if c not in "\0\n\r\x1b").encode(errors="replace")
        shown = line.decode("latin-1")
        path = f"/polls/{self._draft['id']}"
        headers = {"Cookie": f"{name}={shown}"} if where == "cookie" else {name: shown}
        return "GET", path, {"headers": headers}


@pytest.mark.timeout(300)
async def test_no_door_takes_a_bad_value_or_fails(stack: Stack, tmp_path: Path) -> None:
    async with a_gateway(stack, tmp_path) as client:
        _, opened = await client.post("/polls", poll())
        _, draft = await client.post("/polls", poll(7200, opens_at=poll(3600)["end_time"]))
        walk = Walk(client, opened, draft)
        await walk.harmless()
        for door in HTTP:
            await walk.one(door)
        assert not walk.faults, "\n".join(walk.faults)
        assert walk.requests > 400
        sockets = [door for door in SOCKETS if door.value != "messages"]
        faults = [fault for door in sockets async for fault in socket_faults(client, door)]
        assert not faults, "\n".join(faults)
        # It serves as before.
        await walk.harmless()


async def socket_faults(client: Client, door: Door) -> AsyncIterator[str]:
    """A socket whose path no contest has is refused or closed, and gets no figures."""
    for label, value in BAD[door.rule.what].items():
        if label == "empty":
            continue
        path = door.place.replace(f"{{{door.value}}}", encoded(value))
        url = URL(client.base.replace("http", "ws") + path, encoded=True)
        try:
            async with (
                asyncio.timeout(ANSWER_S),
                client.session.ws_connect(url, max_msg_size=0) as socket,
            ):
                message = await socket.receive()
                if message.type not in {aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED}:
                    yield f"{door.place}: {label}: {message.type.name} {message.data}"
        except aiohttp.WSServerHandshakeError as error:
            if not 400 <= error.status < 500:
                yield f"{door.place}: {label}: {error.status}"
        except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError):
            continue
        except TimeoutError:
            yield f"{door.place}: {label}: no answer"

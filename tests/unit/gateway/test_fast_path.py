"""Votes that pass the framework by are answered as by it."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast

import pytest
from litestar.types import ASGIApp
from prometheus_client import CollectorRegistry

from streams.core.polls import poll_key
from streams.errors import ServiceUnavailable
from streams.gateway.app import create_app
from streams.gateway.poll_store import Card
from streams.gateway.receipts import Receipts
from streams.gateway.services import Parts
from streams.gateway.submissions import RequestClock
from streams.gateway.voters import Voters
from streams.runtime.metrics import GatewayMetrics
from streams.settings.load import load_settings

# Of how arguments are declared; the version that ends it is not the pinned one.
pytestmark = pytest.mark.filterwarnings(
    "ignore::litestar.exceptions.base_exceptions.LitestarDeprecationWarning"
)

BALLOT = {"poll_id": 1, "option_id": 1}


class Services:
    """What a vote in a poll needs of services."""

    fault = None

    def __init__(self, state: str) -> None:
        self.state = state

    async def publish(self, *_: object) -> None:
        if self.state == "away":
            raise ServiceUnavailable("RabbitMQ is away", todo="Send it again")

    async def check(self, *_: object) -> None:
        """Nobody is throttled."""

    async def one(self, poll_id: int) -> Card:
        at = datetime.now(UTC)
        return Card(
            poll_id, f"poll:{poll_id}", "", "", "", "cookie", b"", at, "open", None, None, ["a"]
        )

    async def counted(self, _: str) -> bool:
        if self.state == "broken":
            raise RuntimeError
        return self.state == "counted"


def app_of(state: str) -> ASGIApp:
    services = Services(state)
    parts = SimpleNamespace(
        settings=load_settings({"SCRUTIN_ROLL": "open"}),
        **dict.fromkeys(("queue", "throttle", "polls", "store"), services),
        **dict.fromkeys(("watching", "redis", "ready")),
        receipts=Receipts(b"s" * 32),
        voters=Voters(poll_key("s" * 32), ()),
        metrics=GatewayMetrics(CollectorRegistry()),
        clock=RequestClock(),
        address_of=lambda _: "127.0.0.1",
    )
    return create_app(cast("Parts", parts))


async def post(app: ASGIApp, body: object, *headers: tuple[bytes, bytes]) -> dict[str, Any]:
    """The answer, without what differs from call to call; `framework` tells by which way."""
    sent: list[Any] = []
    scope: Any = {
        "type": "http",
        "method": "POST",
        "path": "/votes/",
        "raw_path": b"/votes/",
        "query_string": b"",
        "root_path": "",
        "scheme": "http",
        "http_version": "1.1",
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 2),
        "headers": list(headers),
        "extensions": {},
    }

    async def receive() -> Any:
        return {"type": "http.request", "body": json.dumps(body).encode(), "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    await app(scope, receive, send)
    start, *rest = sent
    told = json.loads(b"".join(part["body"] for part in rest))
    found = {name.decode(): value.decode() for name, value in start["headers"]}
    assert found.pop("x-request-id")
    for name in ("location", "set-cookie"):
        found[name] = found.get(name, "")[:7]
    return {
        "framework": "litestar_app" in scope,
        "status": start["status"],
        "headers": found,
        "body": told if "receipt" not in told else sorted(told),
        "route": scope["path_template"],
    }


@pytest.mark.parametrize(
    ("state", "body", "status"),
    [
        ("well", BALLOT, 202),
        ("counted", BALLOT, 409),
        ("away", BALLOT, 503),
        ("broken", BALLOT, 500),
        ("well", {**BALLOT, "option_id": 2}, 400),
    ],
)
async def test_both_ways_answer_alike(state: str, body: object, status: int) -> None:
    app = app_of(state)
    short = await post(app, body)
    long = await post(app, body, (b"origin", b"https://elsewhere.example"))
    assert (short.pop("framework"), long.pop("framework")) == (False, True)
    assert short["status"] == status
    assert short == long


async def test_what_is_no_vote_is_left_to_the_framework() -> None:
    for body in ([], {"poll_id": 1}, {**BALLOT, "voter_name": 5}):
        answer = await post(app_of("well"), body)
        assert (answer["framework"], answer["status"]) == (True, 400)

"""The calls that cast votes: answers, errors, bounds, pages of other origins, their description."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, cast

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from litestar import get
from litestar.types import ASGIApp
from prometheus_client import CollectorRegistry

from streams.core.polls import poll_key
from streams.errors import ServiceUnavailable
from streams.gateway.app import create_app
from streams.gateway.client_address import TrustedProxies, address_of, network_of
from streams.gateway.handlers.poll_views import Cards
from streams.gateway.handlers.poll_votes import poll_vote_calls
from streams.gateway.handlers.submit import VoteLimits, VoteSubmitter
from streams.gateway.poll_store import Card
from streams.gateway.problems import unreadable_body
from streams.gateway.throttle import Attempt
from streams.gateway.voters import Voters
from streams.intake.receipts import Receipts
from streams.runtime.metrics import GatewayMetrics

MAX_BODY_BYTES = 8000
BALLOT = {"poll_id": 1, "option_id": 1}
DETAIL = "what a driver says of a row"
PAGE = (b"origin", b"https://polls.example")
STRANGER = (b"origin", b"https://elsewhere.example")

Header = tuple[bytes, bytes]


class Services:
    """What a vote in a poll needs of services."""

    fault = None

    def __init__(self, state: str) -> None:
        self.state = state

    async def publish(self, *_: object) -> None:
        if self.state == "outage":
            raise ServiceUnavailable("RabbitMQ does not answer", todo="Send it again")

    async def check(self, *_: object) -> None:
        """Nobody is throttled."""

    @asynccontextmanager
    async def attempt(self, *_: object) -> AsyncIterator[Attempt]:
        """Nobody is throttled."""
        yield Attempt()

    async def one(self, poll_id: int) -> Card:
        at = datetime.now(UTC)
        return Card(
            poll_id, f"poll:{poll_id}", "", "", "", "cookie", b"", at, "open", None, None, {1: "a"}
        )

    async def counted(self, _: str) -> bool:
        if self.state == "broken":
            raise RuntimeError(DETAIL)
        return self.state == "counted"


@get("/fails")
async def fails() -> None:
    """A call of the framework, to compare errors with."""
    raise RuntimeError(DETAIL)


def app_of(state: str, origins: Sequence[str] = ("https://polls.example",)) -> ASGIApp:
    services = cast("Any", Services(state))
    metrics = GatewayMetrics(CollectorRegistry())
    proxies = TrustedProxies()
    calls = poll_vote_calls(
        cards=Cards(services),
        store=services,
        voters=Voters(poll_key("s" * 32), ()),
        limits=VoteLimits(services, proxies),
        submitter=VoteSubmitter(services, Receipts(b"s" * 32), metrics),
        proxies=proxies,
    )
    return create_app(
        [fails], calls, metrics=metrics, max_body_bytes=MAX_BODY_BYTES, cors_origins=origins
    )


class Answer:
    """What was sent for one request."""

    def __init__(self, scope: Any, sent: list[Any]) -> None:
        start, *rest = sent
        self.status: int = start["status"]
        self.headers = {name.decode(): value.decode() for name, value in start["headers"]}
        self.body = b"".join(part["body"] for part in rest)
        self.route: str | None = scope.get("path_template")

    @property
    def json(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.body)
        return found


async def call(
    app: ASGIApp,
    body: bytes | Sequence[bytes] = b"",
    *headers: Header,
    method: str = "POST",
    path: str = "/votes/",
) -> Answer:
    """Make one request, whose body comes in the given pieces."""
    sent: list[Any] = []
    pieces = [body] if isinstance(body, bytes) else list(body)
    scope: Any = {
        "type": "http",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
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
        if not pieces:
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": pieces.pop(0), "more_body": bool(pieces)}

    async def send(message: Any) -> None:
        sent.append(message)

    await app(scope, receive, send)
    return Answer(scope, sent)


def encoded(body: object) -> bytes:
    return json.dumps(body).encode()


async def test_a_vote_is_accepted_however_its_body_comes() -> None:
    whole = encoded(BALLOT)
    for body in (whole, [whole[:5], b"", whole[5:]]):
        for path in ("/votes", "/votes/", "/api/vote", "/api/vote/"):
            answer = await call(app_of("well"), body, path=path)
            assert answer.status == 202
            assert answer.headers["location"] == f"/votes/{answer.json['receipt']}"
            assert answer.headers["set-cookie"].startswith("scrutin_voter=")
            assert answer.headers["x-request-id"]
            assert answer.route == path.rstrip("/")


@pytest.mark.parametrize(
    ("state", "body", "status", "faults"),
    [
        ("counted", BALLOT, 409, {}),
        ("outage", BALLOT, 503, {}),
        ("broken", BALLOT, 500, {}),
        ("well", {**BALLOT, "option_id": 2}, 400, {"option_id": 1}),
        ("well", {**BALLOT, "voter_name": 5}, 400, {"voter_name": 1}),
        ("well", {"poll_id": 1}, 400, {"data": 1}),
        ("well", [], 400, {"data": 1}),
        ("well", {**BALLOT, "voter_name": "x" * MAX_BODY_BYTES}, 413, {}),
    ],
)
async def test_every_error_is_a_problem(
    state: str, body: object, status: int, faults: dict[str, int]
) -> None:
    answer = await call(app_of(state), encoded(body))
    assert answer.status == answer.json["status"] == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert {name: len(told) for name, told in answer.json.get("errors", {}).items()} == faults
    assert ("retry-after" in answer.headers) == (status == 503)


@pytest.mark.parametrize(
    "body", [b"", b"{", b'{"voter_name":"\xff"}', b'{"x":' + b"[" * 5000, encoded(BALLOT) + b"x"]
)
async def test_a_body_that_is_no_json_is_a_problem(body: bytes) -> None:
    answer = await call(app_of("well"), body)
    assert (answer.status, answer.json["detail"]) == (400, "The body is not JSON")


@pytest.mark.parametrize(
    ("path", "status"), [("/api/v1/vote", 422), ("/api/v1/elections/vote", 422), ("/votes", 400)]
)
def test_malformed_json_has_the_status_of_the_replaced_service(path: str, status: int) -> None:
    with pytest.raises(msgspec.DecodeError) as error:
        msgspec.json.decode(b"{")
    assert unreadable_body(error.value, path).status == status


async def test_a_long_body_is_refused_before_its_end() -> None:
    piece = b" " * 1000
    answer = await call(app_of("well"), [piece] * 9)
    assert answer.status == 413
    whole = encoded(BALLOT)
    answer = await call(app_of("well"), [whole + b" " * (MAX_BODY_BYTES - len(whole)), b""])
    assert answer.status == 202


async def test_a_client_that_leaves_in_its_body_is_no_fault_of_the_gateway() -> None:
    assert (await call(app_of("well"), ())).status == 400


async def test_only_post_casts_votes() -> None:
    for method in ("GET", "PUT", "DELETE"):
        answer = await call(app_of("well"), method=method)
        assert (answer.status, answer.headers["allow"]) == (405, "OPTIONS, POST")
        assert answer.json["status"] == 405
    answer = await call(app_of("well"), method="OPTIONS")
    assert (answer.status, answer.headers["allow"]) == (204, "OPTIONS, POST")


async def test_a_failing_vote_is_answered_as_a_failing_call_of_the_framework() -> None:
    app = app_of("broken")
    vote = await call(app, encoded(BALLOT))
    other = await call(app, method="GET", path="/fails")
    assert (vote.status, vote.body) == (other.status, other.body) == (500, other.body)
    assert DETAIL.encode() not in vote.body
    assert {**vote.headers, "x-request-id": ""} == {**other.headers, "x-request-id": ""}


async def test_pages_of_allowed_origins_may_vote_and_read_results() -> None:
    app = app_of("well")
    for path, method in (("/votes/", "POST"), ("/fails", "GET")):
        plain = await call(app, encoded(BALLOT), method=method, path=path)
        page = await call(app, encoded(BALLOT), PAGE, method=method, path=path)
        stranger = await call(app, encoded(BALLOT), STRANGER, method=method, path=path)
        assert plain.status == page.status == stranger.status
        assert not [name for name in plain.headers if name.startswith("access-control-")]
        assert page.headers["access-control-allow-origin"] == "https://polls.example"
        assert "Location" in page.headers["access-control-expose-headers"]
        assert page.headers["vary"] == stranger.headers["vary"] == "Origin"
        assert "access-control-allow-origin" not in stranger.headers
        asked = await call(app, b"", PAGE, method="OPTIONS", path=path)
        assert (asked.status, asked.body) == (204, b"")
        assert "POST" in asked.headers["access-control-allow-methods"]
        assert "X-Edit-Token" in asked.headers["access-control-allow-headers"]
        refused = await call(app, b"", STRANGER, method="OPTIONS", path=path)
        assert "access-control-allow-methods" not in refused.headers


async def test_all_origins_may_be_allowed_and_none_is_by_default() -> None:
    answer = await call(app_of("well", ["*"]), encoded(BALLOT), STRANGER)
    assert answer.headers["access-control-allow-origin"] == "*"
    answer = await call(app_of("well", []), encoded(BALLOT), STRANGER)
    assert answer.status == 202
    assert not [name for name in answer.headers if name.startswith("access-control-")]


async def test_the_description_has_the_calls() -> None:
    answer = await call(app_of("well"), method="GET", path="/schema/openapi.json")
    described = answer.json
    for path in ("/votes", "/api/vote"):
        operation = described["paths"][path]["post"]
        assert operation["summary"] == "Vote in a poll"
        body = operation["requestBody"]["content"]["application/json"]["schema"]["$ref"]
        done = operation["responses"]["202"]["content"]["application/json"]["schema"]["$ref"]
        schemas = described["components"]["schemas"]
        assert schemas[body.rpartition("/")[2]]["required"] == ["poll_id", "option_id"]
        assert set(schemas[done.rpartition("/")[2]]["properties"]) == {"message", "receipt"}
        assert set(operation["responses"]) == {"202", "4XX", "5XX"}
    ids = [o["operationId"] for item in described["paths"].values() for o in item.values()]
    assert len(set(ids)) == len(ids)


def test_the_address_is_what_the_outermost_trusted_proxy_saw() -> None:
    assert address_of("10.0.0.1", ["1.1.1.1"], 0) == "10.0.0.1"
    assert address_of("10.0.0.1", [], 1) == "10.0.0.1"
    assert address_of("10.0.0.1", ["1.1.1.1, 2.2.2.2"], 1) == "2.2.2.2"
    assert address_of("10.0.0.1", ["1.1.1.1, 2.2.2.2"], 2) == "1.1.1.1"
    assert address_of("10.0.0.1", ["2.2.2.2"], 2) == "10.0.0.1"


@given(
    forged=st.lists(st.text(st.characters(blacklist_categories=["Cs"])), max_size=5),
    trusted=st.integers(1, 3),
)
def test_a_client_chooses_no_address_behind_proxies(forged: list[str], trusted: int) -> None:
    """Each proxy adds the address of its peer, in the client's last header or in one more."""
    seen = [f"198.51.100.{number}" for number in range(trusted)]
    joined = [*forged[:-1], ", ".join([*forged[-1:], *seen])]
    assert address_of("10.0.0.1", [*forged, *seen], trusted) == seen[0]
    assert address_of("10.0.0.1", joined, trusted) == seen[0]


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("198.51.100.7", "198.51.100.7"),
        ("198.51.100.7:5555", "198.51.100.7"),
        ("::ffff:198.51.100.7", "198.51.100.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::1", "2001:db8:1:2::/64"),
        ("[2001:db8:1:2::9]:443", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::1", "2001:db8:1:3::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("unknown", "unknown"),
    ],
)
def test_an_ipv6_client_is_its_network(address: str, network: str) -> None:
    assert network_of(address) == network

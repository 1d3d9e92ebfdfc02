"""The attacks: each kind of hostile client at each door, and when it must be gone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from tests.hostile.clients import (
    FAREWELL,
    MORE_BODY,
    Run,
    asks,
    frame_of,
    guess_codes,
    leaves,
    logged_in,
    path_of,
    published,
    sends,
)

DOORS: Final = ("http", "socket", "events", "amqp")
KINDS: Final = ("slow", "silent", "endless", "oversized", "malformed", "flooding", "guessing")

AGAIN_S: Final = 15.0
"""Clients of attacks that end sooner come back, again and again."""


@dataclass(frozen=True)
class Attack:
    """Hostile clients of one kind at one door."""

    door: str
    kind: str
    within_s: float
    """The bound that ends a connection."""
    runs: tuple[Run, ...]
    """Ways of being so; clients are shared out among them."""
    clients: int = 60

    @property
    def name(self) -> str:
        """For people."""
        return f"{self.door}: {self.kind}"

    @property
    def again(self) -> bool:
        """Whether its clients come back after their connection was closed."""
        return self.within_s <= AGAIN_S


HEAD: Final = b"POST /api/v1/vote HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
CHUNKED: Final = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
GET: Final = b"GET /static/style.css HTTP/1.1\r\nHost: x\r\n\r\n"
EVENTS: Final = b"GET /results/L-1/events HTTP/1.1\r\nHost: x\r\n"
_SOCKET: Final = (
    "Upgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)
UPGRADE: Final = f"GET /ws/laws/L-1 HTTP/1.1\r\nHost: x\r\n{_SOCKET}\r\n".encode()
_MANY: Final = 20
"""Frames in a write."""


def in_socket(
    first: bytes = b"", more: bytes = b"", *, every_s: float = 0, reads: bool = True
) -> Run:
    """A client that opens a WebSocket and sends frames."""
    return sends(UPGRADE, more, then=first, every_s=every_s, reads=reads)


_HTTP: Final = (
    Attack(
        "http",
        "slow",
        30,
        (
            sends(HEAD, b"X", every_s=1),
            sends(HEAD + b"Content-Length: 60000\r\n\r\n", b"x", every_s=1),
            sends(b"\r\n", b"\r\n", every_s=1),
        ),
    ),
    Attack("http", "silent", 45, (sends(b""), sends(GET, GET * 50, reads=False))),
    Attack(
        "http",
        "endless",
        10,
        (
            sends(HEAD, b"X: y\r\n" * 100),
            sends(CHUNKED + b"0\r\n", b"X: y\r\n" * 100),
            sends(CHUNKED, b"400\r\n" + b"x" * 1024 + b"\r\n"),
        ),
    ),
    Attack(
        "http",
        "oversized",
        5,
        (
            sends(b"GET /" + b"x" * 100_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n"),
            sends(HEAD + b"X: y\r\n" * 1000 + b"\r\n"),
            sends(HEAD + b"Content-Length: 1000000000\r\n\r\n", b"x" * 65536),
        ),
    ),
    Attack(
        "http",
        "malformed",
        5,
        (
            sends(b"\x16\x03\x01" + bytes(300) + b"\r\n\r\n"),
            sends(CHUNKED + b"zz\r\n"),
            sends(HEAD + b"Connection: close\r\nContent-Length: 60000\r\n\r\n" + b"[" * 60_000),
            sends(HEAD + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n"),
        ),
    ),
    Attack(
        "http",
        "flooding",
        10,
        (
            asks("/api/v1/results/L-1", "/results/L-1/timeline", "/polls/?search=%25&page=99"),
            asks("/api/v1/elections/1/results", "/api/operators", "/law/L-1", "/health"),
            leaves(GET, 1),
        ),
        clients=12,
    ),
    Attack("http", "guessing", 15, (guess_codes, asks("/votes/AAAA", "/polls/99999")), clients=6),
)
_SOCKETS: Final = (
    Attack("socket", "slow", 60, (in_socket(frame_of(0x81, b"", length=4000), b"x", every_s=1),)),
    Attack("socket", "silent", 75, (sends(UPGRADE), sends(UPGRADE, reads=False))),
    Attack(
        "socket",
        "endless",
        5,
        (
            in_socket(frame_of(0x01, b"x"), frame_of(0x00, b"x") * _MANY),
            in_socket(frame_of(0x01, b""), frame_of(0x00, b"") * _MANY),
        ),
    ),
    Attack(
        "socket",
        "oversized",
        5,
        (
            in_socket(frame_of(0x81, b"", length=2**62), b"x" * 4096),
            in_socket(frame_of(0x81, b"x" * 5000)),
        ),
    ),
    Attack(
        "socket",
        "malformed",
        5,
        (
            sends(UPGRADE.replace(b"GET", b"POST")),
            in_socket(frame_of(0x83, b"an unknown opcode")),
            in_socket(b"\x81\x05plain"),
            in_socket(frame_of(0x81, b"\xff\xfe")),
        ),
    ),
    Attack(
        "socket",
        "flooding",
        15,
        (
            in_socket(b"", frame_of(0x89, b"p" * 125) * _MANY, reads=False),
            in_socket(b"", frame_of(0x81, b"?") * _MANY),
        ),
        clients=30,
    ),
    Attack(
        "socket",
        "guessing",
        10,
        (
            leaves(path_of("/ws/laws/guess-{}", _SOCKET), 150),
            leaves(path_of("/ws/polls/{}", _SOCKET), 150),
            leaves(path_of("/ws/elections/%00%ff{}", _SOCKET), 100),
        ),
    ),
)
_EVENTS: Final = (
    Attack("events", "slow", 130, (sends(EVENTS + b"\r\n", slowly=True),)),
    Attack("events", "silent", 130, (sends(EVENTS + b"\r\n", reads=False),)),
    Attack(
        "events",
        "endless",
        10,
        (
            sends(EVENTS, b"X: y\r\n" * 100),
            sends(
                EVENTS + b"Transfer-Encoding: chunked\r\n\r\n", b"400\r\n" + b"x" * 1024 + b"\r\n"
            ),
        ),
    ),
    Attack(
        "events",
        "oversized",
        5,
        (
            leaves(path_of("/results/" + "x" * 60_000 + "{}/events"), 100),
            leaves(path_of("/results/L-1/events?" + "x" * 60_000), 100),
        ),
    ),
    Attack(
        "events",
        "malformed",
        5,
        (
            leaves(path_of("/results/%00%ff{}/events"), 100),
            leaves(path_of("/results/L-1/events", "Last-Event-ID: \x01\xff\r\n"), 100),
        ),
    ),
    Attack("events", "flooding", 10, (leaves(EVENTS + b"\r\n", 150),)),
    Attack("events", "guessing", 10, (leaves(path_of("/results/guess-{}/events"), 150),)),
)
_JUNK: Final = b"\xff{" + b"[" * 1000
_AMQP: Final = (
    Attack(
        "amqp",
        "slow",
        15,
        (
            sends(
                b"AMQP\x00\x00\x09\x01\x01" + bytes(2) + b"\x00\x00\x10\x00",
                b"x",
                every_s=1,
                rabbit=True,
            ),
        ),
    ),
    Attack("amqp", "silent", 15, (sends(b"", rabbit=True), sends(logged_in(), rabbit=True))),
    Attack(
        "amqp",
        "endless",
        10,
        (sends(logged_in(published(b"x", length=2)), MORE_BODY, rabbit=True),),
    ),
    Attack(
        "amqp",
        "oversized",
        10,
        (
            sends(logged_in(b"\x03\x00\x01\xff\xff\xff\xff"), b"x" * 4096, rabbit=True),
            sends(logged_in(published(b"x" * 1_000_000) * 3 + FAREWELL), rabbit=True),
        ),
        clients=12,
    ),
    Attack(
        "amqp",
        "malformed",
        15,
        (
            sends(b"AMQP\x00\x00\x09\x01" + b"\xff" * 500, rabbit=True),
            sends(b"GET / HTTP/1.1\r\n\r\n", rabbit=True),
            sends(logged_in(b"\xff" * 500), rabbit=True),
        ),
    ),
    Attack(
        "amqp",
        "flooding",
        10,
        (sends(logged_in(published(_JUNK) * 100 + FAREWELL), rabbit=True),),
        clients=6,
    ),
    Attack("amqp", "guessing", 15, (sends(logged_in(password="guess"), rabbit=True),)),
)

ATTACKS: Final = (*_HTTP, *_SOCKETS, *_EVENTS, *_AMQP)

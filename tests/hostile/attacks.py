"""Hostile clients of the gateway and of RabbitMQ, and when each of them must be gone."""

from __future__ import annotations

import asyncio
import itertools
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import aiohttp

from streams.settings.model import Settings
from tests.integration.gateway_harness import amqp

HEAD: Final = b"POST /api/v1/vote HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
CHUNKED: Final = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
UPGRADE: Final = (
    b"GET /ws/laws/L-1 HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
PING: Final = bytes((0x89, 0x80 | 125)) + bytes(4) + b"p" * 125
FRAGMENT: Final = bytes((0x00, 0x80)) + bytes(4)
SNAPSHOT: Final = bytes((0x81, 0x81)) + bytes(4) + b"?"
GET: Final = b"GET /static/style.css HTTP/1.1\r\nHost: x\r\n\r\n"

_MARGIN_S: Final = 20.0
"""For a machine that has more to do than these tests."""


@dataclass
class Target:
    """What is attacked, and the state of its connections."""

    settings: Settings
    port: int
    """Of the gateway."""
    lives_s: list[float] = field(default_factory=list)
    """How long each connection lasted, until the other end closed it."""
    told: list[str] = field(default_factory=list)
    """What should not have been."""


@dataclass(frozen=True)
class Attack:
    """One kind of hostile client."""

    name: str
    run: Callable[[Target], Awaitable[None]]
    """One client, until the other end has closed its connection."""
    within_s: float
    """The bound that ends a connection."""
    clients: int = 50

    @property
    def deadline_s(self) -> float:
        """When all must be gone."""
        return self.within_s + _MARGIN_S


@asynccontextmanager
async def _connected(
    target: Target, port: int = 0
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    sock = socket.socket()
    # A small window, so that not to read soon has an effect.
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(sock, ("127.0.0.1", port or target.port))
    reader, writer = await asyncio.open_connection(sock=sock, limit=4096)
    began_s = time.monotonic()
    try:
        with suppress(ConnectionError):
            yield reader, writer
        target.lives_s.append(time.monotonic() - began_s)
    finally:
        writer.transport.abort()


def sends(
    first: bytes, more: bytes = b"", *, every_s: float = 0, reads: bool = True, port: str = ""
) -> Callable[[Target], Awaitable[None]]:
    """A client that sends something, then more of it, until its connection is closed."""

    async def run(target: Target) -> None:
        number = getattr(target.settings, port) if port else 0
        async with _connected(target, number) as (reader, writer):
            ended = asyncio.ensure_future(_ended(reader) if reads else _dropped(writer))
            try:
                writer.write(first)
                while more and not ended.done():
                    writer.write(more)
                    sent = asyncio.ensure_future(writer.drain())
                    await asyncio.wait([sent, ended], return_when=asyncio.FIRST_COMPLETED)
                    if sent.done():
                        sent.result()
                        await asyncio.sleep(every_s)
                    else:
                        sent.cancel()
                await ended
            finally:
                ended.cancel()

    return run


async def _ended(reader: asyncio.StreamReader) -> None:
    with suppress(ConnectionError):
        while await reader.read(4096):
            pass


async def _dropped(writer: asyncio.StreamWriter) -> None:
    """Wait until the other end has no descriptor of the connection; reads nothing.

    A client whose window is closed does not see the end of its connection, so the kernel is asked
    for the other side.
    """
    ends = [writer.get_extra_info(name)[1] for name in ("peername", "sockname")]
    while _is_held(*ends):  # noqa: ASYNC110 - the kernel sets no event
        await asyncio.sleep(0.5)


def _is_held(port: int, client_port: int) -> bool:
    """Whether a process that listens on a port has the connection of a client open."""
    wanted = f":{port:04X}", f":{client_port:04X}"
    for line in Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]:
        _, local, remote, state, *_ = line.split()
        if local.endswith(wanted[0]) and remote.endswith(wanted[1]):
            return state in {"01", "08"}
    return False


_persons = itertools.count()


async def guess(target: Target) -> None:
    """Try codes of one person, as fast as they are answered."""
    nas = f"5550{next(_persons):05}"
    async with aiohttp.ClientSession() as session:
        asked = 0
        for n in range(40):
            body = {"nas": nas, "code": f"G{n}", "election_id": 1, "candidate_id": 1}
            url = f"http://127.0.0.1:{target.port}/api/v1/elections/vote"
            async with session.post(url, json=body) as answer:
                asked += answer.status != 429
        if asked > 20:
            target.told.append(f"{asked} guesses for one person were answered")
    target.lives_s.append(0.0)


async def flood_queue(target: Target) -> None:
    """Send what is no vote with a client's password of the queue."""

    def publish() -> None:
        with amqp(target.settings) as channel:
            for n in range(200):
                channel.basic_publish("", "votes.validation", b"\xff{" + b"[" * (n * 10))

    await asyncio.to_thread(publish)
    target.lives_s.append(0.0)


ATTACKS: Final = (
    Attack("silent", sends(b""), 30),
    Attack("slow head", sends(HEAD, b"X", every_s=1), 30),
    Attack("slow body", sends(HEAD + b"Content-Length: 60000\r\n\r\n", b"x", every_s=1), 30),
    Attack("empty lines", sends(b"\r\n", b"\r\n", every_s=1), 30),
    Attack("endless head", sends(HEAD, b"X: y\r\n" * 100), 5),
    Attack("endless trailers", sends(CHUNKED + b"0\r\n", b"X: y\r\n" * 100), 5),
    Attack("endless body", sends(CHUNKED, b"400\r\n" + b"x" * 1024 + b"\r\n"), 35),
    Attack("malformed", sends(b"\x16\x03\x01" + bytes(300) + b"\r\n\r\n"), 5),
    Attack("pipelined", sends(GET, GET * 50, reads=False), 45, clients=20),
    Attack("bad upgrade", sends(UPGRADE.replace(b"GET", b"POST")), 5),
    Attack("socket: pings", sends(UPGRADE, PING * 20, reads=False), 45, clients=20),
    Attack("socket: fragments", sends(UPGRADE, FRAGMENT * 50), 5),
    Attack("socket: questions", sends(UPGRADE, SNAPSHOT * 20), 15),
    Attack("socket: unread", sends(UPGRADE, reads=False), 75),
    Attack(
        "events: unread",
        sends(b"GET /results/L-1/events HTTP/1.1\r\nHost: x\r\n\r\n", reads=False),
        120,
    ),
    Attack("guesses", guess, 30, clients=5),
    Attack("amqp: silent", sends(b"", port="rabbitmq_port"), 15),
    Attack(
        "amqp: malformed", sends(b"AMQP\x00\x00\x09\x01" + b"\xff" * 500, port="rabbitmq_port"), 15
    ),
    Attack("amqp: junk", flood_queue, 30, clients=5),
)

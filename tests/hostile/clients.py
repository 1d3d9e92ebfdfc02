"""What hostile clients are made of: raw connections that send, wait, or do not read."""

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
from pika import frame, spec

from streams.settings.model import Settings

Run = Callable[["Target"], Awaitable[None]]
"""One connection, until the other end has closed it or the client has done its work."""
Bytes = bytes | Callable[["Target"], bytes]

_numbers = itertools.count()


@dataclass
class Target:
    """What is attacked, and the fate of its connections."""

    settings: Settings
    port: int
    """Of the gateway."""
    address: str
    """Of the clients: limits of one attack are not those of another, nor of honest clients."""
    sent_bytes: int = 0
    lives_s: list[float] = field(default_factory=list)
    """How long each connection lasted."""
    told: list[str] = field(default_factory=list)
    """What should not have been."""


@asynccontextmanager
async def _connected(
    target: Target, port: int
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    sock = socket.socket()
    # A small window, so that not to read soon has an effect.
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.setblocking(False)
    sock.bind((target.address, 0))
    await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
    reader, writer = await asyncio.open_connection(sock=sock, limit=4096)
    began_s = time.monotonic()
    try:
        with suppress(ConnectionError):
            yield reader, writer
        target.lives_s.append(time.monotonic() - began_s)
    finally:
        writer.transport.abort()


def sends(
    first: Bytes,
    more: bytes = b"",
    *,
    then: bytes | None = None,
    every_s: float = 0,
    reads: bool = True,
    slowly: bool = False,
    rabbit: bool = False,
) -> Run:
    """A client that sends something, then more of it, until its connection is closed.

    Args:
        first: sent at once.
        more: sent again and again.
        then: sent before that, after the head of an answer.
        every_s: pause between two times.
        reads: what it is sent.
        slowly: it reads a byte a second.
        rabbit: it connects to RabbitMQ instead of the gateway.
    """

    async def run(target: Target) -> None:
        port = target.settings.rabbitmq_port if rabbit else target.port
        async with _connected(target, port) as (reader, writer):
            _write(target, writer, first)
            if then is not None:
                with suppress(asyncio.IncompleteReadError):
                    await reader.readuntil(b"\r\n\r\n")
                _write(target, writer, then)
            if slowly or not reads:
                ended = asyncio.ensure_future(_dropped(reader, writer, slowly))
            else:
                ended = asyncio.ensure_future(_ended(reader))
            try:
                while more and not ended.done():
                    _write(target, writer, more)
                    sent = asyncio.ensure_future(writer.drain())
                    await asyncio.wait([sent, ended], return_when=asyncio.FIRST_COMPLETED)
                    if sent.done():
                        sent.result()
                        await asyncio.wait([ended], timeout=every_s)
                    else:
                        sent.cancel()
                await ended
            finally:
                ended.cancel()

    return run


def leaves(first: Bytes, after_bytes: int, *, rabbit: bool = False) -> Run:
    """A client that asks for something, reads the beginning of the answer, and leaves."""

    async def run(target: Target) -> None:
        port = target.settings.rabbitmq_port if rabbit else target.port
        async with _connected(target, port) as (reader, writer):
            _write(target, writer, first)
            with suppress(asyncio.IncompleteReadError):
                await reader.readexactly(after_bytes)

    return run


def _write(target: Target, writer: asyncio.StreamWriter, sent: Bytes) -> None:
    data = sent if isinstance(sent, bytes) else sent(target)
    writer.write(data)
    target.sent_bytes += len(data)


def _session(target: Target) -> aiohttp.ClientSession:
    connector = aiohttp.TCPConnector(local_addr=(target.address, 0))
    return aiohttp.ClientSession(connector=connector)


async def _ended(reader: asyncio.StreamReader) -> None:
    with suppress(ConnectionError):
        while await reader.read(4096):
            pass


async def _dropped(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, slowly: bool
) -> None:
    """Wait until the other end has no descriptor of the connection; read little or nothing.

    A client whose window is closed does not see the end of its connection, so the kernel is asked
    for the other side.
    """
    port, client_port = (writer.get_extra_info(name)[1] for name in ("peername", "sockname"))
    while (port, client_port) in _held():
        await asyncio.sleep(1.0)
        if slowly and not reader.at_eof():
            with suppress(ConnectionError):
                await reader.read(1)


_seen_at_s = 0.0
_seen: set[tuple[int, int]] = set()


def _held() -> set[tuple[int, int]]:
    """Port of a server and port of its client, of each connection that the server has open.

    One look serves all clients for half a second.
    """
    global _seen, _seen_at_s
    now_s = time.monotonic()
    if now_s - _seen_at_s >= 0.5:
        found = set()
        for line in Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]:
            _, local, remote, state, *_ = line.split()
            if state in {"01", "08"}:
                found.add((int(local[-4:], 16), int(remote[-4:], 16)))
        _seen, _seen_at_s = found, now_s
    return _seen


def path_of(template: str, more: str = "") -> Callable[[Target], bytes]:
    """The head of a GET of another path each time; `{}` in the template becomes a number."""

    def head(_: Target) -> bytes:
        path = template.replace("{}", str(next(_numbers)))
        return f"GET {path} HTTP/1.1\r\nHost: x\r\n{more}\r\n".encode()

    return head


def frame_of(opcode: int, payload: bytes, *, length: int | None = None) -> bytes:
    """A masked WebSocket frame; its length may be a lie."""
    size = len(payload) if length is None else length
    if size < 126:
        head = bytes((opcode, 0x80 | size))
    elif size < 65536:
        head = bytes((opcode, 0x80 | 126)) + size.to_bytes(2, "big")
    else:
        head = bytes((opcode, 0x80 | 127)) + size.to_bytes(8, "big")
    return head + bytes(4) + payload


def logged_in(more: bytes = b"", *, password: str | None = None) -> Callable[[Target], bytes]:
    """What a client of RabbitMQ says until it has a channel, and then more.

    Args:
        more: sent in the channel.
        password: a wrong one; None: the right one.
    """

    def said(target: Target) -> bytes:
        settings = target.settings
        secret = settings.rabbitmq_password.get_secret_value() if password is None else password
        methods = (
            (0, spec.Connection.StartOk({}, "PLAIN", f"\0{settings.rabbitmq_user}\0{secret}")),
            (0, spec.Connection.TuneOk(0, 131072, 5)),
            (0, spec.Connection.Open(settings.rabbitmq_vhost)),
            (1, spec.Channel.Open()),
        )
        frames = b"".join(frame.Method(channel, each).marshal() for channel, each in methods)
        return b"AMQP\x00\x00\x09\x01" + frames + more

    return said


def published(body: bytes, *, length: int | None = None) -> bytes:
    """The frames of a message for the queue of votes; its length may be a lie."""
    publish = spec.Basic.Publish(exchange="", routing_key="votes.validation")
    size = len(body) if length is None else length
    pieces = [body[at : at + 100_000] for at in range(0, len(body), 100_000)]
    return b"".join(
        (
            frame.Method(1, publish).marshal(),
            frame.Header(1, size, spec.BasicProperties()).marshal(),
            *(frame.Body(1, piece).marshal() for piece in pieces),
        )
    )


MORE_BODY: Final = frame.Body(1, b"x" * 1000).marshal()
FAREWELL: Final = frame.Method(0, spec.Connection.Close(200, "", 0, 0)).marshal()


async def guess_codes(target: Target) -> None:
    """Try codes of one person, as fast as they are answered."""
    nas = f"5550{next(_numbers):05}"
    url = f"http://127.0.0.1:{target.port}/api/v1/elections/vote"
    answered = 0
    async with _session(target) as session:
        for n in range(40):
            body = {"nas": nas, "code": f"G{n}", "election_id": 1, "candidate_id": 1}
            async with session.post(url, json=body) as answer:
                answered += answer.status != 429
    if answered > 20:
        target.told.append(f"{answered} guesses for one person were answered")
    target.lives_s.append(0.0)


def asks(*paths: str, times: int = 20) -> Run:
    """A client that asks as fast as it is answered, and leaves; nothing may break."""

    async def run(target: Target) -> None:
        began_s = time.monotonic()
        async with _session(target) as session:
            for n in range(times):
                url = f"http://127.0.0.1:{target.port}{paths[n % len(paths)]}"
                async with session.get(url) as answer:
                    await answer.read()
                    if answer.status >= 500 and answer.status != 503:
                        target.told.append(f"{paths[n % len(paths)]} was answered {answer.status}")
        target.lives_s.append(time.monotonic() - began_s)

    return run

"""What the HTTP server bounds, over real sockets."""

from __future__ import annotations

import asyncio
import gc
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace

import aiohttp
import pytest
from litestar import Litestar
from litestar.exceptions import WebSocketDisconnect
from litestar.types import Receive, Scope, Send

from streams.devstack import ports
from streams.errors import PortTaken
from streams.gateway import connections, subscriptions
from streams.gateway.connections import (
    FRAMES,
    MAX_HEAD_BYTES,
    MAX_HEADERS,
    MAX_LINE_BYTES,
    MAX_PIPELINED,
    BoundedHttp,
    BoundedWebSocket,
)
from streams.gateway.handlers.live import live_handlers
from streams.gateway.http_server import listening
from streams.gateway.strikes import STRIKES
from streams.settings.processes import HttpConfig
from tests.harness import until
from tests.unit.gateway.test_contest_feed import subscriptions_of

POST = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\n"


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer with what was sent."""
    if scope["type"] == "websocket":
        assert (await receive())["type"] == "websocket.connect"
        await send({"type": "websocket.accept", "subprotocol": None, "headers": []})
        while (event := await receive())["type"] == "websocket.receive":
            await send({"type": "websocket.send", "text": event.get("text"), "bytes": None})
        return
    if scope["path"] == "/endless":
        headers: list[tuple[bytes, bytes]] = []
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        while (await asyncio.sleep(0)) is None:
            await send({"type": "http.response.body", "body": b"x" * 65536, "more_body": True})
    body, more = b"", True
    while more:
        event = await receive()
        if event["type"] != "http.request":
            return
        body, more = body + event["body"], event["more_body"]
    length = str(len(body)).encode()
    headers = [(b"content-length", length)]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})


@pytest.fixture
def http() -> HttpConfig:
    [port] = ports.choose(1)
    return HttpConfig(
        "127.0.0.1",
        port,
        max_body_bytes=65536,
        cors_origins=(),
        embed_origins=(),
        photo_origins=(),
        languages_dir="",
        trusted_proxies=0,
    )


@asynccontextmanager
async def connection(
    http: HttpConfig,
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    async with listening(echo, http, int), asyncio.timeout(60):
        reader, writer = await asyncio.open_connection("127.0.0.1", http.port)
        try:
            yield reader, writer
        finally:
            writer.close()


async def answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    head = await reader.readuntil(b"\r\n\r\n")
    length = re.search(rb"content-length: (\d+)", head.lower())
    assert length is not None
    return int(head.split()[1]), await reader.readexactly(int(length[1]))


async def test_requests_follow_each_other_on_one_connection(http: HttpConfig) -> None:
    async with connection(http) as (reader, writer):
        for body in (b"oui!", b"non!"):
            writer.write(POST + body)
            assert await answer(reader) == (200, body)
        # In pieces, too.
        for piece in (POST[:10], POST[10:-1], POST[-1:] + b"ou", b"i."):
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0.01)
        assert await answer(reader) == (200, b"oui.")


async def test_a_head_is_no_longer_than_allowed(http: HttpConfig) -> None:
    async with connection(http) as (reader, writer):
        writer.write(POST + b"1234")
        assert await answer(reader) == (200, b"1234")
        writer.write(POST[:-2] + b"X-Long: ")
        with pytest.raises(ConnectionError):  # noqa: PT012 - any of them may notice
            for _ in range(MAX_HEAD_BYTES // 1000 + 10):
                writer.write(b"y" * 1000)
                await writer.drain()
                await asyncio.sleep(0.001)
            await reader.read()
            raise ConnectionError


@pytest.mark.parametrize("sent", [b"", POST[:10], POST, POST + b"123"])
async def test_who_does_not_send_a_whole_request_is_sent_away(
    http: HttpConfig, sent: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "REQUEST_TIMEOUT_S", 0.1)
    async with connection(http) as (reader, writer):
        writer.write(sent)
        assert await reader.read() == b""


async def test_who_is_answered_may_take_a_rest(
    http: HttpConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Long enough to send a request while others have the processor.
    monkeypatch.setattr(connections, "REQUEST_TIMEOUT_S", 1.0)
    async with connection(http) as (reader, writer):
        for rest_s in (1.5, 0):
            writer.write(POST + b"1234")
            assert await answer(reader) == (200, b"1234")
            await asyncio.sleep(rest_s)


async def test_a_port_that_is_taken_is_named(http: HttpConfig) -> None:
    async with listening(echo, http, int):
        with pytest.raises(PortTaken, match=str(http.port)):
            async with listening(echo, http, int):
                pass


async def test_sockets_are_served_and_closed_at_the_end(http: HttpConfig) -> None:
    async with aiohttp.ClientSession() as session, asyncio.timeout(60):
        async with listening(echo, http, int) as serving:
            url = f"http://127.0.0.1:{http.port}/"
            socket = await session.ws_connect(url)
            await socket.send_str("here?")
            assert await socket.receive_str() == "here?"
        assert serving.done()
        assert (await socket.receive()).type in {aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED}


async def refused(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, sent: bytes) -> bytes:
    """Send bytes, again and again, until the server ends the connection; returns its answer."""
    read = asyncio.ensure_future(reader.read())
    with suppress(ConnectionError):
        while not read.done():
            writer.write(sent)
            await writer.drain()
            await asyncio.sleep(0)
    try:
        return await read
    except ConnectionError:
        # Bytes that were not read any more make the end of a connection an error.
        return b""


async def test_a_long_body_fits_beside_its_head(http: HttpConfig) -> None:
    async with connection(http) as (reader, writer):
        body = b"y" * 65260
        head = b"POST / HTTP/1.1\r\nHost: x\r\nX-More: " + b"z" * 500
        writer.write(head + b"\r\nContent-Length: 65260\r\n\r\n" + body)
        assert await answer(reader) == (200, body)


CHUNKED = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
UPGRADE = (
    b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


@pytest.mark.parametrize(
    ("first", "more"),
    [
        pytest.param(b"", b"\r\n" * 500, id="empty lines"),
        pytest.param(POST + b"1234", b"\r\n" * 500, id="empty lines after a request"),
        pytest.param(CHUNKED + b"4;", b"x" * 1000, id="a chunk's extension"),
        pytest.param(CHUNKED + b"4\r\nyeah\r\n0\r\n", b"X-T: 1\r\n" * 100, id="trailers"),
        pytest.param(CHUNKED + b"0\r\nX-T: ", b"x" * 1000, id="a long trailer"),
        pytest.param(CHUNKED, b"1\r\nx\r\n" * 100, id="a body in small chunks"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: x\r\n", b"A:b\r\n" * 100, id="headers"),
        pytest.param(b"GET /", b"x" * 1000, id="a path"),
    ],
)
async def test_no_part_of_a_request_is_endless(http: HttpConfig, first: bytes, more: bytes) -> None:
    async with connection(http) as (reader, writer):
        writer.write(first)
        found = await refused(reader, writer, more)
        assert found == b"" or b" 400 " in found.splitlines()[0] or b" 200 " in found


async def test_requests_that_wait_are_few(http: HttpConfig) -> None:
    async with connection(http) as (reader, writer):
        writer.write((POST + b"1234") * (MAX_PIPELINED + 1))
        for _ in range(MAX_PIPELINED + 1):
            assert await answer(reader) == (200, b"1234")
        writer.write((POST + b"1234") * (MAX_PIPELINED + 20))
        assert (await reader.read()).count(b"1234") <= MAX_PIPELINED + 1


async def test_headers_are_few(http: HttpConfig) -> None:
    async with connection(http) as (reader, writer):
        writer.write(b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * (MAX_HEADERS + 1) + b"\r\n")
        assert (await answer(reader))[0] == 400


async def test_a_head_is_parsed_once_however_many_pieces_it_has(
    http: HttpConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The parser copies what it has of a field with each piece."""
    pieces: list[bytes] = []
    on_url = BoundedHttp.on_url

    def counted(self: BoundedHttp, url: bytes) -> None:
        pieces.append(url)
        on_url(self, url)

    monkeypatch.setattr(BoundedHttp, "on_url", counted)
    async with connection(http) as (reader, writer):
        for byte in b"GET /a/long/path HTTP/1.1\r\nHost: x\r\n\r\n":
            writer.write(bytes((byte,)))
            await writer.drain()
            await asyncio.sleep(0.001)
        assert (await answer(reader))[0] == 200
    assert pieces == [b"/a/long/path"]


async def test_no_line_of_a_head_is_long(http: HttpConfig) -> None:
    """The framework keeps a thousand paths, queries and cookies."""
    long = b"x" * MAX_LINE_BYTES
    for head in (
        b"GET /" + long + b" HTTP/1.1\r\n",
        b"GET /?" + long + b" HTTP/1.1\r\n",
        b"GET / HTTP/1.1\r\nCookie: " + long + b"\r\n",
    ):
        async with connection(http) as (reader, writer):
            writer.write(head + b"Host: x\r\n\r\n")
            assert (await answer(reader))[0] == 400


async def refuse(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer before the body has come."""
    headers = [(b"content-length", b"0")]
    await send({"type": "http.response.start", "status": 413, "headers": headers})
    await send({"type": "http.response.body", "body": b"", "more_body": False})


async def test_nothing_more_is_read_of_a_long_request_that_is_answered(http: HttpConfig) -> None:
    async with listening(refuse, http, int), asyncio.timeout(60):
        reader, writer = await asyncio.open_connection("127.0.0.1", http.port)
        writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 50000000\r\n\r\n")
        writer.write(bytes(50_000_000))
        assert await answer(reader) == (413, b"")
        assert writer.transport.get_write_buffer_size() > 40_000_000
        with suppress(ConnectionError):
            assert await reader.read() == b""
        writer.close()
        # A short one may still come to its end, and another request follow it.
        reader, writer = await asyncio.open_connection("127.0.0.1", http.port)
        for _ in range(2):
            writer.write(POST)
            assert await answer(reader) == (413, b"")
            writer.write(b"1234")
        writer.close()


async def test_pieces_of_a_request_are_parsed_as_far_as_they_may_go(
    http: HttpConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A read brings up to 256 KiB, and a trailer of six bytes is a call of its own."""
    seen: list[bytes] = []
    on_header = BoundedHttp.on_header

    def counted(self: BoundedHttp, name: bytes, value: bytes) -> None:
        seen.append(name)
        on_header(self, name, value)

    monkeypatch.setattr(BoundedHttp, "on_header", counted)
    async with connection(http) as (reader, writer):
        writer.write(CHUNKED + b"0\r\n" + b"X: y\r\n" * 20_000)
        with suppress(ConnectionError):
            await reader.read()
    assert len(seen) < 3000


async def test_an_address_that_breaks_bounds_opens_no_more_connections(http: HttpConfig) -> None:
    refused: list[None] = []

    async def told(address: str, http: HttpConfig) -> bytes:
        try:
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", http.port, local_addr=(address, 0)
            )
        except ConnectionError:
            return b""
        writer.write(b"no request\r\n\r\n")
        try:
            return (await reader.read())[:12]
        except ConnectionError:
            return b""
        finally:
            writer.close()

    async with listening(echo, http, lambda: refused.append(None)), asyncio.timeout(60):
        answers = [await told("127.0.0.2", http) for _ in range(STRIKES + 5)]
        assert answers == [b"HTTP/1.1 400"] * STRIKES + [b""] * 5
        assert len(refused) == 5
        assert await told("127.0.0.3", http) == b"HTTP/1.1 400"
    # Behind proxies all clients have the address of a proxy.
    behind = replace(http, trusted_proxies=1)
    async with listening(echo, behind, int), asyncio.timeout(60):
        answers = [await told("127.0.0.2", behind) for _ in range(STRIKES + 5)]
        assert answers == [b"HTTP/1.1 400"] * (STRIKES + 5)


@pytest.mark.parametrize("sent", [b"\r\n", b"\r\n\r\n"])
async def test_what_is_no_request_moves_no_deadline(
    http: HttpConfig, sent: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "REQUEST_TIMEOUT_S", 0.5)
    monkeypatch.setattr(connections, "KEEP_ALIVE_S", 0.5)
    for first in (b"", POST + b"1234"):
        async with connection(http) as (reader, writer):
            writer.write(first)
            ended = asyncio.ensure_future(reader.read())
            with suppress(ConnectionError):
                while not ended.done():
                    writer.write(sent)
                    await writer.drain()
                    await asyncio.sleep(0.05)
            await asyncio.wait([ended])


async def test_an_upgrade_that_is_none_is_answered(http: HttpConfig) -> None:
    for broken in (
        UPGRADE.replace(b"GET", b"POST"),
        UPGRADE.replace(b"Host: x\r\n", b"Host: x\r\n" + b"A: b\r\n" * 150),
        UPGRADE.replace(b"Host: x", b"Host: " + b"x" * 10000),
        UPGRADE.replace(b"dGhlIHNhbXBsZSBub25jZQ==", b"short"),
    ):
        async with connection(http) as (reader, writer):
            writer.write(broken)
            assert (await reader.read()).startswith(b"HTTP/1.1 4"), broken[:200]


async def test_other_upgrades_are_answered_as_plain_requests(http: HttpConfig) -> None:
    """Clients that know HTTP/2 ask for it with every first request, also with a vote."""
    asking = POST.replace(b"Host", b"Connection: Upgrade\r\nUpgrade: h2c\r\nHost")
    async with connection(http) as (reader, writer):
        for _ in range(2):
            writer.write(asking + b"1234")
            assert await answer(reader) == (200, b"1234")


async def test_who_reads_no_answer_is_dropped(
    http: HttpConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "WRITE_TIMEOUT_S", 0.2)
    async with connection(http) as (_, writer):
        writer.write(b"GET /endless HTTP/1.1\r\nHost: x\r\n\r\n")
        transport = writer.transport
        assert isinstance(transport, asyncio.Transport)
        transport.pause_reading()
        await dropped(writer)


async def dropped(writer: asyncio.StreamWriter) -> None:
    """Wait until the other end has dropped the connection, without reading."""
    with suppress(ConnectionError):
        while not writer.is_closing():
            writer.write(b"\r\n")
            await writer.drain()
            await asyncio.sleep(0.05)


def frame(opcode: int, data: bytes = b"", fin: bool = True) -> bytes:
    """A frame of a client, masked with zeros."""
    return bytes(((0x80 if fin else 0) | opcode, 0x80 | len(data))) + bytes(4) + data


@pytest.mark.parametrize(
    "more",
    [
        pytest.param(frame(0x1, b"here?"), id="messages"),
        pytest.param(frame(0x9, b"p" * 125), id="pings"),
        pytest.param(frame(0xA), id="pongs"),
        pytest.param(frame(0x0, fin=False), id="empty fragments"),
    ],
)
async def test_frames_of_a_peer_are_bounded(http: HttpConfig, more: bytes) -> None:
    """Also of one that does not read."""
    async with connection(http) as (reader, writer):
        writer.write(UPGRADE)
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101")
        writer.write(frame(0x1, b"", fin=False) if more[0] == 0 else b"")
        found = await refused(reader, writer, more * 50)
        assert len(found) <= 256 * FRAMES


async def test_few_of_many_frames_are_parsed(
    http: HttpConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A read brings many frames at once, and each costs more than its bytes."""
    parsed: list[object] = []
    handle = BoundedWebSocket.handle_events

    def counted(self: BoundedWebSocket) -> None:
        parsed.extend(self.conn.events)
        handle(self)

    monkeypatch.setattr(BoundedWebSocket, "handle_events", counted)
    async with connection(http) as (reader, writer):
        writer.write(UPGRADE)
        await reader.readuntil(b"\r\n\r\n")
        writer.write(frame(0x1, b"", fin=False) + frame(0x0, fin=False) * 2000)
        with suppress(ConnectionError):
            await reader.read()
    assert FRAMES < len(parsed) <= 2 * FRAMES


@pytest.mark.filterwarnings("ignore::litestar.exceptions.LitestarDeprecationWarning")
async def test_a_watcher_who_leaves_is_little_work_for_the_garbage_collector(
    http: HttpConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A collection stops the loop, longer for more objects: votes wait for it."""
    monkeypatch.setattr(subscriptions, "REFRESH_S", 0.01)
    app = Litestar(live_handlers(subscriptions=subscriptions_of({})), openapi_config=None)

    async def freed() -> bool:
        # The framework's own cycle is left.
        left = (BoundedHttp, WebSocketDisconnect)
        return not any(isinstance(each, left) for each in gc.get_objects())

    gc.collect()
    gc.disable()
    try:
        async with listening(app, http, int), asyncio.timeout(60):
            for leaves in (b"", frame(0x8, b"\x03\xe8"), frame(0x0)):
                reader, writer = await asyncio.open_connection("127.0.0.1", http.port)
                writer.write(UPGRADE.replace(b"GET /", b"GET /ws/laws/L-1"))
                await reader.readuntil(b"waiting")
                writer.write(leaves)
                if leaves:
                    await reader.read()
                writer.close()
            del reader, writer
            await until(freed, "the connections are freed")
    finally:
        gc.enable()


async def test_a_socket_has_its_allowance_of_frames(http: HttpConfig) -> None:
    async with connection(http) as (reader, writer):
        writer.write(UPGRADE)
        await reader.readuntil(b"\r\n\r\n")
        writer.write(frame(0x1, b"a") * (FRAMES - 1))
        assert await reader.readexactly(3 * (FRAMES - 1)) == b"\x81\x01a" * (FRAMES - 1)

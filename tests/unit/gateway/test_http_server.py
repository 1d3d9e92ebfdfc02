"""What the HTTP server bounds, over real sockets."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest
from litestar.types import Receive, Scope, Send

from streams.devstack import ports
from streams.errors import PortTaken
from streams.gateway import http_server
from streams.gateway.http_server import MAX_HEAD_BYTES, listening
from streams.settings.processes import HttpConfig

POST = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\n"


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer with what was sent."""
    if scope["type"] == "websocket":
        assert (await receive())["type"] == "websocket.connect"
        await send({"type": "websocket.accept", "subprotocol": None, "headers": []})
        while (event := await receive())["type"] == "websocket.receive":
            await send({"type": "websocket.send", "text": event.get("text"), "bytes": None})
        return
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
    return HttpConfig("127.0.0.1", port, max_body_bytes=65536, cors_origins=(), trusted_proxies=0)


@asynccontextmanager
async def connection(
    http: HttpConfig,
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    async with listening(echo, http), asyncio.timeout(60):
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
    monkeypatch.setattr(http_server, "REQUEST_TIMEOUT_S", 0.1)
    async with connection(http) as (reader, writer):
        writer.write(sent)
        assert await reader.read() == b""


async def test_who_is_answered_may_take_a_rest(
    http: HttpConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Long enough to send a request while others have the processor.
    monkeypatch.setattr(http_server, "REQUEST_TIMEOUT_S", 1.0)
    async with connection(http) as (reader, writer):
        for rest_s in (1.5, 0):
            writer.write(POST + b"1234")
            assert await answer(reader) == (200, b"1234")
            await asyncio.sleep(rest_s)


async def test_a_port_that_is_taken_is_named(http: HttpConfig) -> None:
    async with listening(echo, http):
        with pytest.raises(PortTaken, match=str(http.port)):
            async with listening(echo, http):
                pass


async def test_sockets_are_served_and_closed_at_the_end(http: HttpConfig) -> None:
    async with aiohttp.ClientSession() as session, asyncio.timeout(60):
        async with listening(echo, http) as serving:
            url = f"http://127.0.0.1:{http.port}/"
            socket = await session.ws_connect(url)
            await socket.send_str("here?")
            assert await socket.receive_str() == "here?"
        assert serving.done()
        assert (await socket.receive()).type in {aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED}

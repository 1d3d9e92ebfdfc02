"""The gateway's HTTP and WebSocket protocols without sockets: bytes in, bytes out."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterable
from typing import Any, Final

import uvicorn
from litestar.types import Receive, Scope, Send
from uvicorn.server import ServerState

from streams.gateway.connections import MAX_HEAD_BYTES, BoundedHttp, BoundedWebSocket
from streams.gateway.strikes import Strikes

MAX_BODY_BYTES: Final = 1000
_TURNS: Final = 12
"""Of the loop after each piece: more than an answer takes."""

_UNUSED: Final = socket.socket()


class _Transport(asyncio.Transport):
    def __init__(self) -> None:
        super().__init__()
        self.written = bytearray()
        self.closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert not self.closed
        self.written += data

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        if name == "socket":
            return _UNUSED
        return ("127.0.0.1", 1) if name in {"peername", "sockname"} else default

    def get_protocol(self) -> asyncio.BaseProtocol:
        return self.protocol

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self.protocol = protocol


async def _answer(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer with what was understood."""
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept", "subprotocol": None, "headers": []})
        while (event := await receive())["type"] == "websocket.receive":
            text = event.get("text")
            assert text is None or len(text) <= MAX_BODY_BYTES
            await send({"type": "websocket.send", "text": "taken", "bytes": None})
        return
    assert scope["type"] == "http"
    length, more = 0, True
    while more:
        event = await receive()
        if event["type"] != "http.request":
            return
        length, more = length + len(event["body"]), event["more_body"]
    said = repr((scope["method"], scope["path"], len(list(scope["headers"])), length)).encode()
    headers = [(b"content-length", str(len(said)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": said, "more_body": False})


_loop = asyncio.new_event_loop()
_config: Final = uvicorn.Config(
    _answer,
    http=BoundedHttp,
    ws=BoundedWebSocket,
    ws_max_size=MAX_BODY_BYTES,
    ws_per_message_deflate=False,
    ws_ping_interval=None,
    lifespan="off",
    interface="asgi3",
    log_config=None,
    access_log=False,
    proxy_headers=False,
    server_header=False,
    date_header=False,
)


def answers(pieces: Iterable[bytes]) -> tuple[bytes, bool]:
    """What a client that sends these pieces is sent, and whether its connection is closed."""
    return _loop.run_until_complete(_answers(pieces))


async def _answers(pieces: Iterable[bytes]) -> tuple[bytes, bool]:
    faults: list[dict[str, Any]] = []
    _loop.set_exception_handler(lambda _, context: faults.append(context))
    transport, state = _Transport(), ServerState()
    http = BoundedHttp(
        max_body_bytes=MAX_BODY_BYTES,
        strikes=Strikes(lambda: None, behind_proxies=True),
        config=_config,
        server_state=state,
        app_state={},
        _loop=_loop,
    )
    transport.set_protocol(http)
    http.connection_made(transport)
    for piece in pieces:
        if transport.closed:
            break
        protocol = transport.get_protocol()
        assert isinstance(protocol, asyncio.Protocol)
        protocol.data_received(piece)
        assert len(http._head) <= MAX_HEAD_BYTES
        for _ in range(_TURNS):
            await asyncio.sleep(0)
    ended = transport.get_protocol()
    assert isinstance(ended, asyncio.Protocol)
    closed = transport.closed
    transport.closed = True
    ended.connection_lost(None)
    for _ in range(_TURNS):
        await asyncio.sleep(0)
    for task in list(state.tasks):
        task.cancel()
    await asyncio.gather(*state.tasks, return_exceptions=True)
    assert not faults, faults
    return bytes(transport.written), closed

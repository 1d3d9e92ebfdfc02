"""The HTTP server: uvicorn in the gateway's event loop, on a socket that the gateway binds.

Parser, handlers and the connection to RabbitMQ share one thread: handing every request from a
server's thread to Python's, and its answer back, cost more CPU than the vote.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Final

import uvicorn
from litestar.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from streams.errors import PortTaken
from streams.gateway.subscriptions import MAX_WATCHERS
from streams.settings.processes import HttpConfig

MAX_HEAD_BYTES: Final = 64 * 1024
"""Longest request line with its headers."""
REQUEST_TIMEOUT_S: Final = 30.0
"""From accepting a connection, or the first byte of a later request, to the last byte."""
KEEP_ALIVE_S: Final = 75
_BACKLOG: Final = 4096
_CONNECTIONS: Final = MAX_WATCHERS + 2000
_GRACE_S: Final = 1
"""For requests that are being served when the gateway ends."""


class JoinedWrites:
    """A transport that joins all writes of one turn of the loop.

    A response's head and body would be a system call each, and those are a quarter of the cost of a
    vote in the gateway.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._waiting: list[bytes] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Write bytes at the end of this turn of the loop."""
        if not self._waiting:
            self._loop.call_soon(self.flush)
        self._waiting.append(data)

    def flush(self) -> None:
        """Write the waiting bytes now."""
        waiting, self._waiting = self._waiting, []
        if waiting and not self._transport.is_closing():
            self._transport.write(b"".join(waiting))

    def released(self) -> asyncio.Transport:
        """The wrapped transport, with nothing waiting, for a protocol that writes to it itself."""
        self.flush()
        return self._transport

    def close(self) -> None:
        """Write the waiting bytes, then close."""
        self.flush()
        self._transport.close()


class BoundedHttp(HttpToolsProtocol):
    """Bounds the bytes of a request's head, and the time until a request is complete."""

    _arriving = False
    _in_head = True
    _head_bytes = 0
    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the deadline of the first request."""
        super().connection_made(transport)
        self.transport = JoinedWrites(transport, self.loop)  # type: ignore[assignment]
        self._expect()

    def handle_websocket_upgrade(self) -> None:
        """Hand the connection to the WebSocket protocol, which writes each message at once."""
        assert isinstance(self.transport, JoinedWrites)
        self.transport = self.transport.released()
        super().handle_websocket_upgrade()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the deadline."""
        self._relax()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read bytes of requests."""
        if self._in_head:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES:
                self.send_400_response("The request's headers are too long.")
                return
        super().data_received(data)
        if not self._arriving:
            self._relax()
        elif self._deadline is None:
            self._expect()

    def on_message_begin(self) -> None:
        """Note the first byte of a request."""
        self._arriving = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Note the end of the headers."""
        self._in_head = False
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Note the end of the request."""
        self._arriving, self._in_head, self._head_bytes = False, True, 0
        super().on_message_complete()

    def _expect(self) -> None:
        self._deadline = self.loop.call_later(REQUEST_TIMEOUT_S, self.transport.close)

    def _relax(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Install no handlers: the process has its own."""
        yield


@asynccontextmanager
async def listening(app: ASGIApp, http: HttpConfig) -> AsyncIterator[asyncio.Task[None]]:
    """Serve while the block runs; yields the server's task.

    Raises:
        PortTaken: another process listens on the port.
    """
    listener = _listener(http)
    config: Any = uvicorn.Config(
        app,
        http=BoundedHttp,
        ws="websockets-sansio",
        # Messages are small, and each compressor takes much memory.
        ws_per_message_deflate=False,
        ws_max_size=http.max_body_bytes,
        lifespan="off",
        interface="asgi3",
        log_config=None,
        log_level="warning",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        backlog=_BACKLOG,
        limit_concurrency=_CONNECTIONS,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=_GRACE_S,
    )
    server = _Server(config)
    serving = asyncio.create_task(server.serve([listener]), name="http server")
    try:
        yield serving
    finally:
        server.should_exit = True
        await asyncio.wait([serving], timeout=2.0 + _GRACE_S)


def _listener(http: HttpConfig) -> socket.socket:
    family = socket.AF_INET6 if ":" in http.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((http.host, http.port))
        # Two sockets may be bound; only one can listen.
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise PortTaken(
            "The gateway cannot listen on its port",
            where={"host": http.host, "port": http.port},
            todo="Set SCRUTIN_GATEWAY_PORT to another port",
        ) from error
    return listener

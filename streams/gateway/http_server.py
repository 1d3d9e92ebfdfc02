"""The HTTP server: uvicorn in the gateway's event loop, on a socket that the gateway binds.

Parser, handlers and the connection to RabbitMQ share one thread: handing every request from a
server's thread to Python's, and its answer back, cost more CPU than the vote.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import Any, Final

import uvicorn
from litestar.types import ASGIApp

from streams.errors import PortTaken
from streams.gateway.connections import (
    MAX_MESSAGE_BYTES,
    WRITE_TIMEOUT_S,
    BoundedHttp,
    BoundedWebSocket,
)
from streams.gateway.strikes import Strikes
from streams.gateway.subscriptions import MAX_WATCHERS
from streams.settings.processes import HttpConfig

_BACKLOG: Final = 4096
_CONNECTIONS: Final = MAX_WATCHERS + 2000
_SEND_BUFFER_BYTES: Final = 64 * 1024
_RECEIVE_BUFFER_BYTES: Final = 128 * 1024
"""What the kernel keeps of a peer that is not read."""
_GRACE_S: Final = 1
"""For requests that are being served when the gateway ends."""


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Install no handlers: the process has its own."""
        yield


@asynccontextmanager
async def listening(
    app: ASGIApp, http: HttpConfig, refused: Callable[[], None]
) -> AsyncIterator[asyncio.Task[None]]:
    """Serve while the block runs; yields the server's task.

    Args:
        app: the application.
        http: where to listen, and the bounds.
        refused: called for each connection that is closed unread.

    Raises:
        PortTaken: another process listens on the port.
    """
    listener = _listener(http)
    strikes = Strikes(refused, behind_proxies=http.trusted_proxies > 0)
    protocol: Any = partial(BoundedHttp, max_body_bytes=http.max_body_bytes, strikes=strikes)
    config: Any = uvicorn.Config(
        app,
        http=protocol,
        ws=BoundedWebSocket,
        # A compressor for each connection takes much memory: see `shared_text`.
        ws_per_message_deflate=False,
        ws_max_size=min(MAX_MESSAGE_BYTES, http.max_body_bytes),
        lifespan="off",
        interface="asgi3",
        log_config=None,
        log_level="warning",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        backlog=_BACKLOG,
        limit_concurrency=_CONNECTIONS,
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
        # Inherited by every connection: a peer whose window stays closed is dropped, and one that
        # does not read soon fills the buffers, instead of megabytes in the kernel later.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER_BYTES)
        unread_ms = int(WRITE_TIMEOUT_S * 1000)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, unread_ms)
        listener.bind((http.host, http.port))
        # Two sockets may be bound; only one can listen.
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise PortTaken(
            "The gateway or the console cannot listen on its port",
            where={"host": http.host, "port": http.port},
            todo="Set SCRUTIN_GATEWAY_PORT or SCRUTIN_CONSOLE_PORT to another port",
        ) from error
    return listener

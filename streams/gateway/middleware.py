"""What every request passes: its id, the headers of every response, metrics and one log line."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Callable
from typing import Any, Final, cast

import structlog
from litestar.types import ASGIApp, HTTPScope, Message, Receive, Scope, Send

from streams.gateway.fast_path import Shortcut
from streams.runtime.metrics import GatewayMetrics

log = structlog.get_logger(__name__)

_REQUEST_ID: Final = re.compile(rb"^[A-Za-z0-9._-]{1,64}$")

CONTENT_SECURITY_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)

_HEADERS: Final[list[tuple[bytes, bytes]]] = [
    (b"content-security-policy", CONTENT_SECURITY_POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
]

_QUIET: Final = frozenset({"/live", "/ready", "/metrics"})


_Count = Callable[[], None]
_Observe = Callable[[float], None]


class Edge:
    """Wraps the application.

    Args:
        app: the application.
        shortcut: tried before it.
        metrics: of the gateway.
    """

    def __init__(self, app: ASGIApp, shortcut: Shortcut, metrics: GatewayMetrics) -> None:
        self._app = app
        self._shortcut = shortcut
        self._metrics = metrics
        self._children: dict[tuple[str, str, str], tuple[_Count, _Observe]] = {}

    def _noted(self, method: str, route: str, code: str) -> tuple[_Count, _Observe]:
        # To find metrics by their labels costs more than to change them.
        known = self._children.get((method, route, code))
        if known is None:
            known = self._children[method, route, code] = (
                self._metrics.http_requests.labels(code).inc,
                self._metrics.http_duration.labels(method, route, code).observe,
            )
        return known

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or one socket."""
        if str(scope["type"]) != "http":
            await self._app(scope, receive, send)
            return
        request_id = _request_id(scope)
        started_s = time.perf_counter()
        status = 500

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [
                    *message["headers"],
                    *_HEADERS,
                    (b"x-request-id", request_id),
                ]
            await send(message)

        try:
            http = cast("HTTPScope", scope)
            rest = await self._shortcut.serve(http, receive, send_with_headers)
            if rest is not None:
                await self._app(scope, rest, send_with_headers)
        finally:
            self._note(scope, status, time.perf_counter() - started_s, request_id)

    def _note(self, scope: Any, status: int, took_s: float, request_id: bytes) -> None:
        # The template: a path may hold a receipt, and there are as many paths as polls.
        route = scope.get("path_template") or "unknown"
        count, observe = self._noted(scope["method"], route, str(status))
        count()
        observe(took_s)
        if status >= 500 and route not in _QUIET:
            log.warning(
                "request",
                method=scope["method"],
                route=route,
                status=status,
                seconds=round(took_s, 3),
                request_id=request_id.decode(),
            )


def _request_id(scope: Any) -> bytes:
    for name, value in scope["headers"]:
        if name == b"x-request-id" and _REQUEST_ID.match(value):
            return bytes(value)
    return secrets.token_hex(16).encode()

"""What every request passes: its id, headers of every response, metrics and one log line."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final, cast

import structlog
from litestar.types import ASGIApp, HTTPScope, Message, Receive, Scope, Send

from streams.gateway.cors import CrossOrigin, Headers
from streams.runtime.metrics import GatewayMetrics

log = structlog.get_logger(__name__)

_REQUEST_ID: Final = re.compile(rb"^[A-Za-z0-9._-]{1,64}$")

EMBED: Final = "/embed/"
"""Begins the paths of pages that other pages may show in a frame, if settings allow it."""
_STREAM: Final = "/events"
"""Ends the paths of answers that do not end."""

_POLICY: Final = b"content-security-policy"
_HEADERS: Final[Headers] = [
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
]

_QUIET: Final = frozenset({"/live", "/ready", "/metrics"})


_Count = Callable[[], None]
_Observe = Callable[[float], None]


def content_security_policy(frame_ancestors: str, images: Sequence[str] = ()) -> bytes:
    """The header that says what a page may load, and who may show it in a frame.

    Args:
        frame_ancestors: as the header writes them.
        images: web origins of images, beside the gateway's own.
    """
    sources = " ".join(("'self'", *images))
    return (
        f"default-src 'none'; script-src 'self'; style-src 'self'; img-src {sources}; "
        "connect-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; "
        f"frame-ancestors {frame_ancestors}"
    ).encode()


@dataclass
class RequestMiddleware:
    """Wraps the application."""

    app: ASGIApp
    """The application."""
    metrics: GatewayMetrics
    """Of the gateway."""
    cross_origin: CrossOrigin | None
    """Headers for pages of other origins; None where none may call."""
    embed_origins: Sequence[str] = ()
    """Web origins whose pages may show a contest in a frame."""
    photo_origins: Sequence[str] = ()
    """Web origins of photos of candidates."""

    def __post_init__(self) -> None:
        self._policy = content_security_policy("'none'", self.photo_origins)
        self._embed_policy = content_security_policy(
            " ".join(self.embed_origins) or "'none'", self.photo_origins
        )
        self._series: dict[tuple[str, str, str], tuple[_Count, _Observe]] = {}

    def _series_of(self, method: str, route: str, code: str) -> tuple[_Count, _Observe]:
        # To find metrics by their labels costs more than to change them.
        known = self._series.get((method, route, code))
        if known is None:
            known = self._series[method, route, code] = (
                self.metrics.http_requests.labels(code).inc,
                self.metrics.http_duration.labels(method, route, code).observe,
            )
        return known

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request or one socket."""
        if str(scope["type"]) != "http":
            await self.app(scope, receive, send)
            return
        method = cast("HTTPScope", scope)["method"]
        path = cast("HTTPScope", scope)["path"]
        policy = self._embed_policy if path.startswith(EMBED) else self._policy
        request_id = _request_id(scope)
        origin = None if self.cross_origin is None else _header(scope, b"origin")
        started_s = time.perf_counter()
        status = 500

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                given = message["headers"]
                # A page that is used alone has a policy of its own.
                own = any(name == _POLICY for name, _ in given)
                message["headers"] = [
                    *given,
                    *([] if own else [(_POLICY, policy)]),
                    *_HEADERS,
                    (b"x-request-id", request_id),
                    *self._headers_for(origin, method),
                ]
            await send(message)

        try:
            if origin is not None and method == "OPTIONS":
                await _send_empty(send_with_headers)
            elif method == "HEAD" and not path.endswith(_STREAM):
                # The server leaves out the body.
                await self.app(
                    cast("Scope", {**scope, "method": "GET"}), receive, send_with_headers
                )
            else:
                await self.app(scope, receive, send_with_headers)
        finally:
            self._record(scope, status, time.perf_counter() - started_s, request_id)

    def _headers_for(self, origin: bytes | None, method: str) -> Headers:
        if origin is None or self.cross_origin is None:
            return []
        if method == "OPTIONS":
            return self.cross_origin.preflight_headers(origin)
        return self.cross_origin.headers(origin)

    def _record(self, scope: Any, status: int, took_s: float, request_id: bytes) -> None:
        # The template: a path may hold a receipt, and there are as many paths as polls.
        route = scope.get("path_template") or "unknown"
        count, observe = self._series_of(scope["method"], route, str(int(status)))
        count()
        observe(took_s)
        if status >= 500 and route not in _QUIET:
            log.warning(
                "request",
                method=scope["method"],
                route=route,
                status=int(status),
                seconds=round(took_s, 3),
                request_id=request_id.decode(),
            )


async def _send_empty(send: Send) -> None:
    await send({"type": "http.response.start", "status": int(HTTPStatus.NO_CONTENT), "headers": []})
    await send({"type": "http.response.body", "body": b"", "more_body": False})


def _request_id(scope: Any) -> bytes:
    given = _header(scope, b"x-request-id")
    if given is not None and _REQUEST_ID.match(given):
        return given
    return secrets.token_hex(16).encode()


def _header(scope: Any, wanted: bytes) -> bytes | None:
    return next((value for name, value in scope["headers"] if name == wanted), None)

"""The calls that cast votes, as plain ASGI: a table of paths with the body and handler of each.

For a vote, routing and argument parsing by the web framework cost more than the handler. So these
paths never reach the framework. Their errors are made where all others are, in `problems`, and
`description` adds them to the description of the API.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

import msgspec
from litestar import Request, Response
from litestar.types import ASGIApp, Receive, Scope, Send

from streams.gateway.client_address import AnyRequest
from streams.gateway.problems import (
    Localised,
    Problem,
    on_error,
    unchanged,
    unreadable_body,
)

Handle = Callable[[AnyRequest, Any], Awaitable[Response[Any]]]

_ALLOW: Final = {"Allow": "OPTIONS, POST"}
_encode: Final = msgspec.json.Encoder().encode


@dataclass(frozen=True)
class VoteCall:
    """One call: `POST` of a JSON body to any of some paths, answered with 202."""

    paths: tuple[str, ...]
    """Without a slash at the end; one is accepted."""
    body: type[msgspec.Struct]
    answer: type[msgspec.Struct]
    handle: Handle
    tag: str
    summary: str


@dataclass(frozen=True)
class _Route:
    path: str
    decode: Callable[[bytes], Any]
    handle: Handle


class VoteCalls:
    """Serves the calls that cast votes.

    Args:
        calls: the table.
        otherwise: application that serves all other paths, and sockets.
        max_body_bytes: longer bodies are refused (413).
        localised: gives problems in the caller's language.
    """

    def __init__(
        self,
        calls: Iterable[VoteCall],
        *,
        otherwise: ASGIApp,
        max_body_bytes: int,
        localised: Localised = unchanged,
    ) -> None:
        self._localised = localised
        self._otherwise = otherwise
        self._max_body_bytes = max_body_bytes
        self._routes: dict[str, _Route] = {}
        for call in calls:
            for path in call.paths:
                route = _Route(path, msgspec.json.Decoder(call.body).decode, call.handle)
                self._routes[path] = self._routes[f"{path}/"] = route

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request or one socket."""
        route = self._routes.get(scope["path"]) if str(scope["type"]) == "http" else None
        if route is None:
            await self._otherwise(scope, receive, send)
            return
        scope["path_template"] = route.path
        request: AnyRequest = Request(scope, receive, send)
        try:
            response = await self._respond(route, request)
        except Exception as error:  # noqa: BLE001 - every error has its answer
            response = on_error(request, error, self._localised)
        await _send(response, send)

    async def _respond(self, route: _Route, request: AnyRequest) -> Response[Any]:
        if request.method == "OPTIONS":
            return Response(b"", status_code=HTTPStatus.NO_CONTENT, headers=_ALLOW)
        if request.method != "POST":
            raise Problem(HTTPStatus.METHOD_NOT_ALLOWED, "Method Not Allowed", headers=_ALLOW)
        body = await self._body(request)
        try:
            data = route.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise unreadable_body(error, route.path) from error
        return await route.handle(request, data)

    async def _body(self, request: AnyRequest) -> bytes:
        """The whole body of a request.

        Raises:
            Problem: 413, the body is too long; 400, the client left.
        """
        declared = request.headers.get("content-length", "")
        if declared.isdigit() and int(declared[:20]) > self._max_body_bytes:
            raise Problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "Request Entity Too Large")
        chunks: list[bytes] = []
        length = 0
        while True:
            message = await request.receive()
            if message["type"] != "http.request":
                raise Problem(HTTPStatus.BAD_REQUEST, "The request ended before its body")
            chunks.append(message["body"])
            length += len(message["body"])
            if length > self._max_body_bytes:
                raise Problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "Request Entity Too Large")
            if not message["more_body"]:
                return b"".join(chunks)


async def _send(response: Response[Any], send: Send) -> None:
    content = response.content
    body = content if isinstance(content, bytes) else _encode(content)
    headers = [
        (b"content-type", (response.media_type or "application/json").encode()),
        (b"content-length", str(len(body)).encode()),
        *((name.lower().encode(), value.encode()) for name, value in response.headers.items()),
        *(cookie.to_encoded_header() for cookie in response.cookies),
    ]
    await send(
        {
            "type": "http.response.start",
            "status": int(response.status_code or HTTPStatus.OK),
            "headers": headers,
        }
    )
    await send({"type": "http.response.body", "body": body, "more_body": False})

"""Votes past the framework: the same handlers, found by their path alone.

Of what a vote over HTTP costs, finding its handler and its arguments is more than the handler
itself. A body that is not at once what the handler takes goes the framework's way, which knows how
to complain; so does every request of a page of another origin.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final

import msgspec
from litestar import Request, Response
from litestar.handlers import BaseRouteHandler, HTTPRouteHandler
from litestar.types import HTTPScope, Receive, Send

from streams.errors import ScrutinError
from streams.gateway.problems import Problem, on_problem, on_scrutin, on_unexpected

BODY: Final = "shortcut"
"""Option of a handler: the type of its body. It takes that as `data`, the request as `request`."""

Call = Callable[..., Awaitable[Response[Any]]]

_encode: Final = msgspec.json.Encoder().encode


class Shortcut:
    """Serves what it can.

    Args:
        handlers: of the application.
        max_body_bytes: longer bodies go the framework's way.
    """

    def __init__(self, handlers: Iterable[BaseRouteHandler], *, max_body_bytes: int) -> None:
        self._max_body_bytes = max_body_bytes
        self._routes: dict[str, tuple[Call, msgspec.json.Decoder[Any]]] = {}
        for handler in handlers:
            if isinstance(handler, HTTPRouteHandler) and BODY in handler.opt:
                route = (handler.fn, msgspec.json.Decoder(handler.opt[BODY]))
                for path in handler.paths:
                    self._routes[path] = self._routes[f"{path}/"] = route

    async def serve(self, scope: HTTPScope, receive: Receive, send: Send) -> Receive | None:
        """Answer a request.

        Returns:
            None if it is answered; else what the framework is to receive it from.
        """
        route = self._routes.get(scope["path"]) if scope["method"] == "POST" else None
        if route is None or any(name == b"origin" for name, _ in scope["headers"]):
            return receive
        message = await receive()
        if message["type"] != "http.request" or message["more_body"]:
            return _again(message, receive)
        body = message["body"]
        if len(body) > self._max_body_bytes:
            return _again(message, receive)
        call, decoder = route
        try:
            data = decoder.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return _again(message, receive)
        scope["path_template"] = scope["path"].rstrip("/")
        scope.setdefault("state", {})
        request: Request[Any, Any, Any] = Request(scope, receive, send)
        try:
            response = await call(request=request, data=data)
        except Problem as problem:
            response = on_problem(request, problem)
        except ScrutinError as error:
            response = on_scrutin(request, error)
        except Exception as error:  # noqa: BLE001 - as the framework does
            response = on_unexpected(request, error)
        await _send(response, send)
        return None


def _again(message: Any, receive: Receive) -> Receive:
    """What gives a message that was taken, then the rest."""
    taken = [message]

    async def receive_again() -> Any:
        return taken.pop() if taken else await receive()

    return receive_again


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
            "status": int(response.status_code or 200),
            "headers": headers,
        }
    )
    await send({"type": "http.response.body", "body": body, "more_body": False})

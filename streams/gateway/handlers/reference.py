"""What describes the API, for programs."""

from __future__ import annotations

from functools import cache

import msgspec
from litestar import Litestar, MediaType, Response, get
from litestar.handlers import HTTPRouteHandler

from streams.gateway.client_address import AnyRequest
from streams.inspect.asyncapi import asyncapi

_HEADERS = {"Cache-Control": "public, max-age=60"}


def reference_handlers() -> list[HTTPRouteHandler]:
    """The handlers."""

    @cache
    def openapi_of(app: Litestar) -> bytes:
        return msgspec.json.encode(app.openapi_schema.to_schema())

    @cache
    def messages() -> bytes:
        return msgspec.json.encode(asyncapi())

    @get("/openapi.json", include_in_schema=False)
    async def openapi(request: AnyRequest) -> Response[bytes]:
        return Response(openapi_of(request.app), headers=_HEADERS, media_type=MediaType.JSON)

    @get("/asyncapi.json", include_in_schema=False)
    async def asyncapi_document() -> Response[bytes]:
        return Response(messages(), headers=_HEADERS, media_type=MediaType.JSON)

    return [openapi, asyncapi_document]

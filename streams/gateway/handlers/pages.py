"""The pages: static files of the package, read once, with a digest so that clients cache them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib.resources import files
from typing import Final

from litestar import Response, get
from litestar.handlers import HTTPRouteHandler

from streams.gateway.client_address import AnyRequest
from streams.gateway.problems import Problem

_TYPES: Final = {
    "html": "text/html",
    "css": "text/css",
    "js": "text/javascript",
    "svg": "image/svg+xml",
}

PAGES: Final = [
    "/",
    "/new",
    "/p/{poll_id:int}",
    "/laws",
    "/law/{law_id:str}",
    "/elections",
    "/election/{election_id:str}",
    "/operators",
    "/tallies",
    "/tally/{election_id:str}",
    "/tally/{election_id:str}/ballot",
]
"""Paths of the single page; its script reads the path."""


@dataclass(frozen=True)
class File:
    """A file as it is sent."""

    content: bytes
    media_type: str
    digest: str


def read_files() -> dict[str, File]:
    """The files by name."""
    found = {}
    for entry in files("streams.gateway").joinpath("static").iterdir():
        ending = entry.name.rpartition(".")[2]
        if ending in _TYPES:
            content = entry.read_bytes()
            digest = hashlib.sha256(content).hexdigest()[:32]
            found[entry.name] = File(content, _TYPES[ending], f'"{digest}"')
    return found


def page_handlers() -> list[HTTPRouteHandler]:
    """The handlers."""
    static = read_files()

    @get(PAGES, include_in_schema=False)
    async def page(request: AnyRequest) -> Response[bytes]:
        return _send(request, static["index.html"])

    @get("/static/{name:str}", include_in_schema=False)
    async def file(request: AnyRequest, name: str) -> Response[bytes]:
        if name not in static:
            raise Problem(404, "No such file")
        return _send(request, static[name])

    return [page, file]


def _send(request: AnyRequest, file: File) -> Response[bytes]:
    headers = {"ETag": file.digest, "Cache-Control": "no-cache"}
    if request.headers.get("if-none-match") == file.digest:
        return Response(b"", status_code=304, headers=headers, media_type=file.media_type)
    return Response(file.content, headers=headers, media_type=file.media_type)

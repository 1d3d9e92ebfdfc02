"""The pages: static files of the package, read once, with a digest so that clients cache them."""

from __future__ import annotations

import gzip
import hashlib
import re
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Final

import msgspec
from litestar import Response, get
from litestar.handlers import HTTPRouteHandler

from streams.errors import SettingsError
from streams.gateway.client_address import AnyRequest
from streams.gateway.problems import Problem

_TYPES: Final = {
    "html": "text/html",
    "css": "text/css",
    "js": "text/javascript",
    "svg": "image/svg+xml",
    "license": "text/plain",
}
_LANGUAGE: Final = re.compile(r"language-([a-z]{2,3})\.js")
_NAME: Final = re.compile(rb'^export const name = "([^"]+)";$', re.MULTILINE)
LANGUAGES: Final = "languages.json"
"""Which languages the pages have, as the files of their texts say."""

PAGES: Final = [
    "/",
    "/p",
    "/new",
    "/p/{poll_id:int}",
    "/laws",
    "/law/{law_id:str}",
    "/elections",
    "/election/{election_id:str}",
    "/r/{receipt:str}",
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
    zipped: bytes
    media_type: str
    digest: str


def read_files(folder: Traversable, further: Path | None = None) -> dict[str, File]:
    """The files of the pages by name, and the list of languages.

    Args:
        folder: with `index.html`, scripts, and a `language-CODE.js` for each language.
        further: a folder with more languages.

    Raises:
        SettingsError: that folder cannot be read.
    """
    found = {}
    languages = []
    for entry in sorted([*folder.iterdir(), *_further(further)], key=lambda one: one.name):
        ending = entry.name.rpartition(".")[2]
        if ending in _TYPES:
            content = entry.read_bytes()
            found[entry.name] = _file(content, _TYPES[ending])
            if (code := _LANGUAGE.fullmatch(entry.name)) and (name := _NAME.search(content)):
                languages.append({"code": code[1], "name": name[1].decode()})
    found[LANGUAGES] = _file(msgspec.json.encode(languages), "application/json")
    return found


def _further(folder: Path | None) -> list[Path]:
    if folder is None:
        return []
    try:
        return [entry for entry in folder.iterdir() if _LANGUAGE.fullmatch(entry.name)]
    except OSError as error:
        raise SettingsError(
            "The languages of the pages cannot be read",
            where={"folder": str(folder)},
            todo="Set SCRUTIN_LANGUAGES_DIR to a folder that the gateway can read, or leave it out",
        ) from error


def _file(content: bytes, media_type: str) -> File:
    return File(
        content,
        gzip.compress(content, 9, mtime=0),
        media_type,
        f'"{hashlib.sha256(content).hexdigest()[:32]}"',
    )


def page_handlers(languages_dir: str = "") -> list[HTTPRouteHandler]:
    """The handlers.

    Args:
        languages_dir: folder with further languages; empty: none.
    """
    further = Path(languages_dir) if languages_dir else None
    static = read_files(files("streams.gateway").joinpath("static"), further)

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
    headers = {"ETag": file.digest, "Cache-Control": "no-cache", "Vary": "Accept-Encoding"}
    if request.headers.get("if-none-match") == file.digest:
        return Response(b"", status_code=304, headers=headers, media_type=file.media_type)
    encodings = request.headers.get("accept-encoding", "")
    if "gzip" in encodings:
        headers["Content-Encoding"] = "gzip"
        return Response(file.zipped, headers=headers, media_type=file.media_type)
    return Response(file.content, headers=headers, media_type=file.media_type)

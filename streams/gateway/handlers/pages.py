"""The pages: static files of the package, read once, with a digest so that clients cache them."""

from __future__ import annotations

import asyncio
import base64
import gzip
import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from html import escape
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Final
from urllib.parse import quote

import msgspec
from litestar import Response, get
from litestar.handlers import HTTPRouteHandler

from streams.core.keys import ELECTION_PREFIX, is_contest_name
from streams.elections.contest_result import ContestResult, elects
from streams.elections.reports.drawings import HEIGHT, WIDTH, DrawingWords
from streams.errors import ScrutinError, SettingsError
from streams.gateway.atom import MEDIA_TYPE as FEED
from streams.gateway.client_address import AnyRequest, TrustedProxies
from streams.gateway.problems import Problem
from streams.gateway.result_files import pictures_installed
from streams.gateway.server_words import ServerWords, read_picture_words, read_words
from streams.gateway.shared_results import SharedResults

_TYPES: Final = {
    "html": "text/html",
    "css": "text/css",
    "js": "text/javascript",
    "svg": "image/svg+xml",
    "license": "text/plain",
}
_LANGUAGE: Final = re.compile(r"language-([a-z]{2,3})\.js")
_NAME: Final = re.compile(rb'^export const name = "([^"]+)";$', re.MULTILINE)
_ALONE: Final = frozenset({"receipt.html"})

PAGES: Final = [
    "/",
    "/p",
    "/new",
    "/p/{poll_id:int}",
    "/laws",
    "/elections",
    "/r/{receipt:str}",
    "/embed/{contest:str}",
    "/operators",
    "/tallies",
    "/tally/{election_id:str}",
    "/tally/{election_id:str}/ballot",
]
"""Paths of the single page; its script reads the path."""

_NO_TITLE: Final = b"<title>Scrutin</title>"
_ENGLISH: Final = b'<html lang="en">'
_LONGEST_LOOK_S: Final = 1.0
"""A page does not wait longer for its title: its script shows the result."""


@dataclass(frozen=True)
class File:
    """A file as it is sent."""

    content: bytes
    zipped: bytes
    media_type: str
    digest: str
    headers: dict[str, str] = field(default_factory=dict)


def read_files(folder: Traversable, further: Path | None = None) -> dict[str, File]:
    """The files of pages by name.

    Args:
        folder: with scripts, and a `language-CODE.js` for each language.
        further: a folder with more languages.

    Raises:
        SettingsError: that folder cannot be read.
    """
    found = {}
    for entry in sorted([*folder.iterdir(), *_further(further)], key=lambda one: one.name):
        ending = entry.name.rpartition(".")[2]
        if ending in _TYPES:
            content = entry.read_bytes()
            found[entry.name] = _file(content, _TYPES[ending])
            if entry.name in _ALONE:
                found[entry.name].headers.update(_own_policy(content))
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


def _own_policy(content: bytes) -> dict[str, str]:
    """The policy of a page with its script and style inside, because it is saved and used alone."""
    allowed = {
        name: base64.b64encode(hashlib.sha256(inline.group(1)).digest()).decode()
        for name in ("script", "style")
        if (inline := re.search(rf"<{name}>(.*?)</{name}>".encode(), content, re.DOTALL))
    }
    rules = "; ".join(f"{name}-src 'sha256-{digest}'" for name, digest in allowed.items())
    return {"Content-Security-Policy": f"default-src 'none'; {rules}; base-uri 'none'"}


@dataclass(frozen=True)
class Site:
    """All that the pages consist of."""

    files: Mapping[str, File]
    words: ServerWords
    server_words: Mapping[str, Mapping[str, str]]
    """Code of a language -> texts of the gateway."""
    pictures: Mapping[str, DrawingWords]
    """Code of a language -> words of pictures."""


def read_site(languages_dir: str = "", photo_origins: Sequence[str] = ()) -> Site:
    """The pages of the package, with further languages.

    Args:
        languages_dir: folder with further languages; empty: none.
        photo_origins: web origins of photos that the pages show.

    Raises:
        SettingsError: that folder, or a file in it, cannot be read.
    """
    further = Path(languages_dir) if languages_dir else None
    found = read_files(files("streams.gateway").joinpath("static"), further)
    coded = {code[1]: name for name in found if (code := _LANGUAGE.fullmatch(name))}
    named = [
        {"code": code, "name": own[1].decode()}
        for code, name in coded.items()
        if (own := _NAME.search(found[name].content))
    ]
    index = found["index.html"]
    content = index.content
    for name, value in (
        (b"photos", " ".join(photo_origins)),
        (b"languages", msgspec.json.encode(named).decode()),
    ):
        empty = b'<meta name="%s" content="">' % name
        content = content.replace(empty, empty.replace(b'""', b'"%s"' % escape(value).encode()))
    found["index.html"] = _file(content, index.media_type)
    languages = {code: read_words(name, found[name].content) for code, name in coded.items()}
    pictures = {
        code: drawn
        for code, name in coded.items()
        if (drawn := read_picture_words(name, found[name].content)) is not None
    }
    return Site(found, ServerWords(languages), languages, pictures)


def page_handlers(
    results: SharedResults, proxies: TrustedProxies, site: Site
) -> list[HTTPRouteHandler]:
    """The handlers.

    Args:
        results: name the pages of contests.
        proxies: in front of the gateway.
        site: files and texts.
    """
    static = site.files

    @get(PAGES, include_in_schema=False)
    async def page(request: AnyRequest) -> Response[bytes]:
        return send_file(request, static["index.html"])

    @get("/api", include_in_schema=False)
    async def reference(request: AnyRequest) -> Response[bytes]:
        return send_file(request, static["reference.html"])

    async def page_of(request: AnyRequest, contest: str) -> Response[bytes]:
        if not is_contest_name(contest):
            raise Problem(404, "No such contest")
        found = None
        # Without the database too, the page says itself what is wrong.
        with suppress(ScrutinError, TimeoutError):
            async with asyncio.timeout(_LONGEST_LOOK_S):
                found = await results.get(contest)
        plain = static["index.html"]
        if found is None:
            return send_file(request, plain)
        language = site.words.language_of(request.headers.get("accept-language", ""))
        said = partial(site.words.said, language=language)
        about = about_of(found.result, proxies.base_of(request), said)
        head = about + _sooner(found.result.id, language)
        content = plain.content.replace(_NO_TITLE, head).replace(_ENGLISH, _lang(language))
        answer = send_file(request, _file(content, plain.media_type))
        answer.headers["Vary"] = "Accept-Encoding, Accept-Language"
        return answer

    @get("/law/{contest:str}", include_in_schema=False)
    async def law_page(request: AnyRequest, contest: str) -> Response[bytes]:
        return await page_of(request, contest)

    @get("/election/{election:str}", include_in_schema=False)
    async def election_page(request: AnyRequest, election: str) -> Response[bytes]:
        return await page_of(request, ELECTION_PREFIX + election)

    @get("/static/{name:str}", include_in_schema=False)
    async def file(request: AnyRequest, name: str) -> Response[bytes]:
        if name not in static:
            raise Problem(404, "No such file")
        return send_file(request, static[name])

    return [page, reference, law_page, election_page, file]


def about_of(result: ContestResult, base: str, said: Callable[[str], str] = str) -> bytes:
    """Title, description and picture of a contest's page, for search engines and previews of links.

    Args:
        result: of the contest.
        base: the gateway's address: previews need a whole address of the picture.
        said: gives a text in the reader's language.
    """
    document = f"/v2/contests/{quote(result.id, safe='')}"
    title = result.title or result.id
    ahead = [one for one in result.choices if one.leading or one.elected]
    votes = f"{result.total_votes:,}".replace(",", "\N{NARROW NO-BREAK SPACE}")
    about = said(f"{votes} votes")
    if len(ahead) == 1 and ahead[0].share is not None:
        word = "leading"
        if ahead[0].elected:
            word = "elected" if elects(result) else "most votes"
        about += "; " + said(f"{ahead[0].name}: {word} with {100 * ahead[0].share:.1f} %")
    fields = {"title": title, "description": about, "type": "website", "site_name": "Scrutin"}
    if pictures_installed():
        fields |= {
            "image": f"{base}{document}.png",
            "image:width": str(WIDTH),
            "image:height": str(HEIGHT),
        }
    lines = [f"<title>{escape(title)} · Scrutin</title>"]
    lines += [f'<meta property="og:{name}" content="{escape(v)}">' for name, v in fields.items()]
    lines.append(f'<link rel="alternate" type="{FEED}" href="{document}/feed">')
    if pictures_installed():
        lines.append('<meta name="twitter:card" content="summary_large_image">')
    return "\n".join(lines).encode()


def _sooner(contest: str, language: str) -> bytes:
    """What the page will need, so that it is asked for before its script has run."""
    return (
        f'\n<link rel="modulepreload" href="/static/language-{language}.js">\n'
        f'<link rel="preload" as="fetch" crossorigin href="/v2/contests/{quote(contest, safe="")}">'
    ).encode()


def _lang(language: str) -> bytes:
    return f'<html lang="{language}">'.encode()


def send_file(request: AnyRequest, file: File) -> Response[bytes]:
    """The response with a file, or without if the client has it."""
    headers = {"ETag": file.digest, "Cache-Control": "no-cache", "Vary": "Accept-Encoding"}
    headers |= file.headers
    if request.headers.get("if-none-match") == file.digest:
        return Response(b"", status_code=304, headers=headers, media_type=file.media_type)
    encodings = request.headers.get("accept-encoding", "")
    if "gzip" in encodings:
        headers["Content-Encoding"] = "gzip"
        return Response(file.zipped, headers=headers, media_type=file.media_type)
    return Response(file.content, headers=headers, media_type=file.media_type)

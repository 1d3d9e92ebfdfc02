"""Feeds of what happens to contests."""

from __future__ import annotations

import hashlib
from functools import partial
from typing import Final

from litestar import Response, get
from litestar.handlers import HTTPRouteHandler

from streams.core.keys import is_contest_name
from streams.gateway.atom import MEDIA_TYPE, ContestChange, atom_feed
from streams.gateway.client_address import AnyRequest, TrustedProxies
from streams.gateway.handlers.results import ContestId
from streams.gateway.problems import Problem
from streams.gateway.server_words import ServerWords
from streams.gateway.single_flight import SingleFlight
from streams.gateway.store import Store

MAX_ENTRIES: Final = 100
CHANGES: Final = """
SELECT n.contest_id, c.title, n.event, n.key, n.at
FROM contest_changes AS n JOIN contests AS c USING (contest_id)
WHERE ($1 = '' OR n.contest_id = $1) ORDER BY n.at DESC, n.contest_id, n.event LIMIT $2
"""


def feed_handlers(
    *, store: Store, proxies: TrustedProxies, words: ServerWords
) -> list[HTTPRouteHandler]:
    """The handlers.

    Args:
        store: for readers.
        proxies: in front of the gateway.
        words: in the languages of readers.
    """

    async def ask(contest: str) -> list[ContestChange]:
        return [ContestChange(*row) for row in await store.fetch(CHANGES, contest, MAX_ENTRIES)]

    changes: SingleFlight[str, list[ContestChange]] = SingleFlight(ask)

    async def send(request: AnyRequest, contest: str) -> Response[bytes | None]:
        found = await changes.get(contest)
        if contest and not found and await store.announced(contest) is None:
            raise Problem(404, "No such contest")
        title = found[0].title if contest and found else contest or "Scrutin"
        language = words.language_of(request.headers.get("accept-language", ""))
        said = partial(words.said, language=language)
        address = proxies.base_of(request)
        body = atom_feed(found, address, request.url.path, title, language=language, said=said)
        tag = f'W/"{hashlib.sha256(body).hexdigest()[:32]}"'
        headers = {"ETag": tag, "Cache-Control": "public, max-age=15", "Vary": "Accept-Language"}
        if request.headers.get("if-none-match") == tag:
            return Response(None, status_code=304, headers=headers)
        return Response(body, headers=headers, media_type=MEDIA_TYPE)

    @get(
        "/v2/feed",
        tags=["contests"],
        summary="What happened to contests, as an Atom feed",
        description="When voting opened and closed, when a result was final, and its latest "
        f"correction; {MAX_ENTRIES} entries at most, the newest first.",
        media_type=MEDIA_TYPE,
    )
    async def feed(request: AnyRequest) -> Response[bytes | None]:
        return await send(request, "")

    @get(
        "/v2/contests/{contest:str}/feed",
        tags=["contests"],
        summary="What happened to one contest, as an Atom feed",
        media_type=MEDIA_TYPE,
    )
    async def contest_feed(contest: ContestId, request: AnyRequest) -> Response[bytes | None]:
        if not is_contest_name(contest):
            raise Problem(404, "No such contest")
        return await send(request, contest)

    return [feed, contest_feed]

"""The result of any contest, whole and live, in one form (version 2)."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Annotated, Any, Final, Literal

import msgspec
from litestar import MediaType, Request, Response, get, websocket
from litestar.connection import WebSocket
from litestar.handlers import HTTPRouteHandler, WebsocketRouteHandler
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import Parameter
from litestar.response import Stream

from streams.elections.contest_result import ContestPhase, ContestResult, ContestSummary
from streams.elections.reports.drawings import DrawingWords
from streams.gateway.connections import OFFER
from streams.gateway.handlers.live import event_stream, send_all, serve
from streams.gateway.handlers.results import ContestId
from streams.gateway.problems import Problem
from streams.gateway.result_files import (
    MEDIA_TYPES,
    ResultFiles,
    ResultForm,
    by_first_choice,
    wanted_form,
)
from streams.gateway.shared_results import MAX_LISTED, ResultMessage, SharedResult, SharedResults
from streams.gateway.shared_text import SharedText
from streams.gateway.store import Store, Timeline

BY_ITEM: Final = "items"
SCHEMA: Final = msgspec.json.schema(ContestResult)
TIMELINE: Final = "/v2/contests/{contest:str}/timeline"
Language = Annotated[str, Parameter(pattern="^[a-z]{2,3}$")]
"""Of pictures; English where the pages have no such language."""
StepWidth = Annotated[int | None, Parameter(ge=1, le=31_536_000)]
_SMALL: Final = 1024
"""Bytes of a body that is not worth compressing."""
REVALIDATE: Final = "public, max-age=0, must-revalidate"
_FINAL: Final = "public, max-age=60"


def contest_handlers(
    *, results: SharedResults, store: Store, picture_words: Mapping[str, DrawingWords]
) -> list[HTTPRouteHandler | WebsocketRouteHandler]:
    """The handlers.

    Args:
        results: of contests.
        store: for readers.
        picture_words: by language.
    """
    result_files = ResultFiles(picture_words)

    async def published(contest: str) -> SharedResult:
        found = await results.get(contest)
        if found is None:
            raise Problem(404, "No such contest")
        return found

    @get(
        "/v2/contests/{contest:str}",
        tags=["contests"],
        summary="The result of one contest, of any kind",
        description="One form for laws, polls and elections. Nobody is `elected` before the phase "
        "is `final`. All figures are of one moment, `read_at`; `position` says up to where in the "
        "log they count. `Accept`, or a suffix of the id, chooses JSON, a table of the choices "
        "(`.csv`, `.parquet`) or a picture (`.svg`, `.png`) with words in `lang`.",
        responses={200: ResponseSpec(ContestResult, description="The result")},
    )
    async def contest_result(
        contest: ContestId, request: Request[Any, Any, Any], lang: Language = "en"
    ) -> Response[bytes | None]:
        contest, form = wanted_form(contest, request.headers.get("accept", ""))
        found = await published(contest)
        ending = "" if form is ResultForm.JSON else f".{form}.{lang}"
        tag = f'W/"{found.tag}{ending}"'
        headers = _headers(tag, found)
        if has_tag(request, tag):
            return Response(None, status_code=304, headers=headers)
        if form is not ResultForm.JSON:
            file = await result_files.result(found.result, form, lang)
            headers |= file.headers("result")
            return Response(file.content, headers=headers, media_type=MEDIA_TYPES[form])
        body = found.body
        encodings = request.headers.get("accept-encoding", "")
        if len(body) > _SMALL and "gzip" in encodings:
            headers["Content-Encoding"] = "gzip"
            body = found.zipped
        return Response(body, headers=headers, media_type=MediaType.JSON)

    async def steps_of(
        request: Request[Any, Any, Any], contest: str, step_s: int | None, lang: str
    ) -> Response[bytes | None]:
        _, form = wanted_form(request.url.path, request.headers.get("accept", ""))
        found = await published(contest)
        steps = by_first_choice(await store.timeline(contest, since=None, step_s=step_s))
        content = msgspec.json.encode(steps)
        digest = hashlib.sha256(content + found.tag.encode()).hexdigest()[:32]
        headers = _headers(f'W/"{digest}.{form}.{lang}"', found)
        if has_tag(request, headers["ETag"]):
            return Response(None, status_code=304, headers=headers)
        if form is not ResultForm.JSON:
            file = await result_files.timeline(found.result, steps, form, lang)
            headers |= file.headers("timeline")
            content = file.content
        return Response(content, headers=headers, media_type=MEDIA_TYPES[form])

    @get(
        TIMELINE,
        tags=["contests"],
        summary="Votes over time of one contest",
        description="Votes counted, by the time when the bridge received them, in at most 500 "
        "steps of `step_s` seconds at least; a ranking is under its first choice. `Accept`, or "
        "a suffix of the path (`.csv`, `.parquet`, `.svg`, `.png`), chooses the form.",
        responses={200: ResponseSpec(Timeline, description="The steps that have votes")},
    )
    async def timeline(
        contest: ContestId,
        request: Request[Any, Any, Any],
        step_s: StepWidth = None,
        lang: Language = "en",
    ) -> Response[bytes | None]:
        return await steps_of(request, contest, step_s, lang)

    @get([f"{TIMELINE}.{form}" for form in ResultForm], include_in_schema=False)
    async def timeline_file(
        contest: ContestId,
        request: Request[Any, Any, Any],
        step_s: StepWidth = None,
        lang: Language = "en",
    ) -> Response[bytes | None]:
        return await steps_of(request, contest, step_s, lang)

    @get(
        "/schema/contest-result.json",
        tags=["contests"],
        summary="The form of a result as JSON Schema",
        media_type="application/schema+json",
    )
    async def schema() -> Response[dict[str, Any]]:
        return Response(SCHEMA, headers={"Cache-Control": _FINAL})

    @get(
        "/v2/contests",
        tags=["contests"],
        summary="Announced contests of one kind",
        description="Open contests first, then those that close or closed last; archived ones are "
        f"left out, and there are {MAX_LISTED} at most.",
    )
    async def contests(kind: Literal["law", "election", "poll"]) -> list[ContestSummary]:
        return await results.listed(kind)

    @get(
        "/v2/contests/{contest:str}/events",
        media_type="text/event-stream",
        tags=["contests"],
        summary="The result of one contest as Server-Sent Events",
        description="A `result`, then a `patch` (RFC 7396) with each change: a field that it sets "
        "to null is null. A `heartbeat` comes every 2.5 s at least; its `age_s` is the time since "
        "the database was asked. The id of an event is the tag of the result that it leads to; "
        "with a late one in `Last-Event-ID` the first event is a patch of that result. With "
        "`patch=items` a patch of a list of objects is an object with the patches of those that "
        "changed by their index, which RFC 7396 does not have, and a tenth as long.",
    )
    async def events(
        contest: ContestId,
        request: Request[Any, Any, Any],
        patch: Literal["merge", "items"] = "merge",
    ) -> Stream:
        tag = request.headers.get("last-event-id", "")
        watching = results.watch(contest, tag, by_item=patch == BY_ITEM)
        return await event_stream(_events(watching))

    @websocket("/v2/contests/{contest:str}/socket")
    async def socket(socket: WebSocket[Any, Any, Any], contest: str) -> None:
        asked = socket.query_params
        by_item = asked.get("patch") == BY_ITEM
        extensions: Any = socket.scope.get("extensions") or {}
        watching = results.watch(
            contest,
            asked.get("tag", ""),
            by_item=by_item,
            offer=extensions.get(OFFER),
        )
        await serve(socket, send_all(socket, _texts(watching)))

    return [contest_result, timeline, timeline_file, contests, schema, events, socket]


def _headers(tag: str, found: SharedResult) -> dict[str, str]:
    final = found.result.phase == ContestPhase.FINAL
    return {
        "ETag": tag,
        "Cache-Control": _FINAL if final else REVALIDATE,
        "Vary": "Accept, Accept-Encoding",
    }


def has_tag(request: Request[Any, Any, Any], tag: str) -> bool:
    """Whether the client has what the tag stands for."""
    return tag in (each.strip() for each in request.headers.get("if-none-match", "").split(","))


async def _events(messages: AsyncGenerator[ResultMessage, None]) -> AsyncGenerator[bytes, None]:
    async with aclosing(messages):
        async for message in messages:
            yield message.event


async def _texts(messages: AsyncGenerator[ResultMessage, None]) -> AsyncGenerator[SharedText, None]:
    async with aclosing(messages):
        async for message in messages:
            yield message.text

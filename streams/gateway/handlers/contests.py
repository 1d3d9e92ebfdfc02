"""The result of any contest, whole and live, in one form (version 2)."""

from __future__ import annotations

import csv
import io
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, Final, Literal

import msgspec
from litestar import MediaType, Request, Response, get, websocket
from litestar.connection import WebSocket
from litestar.handlers import HTTPRouteHandler, WebsocketRouteHandler
from litestar.openapi.datastructures import ResponseSpec
from litestar.response import Stream

from streams.elections.contest_result import ContestPhase, ContestResult, ContestSummary
from streams.gateway.handlers.live import event_stream, send_all, serve
from streams.gateway.handlers.results import ContestId
from streams.gateway.problems import Problem
from streams.gateway.shared_results import MAX_LISTED, ResultMessage, SharedResult, SharedResults
from streams.inspect.export import inert

CSV: Final = ".csv"
TABLE: Final = "text/csv"
SCHEMA: Final = msgspec.json.schema(ContestResult)
COLUMNS: Final = (
    *("contest_id", "phase", "region_id", "region", "choice_id", "name", "party", "votes", "share"),
    *("leading", "elected", "updated_at"),
)
_SMALL: Final = 1024
"""Bytes of a body that is not worth compressing."""
_REVALIDATE: Final = "public, max-age=0, must-revalidate"
_FINAL: Final = "public, max-age=60"


def contest_handlers(*, results: SharedResults) -> list[HTTPRouteHandler | WebsocketRouteHandler]:
    """The handlers."""

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
        "log they count. With `Accept: text/csv`, or `.csv` after the id, a table of the choices.",
        responses={200: ResponseSpec(ContestResult, description="The result")},
    )
    async def contest_result(
        contest: ContestId, request: Request[Any, Any, Any]
    ) -> Response[bytes | None]:
        as_table = request.headers.get("accept", "").startswith(TABLE)
        if contest.endswith(CSV):
            contest, as_table = contest.removesuffix(CSV), True
        found = await published(contest)
        tag = f'W/"{found.tag}{CSV if as_table else ""}"'
        final = found.result.phase == ContestPhase.FINAL
        headers = {
            "ETag": tag,
            "Cache-Control": _FINAL if final else _REVALIDATE,
            "Vary": "Accept, Accept-Encoding",
        }
        if tag in (each.strip() for each in request.headers.get("if-none-match", "").split(",")):
            return Response(None, status_code=304, headers=headers)
        if as_table:
            headers["Content-Disposition"] = "attachment; filename=result.csv"
            return Response(table_of(found.result).encode(), headers=headers, media_type=TABLE)
        body = found.body
        encodings = request.headers.get("accept-encoding", "")
        if len(body) > _SMALL and "gzip" in encodings:
            headers["Content-Encoding"] = "gzip"
            body = found.zipped
        return Response(body, headers=headers, media_type=MediaType.JSON)

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
        "with a late one in `Last-Event-ID` the first event is a patch of that result.",
    )
    async def events(contest: ContestId, request: Request[Any, Any, Any]) -> Stream:
        tag = request.headers.get("last-event-id", "")
        return await event_stream(_events(results.watch(contest, tag)))

    @websocket("/v2/contests/{contest:str}/socket")
    async def socket(socket: WebSocket[Any, Any, Any], contest: str) -> None:
        tag = socket.query_params.get("tag", "")
        await serve(socket, send_all(socket, _frames(results.watch(contest, tag))))

    return [contest_result, contests, schema, events, socket]


def table_of(result: ContestResult) -> str:
    """The choices of every seat, or of the contest, as CSV."""
    text = io.StringIO()
    write = csv.writer(text, lineterminator="\n").writerow
    write(COLUMNS)
    updated = result.updated_at.isoformat() if result.updated_at else ""
    seats = [(seat.region_id, seat.region, seat.choices) for seat in result.seats.values()]
    for region_id, region, choices in seats or [(None, None, result.choices)]:
        for one in choices:
            share = "" if one.share is None else one.share
            row = (
                *(result.id, result.phase, region_id, region, one.id, one.name, one.party),
                *(one.votes, share, one.leading, one.elected, updated),
            )
            write([inert("", each) if isinstance(each, str) else each for each in row])
    return text.getvalue()


async def _events(messages: AsyncGenerator[ResultMessage, None]) -> AsyncGenerator[bytes, None]:
    async with aclosing(messages):
        async for kind, tag, _, data in messages:
            yield b"event: %s\nid: %s\ndata: %s\n\n" % (kind.encode(), tag.encode(), data)


async def _frames(messages: AsyncGenerator[ResultMessage, None]) -> AsyncGenerator[bytes, None]:
    async with aclosing(messages):
        async for kind, tag, age_s, data in messages:
            head = f'{{"type":"{kind}","tag":"{tag}","age_s":{age_s},"data":'
            yield head.encode() + data + b"}"

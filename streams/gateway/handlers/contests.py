"""The result of any contest, whole and live, in one form (version 2)."""

from __future__ import annotations

import csv
import io
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, Final

from litestar import MediaType, Request, Response, get, websocket
from litestar.connection import WebSocket
from litestar.handlers import HTTPRouteHandler, WebsocketRouteHandler
from litestar.openapi.datastructures import ResponseSpec
from litestar.response import Stream

from streams.elections.contest_result import ContestPhase, ContestResult
from streams.gateway.handlers.live import event_stream, send_all, serve
from streams.gateway.handlers.results import ContestId
from streams.gateway.problems import Problem
from streams.gateway.shared_results import Published, SharedResults
from streams.inspect.export import inert

CSV: Final = ".csv"
TABLE: Final = "text/csv"
COLUMNS: Final = (
    *("contest_id", "phase", "region_id", "region", "choice_id", "name", "party", "votes", "share"),
    *("leading", "elected", "updated_at"),
)
_REVALIDATE: Final = "public, max-age=0, must-revalidate"
_FINAL: Final = "public, max-age=60"


def contest_handlers(*, results: SharedResults) -> list[HTTPRouteHandler | WebsocketRouteHandler]:
    """The handlers."""

    async def published(contest: str) -> Published:
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
            "Vary": "Accept",
        }
        if tag in (each.strip() for each in request.headers.get("if-none-match", "").split(",")):
            return Response(None, status_code=304, headers=headers)
        if as_table:
            headers["Content-Disposition"] = "attachment; filename=result.csv"
            return Response(table_of(found.result).encode(), headers=headers, media_type=TABLE)
        return Response(found.body, headers=headers, media_type=MediaType.JSON)

    @get(
        "/v2/contests/{contest:str}/events",
        media_type="text/event-stream",
        tags=["contests"],
        summary="The result of one contest as Server-Sent Events",
        description="A `result`, then a `patch` (RFC 7396) with each change: a field that it sets "
        "to null is null. A `heartbeat` comes every 2.5 s at least.",
    )
    async def events(contest: ContestId) -> Stream:
        return await event_stream(_events(results.watch(contest)))

    @websocket("/v2/contests/{contest:str}/socket")
    async def socket(socket: WebSocket[Any, Any, Any], contest: str) -> None:
        await serve(socket, send_all(socket, _frames(results.watch(contest))))

    return [contest_result, events, socket]


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


async def _events(
    messages: AsyncGenerator[tuple[str, bytes], None],
) -> AsyncGenerator[bytes, None]:
    async with aclosing(messages):
        async for kind, data in messages:
            yield b"event: %s\ndata: %s\n\n" % (kind.encode(), data)


async def _frames(
    messages: AsyncGenerator[tuple[str, bytes], None],
) -> AsyncGenerator[bytes, None]:
    async with aclosing(messages):
        async for kind, data in messages:
            yield b'{"type":"%s","data":%s}' % (kind.encode(), data)

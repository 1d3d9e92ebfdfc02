"""Maps of elections' regions."""

from __future__ import annotations

import gzip
from typing import Any

from litestar import MediaType, Request, Response, get
from litestar.handlers import HTTPRouteHandler
from litestar.openapi.datastructures import ResponseSpec

from streams.core.keys import is_contest_name
from streams.elections.maps.geojson import RegionMap
from streams.elections.store import READ_MAP
from streams.gateway.handlers.contests import REVALIDATE, has_tag
from streams.gateway.handlers.results import ContestId
from streams.gateway.problems import Problem
from streams.gateway.single_flight import SingleFlight
from streams.gateway.store import Store


def map_handlers(*, store: Store) -> list[HTTPRouteHandler]:
    """The handlers.

    Args:
        store: for readers.
    """

    async def read(contest: str) -> tuple[str, bytes] | None:
        rows = await store.fetch(READ_MAP, contest)
        return (rows[0][0], bytes(rows[0][1])) if rows else None

    maps = SingleFlight(read)

    @get(
        "/v2/contests/{contest:str}/map",
        tags=["contests"],
        summary="The map of an election's regions",
        description="Shapes of regions by id, as SVG has paths (fill rule `evenodd`), in a picture "
        "of `width` by `height`. `map` of the result says whether there is one; it is the digest "
        "of the map, and its `ETag`.",
        responses={200: ResponseSpec(RegionMap, description="The map")},
    )
    async def region_map(
        contest: ContestId, request: Request[Any, Any, Any]
    ) -> Response[bytes | None]:
        found = await maps.get(contest) if is_contest_name(contest) else None
        if found is None:
            raise Problem(404, "This contest has no map")
        digest, body = found
        tag = f'W/"{digest}"'
        headers = {"ETag": tag, "Cache-Control": REVALIDATE, "Vary": "Accept-Encoding"}
        if has_tag(request, tag):
            return Response(None, status_code=304, headers=headers)
        encodings = request.headers.get("accept-encoding", "")
        if "gzip" in encodings:
            headers["Content-Encoding"] = "gzip"
        else:
            body = gzip.decompress(body)
        return Response(body, headers=headers, media_type=MediaType.JSON)

    return [region_map]

"""Elections: candidates by region, and results by region and for the whole country."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

from litestar import Response, get
from litestar.handlers import HTTPRouteHandler
from litestar.params import Parameter

from streams.core.keys import ELECTION_PREFIX
from streams.elections.definitions import Definitions
from streams.elections.reports.files import (
    MEDIA,
    ReportFormat,
    ReportRefused,
    ReportWords,
    report_of,
)
from streams.elections.results import ElectionResult
from streams.elections.store import UPDATED, read_definitions, read_report, read_result
from streams.gateway.problems import Problem
from streams.gateway.single_flight import SingleFlight
from streams.gateway.store import Store

Short = Annotated[str, Parameter(max_length=200)]
Language = Annotated[str, Parameter(max_length=40)]


def election_handlers(*, store: Store) -> list[HTTPRouteHandler]:
    """The handlers."""

    async def ask_definitions(_: None) -> Definitions:
        async with store.connection() as connection:
            return await read_definitions(connection)

    async def ask_result(election_id: int) -> tuple[ElectionResult, datetime]:
        known = await definitions.get(None)
        async with store.connection() as connection:
            election = known.elections.get(election_id)
            if election is None:
                raise Problem(404, "No such election")
            read_at = datetime.now(UTC)
            return await read_result(connection, known, election), read_at

    definitions: SingleFlight[None, Definitions] = SingleFlight(ask_definitions)
    # Candidates without regions need a pass over all counted votes.
    results_of: SingleFlight[int, tuple[ElectionResult, datetime]] = SingleFlight(ask_result)

    async def ask_report(election_id: int) -> tuple[ElectionResult, datetime] | None:
        async with store.connection() as connection:
            return await read_report(connection, election_id)

    reports: SingleFlight[int, tuple[ElectionResult, datetime] | None] = SingleFlight(ask_report)

    async def count(election_id: int) -> tuple[ElectionResult, datetime]:
        # Only elections that exist get a place in the line.
        if election_id not in (await definitions.get(None)).elections:
            raise Problem(404, "No such election")
        return await results_of.get(election_id)

    @get("/api/v1/elections", tags=["elections"], summary="All elections")
    async def elections() -> list[dict[str, object]]:
        return await store.elections()

    @get("/api/v1/regions", tags=["elections"], summary="All regions")
    async def regions() -> list[dict[str, object]]:
        return await store.regions()

    @get(
        "/api/v1/elections/{election_id:int}/regions/{region_id:int}/candidates",
        tags=["elections"],
        summary="Candidates of a region",
    )
    async def candidates(election_id: int, region_id: int) -> list[dict[str, object]]:
        return await store.candidates(_bigint(election_id), _bigint(region_id))

    @get(
        "/api/v1/elections/{election_id:int}/results",
        tags=["elections"],
        summary="Results of the whole country: seats, rounds, parties",
        description="Nobody is `elected` before the result is `final`; until then a candidate is "
        "`leading`, as the votes are at `counted_at`.",
    )
    async def results(election_id: int) -> dict[str, Any]:
        result, counted_at = await count(election_id)
        return {**result.as_dict(), "counted_at": counted_at}

    @get(
        "/api/v1/elections/{election_id:int}/regions/{region_id:int}/results",
        tags=["elections"],
        summary="Results of a region",
        description="`votes` of a ranked election are first choices, which are not its result; "
        "that is in `rounds`.",
    )
    async def region_results(election_id: int, region_id: int) -> dict[str, Any]:
        result, _ = await count(election_id)
        region = result.definitions.regions.get(region_id)
        if region is None or not result.definitions.standing(election_id):
            raise Problem(404, "No such election in that region")
        [updated] = await store.fetch(UPDATED, f"{ELECTION_PREFIX}{election_id}")
        return {
            **region_answer(result, region_id),
            "region_name": region.name,
            "updated_at": updated["at"],
        }

    @get(
        "/api/v1/elections/{election_id:int}/reports/{form:str}",
        tags=["elections"],
        summary="The result as a file of another system's format",
        description=f"`form`: {', '.join(ReportFormat)}. The file is the one that "
        "`scrutin election export` writes from the same votes. `region` is for `blt`, the cast "
        "ballots.",
        media_type="application/octet-stream",
    )
    async def report(
        election_id: int,
        form: str,
        issuer: Short = "not stated",
        language: Language = "en",
        region: Annotated[str | None, Parameter(max_length=200)] = None,
    ) -> Response[bytes]:
        if form not in set(ReportFormat):
            raise Problem(404, f"There is no format {form[:40]!r}: use {', '.join(ReportFormat)}")
        if election_id not in (await definitions.get(None)).elections:
            raise Problem(404, "No such election")
        read = await reports.get(election_id)
        if read is None:
            raise Problem(404, "No such election")
        result, generated = read
        chosen = ReportFormat(form)
        try:
            body = report_of(result, chosen, ReportWords(generated, issuer, language, region))
        except ReportRefused as refused:
            raise Problem(409, refused.what) from refused
        media, suffix = MEDIA[chosen]
        name = f"election-{election_id}-{form}.{suffix}"
        return Response(
            body,
            media_type=media,
            headers={"content-disposition": f'attachment; filename="{name}"'},
        )

    return [elections, regions, candidates, results, region_results, report]


def region_answer(result: ElectionResult, region_id: int) -> dict[str, Any]:
    """The answer of the replaced service, and the rounds if there are any.

    Raises:
        Problem: 404, the election is not held there.
    """
    own = next((s for s in result.seats if s.region and s.region.id == region_id), None)
    if own is not None:
        votes, rounds = own.first_choices, result.rounds(own)
        standing = own.candidates
    else:
        everywhere = [c for s in result.seats if s.region is None for c in s.candidates]
        if not everywhere:
            raise Problem(404, "No such election in that region")
        standing, rounds = tuple(everywhere), []
        votes = result.by_region.get(region_id, {})
    total = sum(votes.values())
    rows = [
        {
            "candidate_id": c.id,
            "name": c.name,
            **_party(result.definitions, c.party_id),
            "votes": votes.get(c.id, 0),
            "percentage": round(100 * votes.get(c.id, 0) / total, 2) if total else 0.0,
        }
        for c in sorted(standing, key=lambda c: (-votes.get(c.id, 0), c.name))
    ]
    return {
        "election_id": result.election.id,
        "region_id": region_id,
        "candidates": rows,
        "total_votes": total,
        "voting_method": result.election.method,
        "final": result.final,
        "hidden": result.hidden is not None,
        "rounds": rounds,
    }


def _party(definitions: Definitions, party_id: int | None) -> dict[str, str | None]:
    party = definitions.parties.get(party_id or 0)
    return {
        "party_code": party.code if party else None,
        "party_name": party.name if party else None,
        "party_color": party.color if party else None,
    }


def _bigint(number: int) -> int:
    if not 0 <= number < 2**63:
        raise Problem(404, "No such election in that region")
    return number

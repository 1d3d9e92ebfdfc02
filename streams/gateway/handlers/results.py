"""Results of laws and other contests, and votes over time."""

from __future__ import annotations

from datetime import tzinfo
from typing import Annotated

import msgspec
from litestar import get
from litestar.handlers import HTTPRouteHandler
from litestar.params import Parameter

from streams.core.dates import parse_begin
from streams.core.keys import is_contest_name
from streams.core.rows import moment
from streams.gateway.handlers.poll_forms import fault_of
from streams.gateway.poll_store import Polls, Proof
from streams.gateway.problems import Problem
from streams.gateway.store import LawResult, Store, Timeline

ContestId = Annotated[str, Parameter(max_length=300)]


class ContestTotals(msgspec.Struct):
    """Totals of any contest."""

    contest_id: str
    choices: dict[str, int]
    total_votes: int
    state: str | None
    """`draft`, `open`, `closed`, `archived`, or `not_enforced` if closing had no effect on votes;
    null for a contest that was not announced."""
    final: Proof | None
    """Once it is closed: where each partition of the log closed."""


def result_handlers(*, store: Store, polls: Polls, zone: tzinfo) -> list[HTTPRouteHandler]:
    """The handlers.

    Args:
        store: for readers.
        polls: of it.
        zone: of times without an offset.
    """

    @get("/api/v1/results", tags=["results"], summary="All laws")
    async def laws() -> list[LawResult]:
        return await store.laws()

    @get("/api/v1/results/{law_id:str}", tags=["results"], summary="One law")
    async def law(law_id: ContestId) -> LawResult:
        for found in await store.laws(_named(law_id)):
            return found
        if (announced := await store.announced(law_id)) is not None:
            return LawResult(law_id, 0, 0, 0, announced)
        raise Problem(404, f"No results for {law_id}")

    @get(
        "/results",
        tags=["results"],
        summary="Ids of all contests that have votes or were announced",
    )
    async def contests() -> list[str]:
        return await store.contests()

    @get("/results/{contest:str}", tags=["results"], summary="One contest, of any kind")
    async def contest_result(contest: ContestId) -> ContestTotals:
        totals = await store.totals([_named(contest)])
        if not totals and await store.announced(contest) is None:
            raise Problem(404, "No such contest")
        choices = totals.get(contest, {})
        standing = (await store.standings([contest]))[contest][1]
        proof = await polls.proof(contest)
        return ContestTotals(contest, choices, sum(choices.values()), standing.state, proof)

    @get("/results/{contest:str}/timeline", tags=["results"], summary="Votes over time")
    async def timeline(
        contest: ContestId,
        since: str | None = None,
        step_s: Annotated[int | None, Parameter(ge=1, le=31_536_000)] = None,
    ) -> Timeline:
        _named(contest)
        try:
            since_ms = parse_begin(since, zone)
            at = None if since_ms is None else moment(since_ms * 1000)
        except (ValueError, OverflowError) as error:
            raise fault_of("since", f"is no time: {error}") from error
        found = await store.timeline(contest, since=at, step_s=step_s)
        known = found.points or await store.totals([contest])
        if not known and await store.announced(contest) is None:
            raise Problem(404, "No such contest")
        return found

    return [laws, law, contests, contest_result, timeline]


def _named(name: str) -> str:
    if not is_contest_name(name):
        raise Problem(404, "No such contest")
    return name

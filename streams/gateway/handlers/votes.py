"""`POST` of votes on laws and in elections, and `GET /votes/{receipt}`."""

from __future__ import annotations

from typing import Annotated

import msgspec
from litestar import Response, get, post
from litestar.handlers import HTTPRouteHandler
from litestar.params import Parameter

from schemas.control import ContestState
from streams.core.keys import ELECTION_PREFIX
from streams.gateway.fast_path import BODY
from streams.gateway.handlers.submit import faulty, on_roll, send, throttle_law
from streams.gateway.problems import Problem
from streams.gateway.receipts import MAX_RECEIPT_CHARACTERS, BadReceipt
from streams.gateway.services import AnyRequest, Parts
from streams.gateway.store import VoteStatus
from streams.gateway.submissions import (
    Faulty,
    Outgoing,
    candidate_vote,
    election_hashes,
    law_hashes,
    law_vote,
)
from streams.messages.incoming import RANKED_METHODS

Text = Annotated[str, msgspec.Meta(min_length=1, max_length=255)]
Code = Annotated[str, msgspec.Meta(min_length=1, max_length=10)]
Nas = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
Identifier = str | int


class LawBallot(msgspec.Struct):
    """A vote on a law, with what the voter's hash is made of."""

    nas: Nas
    code: Code
    law_id: Text
    vote: Text
    """`oui` or `non`, in any case."""


class ElectionBallot(msgspec.Struct):
    """A vote in an election, with what the voter's hash is made of."""

    nas: Nas
    code: Code
    election_id: Identifier
    candidate_id: Identifier | None = None
    region_id: Identifier | None = None
    voting_method: str = "single_choice"
    ranked_choices: list[Identifier] | None = None


class Accepted(msgspec.Struct):
    """RabbitMQ has the vote."""

    request_id: str
    """The voter's hash, as the service before answered; do not publish it."""
    status: str
    message: str
    receipt: str
    """For `GET /votes/{receipt}`."""


def vote_handlers(parts: Parts) -> list[HTTPRouteHandler]:
    """The handlers."""

    async def cast(request: AnyRequest, outgoing: Outgoing, voter: str) -> Response[Accepted]:
        await throttle_law(parts, request, voter)
        receipt = await send(parts, outgoing)
        return Response(
            Accepted(voter, "accepted", "Vote submitted successfully", receipt),
            status_code=202,
            headers={"Location": f"/votes/{receipt}"},
        )

    @post(
        "/api/v1/vote",
        status_code=202,
        tags=["votes"],
        summary="Vote on a law",
        opt={BODY: LawBallot},
    )
    async def vote_on_law(request: AnyRequest, data: LawBallot) -> Response[Accepted]:
        try:
            hashes = law_hashes(data.nas, data.code, data.law_id)
            # Nearly every code is in upper case as given; then there is nothing to ask.
            known = hashes[0] if len(hashes) == 1 else await on_roll(parts, hashes)
            voter = known or hashes[0]
            outgoing = law_vote(voter, data.law_id, data.vote, at_us=parts.clock.now_us())
        except Faulty as fault:
            parts.metrics.vote_errors.labels("invalid").inc()
            raise faulty(fault) from fault
        answer = await cast(request, outgoing, voter)
        parts.metrics.submitted(data.law_id, data.vote.strip().lower())
        return answer

    @post(
        "/api/v1/elections/vote",
        status_code=202,
        tags=["votes"],
        summary="Vote in an election",
        opt={BODY: ElectionBallot},
    )
    async def vote_in_election(request: AnyRequest, data: ElectionBallot) -> Response[Accepted]:
        # Clients send the list with every vote; the method says whether it is meant.
        ranks = data.ranked_choices if data.voting_method in RANKED_METHODS else None
        ranked = [str(each) for each in ranks or ()]
        candidate = data.candidate_id if data.candidate_id is not None else next(iter(ranked), None)
        if candidate is None:
            raise faulty(Faulty("candidate_id", "is missing"))
        if parts.settings.enforce_contests:
            await _check_window(parts, f"{ELECTION_PREFIX}{data.election_id}")
        try:
            hashes = election_hashes(data.nas, data.code)
            voter = await on_roll(parts, hashes)
            if voter is None:
                parts.metrics.vote_errors.labels("credentials").inc()
                raise Problem(400, "Invalid credentials")
            outgoing = candidate_vote(
                voter,
                str(candidate),
                election_id=str(data.election_id),
                region_id=None if data.region_id is None else str(data.region_id),
                ranked=ranked,
                at_us=parts.clock.now_us(),
            )
        except Faulty as fault:
            parts.metrics.vote_errors.labels("invalid").inc()
            raise faulty(fault) from fault
        # An early answer only: the log decides.
        if await parts.store.counted(outgoing.submission.stored_hash):
            parts.metrics.vote_errors.labels("duplicate").inc()
            raise Problem(409, "You have already voted in this election")
        answer = await cast(request, outgoing, voter)
        parts.metrics.submitted("election", "candidate")
        return answer

    @get("/votes/{receipt:str}", tags=["votes"], summary="What became of a vote")
    async def fate(
        receipt: Annotated[str, Parameter(max_length=MAX_RECEIPT_CHARACTERS)],
    ) -> VoteStatus:
        try:
            submission = parts.receipts.open(receipt)
        except BadReceipt as error:
            raise Problem(404, "No such receipt") from error
        return await parts.store.fate(submission)

    return [vote_on_law, vote_in_election, fate]


async def _check_window(parts: Parts, contest: str) -> None:
    """Turn voters away early whose election is not open; the log decides."""
    standing = (await parts.store.standings([contest]))[contest][1]
    if standing.state != ContestState.OPEN:
        parts.metrics.vote_errors.labels("window").inc()
        raise Problem(400, "This election is not open for voting")

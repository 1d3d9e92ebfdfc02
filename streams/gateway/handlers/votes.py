"""Votes on laws and in elections, and `GET /votes/{receipt}`."""

from __future__ import annotations

import time
from typing import Annotated, Final

import msgspec
from litestar import Response, get
from litestar.handlers import HTTPRouteHandler
from litestar.params import Parameter

from schemas.control import ContestState
from streams.core.keys import ELECTION_PREFIX
from streams.gateway.client_address import AnyRequest
from streams.gateway.handlers.submit import (
    RollLookup,
    VoteLimits,
    VoteSubmitter,
    faulty,
)
from streams.gateway.problems import Problem
from streams.gateway.store import Store, VoteStatus
from streams.gateway.submissions import (
    Faulty,
    Outgoing,
    candidate_vote,
    election_hashes,
    law_hashes,
    law_vote,
    person_of,
    sized,
)
from streams.gateway.vote_calls import VoteCall
from streams.intake.receipts import MAX_RECEIPT_CHARACTERS, BadReceipt, Receipts
from streams.messages.ranked_ballots import RANKED_METHODS

WINDOW_CACHE_S: Final = 1.0
"""How long the state of an election is reused."""
_MAX_WINDOWS: Final = 1000

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
    blank: bool = False
    """A ballot for nobody, where the election allows it."""
    encrypted_ballot: str | None = None
    """The JSON of a submitted ballot as text, with the candidate `encrypted`."""


class Accepted(msgspec.Struct):
    """A broker has the vote."""

    request_id: str
    """The voter's hash, as the replaced service answered; do not publish it."""
    status: str
    message: str
    receipt: str
    """For `GET /votes/{receipt}`."""


class VotingWindows:
    """Early answers for votes outside the window of their contest; the log decides.

    Args:
        store: of the contests.
        enforced: `SCRUTIN_ENFORCE_CONTESTS`.
    """

    def __init__(self, store: Store, enforced: str) -> None:
        self._store = store
        self._enforced = enforced
        self._cached: dict[str, tuple[float, bool]] = {}
        # Contest -> when it was asked for, and the answer.

    async def are_open(self, contest: str) -> bool:
        """Whether a vote in a contest may count."""
        if self._enforced == "false":
            return True
        now_s = time.monotonic()
        cached = self._cached.get(contest)
        if cached is None or now_s - cached[0] > WINDOW_CACHE_S:
            answer = await self._is_open(contest)
            if len(self._cached) >= _MAX_WINDOWS:
                self._cached.clear()
            cached = self._cached[contest] = (now_s, answer)
        return cached[1]

    async def _is_open(self, contest: str) -> bool:
        known = await self._store.window(contest)
        if self._enforced == "known" and (known is None or not known[1]):
            return True
        return known is not None and known[0] == ContestState.OPEN


def official_vote_calls(
    *,
    submitter: VoteSubmitter,
    limits: VoteLimits,
    roll: RollLookup,
    store: Store,
    windows: VotingWindows,
) -> list[VoteCall]:
    """The calls that vote on laws and in elections."""

    async def cast(outgoing: Outgoing, voter: str) -> Response[Accepted]:
        receipt = await submitter.send(outgoing)
        return Response(
            Accepted(voter, "accepted", "Vote submitted successfully", receipt),
            status_code=202,
            headers={"Location": f"/votes/{receipt}"},
        )

    async def vote_on_law(request: AnyRequest, data: LawBallot) -> Response[Accepted]:
        await _limited(request, data.nas, limits, submitter)
        try:
            hashes = law_hashes(data.nas, data.code, data.law_id)
            # Nearly every code is given in upper case; then there is only one possible hash.
            known = hashes[0] if len(hashes) == 1 else await roll.first_known(hashes)
            voter = known or hashes[-1]
            outgoing = law_vote(voter, data.law_id, data.vote, at_us=submitter.clock.now_us())
        except Faulty as fault:
            submitter.refused("invalid")
            raise faulty(fault) from fault
        answer = await cast(outgoing, voter)
        submitter.metrics.submitted(data.law_id, data.vote.strip().lower())
        return answer

    async def vote_in_election(request: AnyRequest, data: ElectionBallot) -> Response[Accepted]:
        # Clients send the list with every vote; the method says whether it is meant.
        ranks = data.ranked_choices if data.voting_method in RANKED_METHODS else None
        ranked = [str(each) for each in ranks or ()]
        candidate = data.candidate_id if data.candidate_id is not None else next(iter(ranked), None)
        if candidate is None and not data.blank:
            raise faulty(Faulty("candidate_id", "is missing"))
        if data.blank and (candidate is not None or ranked):
            raise faulty(Faulty("blank", "is true, but a candidate is named"))
        person = await _limited(request, data.nas, limits, submitter)
        try:
            election = sized("election_id", str(data.election_id))
        except Faulty as fault:
            submitter.refused("invalid")
            raise faulty(fault) from fault
        if not await windows.are_open(f"{ELECTION_PREFIX}{election}"):
            submitter.refused("window")
            raise Problem(400, "This election is not open for voting")
        try:
            hashes = election_hashes(data.nas, data.code)
            async with limits.attempt(request, person) as attempt:
                voter = await roll.first_known(hashes)
                attempt.refused = voter is None
            if voter is None:
                submitter.refused("credentials")
                raise Problem(400, "Invalid credentials")
            outgoing = candidate_vote(
                voter,
                None if candidate is None else str(candidate),
                election_id=election,
                region_id=None if data.region_id is None else str(data.region_id),
                ranked=ranked,
                encrypted=data.encrypted_ballot,
                at_us=submitter.clock.now_us(),
            )
        except Faulty as fault:
            submitter.refused("invalid")
            raise faulty(fault) from fault
        # An early answer only: the log decides.
        submission = outgoing.submission
        if await store.counted(submission.stored_hash) and not await store.may_revote(
            submission.contest
        ):
            submitter.refused("duplicate")
            raise Problem(409, "You have already voted in this election")
        answer = await cast(outgoing, voter)
        submitter.metrics.submitted("election", "candidate")
        return answer

    return [
        VoteCall(("/api/v1/vote",), LawBallot, Accepted, vote_on_law, "votes", "Vote on a law"),
        VoteCall(
            ("/api/v1/elections/vote",),
            ElectionBallot,
            Accepted,
            vote_in_election,
            "votes",
            "Vote in an election",
        ),
    ]


async def _limited(
    request: AnyRequest, nas: str, limits: VoteLimits, submitter: VoteSubmitter
) -> str:
    """Count a vote before anything is asked; returns what stands for its person.

    Raises:
        Problem: too many (429), or the number does not fit.
    """
    try:
        person = person_of(nas)
    except Faulty as fault:
        submitter.refused("invalid")
        raise faulty(fault) from fault
    await limits.check_official_vote(request, person)
    return person


def receipt_handlers(*, receipts: Receipts, store: Store) -> list[HTTPRouteHandler]:
    """The handler that shows whether a vote was counted."""

    @get("/votes/{receipt:str}", tags=["votes"], summary="Whether a vote was counted")
    async def fate(
        receipt: Annotated[str, Parameter(max_length=MAX_RECEIPT_CHARACTERS)],
    ) -> VoteStatus:
        try:
            submission = receipts.open(receipt)
        except BadReceipt as error:
            raise Problem(404, "No such receipt") from error
        return await store.fate(submission)

    return [fate]

"""Voting in polls."""

from __future__ import annotations

from typing import Final

from litestar import Response
from litestar.datastructures import Cookie

from schemas.control import ContestState
from streams.core.keys import normalise_hash
from streams.core.polls import MAX_NAME_CHARACTERS, Who
from streams.gateway.client_address import AnyRequest, TrustedProxies
from streams.gateway.handlers.poll_forms import (
    BallotForm,
    PollMessage,
    bounded,
    fault_of,
    number_of,
)
from streams.gateway.handlers.poll_views import Cards
from streams.gateway.handlers.submit import VoteLimits, VoteSubmitter
from streams.gateway.poll_store import Card
from streams.gateway.problems import Problem
from streams.gateway.store import Store
from streams.gateway.vote_calls import VoteCall
from streams.gateway.voters import COOKIE, Voters
from streams.messages.fields import MAX_HASH_BYTES

_YEAR_S: Final = 365 * 86_400


def check_enabled(voters: Voters) -> None:
    """Raise Problem where there are no polls."""
    if not voters.enabled:
        raise Problem(503, "Polls are off here: SCRUTIN_SECRET is not set")


def poll_vote_calls(
    *,
    cards: Cards,
    store: Store,
    voters: Voters,
    limits: VoteLimits,
    submitter: VoteSubmitter,
    proxies: TrustedProxies,
) -> list[VoteCall]:
    """The call that votes in a poll."""

    async def vote(request: AnyRequest, data: BallotForm) -> Response[PollMessage]:
        check_enabled(voters)
        poll_id, option = number_of(data.poll_id), number_of(data.option_id)
        if poll_id is None:
            raise fault_of("poll_id", "is no poll")
        await limits.check_poll_address(request)
        try:
            card = await cards.get(poll_id)
        except Problem as problem:
            if problem.status != 404:
                raise
            # The path exists; it is the form that names no poll.
            raise fault_of("poll_id", "is no poll") from problem
        if option is None or option not in card.options:
            raise fault_of("option_id", "is none of this poll's options")
        if card.state != ContestState.OPEN:
            card = await cards.get(poll_id, fresh=True)
        if card.state != ContestState.OPEN:
            draft = card.state == ContestState.DRAFT
            raise Problem(400, "The poll is not open yet" if draft else "The poll is closed")
        who = Who(card.who)
        if who is Who.KEY:
            async with limits.attempt(request) as attempt:
                key = request.headers.get("x-api-key", "")
                attempt.refused = voters.by_api_key(card.contest_id, key) is None
        voter, name, new_cookie = _voter(voters, request, card, who, data)
        await limits.check_poll_vote(voter, card.contest_id)
        outgoing = voters.vote(
            poll_id, option, voter, who=who, voter_name=name, at_us=submitter.clock.now_us()
        )
        # An early answer only: the log decides.
        if await store.counted(outgoing.submission.stored_hash):
            raise Problem(409, "You have already voted in this poll")
        receipt = await submitter.send(outgoing)
        return Response(
            PollMessage("Vote accepted and being processed.", receipt),
            status_code=202,
            headers={"Location": f"/votes/{receipt}"},
            cookies=(
                [] if new_cookie is None else [_cookie(new_cookie, proxies.is_https(request))]
            ),
        )

    return [
        VoteCall(("/votes", "/api/vote"), BallotForm, PollMessage, vote, "polls", "Vote in a poll")
    ]


def _voter(
    voters: Voters, request: AnyRequest, card: Card, who: Who, data: BallotForm
) -> tuple[str, str | None, str | None]:
    """The voter's hash, the name to keep, and the value of a cookie to set.

    Raises:
        Problem: the request does not say who votes.
    """
    contest = card.contest_id
    match who:
        case Who.NAME:
            name = (data.voter_name or "").strip()
            bounded("voter_name", name, MAX_NAME_CHARACTERS)
            return voters.by_name(contest, name), name, None
        case Who.COOKIE:
            token = voters.read_cookie(request.cookies.get(COOKIE))
            if token is not None:
                return voters.by_cookie(contest, token), None, None
            token, value = voters.new_cookie()
            return voters.by_cookie(contest, token), None, value
        case Who.KEY:
            known = voters.by_api_key(contest, request.headers.get("x-api-key", ""))
            if known is None:
                raise Problem(
                    401, "An API key is needed", headers={"WWW-Authenticate": "X-API-Key"}
                )
            return known, None, None
        case Who.ROLL:
            given = data.voter_hash or ""
            bounded("voter_hash", given, MAX_HASH_BYTES)
            if len(given.encode()) > MAX_HASH_BYTES:
                raise fault_of("voter_hash", f"must have 1 to {MAX_HASH_BYTES} bytes")
            return normalise_hash(given), None, None


def _cookie(value: str, secure: bool) -> Cookie:
    return Cookie(
        COOKIE, value=value, max_age=_YEAR_S, httponly=True, samesite="lax", secure=secure
    )

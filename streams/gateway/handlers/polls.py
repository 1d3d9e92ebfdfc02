"""Polls: list, show, create, edit, archive; each under the paths of both replaced services."""

from __future__ import annotations

import hmac
from collections.abc import Iterable
from datetime import tzinfo
from typing import Annotated, Final
from urllib.parse import urlencode

from litestar import delete, get, post, put
from litestar.handlers import HTTPRouteHandler
from litestar.params import Parameter

from streams.core.polls import MAX_NAME_CHARACTERS
from streams.gateway.client_address import AnyRequest
from streams.gateway.handlers.poll_forms import (
    MAX_TITLE,
    Poll,
    PollForm,
    PollPage,
    checked,
    storable,
)
from streams.gateway.handlers.poll_views import Cards, PollViews
from streams.gateway.handlers.poll_votes import check_enabled
from streams.gateway.handlers.submit import VoteLimits
from streams.gateway.poll_store import Card, Polls, token_digest
from streams.gateway.problems import Problem

MAX_PAGE_SIZE: Final = 20

Page = Annotated[int, Parameter(ge=1, le=1_000_000)]
PageSize = Annotated[int, Parameter(ge=1, le=MAX_PAGE_SIZE)]
Name = Annotated[str | None, Parameter(max_length=MAX_NAME_CHARACTERS)]
PollId = Annotated[int, Parameter(ge=0, le=2**63 - 1)]

STATES: Final = {
    "all": ["draft", "open", "closed"],
    "active": ["open"],
    "upcoming": ["draft"],
    "closed": ["closed"],
}


def page_link(path: str, given: Iterable[tuple[str, str]], number: int, page_size: int) -> str:
    """Path and query of a page of a list.

    Args:
        path: under which the client found the list; the other service's path may not be routed.
        given: query of the client's request.
        number: of the page.
        page_size: of every page.
    """
    kept = [(name, value) for name, value in given if name not in {"page", "page_size"}]
    query = urlencode([*kept, ("page", str(number)), ("page_size", str(page_size))])
    return f"{path.strip('/')}/?{query}"


def poll_handlers(*, polls: Polls, cards: Cards, views: PollViews) -> list[HTTPRouteHandler]:
    """The handlers that list and show polls."""

    @get(["/polls", "/api/polls/get-list"], tags=["polls"], summary="Polls, the newest first")
    async def list_polls(  # noqa: PLR0917 - called by name
        request: AnyRequest,
        page: Page = 1,
        page_size: PageSize = 10,
        full_name: Name = None,
        search: Annotated[str | None, Parameter(max_length=MAX_TITLE)] = None,
        creator: Name = None,
        status: str = "all",
    ) -> PollPage:
        states = STATES.get(status)
        if states is None:
            raise Problem(
                400, "Unknown status", faults={"status": ["all, active, upcoming or closed"]}
            )
        for text in (full_name, search, creator):
            storable(text)
        count, found = await polls.listed(
            states=states, search=search, creator=creator, page=page, page_size=page_size
        )
        results = await views.shown(request, found, full_name)

        given = request.query_params.multi_items()

        def link(number: int) -> str | None:
            if not 1 <= number <= max(1, -(-count // page_size)):
                return None
            return f"{request.base_url}{page_link(request.url.path, given, number, page_size)}"

        return PollPage(count, link(page + 1), link(page - 1), results)

    @get(
        ["/polls/{poll_id:int}", "/api/polls/{poll_id:int}"],
        tags=["polls"],
        summary="One poll, with the proof of its result once it is closed",
    )
    async def show_poll(request: AnyRequest, poll_id: PollId, full_name: Name = None) -> Poll:
        storable(full_name)
        card = await cards.get(poll_id, fresh=True)
        [poll] = await views.shown(request, [card], full_name)
        poll.description = card.description
        poll.voted_option_id = next((o.id for o in poll.options if o.voted), None)
        poll.final = await polls.proof(card.contest_id)
        return poll

    return [list_polls, show_poll]


def poll_editing_handlers(
    *, polls: Polls, cards: Cards, views: PollViews, limits: VoteLimits, zone: tzinfo
) -> list[HTTPRouteHandler]:
    """The handlers that create, edit and archive polls."""

    async def authorise(request: AnyRequest, card: Card) -> None:
        async with limits.attempt(request) as attempt:
            digest = token_digest(request.headers.get("x-edit-token", ""))
            attempt.refused = not hmac.compare_digest(digest, card.edit_token_sha256)
        if attempt.refused:
            raise Problem(403, "The poll's edit token is needed")

    @post(
        ["/polls", "/api/polls/create"],
        status_code=201,
        tags=["polls"],
        summary="Create a poll",
    )
    async def create_poll(request: AnyRequest, data: PollForm) -> Poll:
        check_enabled(views.voters)
        wanted = checked(data, zone)
        await limits.check_creation(request)
        poll_id = await polls.create(wanted)
        card = await cards.get(poll_id, fresh=True)
        [poll] = await views.shown(request, [card], None)
        poll.description = card.description
        poll.edit_token = wanted.edit_token
        return poll

    @put(
        ["/polls/{poll_id:int}", "/api/polls/{poll_id:int}"],
        tags=["polls"],
        summary="Edit a poll that has not opened yet (header X-Edit-Token)",
    )
    async def edit_poll(request: AnyRequest, poll_id: PollId, data: PollForm) -> Poll:
        card = await cards.get(poll_id, fresh=True)
        await authorise(request, card)
        _keep_absent(data, card)
        if not await polls.edit(poll_id, checked(data, zone)):
            raise Problem(409, "A poll can be edited only before it opens")
        card = await cards.get(poll_id, fresh=True)
        [poll] = await views.shown(request, [card], None)
        poll.description = card.description
        return poll

    @delete(
        ["/polls/{poll_id:int}", "/api/polls/{poll_id:int}"],
        status_code=204,
        tags=["polls"],
        summary="Archive a poll (header X-Edit-Token)",
    )
    async def archive_poll(request: AnyRequest, poll_id: PollId) -> None:
        card = await cards.get(poll_id, fresh=True)
        await authorise(request, card)
        await polls.archive(card)
        cards.forget(poll_id)

    return [create_poll, edit_poll, archive_poll]


def _keep_absent(form: PollForm, card: Card) -> None:
    """Fill in the fields that an edit leaves out, so that it changes none of them by accident."""
    form.creator_name = form.creator_name or card.creator_name
    if form.who is None:
        form.who = card.who
    if form.opens_at is None and card.opens_at is not None:
        form.opens_at = card.opens_at.isoformat()

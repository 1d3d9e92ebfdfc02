"""Polls as they are shown to one caller."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from schemas.control import ContestState
from schemas.votes import Kind
from streams.core.keys import stored_hash
from streams.core.polls import Who
from streams.gateway.client_address import AnyRequest
from streams.gateway.handlers.poll_forms import Option, Poll
from streams.gateway.handlers.submit import VoteLimits
from streams.gateway.poll_store import Card, Polls
from streams.gateway.problems import Problem
from streams.gateway.store import Store
from streams.gateway.voters import COOKIE, Voters

CACHE_S: Final = 1.0
"""How long a poll's announcement is reused; the log decides whether a vote is in time."""
_MAX_CACHED: Final = 1000


class Cards:
    """Polls by id, cached for :data:`CACHE_S`.

    Args:
        polls: asked for what is not cached.
    """

    def __init__(self, polls: Polls) -> None:
        self._polls = polls
        self._kept: dict[int, tuple[float, Card]] = {}
        self._asking: dict[int, asyncio.Task[Card | None]] = {}

    async def get(self, poll_id: int, *, fresh: bool = False) -> Card:
        """A poll that is not archived.

        Raises:
            Problem: there is none.
        """
        now_s = time.monotonic()
        kept = self._kept.get(poll_id)
        if kept is None or fresh or now_s - kept[0] > CACHE_S:
            card = await self._ask(poll_id)
            if card is None or card.state == ContestState.ARCHIVED:
                self._kept.pop(poll_id, None)
                raise Problem(404, "Poll not found")
            if len(self._kept) >= _MAX_CACHED:
                self._kept.clear()
            kept = self._kept[poll_id] = (now_s, card)
        return kept[1]

    def forget(self, poll_id: int) -> None:
        """Drop what is cached of a poll, because it has changed."""
        self._kept.pop(poll_id, None)
        self._asking.pop(poll_id, None)

    async def _ask(self, poll_id: int) -> Card | None:
        # When a cached poll expires, many voters may need it: one query serves all of them.
        asking = self._asking.get(poll_id)
        if asking is None:
            asking = asyncio.create_task(self._polls.one(poll_id))
            self._asking[poll_id] = asking
            asking.add_done_callback(lambda done: self._answered(poll_id, done))
        return await asyncio.shield(asking)

    def _answered(self, poll_id: int, done: asyncio.Task[Card | None]) -> None:
        if self._asking.get(poll_id) is done:
            del self._asking[poll_id]
        if not done.cancelled():
            # All callers may have left; read the error so that asyncio does not log it.
            done.exception()


@dataclass(frozen=True)
class PollViews:
    """Makes views of polls: their totals, and what the caller has voted."""

    polls: Polls
    store: Store
    voters: Voters
    limits: VoteLimits

    async def shown(
        self, request: AnyRequest, cards: Sequence[Card], full_name: str | None
    ) -> list[Poll]:
        """Polls as the caller sees them.

        Args:
            request: may tell who calls.
            cards: the polls.
            full_name: the caller's, for polls by name.
        """
        totals = await self.store.totals([card.contest_id for card in cards])
        hashes = {}
        if self.voters.enabled:
            await self._check_key(request, cards)
            for card in cards:
                voter = known_voter(self.voters, request, card, full_name)
                if voter is not None:
                    hashes[card.id] = stored_hash(voter, card.contest_id, Kind.CANDIDATE)
        choices = await self.polls.choices(list(hashes.values()))
        return [
            _view(card, totals.get(card.contest_id, {}), choices.get(hashes.get(card.id, "")))
            for card in cards
        ]

    async def _check_key(self, request: AnyRequest, cards: Sequence[Card]) -> None:
        """Count an API key that is unknown: what has been voted tells a known one.

        Raises:
            Problem: too many were refused (429).
        """
        card = next((each for each in cards if each.who == Who.KEY), None)
        if card is not None and "x-api-key" in request.headers:
            async with self.limits.attempt(request) as attempt:
                attempt.refused = known_voter(self.voters, request, card, None) is None


def _view(card: Card, votes: dict[str, int], choice: str | None) -> Poll:
    return Poll(
        id=card.id,
        title=card.title,
        created_at=card.created_at,
        creator_name=card.creator_name,
        end_time=card.closes_at,
        opens_at=card.opens_at,
        options=[
            Option(number, text, votes.get(str(number), 0), str(number) == choice)
            for number, text in card.options.items()
        ],
        has_voted=choice is not None,
        state=card.state,
        is_active=card.state == ContestState.OPEN,
        who=card.who,
        total_votes=sum(votes.values()),
    )


def known_voter(
    voters: Voters, request: AnyRequest, card: Card, full_name: str | None
) -> str | None:
    """The voter's hash, where the request tells it."""
    if card.who == Who.NAME:
        return voters.by_name(card.contest_id, full_name) if full_name else None
    if card.who == Who.COOKIE:
        token = voters.read_cookie(request.cookies.get(COOKIE))
        return None if token is None else voters.by_cookie(card.contest_id, token)
    if card.who == Who.KEY:
        return voters.by_api_key(card.contest_id, request.headers.get("x-api-key", ""))
    return None

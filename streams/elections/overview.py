"""A result in few figures: its votes by choice, who is ahead; and results of what is going on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from streams.adapters.postgres.connection import connected
from streams.elections.contest_result import ChoiceResult, ContestResult
from streams.elections.contest_store import current_results
from streams.errors import ScrutinError
from streams.settings.configs import PostgresConfig

SHOWN: Final = 8
"""Contests; there may be hundreds."""


async def shown_results(postgres: PostgresConfig) -> list[ContestResult] | None:
    """Results of contests that are open or closed last; None if PostgreSQL could not be asked."""
    try:
        async with connected(postgres) as connection:
            return await current_results(connection, SHOWN)
    except ScrutinError:
        # What is shown beside reports the database's error.
        return None


def ahead(result: ContestResult) -> list[ChoiceResult]:
    """Who leads, is elected or tied, in a contest with one list of choices."""
    return [one for one in result.choices if one.leading or one.elected or one.tied]


def votes_of(result: ContestResult) -> dict[str, int]:
    """Votes by choice, most first: first choices of rankings, all in one of a hidden contest."""
    if result.hidden:
        return {"": result.total_votes}
    return {one.id: one.votes for one in choices_of(result)}


def choices_of(result: ContestResult) -> list[ChoiceResult]:
    """All choices, of whatever seat, most votes first."""
    every = result.choices or [one for seat in result.seats.values() for one in seat.choices]
    return sorted(every, key=lambda one: -one.votes)


def briefly(results: Sequence[ContestResult] | None) -> list[dict[str, Any]] | None:
    """Results for JSON: the fields of `GET /v2/contests/ID` that say how far they are."""
    if results is None:
        return None
    return [
        {
            "id": one.id,
            "title": one.title,
            "phase": one.phase,
            "total_votes": one.total_votes,
            "ahead": [
                {"id": each.id, "name": each.name, "votes": each.votes, "share": each.share}
                for each in ahead(one)
            ],
            "updated_at": None if one.updated_at is None else one.updated_at.isoformat(),
            "read_at": one.read_at.isoformat(),
        }
        for one in results
    ]

"""Contests and results as a published bundle holds them, so that anybody can count again. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from schemas.control import Conduct, ContestMethod
from streams.core import ranking
from streams.elections.definitions import METHODS, Definitions, ElectionDefinition
from streams.elections.results import ElectionResult, Seat, result_of
from streams.elections.rounds import DEFAULT_RULES, Outcome


@dataclass(frozen=True)
class PublishedContest:
    """What the bundle says of a contest, beside its leaves."""

    about: dict[str, Any]
    """Its entry in `contests.json`."""
    totals: Mapping[str, int]
    """As signed, by choice."""
    result: dict[str, Any]
    """Its entry in `results.json`."""

    @property
    def rows(self) -> list[dict[str, Any]]:
        """Its openings: how many votes have each choice, in the order of their bytes."""
        ordered = sorted(self.totals.items(), key=lambda one: one[0].encode())
        return [{"choice": choice, "votes": votes} for choice, votes in ordered]


def of_choices(
    about: Mapping[str, Any], totals: Mapping[str, int], *, final: bool
) -> PublishedContest:
    """A law or a poll."""
    entry = {**about, "method": str(ContestMethod.SINGLE), "rules": None, "seats": []}
    result = {"totals": dict(totals), "final": final, "seats": []}
    return PublishedContest(entry, totals, result)


def of_election(
    about: Mapping[str, Any],
    definitions: Definitions,
    election: ElectionDefinition,
    ballots: Sequence[tuple[str, str | None, int]],
    *,
    final: bool,
) -> PublishedContest:
    """An election, counted from ballots that add up to the signed totals.

    Args:
        about: the contest.
        definitions: with the election's candidates and regions.
        election: the election.
        ballots: (choice, region stated in the vote, number of votes).
        final: whether the closing is final.
    """
    counted = replace(result_of(definitions, election, ballots), final=final)
    method = METHODS[election.method]
    rules = (election.rules or DEFAULT_RULES) if method == ContestMethod.RANKED else None
    several = election.conduct.seats
    candidates = [candidate for seat in counted.seats for candidate in seat.candidates]
    entry = {
        **about,
        "title": election.name,
        "method": str(several.method if several else method),
        "rules": msgspec.to_builtins(rules),
        "conduct": conduct_fields(election.conduct),
        "names": {str(candidate.id): candidate.name for candidate in candidates},
        "seats": [
            {
                "region": _region(seat),
                "name": seat.region.name if seat.region else None,
                "candidates": [str(candidate.id) for candidate in seat.candidates],
            }
            for seat in counted.seats
        ],
    }
    totals: Counter[str] = Counter()
    for choice, _, votes in ballots:
        totals[choice] += votes
    unnamed = _unnamed(counted, ballots)
    seats = [_seat(counted, seat, unnamed[seat.place]) for seat in counted.seats]
    return PublishedContest(entry, totals, {"totals": dict(totals), "final": final, "seats": seats})


def conduct_fields(conduct: Conduct) -> dict[str, Any]:
    """How a contest is held, without what has its default."""
    fields: dict[str, Any] = msgspec.to_builtins(conduct)
    return fields


def _region(seat: Seat) -> str | None:
    return str(seat.region.id) if seat.region else None


def _seat(counted: ElectionResult, seat: Seat, unnamed: Mapping[str, int]) -> dict[str, Any]:
    outcome = counted.outcome(seat)
    ahead = seat.count.elected if outcome in {Outcome.ELECTED, Outcome.LEADING} else None
    said = {
        "region": _region(seat),
        "ballots": seat.ballots,
        "outcome": str(outcome),
        "ahead": ahead,
        "unnamed": dict(unnamed),
    }
    if counted.election.conduct.seats is not None:
        return {**said, "winners": list(seat.count.winners), "rounds": counted.rounds(seat)}
    return {
        **said,
        "rounds": [
            {
                "votes": dict(one.votes),
                "inactive": {str(reason): n for reason, n in one.inactive if n},
                "eliminated": list(one.eliminated),
            }
            for one in seat.count.rounds
        ],
    }


def _unnamed(
    counted: ElectionResult, ballots: Sequence[tuple[str, str | None, int]]
) -> dict[int, Counter[str]]:
    """By place: ballots that name no candidate; they count where they were cast."""
    places = {seat.place: Counter[str]() for seat in counted.seats}
    standing = {str(candidate.id) for seat in counted.seats for candidate in seat.candidates}
    regions = {str(place): place for place in places if place}
    for choice, stated, votes in ballots:
        ranked = ranking.from_text(choice)
        if ranked and ranking.OVERVOTE not in ranked:
            continue
        place = regions.get(stated or "", 0)
        if place in places and standing.isdisjoint(ranking.marked_in(choice)):
            places[place][choice] += votes
    return places

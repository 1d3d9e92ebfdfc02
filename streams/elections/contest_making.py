"""Makes the result of a contest from what the database says about it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec

from streams.elections.contest_result import (
    VERSION,
    ChoiceResult,
    ContestPhase,
    ContestResult,
    LogPosition,
    NotCounted,
    PartyResult,
    RegionVotes,
    SeatResult,
    Turnout,
    phase_of,
)
from streams.elections.results import NATION, ElectionResult, Seat
from streams.elections.rounds import Outcome


class Moment(msgspec.Struct, frozen=True):
    """When and up to where a result was read."""

    read_at: datetime
    position: list[LogPosition]


class ContestFacts(msgspec.Struct, frozen=True):
    """What the database says about a contest, beside its totals."""

    id: str
    kind: str | None = None
    title: str | None = None
    state: str | None = None
    """Of its life cycle; None: it was not announced."""
    choices: tuple[str, ...] | None = None
    """Allowed ones, if they are limited."""
    names: Mapping[str, str] = {}
    """Texts of choices, where they are not their own."""
    opens_at: datetime | None = None
    closes_at: datetime | None = None
    updated_at: datetime | None = None
    hidden: bool = False
    proof: Mapping[str, Any] | None = None
    not_counted: NotCounted = NotCounted()
    map: str | None = None
    """Digest of the map of its regions."""


def result_of_totals(
    facts: ContestFacts, totals: Mapping[str, int], moment: Moment
) -> ContestResult:
    """The result of a law or a poll.

    Args:
        facts: about the contest.
        totals: choice -> votes; a hidden contest has one total without a name.
        moment: of the totals.
    """
    total = sum(totals.values())
    phase = phase_of(facts.state, facts.proof)
    named = () if facts.hidden else {*totals, *(facts.choices or ())}
    most = max((totals.get(choice, 0) for choice in named), default=0)
    ahead = [choice for choice in named if most and totals.get(choice, 0) == most]
    choices = [
        ChoiceResult(
            choice,
            facts.names.get(choice, choice),
            totals.get(choice, 0),
            _share(totals.get(choice, 0), total),
            leading=choice in ahead and len(ahead) == 1 and phase is not ContestPhase.FINAL,
            elected=choice in ahead and len(ahead) == 1 and phase is ContestPhase.FINAL,
            tied=choice in ahead and len(ahead) > 1,
        )
        for choice in named
    ]
    return _whole(facts, phase, total, choices, moment, turnout=Turnout(total))


def result_of_election(
    facts: ContestFacts,
    found: ElectionResult,
    moment: Moment,
    before: tuple[ElectionResult, ContestResult] | None = None,
) -> ContestResult:
    """The result of an election.

    Args:
        facts: about its contest.
        found: its count, from the same moment.
        moment: of the count.
        before: an earlier count and its result; parts of seats that did not change are used again.
    """
    conduct = found.election.conduct
    known_seats = _unchanged(found, *before) if before else {}
    seats = {}
    for seat in () if facts.hidden else found.seats:
        place = str(seat.place)
        seats[place] = known_seats.get(place) or _seat(found, seat)
    nation = seats.get(str(NATION))
    known = {party.code: party for party in found.definitions.parties.values()}
    parties = [
        PartyResult(
            code,
            known[code].name if code in known else None,
            known[code].color if code in known else None,
            votes,
            won,
        )
        for code, votes, won in ([] if facts.hidden else found.parties())
    ]
    turnout = Turnout(
        found.ballots,
        None if facts.hidden else found.blanks,
        conduct.eligible,
        None if not conduct.eligible else _share(found.ballots, conduct.eligible),
        conduct.turnout_quorum,
        None if conduct.turnout_quorum is None else found.quorum_reached,
    )
    whole = _whole(
        facts,
        phase_of(facts.state, facts.proof),
        found.ballots,
        [] if nation is None else nation.choices,
        moment,
        turnout=turnout,
    )
    return msgspec.structs.replace(
        whole,
        title=found.election.name,
        method=found.election.method,
        seats=seats,
        parties=parties,
        by_region=[] if facts.hidden else _by_region(found),
        uncountable=0 if facts.hidden else found.uncountable,
        seed_commitment=conduct.seed_commitment,
        seed=conduct.seed,
        map=facts.map,
    )


def _unchanged(
    found: ElectionResult, before: ElectionResult, shown: ContestResult
) -> dict[str, SeatResult]:
    """Seats as they were shown before, where count and outcome are the same."""
    if found.decided != before.decided or found.final != before.final:
        return {}
    counts = {seat.place: seat for seat in before.seats}
    return {
        place: shown.seats[place]
        for seat in found.seats
        if counts.get(seat.place) is seat
        and (place := str(seat.place)) in shown.seats
        and shown.seats[place].outcome == found.outcome(seat)
    }


def _by_region(found: ElectionResult) -> list[RegionVotes]:
    return [
        RegionVotes(
            region,
            found.definitions.regions[region].name,
            sum(votes.values()),
            {str(choice): number for choice, number in votes.items()},
        )
        for region, votes in sorted(found.by_region.items())
    ]


def _whole(
    facts: ContestFacts,
    phase: ContestPhase,
    total: int,
    choices: list[ChoiceResult],
    moment: Moment,
    *,
    turnout: Turnout,
) -> ContestResult:
    proof = None if phase is ContestPhase.NOT_ENFORCED else facts.proof
    return ContestResult(
        VERSION,
        facts.id,
        facts.kind,
        facts.title,
        None,
        phase,
        facts.opens_at,
        facts.closes_at,
        proof["closed_at"]
        if proof is not None and phase is not ContestPhase.NOT_ENFORCED
        else None,
        facts.hidden,
        total,
        sorted(choices, key=lambda one: (-one.votes, one.name, one.id)),
        {},
        [],
        turnout,
        facts.updated_at,
        moment.read_at,
        moment.position,
        dict(proof) if proof is not None else None,
        facts.not_counted,
    )


def _seat(found: ElectionResult, seat: Seat) -> SeatResult:
    outcome = found.outcome(seat)
    leading, elected = outcome is Outcome.LEADING, outcome is Outcome.ELECTED
    first, withdrawn = seat.first_choices, found.withdrawn()
    parties, winners, tied = found.definitions.parties, seat.count.winners, seat.count.tied
    valid = sum(first.values())
    last = [votes for _, votes in seat.count.rounds[-1].votes] if seat.count.rounds else []
    choices = []
    for candidate in seat.candidates:
        name = str(candidate.id)
        party = parties.get(candidate.party_id or 0)
        votes, is_first = first[candidate.id], name in winners
        choices.append(
            ChoiceResult(
                name,
                candidate.name,
                votes,
                _share(votes, valid),
                is_first and leading,
                is_first and elected,
                name in tied,
                withdrawn.get(name) if withdrawn else None,
                party.code if party else None,
                party.color if party else None,
                candidate.photo_url,
            )
        )
    return SeatResult(
        seat.region.id if seat.region else None,
        seat.region.name if seat.region else None,
        seat.ballots,
        seat.count.blank,
        outcome,
        last[0] - last[1] if len(last) > 1 and found.election.conduct.seats is None else None,
        sorted(choices, key=lambda one: (-one.votes, one.name, one.id)),
        found.rounds(seat),
        seat.count.seats,
        found.lists(seat),
        list(seat.count.awaits),
        seat.count.missed,
    )


def _share(votes: int, total: int) -> float | None:
    return round(votes / total, 4) if total else None

"""The result of any contest as one document, which says how far it is and how old. Pure.

Laws, polls and elections have the same form. Nobody is `elected` before the result is final, and
nothing is shown of a contest whose counts are hidden.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

import msgspec

from streams.elections.results import NATION, ElectionResult, Seat
from streams.elections.rounds import Outcome

VERSION: Final = "2"
"""Of the form. A field is only ever added to it."""


class ContestPhase(StrEnum):
    """How far a contest is."""

    ANNOUNCED = "announced"
    """It opens later."""
    VOTING = "voting"
    COUNTING = "counting"
    """Closed; the last votes that were cast in time are being counted."""
    FINAL = "final"
    """Closed, and every vote cast in time is counted."""
    NOT_ENFORCED = "not_enforced"
    """Closed by a deployment whose closing has no effect on votes, so no result is final."""
    UNANNOUNCED = "unannounced"
    """It has votes, and nobody announced it."""


class ChoiceResult(msgspec.Struct, frozen=True):
    """What one choice has."""

    id: str
    """As in votes."""
    name: str
    votes: int
    """Of a ranked contest: first choices."""
    share: float | None
    """Of the votes for a choice, from 0 to 1 in four digits; null without votes."""
    leading: bool = False
    """Most votes before the result is final, in a ranked contest after its last round."""
    elected: bool = False
    tied: bool = False
    withdrawn: str | None = None
    """Why the candidate does not stand any more."""
    party: str | None = None
    """Code of the party."""
    color: str | None = None
    """Of the party, as its definition has it."""
    photo_url: str | None = None


class SeatResult(msgspec.Struct, frozen=True):
    """The count of a region, or of the whole country."""

    region_id: int | None
    region: str | None
    ballots: int
    blank: int
    outcome: str
    """An :class:`~streams.elections.rounds.Outcome`."""
    margin: int | None
    """Votes between the first two in the last round; null with fewer than two, and for several
    seats."""
    choices: list[ChoiceResult]
    """Most votes first."""
    rounds: list[dict[str, Any]]
    seats: int = 1
    """To fill."""
    lists: list[dict[str, Any]] = []
    """Of party lists: votes, seats and who is elected."""
    lot_between: list[str] = []
    """Choices between which officials must draw a lot."""
    missed: str | None = None
    """Choice that would be elected, if a rule did not prevent it."""


class RegionVotes(msgspec.Struct, frozen=True):
    """First choices of the voters of a region, for candidates of the whole country."""

    region_id: int
    region: str
    ballots: int
    """Those that mark one of the candidates."""
    votes: dict[str, int]
    """By choice."""


class PartyResult(msgspec.Struct, frozen=True):
    """What a party has in the whole country."""

    code: str | None
    name: str | None
    color: str | None
    votes: int
    seats: int
    """Won once the result is final; led in before."""


class Turnout(msgspec.Struct, frozen=True):
    """How many took part."""

    ballots: int
    blank: int | None = None
    eligible: int | None = None
    share: float | None = None
    """Ballots over eligible voters, from 0 to 1 in four digits; null if their number is unknown."""
    quorum: str | None = None
    """Share of the eligible voters that must take part, as a fraction."""
    quorum_reached: bool | None = None
    """Null without a quorum, or without the number of eligible voters."""


class NotCounted(msgspec.Struct, frozen=True):
    """Messages for the contest that do not count, so that all that came can be accounted for."""

    duplicate: int = 0
    """Of voters whose vote was counted before."""
    invalid: int = 0
    """By the rules of the contest, or from nobody on its roll."""
    replaced: int = 0
    """Counted until the same voter's later vote."""


class LogPosition(msgspec.Struct, frozen=True):
    """Up to where a partition of the input log is counted."""

    partition: int
    offset: int
    """Of the last record whose votes are in the result."""


class SignedPlace(msgspec.Struct, frozen=True):
    """The latest signed checkpoint of the log, as far as it speaks of this contest."""

    size: int
    """Its number: `GET /v2/checkpoints/SIZE` has all of it."""
    head: str
    """Root of the tree of all checkpoints, in hexadecimal."""
    signed_at: datetime
    votes: int | None
    """Signed total of this contest; null while its counts are hidden."""
    witnesses: int
    """How many signed it too."""


class ContestResult(msgspec.Struct, frozen=True):
    """The result of a contest as of one moment of the database."""

    version: str
    id: str
    kind: str | None
    """`law`, `election` or `poll`; null for a contest that nobody announced."""
    title: str | None
    method: str | None
    """Of an election: `single_choice` or another method."""
    phase: str
    """A :class:`ContestPhase`."""
    opens_at: datetime | None
    closes_at: datetime | None
    closed_at: datetime | None
    hidden: bool
    """Counts are not shown before the result is final."""
    total_votes: int
    choices: list[ChoiceResult]
    """Of the whole contest, most votes first; none if its candidates stand in regions."""
    seats: dict[str, SeatResult]
    """Of an election, by the id of the region; `0` for the whole country."""
    parties: list[PartyResult]
    turnout: Turnout
    updated_at: datetime | None
    """When a total of this contest changed last."""
    read_at: datetime
    """When the database was asked."""
    position: list[LogPosition]
    """Votes up to here are counted, later ones are not."""
    proof: dict[str, Any] | None
    """Once it is closed: where each partition of the log closed, and how many have passed it."""
    not_counted: NotCounted = NotCounted()
    by_region: list[RegionVotes] = []
    """Of an election whose candidates stand in the whole country."""
    uncountable: int = 0
    """Ballots that mark nobody who stands."""
    seed_commitment: str | None = None
    """SHA-256 of the seed of the lots, in hex."""
    seed: str | None = None
    """Of the lots, once it is revealed."""
    checkpoint: SignedPlace | None = None
    """Null while nothing was signed."""
    map: str | None = None
    """Digest of the map of the regions; null where there is none."""


class ContestSummary(msgspec.Struct, frozen=True):
    """One contest in a list."""

    id: str
    kind: str
    title: str | None
    phase: str
    """A :class:`ContestPhase`."""
    opens_at: datetime | None
    closes_at: datetime | None
    closed_at: datetime | None
    total_votes: int


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


def phase_of(state: str | None, proof: Mapping[str, Any] | None) -> ContestPhase:
    """How far a contest is."""
    if state is None:
        return ContestPhase.UNANNOUNCED
    if state in {"draft", "open"}:
        return ContestPhase.ANNOUNCED if state == "draft" else ContestPhase.VOTING
    if proof is None or not proof["enforced"]:
        return ContestPhase.NOT_ENFORCED
    return ContestPhase.FINAL if proof["final"] else ContestPhase.COUNTING


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
    first, withdrawn = seat.first_choices, found.withdrawn()
    valid = sum(first.values())
    last = [votes for _, votes in seat.count.rounds[-1].votes] if seat.count.rounds else []
    choices = []
    for candidate in seat.candidates:
        name = str(candidate.id)
        party = found.definitions.parties.get(candidate.party_id or 0)
        first_of_all = name in seat.count.winners
        choices.append(
            ChoiceResult(
                name,
                candidate.name,
                first[candidate.id],
                _share(first[candidate.id], valid),
                leading=first_of_all and outcome is Outcome.LEADING,
                elected=first_of_all and outcome is Outcome.ELECTED,
                tied=name in seat.count.tied,
                withdrawn=withdrawn.get(name),
                party=party.code if party else None,
                color=party.color if party else None,
                photo_url=candidate.photo_url,
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


def change_between(old: Any, new: Any, *, by_item: bool = False) -> Any:
    """A JSON merge patch (RFC 7396) that makes one document of another.

    Args:
        old: JSON value or struct, in which no field is null on purpose where `new` has none.
        new: JSON value or struct.
        by_item: a list of as many objects as before has an object in the patch, with the patches
            of those that changed by their index. RFC 7396 has only whole lists. A field that has a
            list once has none but lists.
    """
    before, after = _fields(old), _fields(new)
    if before is None or after is None:
        if by_item and _are_objects(old) and _are_objects(new) and len(old) == len(new):
            return {
                str(n): change_between(*each, by_item=True)
                for n, each in enumerate(zip(old, new, strict=True))
                if each[0] != each[1]
            }
        return new
    patch: dict[str, Any] = {name: None for name in before if name not in after}
    for name, value in after.items():
        if name not in before:
            patch[name] = value
        elif before[name] is not value and before[name] != value:
            patch[name] = change_between(before[name], value, by_item=by_item)
    return patch


def _fields(value: Any) -> dict[str, Any] | None:
    if isinstance(value, dict):
        return value
    return msgspec.structs.asdict(value) if isinstance(value, msgspec.Struct) else None


def _are_objects(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(each, dict | msgspec.Struct) for each in value
    )

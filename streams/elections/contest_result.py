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

from streams.core.keys import ELECTION_PREFIX

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


def elects(result: ContestResult) -> bool:
    """Whether somebody is elected; of a law or a poll, a choice only has the most votes."""
    return result.kind == "election" or result.id.startswith(ELECTION_PREFIX)


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


def phase_of(state: str | None, proof: Mapping[str, Any] | None) -> ContestPhase:
    """How far a contest is."""
    if state is None:
        return ContestPhase.UNANNOUNCED
    if state in {"draft", "open"}:
        return ContestPhase.ANNOUNCED if state == "draft" else ContestPhase.VOTING
    if proof is None or not proof["enforced"]:
        return ContestPhase.NOT_ENFORCED
    return ContestPhase.FINAL if proof["final"] else ContestPhase.COUNTING

"""Verdicts as the validation agent writes them to `votes.validated`."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

import msgspec


class Status(StrEnum):
    """Verdict on a message that was not accepted."""

    INVALID = "invalid"
    """Well-formed, but the voter or the choice does not count."""
    DUPLICATE = "duplicate"
    """The voter had voted before."""
    MALFORMED = "malformed"
    """Not a vote."""
    REPLAY = "replay"
    """Another delivery of the same submission; counted in a metric only."""
    VOID = "void"
    """Taken in before the last reset of a rehearsal; counted in a metric only."""
    REPLACED = "replaced"
    """Counted until a later vote of the voter took its place; given by the sink."""


UNREPORTED: Final = frozenset({Status.REPLAY, Status.VOID})
"""Statuses that leave no row and no review message."""


class Reason(StrEnum):
    """Reasons that validation gives; malformed messages have their own."""

    NOT_ON_ROLL = "not_on_roll"
    UNKNOWN_CHOICE = "unknown_choice"
    ALREADY_VOTED = "already_voted"
    REPLAY = "replay"
    OLD_EPOCH = "old_epoch"
    UNKNOWN_CONTEST = "unknown_contest"
    CONTEST_NOT_OPEN = "contest_not_open"
    """The contest is a draft."""
    CONTEST_CLOSED = "contest_closed"
    CHOICE_NOT_ALLOWED = "choice_not_allowed"
    OTHER_REGION = "other_region"
    """The candidate does not stand in the vote's region."""
    REFUSED_BEFORE = "refused_before"
    """Adopted: the previous system rejected it as invalid."""
    VOTE_LOST = "vote_lost"
    """Adopted: the previous system recorded that the voter voted, but no vote that can be counted.
    The voter still counts as having voted."""
    REVOTED = "revoted"
    """The voter voted again, where the last vote counts."""


class Rejection(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """The verdict on an item that was not accepted."""

    index: int
    """Number of the item in its :class:`schemas.votes.VoteBatch`."""
    status: str
    """A :class:`Status`."""
    reason: str
    """A :class:`Reason`, or the reason of a malformed message."""
    attempt: int = 0
    """For a duplicate: number of submissions after the accepted one, including this one."""


class Acceptance(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """More about an accepted vote than that it is accepted."""

    index: int
    """Number of the vote in its :class:`schemas.votes.VoteBatch`."""
    weight: int = 1
    """How many votes it counts as."""
    replaces: int = 0
    """Number of the voter's earlier votes, of which the last is taken back; 0 for the first."""


class VerdictBatch(msgspec.Struct, array_like=True, frozen=True, tag="verdicts/1"):
    """The verdicts on one input record: the record itself and the rejections.

    Every input record has one, even if nothing was accepted, so that the offsets form an unbroken
    chain.
    """

    log_id: bytes
    """Identity of the input partition's log, 16 bytes."""
    partition: int
    """Input partition."""
    offset: int
    """Input offset."""
    previous_offset: int
    """Input offset of the previous verdict batch; -1 for the first."""
    rejections: list[Rejection]
    """By ascending index. All other items of the record are accepted."""
    record: msgspec.Raw
    """The input record, still encoded (:func:`schemas.codec.decode_input`)."""


class WeighedVerdictBatch(VerdictBatch, array_like=True, frozen=True, tag="verdicts/2"):
    """The same for a record with votes that have a weight or replace earlier ones."""

    acceptances: list[Acceptance]
    """Of such votes, by ascending index."""


def acceptances_of(verdicts: VerdictBatch) -> list[Acceptance]:
    """What is said about accepted votes; nothing about those that count once and are the first."""
    return verdicts.acceptances if isinstance(verdicts, WeighedVerdictBatch) else []

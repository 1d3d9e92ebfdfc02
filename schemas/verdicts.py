"""Verdicts as the validation agent writes them to `votes.validated`."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

import msgspec


class Status(StrEnum):
    """What became of a message that was not accepted."""

    INVALID = "invalid"
    """Well-formed, but this voter or this choice does not count."""
    DUPLICATE = "duplicate"
    """The voter had voted before."""
    MALFORMED = "malformed"
    """Not a vote at all."""
    REPLAY = "replay"
    """The same submission once more, not a second one; leaves a metric and nothing else."""
    VOID = "void"
    """Taken in before the last reset of a rehearsal; leaves a metric and nothing else."""


UNREPORTED: Final = frozenset({Status.REPLAY, Status.VOID})
"""Statuses that leave no row and no review message."""


class Reason(StrEnum):
    """Why, for the statuses that validation decides; malformed messages bring their own."""

    NOT_ON_ROLL = "not_on_roll"
    UNKNOWN_CHOICE = "unknown_choice"
    ALREADY_VOTED = "already_voted"
    REPLAY = "replay"
    OLD_EPOCH = "old_epoch"
    UNKNOWN_CONTEST = "unknown_contest"
    CONTEST_NOT_OPEN = "contest_not_open"
    """It is a draft."""
    CONTEST_CLOSED = "contest_closed"
    CHOICE_NOT_ALLOWED = "choice_not_allowed"
    OTHER_REGION = "other_region"
    """The candidate does not stand in the region that the vote is from."""
    REFUSED_BEFORE = "refused_before"
    """Adopted: the system before held it to be invalid."""
    VOTE_LOST = "vote_lost"
    """Adopted: the system before knew that the voter had voted, but no vote that can be counted.
    The voter has voted all the same."""


class Rejection(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """The verdict on one item of a batch that was not accepted."""

    index: int
    """Number of the item in its :class:`schemas.votes.VoteBatch`."""
    status: str
    """A :class:`Status`."""
    reason: str
    """A :class:`Reason`, or the reason of a malformed message."""
    attempt: int = 0
    """For a duplicate: how many submissions came after the accepted one, this one included."""


class VerdictBatch(msgspec.Struct, array_like=True, frozen=True, tag="verdicts/1"):
    """The verdicts on one record of the input log: the record itself and what was not accepted.

    There is one for every input record, also where nothing was accepted, so that the offsets form
    an unbroken chain.
    """

    log_id: bytes
    """Identity of the input partition's log, 16 bytes."""
    partition: int
    """Input partition."""
    offset: int
    """Input offset."""
    previous_offset: int
    """Input offset of the verdict batch before this one; -1 for the first."""
    rejections: list[Rejection]
    """By ascending index. Everything else in the record is accepted."""
    record: msgspec.Raw
    """The input record as it was read, still encoded (:func:`schemas.codec.decode_input`)."""

"""Votes as the bridge writes them into the input log."""

from __future__ import annotations

from enum import IntEnum, IntFlag
from typing import Final

import msgspec


class Kind(IntEnum):
    """Kind of contest that a vote is cast in."""

    LAW = 0
    """One vote per hash; each hash belongs to one law. Choices `oui` and `non`."""
    CANDIDATE = 1
    """One vote per hash and contest; the choice is a candidate's id."""


class Flag(IntFlag):
    """Facts that the bridge gathered about a delivery, as bits of :attr:`Vote.flags`."""

    REDELIVERED = 1
    """RabbitMQ may have delivered it before."""
    REPRODUCED = 2
    """The bridge may have written it to Kafka before (the reply to a produce was lost)."""
    MESSAGE_ID = 4
    """The publisher set a `message_id`."""
    ON_ROLL = 8
    """The hash is on the roll, or the roll was not asked."""
    PREVALIDATED = 16
    """It came from `votes.aggregation`: another system asked the roll."""


REPLAYABLE = Flag.REDELIVERED | Flag.REPRODUCED | Flag.MESSAGE_ID
"""With any of these flags, a vote with a known identity is a repeated delivery."""


class Vote(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """One well-formed vote. Well-formed does not mean valid."""

    hash: str
    """The voter's hash; 64 hexadecimal digits in lower case, anything else unchanged."""
    contest: str
    """A law's id, or `election:` and an election's id."""
    kind: int
    """A :class:`Kind`."""
    choice: str
    """`oui` or `non` in lower case (other words unchanged), or a candidate's id."""
    flags: int
    """Bits of :class:`Flag`."""
    identity: bytes
    """16 bytes: BLAKE2b of (`message_id`, body)."""
    timestamp_us: int
    """When the voter voted: Unix time in microseconds; the ingest time if the message had none."""
    citizen_id: str | None = None
    metadata: str | None = None
    """Unknown fields of the message as one JSON object."""


class Malformed(msgspec.Struct, array_like=True, frozen=True):
    """A message that is not a vote."""

    reason: str
    """A name such as `not_json`; see :mod:`streams.messages.decode`."""
    flags: int
    """Bits of :class:`Flag`."""
    identity: bytes
    """16 bytes: BLAKE2b of (`message_id`, body)."""
    length: int
    """Length of the body in bytes."""
    sha256: bytes
    """SHA-256 of the whole body."""
    head: bytes
    """What is kept of the body: at most 4,096 bytes, without `nas` and `code`.

    Records of earlier versions have its first 4,096 bytes.
    """


class VoteBatch(msgspec.Struct, array_like=True, frozen=True, tag="votes/1"):
    """A micro-batch of one partition. Votes are numbered from 0, malformed messages after them."""

    ingest_ms: int
    """When the bridge sealed the batch: Unix time in milliseconds. Determines the window."""
    bridge: str
    """Name of the bridge process."""
    votes: list[Vote]
    malformed: list[Malformed]


class Rule(IntFlag):
    """Rules that votes are validated by, as bits of :attr:`RuledVoteBatch.rules`."""

    CONTESTS = 1
    """The contest must be in the log and open, and the choice must be one of its choices."""
    ROLL_TABLE = 2
    """The roll is in the log; :attr:`Flag.ON_ROLL` has no meaning."""
    POLLS = 4
    """Like :attr:`CONTESTS`, for votes in polls only."""


class RuledVoteBatch(VoteBatch, array_like=True, frozen=True, tag="votes/2"):
    """A micro-batch that is validated by rules of control records; the bridge sets which.

    A deployment without such rules writes :class:`VoteBatch`, as the first version did.
    """

    epoch: int
    """The epoch in which the bridge took the votes in; 0 before the first reset."""
    rules: int
    """Bits of :class:`Rule`."""


class AdoptedVoteBatch(RuledVoteBatch, array_like=True, frozen=True, tag="votes/adopted/1"):
    """Votes that another system had taken in before Scrutin adopted its election.

    They came through no queue and no roll was asked, because the other system had validated them.
    They carry the time at which they were cast; `ingest_ms` is the time of the adoption.
    `malformed` is empty.
    """

    adoption: bytes
    """Identity of the adoption, 16 bytes."""
    submissions: list[int]
    """Each vote's standing in the other system: 0 the voter's counted vote, n the n-th submission
    after it, :data:`REFUSED` a vote that was rejected as invalid. An empty choice means that the
    system recorded only that the voter voted."""


REFUSED: Final = -1
"""A submission that the other system rejected as invalid."""

"""Changelog of the voted table: one record per input record.

The Kafka key is the input offset as 8 bytes, big-endian. Keys are unique, so compaction loses
nothing. Records are applied in the order of the input log; a repeated record changes nothing.
"""

from __future__ import annotations

import struct
from typing import Final

import msgspec

from schemas.control import Control
from schemas.genesis import RehearsalGenesis
from schemas.verdicts import Acceptance, Rejection

CHANGELOG_KEY: Final = struct.Struct(">Q")
FIRST_VOTE: Final = struct.Struct(">32sHH8s")
"""Voter key, index in the batch, index of the contest in `contests`, stored identity.

A stored identity has 8 bytes. Its last bit is not part of the identity: it is 1 if the delivery was
marked as a possible repetition.
"""

MAX_LATER_IDENTITIES: Final = 8
"""Number of identities of later attempts that an entry stores."""


class Repeat(msgspec.Struct, array_like=True, frozen=True):
    """A voter key with later attempts; complete, so that it can be applied by itself.

    Where the last vote counts, position and identity are those of the latest one, and the
    identities of earlier ones are among the later attempts.
    """

    key: bytes
    """Voter key, 32 bytes."""
    offset: int
    """Input offset at which the key was first accepted."""
    index: int
    """Number of the vote in that record."""
    identity: bytes
    """Stored identity of the accepted vote, 8 bytes."""
    attempts: int
    """Submissions after the accepted one."""
    later: list[bytes]
    """Stored identities of the latest attempts, oldest first."""


class VotedRecord(msgspec.Struct, array_like=True, frozen=True, tag="voted/1"):
    """Changes of one input record in the voted table, and its rejections."""

    log_id: bytes
    """Identity of the input partition's log, 16 bytes."""
    first_votes: bytes
    """Accepted votes, each packed as :data:`FIRST_VOTE`."""
    contests: list[str]
    """Contests of the accepted votes; the table in memory does not store them."""
    repeats: list[Repeat]
    rejections: list[Rejection]


class WeighedVotedRecord(VotedRecord, array_like=True, frozen=True, tag="voted/2"):
    """The same for a record with votes that have a weight or replace earlier ones."""

    acceptances: list[Acceptance]


TableControl = Control | RehearsalGenesis
"""Input records that change the rules of a partition."""


class ControlRecord(msgspec.Struct, array_like=True, frozen=True, tag="voted-control/1"):
    """The input record changes the rules and holds no vote."""

    log_id: bytes
    """Identity of the input partition's log, 16 bytes."""
    control: TableControl

    @property
    def rejections(self) -> list[Rejection]:
        """Always empty: a control record holds no vote."""
        return []

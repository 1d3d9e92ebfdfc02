"""Changelog of the voted table: one record per input record.

The Kafka key is the input offset as 8 bytes, big-endian. Keys are unique, so compaction loses
nothing. Records are applied in the order of the input log; one that comes twice changes nothing.
"""

from __future__ import annotations

import struct
from typing import Final

import msgspec

from schemas.control import Control
from schemas.verdicts import Rejection

CHANGELOG_KEY: Final = struct.Struct(">Q")
FIRST_VOTE: Final = struct.Struct(">32sHH8s")
"""Voter key, index in the batch, index of the contest in `contests`, kept identity.

Of an identity 8 bytes are kept, the last bit of which is not the identity's: it is 1 if the
delivery was marked as one that may have come before.
"""

MAX_LATER_IDENTITIES: Final = 8
"""How many identities of later attempts an entry keeps."""


class Repeat(msgspec.Struct, array_like=True, frozen=True):
    """A voter key with attempts after its accepted vote; whole, so that it can be applied alone."""

    key: bytes
    """Voter key, 32 bytes."""
    offset: int
    """Input offset at which the key was first accepted."""
    index: int
    """Number of the vote in that record."""
    identity: bytes
    """Kept identity of the accepted vote, 8 bytes."""
    attempts: int
    """Submissions after the accepted one."""
    later: list[bytes]
    """Kept identities of the latest attempts, oldest first."""


class VotedRecord(msgspec.Struct, array_like=True, frozen=True, tag="voted/1"):
    """What one input record changed in the voted table, and its verdicts."""

    log_id: bytes
    """Identity of the input partition's log, 16 bytes."""
    first_votes: bytes
    """Accepted votes, :data:`FIRST_VOTE` after :data:`FIRST_VOTE`."""
    contests: list[str]
    """Contests of the accepted votes; the running table does not keep them."""
    repeats: list[Repeat]
    rejections: list[Rejection]


class ControlRecord(msgspec.Struct, array_like=True, frozen=True, tag="voted-control/1"):
    """The input record was a control record: the rules change, no vote is decided on."""

    log_id: bytes
    """Identity of the input partition's log, 16 bytes."""
    control: Control

    @property
    def rejections(self) -> list[Rejection]:
        """None: nothing is decided on."""
        return []

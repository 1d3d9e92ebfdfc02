"""The message on `votes.review`: one for every vote that was not counted."""

from __future__ import annotations

import msgspec


class Body(msgspec.Struct, frozen=True):
    """Body of a malformed message."""

    base64: str
    """First 4,096 bytes."""
    length: int
    """Length of the whole body in bytes."""
    sha256: str
    """Hexadecimal SHA-256 of the whole body."""


class Review(msgspec.Struct, frozen=True):
    """JSON body. `voter_hash` and `vote_hash`, `vote` and `choice` are the same value each: readers
    of both old dialects find theirs. `message_id` of the AMQP message is stable over redelivery.
    """

    voter_hash: str | None
    vote_hash: str | None
    citizen_id: str | None
    law_id: str | None
    candidate_id: str | None
    vote: str | None
    choice: str | None
    vote_timestamp: str | None
    """ISO 8601 in UTC."""
    status: str
    """`invalid`, `duplicate` or `malformed`."""
    reason: str
    attempt_count: int
    """Submissions after the accepted one, this one included; 0 where none was accepted."""
    processed_timestamp: str
    """ISO 8601 in UTC: when the bridge took the vote in."""
    body: Body | None = None
    """Malformed messages only."""

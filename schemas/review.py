"""The message on `votes.review`: one for every vote that was not counted."""

from __future__ import annotations

import msgspec


class Body(msgspec.Struct, frozen=True):
    """Body of a malformed message."""

    base64: str
    """What is kept of it: at most 4,096 bytes, without `nas` and `code`."""
    length: int
    """Length of the whole body in bytes."""
    sha256: str
    """Hexadecimal SHA-256 of the whole body."""


class Review(msgspec.Struct, frozen=True):
    """JSON body. `voter_hash` equals `vote_hash` and `vote` equals `choice`: readers of both old
    formats find their fields. The AMQP `message_id` is stable over redelivery.
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
    """Submissions after the accepted one, including this one; 0 if none was accepted."""
    processed_timestamp: str
    """ISO 8601 in UTC: when the bridge took the vote in."""
    body: Body | None = None
    """Malformed messages only."""
    error_pattern: str | None = None
    """The first 8 characters of a hash that is not on the roll."""

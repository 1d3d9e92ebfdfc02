"""Decodes a delivery into a vote or a malformed message. Pure, and total: no body makes it raise.

Two paths give the same answer: :mod:`streams.messages.quick` for votes as they usually come, and
:mod:`streams.messages.incoming` for all other bodies, of which it names the fault.
"""

from __future__ import annotations

import hashlib
from typing import Final

import msgspec

from schemas.votes import Flag, Kind, Malformed, Vote
from streams.core.kept_body import kept_head
from streams.core.keys import ELECTION_PREFIX, identify
from streams.messages.fields import MalformedReason, NotAVote
from streams.messages.incoming import ParsedVote, read_body, read_update
from streams.messages.quick import read_quickly

IDENTITY_BYTES: Final = 16

Delivery = tuple[int, bool, bytes | None, bytes]
"""Delivery tag, whether it may have been delivered before, `message_id`, body."""

# Plain integers: the operators of enum members cost more than the rest of decoding.
_ON_ROLL: Final = int(Flag.ON_ROLL)
_REDELIVERED: Final = int(Flag.REDELIVERED)
_MESSAGE_ID: Final = int(Flag.MESSAGE_ID)
_PREVALIDATED: Final = int(Flag.PREVALIDATED)
_LAW: Final = int(Kind.LAW)
_CANDIDATE: Final = int(Kind.CANDIDATE)


class Decoded(msgspec.Struct, frozen=True, gc=False):
    """A delivery, decoded."""

    item: Vote | Malformed
    """A vote counts as on the roll (:attr:`Flag.ON_ROLL`) until the roll is queried."""
    key: bytes
    """Determines the partition: the voter key, or the identity of a malformed message."""


def decode(
    body: bytes,
    message_id: bytes | None,
    *,
    redelivered: bool,
    prevalidated: bool,
    poll_updates: bool = False,
    ingest_us: int,
    max_body_bytes: int,
    poll_key: bytes = b"",
    default_election: str = "",
) -> Decoded:
    """Decode one delivery.

    Args:
        body: as delivered.
        message_id: AMQP property; None or empty if the publisher set none.
        redelivered: RabbitMQ's flag.
        prevalidated: the delivery came from `votes.aggregation`.
        poll_updates: the delivery came from `poll_vote_updates`.
        ingest_us: Unix time in microseconds, the vote's time if the message has none.
        max_body_bytes: a longer body is `too_large`.
        poll_key: key that signs poll votes; without it, poll votes are malformed.
        default_election: election of candidate votes that name none.
    """
    identity = identity_of(message_id, body)
    flags = _ON_ROLL
    if redelivered:
        flags |= _REDELIVERED
    if message_id:
        flags |= _MESSAGE_ID
    if prevalidated:
        flags |= _PREVALIDATED
    if len(body) <= max_body_bytes:
        parsed = None if poll_updates else read_quickly(body, max_body_bytes, poll_key)
        if parsed is None:
            try:
                parsed = (
                    read_update(body, poll_key)
                    if poll_updates
                    else read_body(body, max_metadata_bytes=max_body_bytes, poll_key=poll_key)
                )
            except NotAVote as fault:
                return _malformed(fault.reason, body, identity, flags)
        return _vote(parsed, identity, flags, ingest_us, default_election)
    return _malformed(MalformedReason.TOO_LARGE, body, identity, flags)


def identity_of(message_id: bytes | None, body: bytes) -> bytes:
    """16 bytes that are the same for every delivery of one submission.

    The length of the `message_id` is hashed before it, so that no body can imitate one.
    """
    if not message_id:
        return hashlib.blake2b(b"\0\0" + body, digest_size=IDENTITY_BYTES).digest()
    prefix = len(message_id).to_bytes(2, "big")
    return hashlib.blake2b(prefix + message_id + body, digest_size=IDENTITY_BYTES).digest()


def _vote(
    parsed: ParsedVote, identity: bytes, flags: int, ingest_us: int, default_election: str
) -> Decoded:
    if parsed.candidate_id is not None:
        if parsed.poll:
            contest = parsed.contest
            if not parsed.ask_roll:
                flags |= _PREVALIDATED
        else:
            contest = ELECTION_PREFIX + (parsed.contest or default_election)
        kind = _CANDIDATE
        choice = parsed.candidate_id
    else:
        contest = parsed.contest
        kind = _LAW
        choice = parsed.choice
    vote_hash, key = identify(parsed.hash, contest, kind)
    vote = Vote(
        vote_hash,
        contest,
        kind,
        choice,
        flags,
        identity,
        ingest_us if parsed.timestamp_us is None else parsed.timestamp_us,
        parsed.citizen_id,
        parsed.metadata,
    )
    return Decoded(vote, key)


def _malformed(reason: MalformedReason, body: bytes, identity: bytes, flags: int) -> Decoded:
    malformed = Malformed(
        reason=reason.value,
        flags=flags & ~_ON_ROLL,
        identity=identity,
        length=len(body),
        sha256=hashlib.sha256(body).digest(),
        head=kept_head(body),
    )
    return Decoded(malformed, identity)

"""Decodes a delivery into a vote or a malformed message. Pure, and total: no body makes it raise.

Two paths give the same answer. Nearly all bodies use the documented fields and take :func:`_fast`:
one pass of msgspec into a struct of the known fields. A count of quotation marks proves that the
body held nothing else. :mod:`streams.messages.incoming` parses all other bodies.
"""

from __future__ import annotations

import hashlib
from typing import Final

import msgspec

from schemas.votes import Flag, Kind, Malformed, Vote
from streams.core.kept_body import kept_head
from streams.core.keys import ELECTION_PREFIX, identify
from streams.core.polls import POLL_PREFIX
from streams.messages.fields import (
    CHOICES,
    MAX_HASH_BYTES,
    MAX_ID_BYTES,
    MalformedReason,
    NotAVote,
)
from streams.messages.incoming import ParsedVote, read_body, read_poll_vote, read_update
from streams.messages.timestamps import parse_epoch, parse_iso

IDENTITY_BYTES: Final = 16

_RESERVED: Final = (ELECTION_PREFIX, POLL_PREFIX)

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
        parsed = None if poll_updates else _fast(body, poll_key)
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


class _Known(msgspec.Struct, gc=False):
    """Every field that has a meaning, in its usual types."""

    vote_hash: str | None = None
    voter_hash: str | None = None
    hash: str | None = None
    law_id: str | None = None
    candidate_id: str | int | None = None
    election_id: str | int | None = None
    choice: str | None = None
    vote: str | None = None
    timestamp: str | int | float | None = None
    vote_timestamp: str | int | float | None = None
    citizen_id: str | None = None
    nas: str | None = None
    code: str | None = None
    submitted_at: str | None = None
    status: str | None = None
    processed_timestamp: str | None = None


_known: Final = msgspec.json.Decoder(_Known)


# Not split up: it runs for every vote.
def _fast(body: bytes, poll_key: bytes) -> ParsedVote | None:  # noqa: PLR0911, PLR0912, PLR0915
    """Parse a body whose aliases agree and which holds no unknown field.

    Each field name takes two quotation marks and each string two more. If the body has exactly
    those of the fields found, and no backslash, then no field occurs twice, none is unknown, and
    no string holds a quotation mark, a NUL or a surrogate.

    Returns:
        None for every other body, well-formed or not.
    """
    if b'"poll_id"' in body:
        return read_poll_vote(body, poll_key)
    if b"\\" in body:
        return None
    try:
        m = _known.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    vote_hash = m.vote_hash or m.voter_hash or m.hash
    if not vote_hash or len(vote_hash) > MAX_HASH_BYTES or not vote_hash.isascii():
        return None
    quotes = 0
    for alias in (m.vote_hash, m.voter_hash, m.hash):
        if alias is not None:
            if alias != vote_hash:
                return None
            quotes += 4
    metadata: str | None = None
    if m.submitted_at is not None:
        quotes += 4
        metadata = f'{{"submitted_at":"{m.submitted_at}"}}'
    if m.nas is not None:
        quotes += 4
    if m.code is not None:
        quotes += 4
    if m.status is not None:
        if metadata is not None or m.processed_timestamp is None:
            return None
        quotes += 8
        metadata = f'{{"status":"{m.status}","processed_timestamp":"{m.processed_timestamp}"}}'
    elif m.processed_timestamp is not None:
        return None

    choice = ""
    candidate: str | None = None
    contest = m.law_id
    if contest is not None:
        quotes += 8
        if m.choice is not None and m.vote is not None:
            if m.choice != m.vote:
                return None
            quotes += 4
        choice = CHOICES.get(m.choice or m.vote or "", "")
        if not choice or not contest or contest.startswith(_RESERVED):
            return None
    elif m.candidate_id is not None:
        quotes += 4 if type(m.candidate_id) is str else 2
        candidate = str(m.candidate_id)
        contest = ""
        if m.election_id is not None:
            quotes += 4 if type(m.election_id) is str else 2
            contest = str(m.election_id)
        # A quarter, because a character takes up to four bytes.
        if not candidate or len(candidate) > MAX_ID_BYTES // 4:
            return None
    else:
        return None
    if len(contest) > MAX_ID_BYTES // 4:
        return None

    time = m.timestamp if m.timestamp is not None else m.vote_timestamp
    if m.timestamp is not None and m.vote_timestamp is not None:
        if m.timestamp != m.vote_timestamp:
            return None
        quotes += 4 if type(m.vote_timestamp) is str else 2
    micros: int | None = None
    if time is not None:
        if type(time) is str:
            quotes += 4
            micros = parse_iso(time)
        else:
            quotes += 2
            micros = parse_epoch(time)  # type: ignore[arg-type]
        if micros is None:
            return None
    citizen = m.citizen_id
    if citizen is not None:
        quotes += 4
        if len(citizen) > MAX_ID_BYTES // 4:
            return None
    if quotes != body.count(b'"'):
        return None
    return ParsedVote(vote_hash, contest, candidate, choice, micros, citizen, metadata)

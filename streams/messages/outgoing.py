"""Converts verdict batches to RabbitMQ messages. Pure."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterator
from typing import Final

import msgspec

from schemas.review import Body, Review
from schemas.verdicts import UNREPORTED, Reason, Rejection, VerdictBatch
from schemas.votes import Kind, Malformed, Vote, VoteBatch
from streams.core.kept_body import kept_head
from streams.core.keys import ELECTION_PREFIX
from streams.core.polls import POLL_PREFIX, is_number
from streams.core.rows import item_at
from streams.messages.timestamps import format_ms, format_us

POLL_EXCHANGE: Final = "poll_updates"
POLL_ROUTING_KEY: Final = "poll.vote_update"

PATTERN_CHARACTERS: Final = 8
"""Of an unknown hash; those that begin alike are counted together."""

_NO_VOTE: Final = (None,) * 8
"""The fields of :class:`schemas.review.Review` that a malformed message leaves empty."""

_encode: Final = msgspec.json.Encoder().encode


class Publication(msgspec.Struct, frozen=True, gc=False):
    """A message to publish."""

    message_id: str
    """Stays the same when this verdict is published again."""
    body: bytes


class CountedVote(msgspec.Struct, frozen=True):
    """The message on `votes.aggregation`, with the field names of all aggregators that read it."""

    voter_hash: str
    vote_hash: str
    citizen_id: str | None
    vote: str
    choice: str
    vote_timestamp: str
    timestamp: str
    status: str
    processed_timestamp: str
    law_id: str | msgspec.UnsetType = msgspec.UNSET
    candidate_id: str | msgspec.UnsetType = msgspec.UNSET
    election_id: str | msgspec.UnsetType = msgspec.UNSET


class ReceiptMessage(msgspec.Struct, frozen=True):
    """The message on `votes.receipts`."""

    identity: str
    """Of the message that was sent: BLAKE2b, 16 bytes, of (`message_id`, body) in hexadecimal; see
    proof/SPECIFICATION.md, section 3."""
    status: str
    """`accepted`, `invalid`, `duplicate` or `malformed`."""
    reason: str
    receipt: str
    """For `GET /votes/{receipt}` and `GET /v2/receipts/{receipt}`; it is the voter's alone."""


class PollUpdate(msgspec.Struct, frozen=True):
    """One more vote in a poll, as external poll services read it."""

    voter_name: str
    """Empty in a poll without voter names."""
    poll_id: int
    option_id: int
    delta: int = 1


Admits = Callable[[Vote | Malformed, Rejection, int], bool]
"""Whether to publish a rejected item; the last argument is its ingest time in Unix milliseconds."""


def reviews(
    verdicts: VerdictBatch, record: VoteBatch, admits: Admits = lambda *_: True
) -> list[Publication]:
    """One review message for every rejected item, except replays and void items.

    Args:
        verdicts: as read.
        record: its input record, decoded.
        admits: filter; an item is left out where it returns False.
    """
    return [
        Publication(
            message_id=message_id_of(item.identity, rejection.status, rejection.attempt),
            body=_encode(
                _of_vote(item, rejection, record.ingest_ms)
                if isinstance(item, Vote)
                else _of_malformed(item, rejection, record.ingest_ms)
            ),
        )
        for rejection in verdicts.rejections
        if rejection.status not in UNREPORTED
        for item in (item_at(record, rejection.index),)
        if admits(item, rejection, record.ingest_ms)
    ]


def counted_votes(verdicts: VerdictBatch, record: VoteBatch) -> list[Publication]:
    """One message for every accepted vote."""
    processed = format_ms(record.ingest_ms)
    return [
        Publication(message_id_of(vote.identity, "valid", 0), _encode(_counted(vote, processed)))
        for vote in accepted(verdicts, record)
    ]


def poll_updates(verdicts: VerdictBatch, record: VoteBatch) -> list[Publication]:
    """One message for every accepted vote in a poll.

    Args:
        verdicts: as read.
        record: its input record, decoded.
    """
    found = []
    for vote in accepted(verdicts, record):
        poll = vote.contest.removeprefix(POLL_PREFIX)
        # A contest announced by hand under the poll prefix has no page and no number.
        if poll == vote.contest or not is_number(poll) or not is_number(vote.choice):
            continue
        kept = {} if vote.metadata is None else msgspec.json.decode(vote.metadata)
        update = PollUpdate(str(kept.get("voter_name", "")), int(poll), int(vote.choice))
        found.append(Publication(message_id_of(vote.identity, "counted", 0), _encode(update)))
    return found


def receipt_messages(
    verdicts: VerdictBatch, record: VoteBatch, seal: Callable[[Vote | Malformed], str]
) -> list[Publication]:
    """One receipt for every verdict.

    Args:
        verdicts: as read.
        record: its input record, decoded.
        seal: makes the receipt of an item.
    """
    rejections = {rejection.index: rejection for rejection in verdicts.rejections}
    found = []
    items: list[Vote | Malformed] = [*record.votes, *record.malformed]
    for index, item in enumerate(items):
        rejection = rejections.get(index)
        status, reason = (rejection.status, rejection.reason) if rejection else ("accepted", "")
        if status in UNREPORTED:
            continue
        message = ReceiptMessage(item.identity.hex(), status, reason, seal(item))
        attempt = rejection.attempt if rejection else 0
        name = message_id_of(item.identity, f"receipt {status}", attempt)
        found.append(Publication(name, _encode(message)))
    return found


def accepted(verdicts: VerdictBatch, record: VoteBatch) -> Iterator[Vote]:
    """The votes of a record that were not rejected."""
    rejected = {rejection.index for rejection in verdicts.rejections}
    return (vote for index, vote in enumerate(record.votes) if index not in rejected)


def has_reviews(verdicts: VerdictBatch) -> bool:
    """Whether any item needs a review, without decoding the record."""
    return any(rejection.status not in UNREPORTED for rejection in verdicts.rejections)


def message_id_of(identity: bytes, status: str, attempt: int) -> str:
    """A message id derived from identity and status, and from the attempt number if it is not 0.

    A voter may send the same bytes three times without a `message_id`. These are one identity
    and two duplicate attempts, and each needs its own review.
    """
    text = status if attempt == 0 else f"{status} {attempt}"
    return hashlib.blake2b(identity + text.encode(), digest_size=16).hexdigest()


def _of_vote(vote: Vote, rejection: Rejection, ingest_ms: int) -> Review:
    law = vote.kind == Kind.LAW
    return Review(
        voter_hash=vote.hash,
        vote_hash=vote.hash,
        citizen_id=vote.citizen_id,
        law_id=vote.contest if law else None,
        candidate_id=None if law else vote.choice,
        vote=vote.choice,
        choice=vote.choice,
        vote_timestamp=format_us(vote.timestamp_us),
        status=rejection.status,
        reason=rejection.reason,
        attempt_count=rejection.attempt,
        processed_timestamp=format_ms(ingest_ms),
        error_pattern=(
            vote.hash[:PATTERN_CHARACTERS] if rejection.reason == Reason.NOT_ON_ROLL else None
        ),
    )


def _of_malformed(item: Malformed, rejection: Rejection, ingest_ms: int) -> Review:
    return Review(
        *_NO_VOTE,
        status=rejection.status,
        reason=rejection.reason,
        attempt_count=rejection.attempt,
        processed_timestamp=format_ms(ingest_ms),
        body=Body(
            base64=base64.b64encode(kept_head(item.head)).decode(),
            length=item.length,
            sha256=item.sha256.hex(),
        ),
    )


def _counted(vote: Vote, processed: str) -> CountedVote:
    law = vote.kind == Kind.LAW
    election = "" if law else vote.contest.removeprefix(ELECTION_PREFIX)
    voted = format_us(vote.timestamp_us)
    return CountedVote(
        voter_hash=vote.hash,
        vote_hash=vote.hash,
        citizen_id=vote.citizen_id,
        vote=vote.choice,
        choice=vote.choice,
        vote_timestamp=voted,
        timestamp=voted,
        status="valid",
        processed_timestamp=processed,
        law_id=vote.contest if law else msgspec.UNSET,
        candidate_id=msgspec.UNSET if law else vote.choice,
        election_id=election or msgspec.UNSET,
    )

"""Database rows of verdict batches; pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec

from schemas.verdicts import UNREPORTED, Rejection, Status, VerdictBatch
from schemas.votes import REPLAYABLE, Kind, Malformed, Vote, VoteBatch
from streams.core.kept_body import kept_head
from streams.core.keys import stored_hash
from streams.core.polls import POLL_PREFIX
from streams.core.ranking import first_choice
from streams.core.rules import epoch_of

_LAW: Final = int(Kind.LAW)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_MAX_BIGINT_DIGITS: Final = 18

MAX_TIMESTAMP_US: Final = 253_402_300_799_999_999
"""9999-12-31T23:59:59.999999Z, the maximum of Python's `datetime`."""

AUDIT_COLUMNS: Final = (
    "vote_hash",
    "voter_hash",
    "citizen_id",
    "law_id",
    "contest",
    "candidate_id",
    "choice",
    "timestamp",
    "processed_timestamp",
    "metadata",
    "source_partition",
    "source_offset",
    "source_index",
)
REJECTED_COLUMNS: Final = (
    *AUDIT_COLUMNS,
    "status",
    "reason",
    "attempt_count",
    "identity",
    "body_head",
    "body_length",
    "body_sha256",
    "weight",
)

Row = tuple[object, ...]


def moment(timestamp_us: int) -> datetime:
    """A point in time, from Unix microseconds."""
    return _EPOCH + timestamp_us * _MICROSECOND


def unix_us(at: datetime) -> int:
    """Unix microseconds of a point in time."""
    return (at - _EPOCH) // _MICROSECOND


@dataclass(frozen=True, slots=True)
class SourcePosition:
    """Position of a record in the input log, and when the bridge took it in."""

    partition: int
    offset: int
    ingested: datetime
    epoch: int = 0


def source_of(verdicts: VerdictBatch, batch: VoteBatch) -> SourcePosition:
    """Position of the record that the verdicts are about."""
    ingested = moment(batch.ingest_ms * 1000)
    return SourcePosition(verdicts.partition, verdicts.offset, ingested, epoch_of(batch))


@dataclass(frozen=True, slots=True)
class RejectedItem:
    """An item of a batch with its rejection."""

    source: SourcePosition
    rejection: Rejection
    item: Vote | Malformed
    weight: int = 1
    """Of a vote that was replaced."""

    @property
    def may_be_known(self) -> bool:
        """Whether an earlier delivery of the same message may have written the row."""
        # Validation recognises replays of duplicates and of replaced votes; other rejections leave
        # no table entry.
        judged = self.rejection.status in {Status.DUPLICATE, Status.REPLACED}
        return not judged and bool(self.item.flags & REPLAYABLE)


def split(
    verdicts: VerdictBatch, batch: VoteBatch
) -> tuple[list[tuple[int, Vote]], list[RejectedItem]]:
    """Accepted votes with their index, and the rejected items that leave a row."""
    source = source_of(verdicts, batch)
    if not verdicts.rejections:
        return list(enumerate(batch.votes)), []
    refused = {rejection.index for rejection in verdicts.rejections}
    accepted = [(i, vote) for i, vote in enumerate(batch.votes) if i not in refused]
    rejected = [
        RejectedItem(source, rejection, item_at(batch, rejection.index))
        for rejection in verdicts.rejections
        if rejection.status not in UNREPORTED
    ]
    return accepted, rejected


def item_at(batch: VoteBatch, index: int) -> Vote | Malformed:
    """The item of a number: votes first, malformed messages after them."""
    votes = batch.votes
    return votes[index] if index < len(votes) else batch.malformed[index - len(votes)]


def audit_rows(
    verdicts: VerdictBatch, batch: VoteBatch, accepted: list[tuple[int, Vote]]
) -> Iterator[Row]:
    """Rows of `vote_audit`, in :data:`AUDIT_COLUMNS`."""
    source = source_of(verdicts, batch)
    for index, vote in accepted:
        yield _vote_row(source, index, vote)


def rejected_row(rejected: RejectedItem) -> Row:
    """A row of `rejected_votes`, in :data:`REJECTED_COLUMNS`."""
    item, rejection, source = rejected.item, rejected.rejection, rejected.source
    # A replaced vote may be in the database already, which does not store its identity.
    identity = b"" if rejection.status == Status.REPLACED else item.identity
    verdict = (rejection.status, rejection.reason, rejection.attempt, identity)
    if isinstance(item, Vote):
        row = _vote_row(source, rejection.index, item)
        return (*row, *verdict, None, None, None, rejected.weight)
    place = (source.partition, source.offset, rejection.index)
    empty = (None,) * 8
    return (
        *empty,
        source.ingested,
        None,
        *place,
        *verdict,
        kept_head(item.head),
        item.length,
        item.sha256,
        rejected.weight,
    )


def _vote_row(source: SourcePosition, index: int, vote: Vote) -> Row:
    law = vote.kind == _LAW
    return (
        stored_hash(vote.hash, vote.contest, vote.kind),
        vote.hash,
        vote.citizen_id,
        vote.contest if law else None,
        vote.contest,
        None if law else candidate_id(vote.choice),
        vote.choice,
        moment(vote.timestamp_us),
        source.ingested,
        stored_metadata(vote),
        source.partition,
        source.offset,
        index,
    )


def stored_metadata(vote: Vote) -> str | None:
    """The metadata without a poll voter's name: nothing reads it in PostgreSQL."""
    if vote.metadata is None or not vote.contest.startswith(POLL_PREFIX):
        return vote.metadata
    kept = msgspec.json.decode(vote.metadata)
    if not isinstance(kept, dict) or kept.pop("voter_name", None) is None:
        return vote.metadata
    return msgspec.json.encode(kept).decode() if kept else None


def candidate_id(choice: str) -> int | None:
    """The column of the same name."""
    # The column is a number, as in the replaced service; for a ranking it is the first candidate.
    # Ids that are not numbers are in `choice` only.
    choice = first_choice(choice)
    if choice.isascii() and choice.isdigit() and len(choice) <= _MAX_BIGINT_DIGITS:
        return int(choice)
    return None

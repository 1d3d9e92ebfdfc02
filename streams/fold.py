"""One step of the fold that validation is: an input record in, its two derived records out; pure.

The running stage and the rebuilds share it, so that what is rebuilt is what was.
"""

from __future__ import annotations

import msgspec

from schemas.codec import ChangelogRecord, InputRecord, encode
from schemas.genesis import Genesis
from schemas.skip import Skip
from schemas.verdicts import Rejection, VerdictBatch
from schemas.voted import CHANGELOG_KEY, ControlRecord, VotedRecord
from schemas.votes import VoteBatch
from streams.decide import decide
from streams.log_writer import OutRecord
from streams.topics import VALIDATED_TOPIC
from streams.voted import VotedPartition


def fold(state: VotedPartition, log_id: bytes, offset: int, record: InputRecord) -> ChangelogRecord:
    """Decide on a record and apply the change to the table.

    Args:
        state: the voted table as it was after the record before this one.
        log_id: identity of the partition's log.
        offset: of the record.
        record: decoded.
    """
    change: ChangelogRecord
    match record:
        case VoteBatch():
            change = decide(record, offset, log_id, state.get, state.rules)
        case Genesis() | Skip():
            change = VotedRecord(log_id, b"", [], [], [])
        case _:
            change = ControlRecord(log_id, record)
    state.apply(offset, change)
    return change


def changelog_record(topic: str, partition: int, offset: int, change: ChangelogRecord) -> OutRecord:
    """The change as a record of the voted table's changelog."""
    return OutRecord(topic, partition, encode(change), CHANGELOG_KEY.pack(offset))


def verdict_record(
    partition: int, log_id: bytes, offset: int, rejections: list[Rejection], raw: bytes
) -> OutRecord:
    """The verdicts as a record of `votes.validated`.

    Args:
        partition: of the input record.
        log_id: identity of the partition's log.
        offset: of the input record.
        rejections: by ascending index.
        raw: the input record, encoded.
    """
    batch = VerdictBatch(
        log_id=log_id,
        partition=partition,
        offset=offset,
        previous_offset=offset - 1,
        rejections=rejections,
        record=msgspec.Raw(raw),
    )
    return OutRecord(VALIDATED_TOPIC, partition, encode(batch))

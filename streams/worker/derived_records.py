"""The two records that validation derives from an input record."""

from __future__ import annotations

import msgspec

from schemas.codec import ChangelogRecord, encode
from schemas.verdicts import Rejection, VerdictBatch
from schemas.voted import CHANGELOG_KEY
from streams.core.records import OutRecord
from streams.core.topics import VALIDATED_TOPIC


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

"""One step of validation: an input record in, its two derived records out; pure.

The running stage and the rebuilds share this step, so a rebuild derives what the stage wrote.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from schemas.codec import ChangelogRecord, InputRecord, encode
from schemas.control import EpochOpened
from schemas.genesis import Genesis, RehearsalGenesis
from schemas.skip import Skip
from schemas.verdicts import Acceptance, Rejection, VerdictBatch, WeighedVerdictBatch
from schemas.voted import CHANGELOG_KEY, ControlRecord, VotedRecord
from schemas.votes import VoteBatch
from streams.core.decide import decide
from streams.core.records import OutRecord
from streams.core.topics import VALIDATED_TOPIC
from streams.core.voted_partition import VotedPartition


class Transition(NamedTuple):
    """What one input record leads to."""

    change: ChangelogRecord
    """The change of the voted table, applied already."""
    changelog: OutRecord
    """The change, as a record of the table's changelog."""
    verdicts: OutRecord
    """The verdicts, as a record of `votes.validated`."""


def apply_record(
    state: VotedPartition,
    log_id: bytes,
    offset: int,
    record: InputRecord,
    raw: bytes,
    *,
    changelog_topic: str,
) -> Transition:
    """Decide on a record, apply the change to the table and derive both records.

    Args:
        state: the voted table after the previous record; changed in place.
        log_id: identity of the partition's log.
        offset: of the record.
        record: decoded.
        raw: the record, encoded; the verdicts carry it.
        changelog_topic: of the voted table.
    """
    change: ChangelogRecord
    match record:
        case VoteBatch():
            change = decide(record, offset, log_id, state.get, state.rules)
        case RehearsalGenesis() if offset == 0:
            change = ControlRecord(log_id, record)
        case Genesis() | Skip():
            change = VotedRecord(log_id, b"", [], [], [])
        case EpochOpened() if not state.rules.rehearsal:
            # Nobody may reset this log. The changelog does not mention the record, so no reader of
            # the table can follow it.
            state.rules.ignored += 1
            change = VotedRecord(log_id, b"", [], [], [])
        case _:
            change = ControlRecord(log_id, record)
    state.apply(offset, change)
    partition = state.partition
    return Transition(
        change,
        OutRecord(changelog_topic, partition, encode(change), CHANGELOG_KEY.pack(offset)),
        _verdicts(state, log_id, offset, raw),
    )


def recall_verdicts(state: VotedPartition, log_id: bytes, offset: int, raw: bytes) -> OutRecord:
    """The verdicts on a record that was applied before, as a record of `votes.validated`.

    Args:
        state: the voted table, which keeps the rejections of recent records.
        log_id: identity of the partition's log.
        offset: of the record.
        raw: the record, encoded.

    Raises:
        RecoveryFailed: the record is older than what the table keeps.
    """
    return _verdicts(state, log_id, offset, raw)


def _verdicts(state: VotedPartition, log_id: bytes, offset: int, raw: bytes) -> OutRecord:
    batch = verdicts_on(
        log_id,
        state.partition,
        offset,
        rejections=state.rejections(offset),
        acceptances=state.acceptances(offset),
        raw=raw,
    )
    return OutRecord(VALIDATED_TOPIC, state.partition, encode(batch))


def verdicts_on(
    log_id: bytes,
    partition: int,
    offset: int,
    *,
    rejections: list[Rejection],
    acceptances: list[Acceptance],
    raw: bytes,
) -> VerdictBatch:
    """The verdicts on one record, in the oldest version that can express them."""
    fields = (log_id, partition, offset, offset - 1, rejections, msgspec.Raw(raw))
    return WeighedVerdictBatch(*fields, acceptances) if acceptances else VerdictBatch(*fields)

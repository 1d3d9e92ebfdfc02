"""One step of the fold that validation is: an input record in, its two derived records out; pure.

The running stage and the rebuilds share it, so that what is rebuilt is what was.
"""

from __future__ import annotations

from schemas.codec import ChangelogRecord, InputRecord
from schemas.genesis import Genesis
from schemas.skip import Skip
from schemas.voted import ControlRecord, VotedRecord
from schemas.votes import VoteBatch
from streams.core.decide import decide
from streams.core.voted_partition import VotedPartition


def apply_record(
    state: VotedPartition, log_id: bytes, offset: int, record: InputRecord
) -> ChangelogRecord:
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

"""Laws of the voted table's state: records may come twice, late and in any order."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.verdicts import Rejection, Status
from schemas.voted import FIRST_VOTE, Repeat, VotedRecord
from schemas.votes import VoteBatch
from streams.core.decide import VoterEntry, decide
from streams.core.recent_verdicts import RECENT_RECORDS
from streams.core.voted_partition import VotedPartition
from streams.errors import LogMismatch, RecoveryFailed
from streams.worker.validation import VALIDATION_GROUP_RECORDS
from tests.strategies import LOG_ID, identity, logs

KEY = bytes(32)
EMPTY = VotedRecord(LOG_ID, b"", [], [], [])


def first_vote(key: bytes = KEY, *, index: int = 0, name: object = "a") -> VotedRecord:
    packed = FIRST_VOTE.pack(key, index, 0, identity(name)[:8])
    return VotedRecord(LOG_ID, packed, ["L"], [], [])


def repeat(attempts: int, *, offset: int = 1, key: bytes = KEY) -> VotedRecord:
    later = [identity(n)[:8] for n in range(attempts)]
    return VotedRecord(
        LOG_ID, b"", [], [Repeat(key, offset, 0, identity("a")[:8], attempts, later)], []
    )


def changelog(log: list[VoteBatch]) -> tuple[VotedPartition, list[VotedRecord]]:
    table = VotedPartition(0)
    records = []
    for offset, batch in enumerate(log):
        records.append(decide(batch, offset, LOG_ID, table.get))
        table.apply(offset, records[-1])
    return table, records


def content(table: VotedPartition) -> dict[bytes, VoterEntry | None]:
    return {key: table.get(key) for key in table}


def verdicts(table: VotedPartition, count: int) -> list[list[Rejection]]:
    return [table.rejections(offset) for offset in range(count)]


def at(applied: int, partition: int = 0) -> VotedPartition:
    """A table that has applied everything up to an offset."""
    return VotedPartition(partition, applied=applied)


def test_an_entry_gives_back_what_was_applied() -> None:
    table = at(2**40 - 1)
    table.apply(2**40, first_vote(index=65_535, name="x"))
    assert table.get(KEY) == VoterEntry(2**40, 65_535, identity("x")[:8])
    assert len(table) == 1
    assert list(table) == [KEY]
    assert table.get(b"?" * 32) is None


def test_the_extremes_of_an_identity_and_an_index_do_not_run_into_each_other() -> None:
    table = VotedPartition(0)
    for offset, (index, name) in enumerate([(0, b"\xff" * 8), (65_535, bytes(8))]):
        key = bytes([offset]) * 32
        packed = FIRST_VOTE.pack(key, index, 0, name)
        table.apply(offset, VotedRecord(LOG_ID, packed, ["L"], [], []))
        assert table.get(key) == VoterEntry(offset, index, name)


def test_a_late_record_does_not_move_a_first_vote_back_or_forth() -> None:
    table = at(1)
    table.apply(2, first_vote(name="early"))
    for offset in (2, 1, 0):
        table.apply(offset, first_vote(name="late"))
    assert table.get(KEY) == VoterEntry(2, 0, identity("early")[:8])


def test_a_record_that_comes_early_waits_for_those_before_it() -> None:
    table = at(1)
    table.apply(3, repeat(1, offset=2))
    assert table.get(KEY) is None
    table.apply(2, first_vote())
    entry = table.get(KEY)
    assert entry is not None
    assert (entry.offset, entry.attempts, table.applied) == (2, 1, 3)


def test_a_late_record_does_not_lower_the_attempts() -> None:
    table = at(0)
    table.apply(1, first_vote())
    table.apply(2, repeat(1))
    table.apply(3, repeat(2))
    table.apply(2, repeat(1))
    entry = table.get(KEY)
    assert entry is not None
    assert entry.attempts == 2
    assert len(entry.later) == 2


def test_a_repeat_alone_is_whole() -> None:
    table = at(8)
    table.apply(9, repeat(4, offset=1))
    entry = table.get(KEY)
    assert entry is not None
    assert (entry.offset, entry.index, entry.identity, entry.attempts) == (
        1,
        0,
        identity("a")[:8],
        4,
    )


@given(logs, st.data())
def test_any_order_with_any_repetition_gives_the_same_table(
    log: list[VoteBatch], data: st.DataObject
) -> None:
    expected, records = changelog(log)
    offsets = data.draw(st.permutations(range(len(log))))
    extra = data.draw(st.lists(st.sampled_from(range(len(log))), max_size=6))
    table = VotedPartition(0)
    for offset in [*offsets, *extra]:
        table.apply(offset, records[offset])
    assert content(table) == content(expected)
    assert table.applied == expected.applied == len(log) - 1
    table.check_complete()
    assert verdicts(table, len(log)) == verdicts(expected, len(log))


@given(logs, st.data())
def test_old_records_between_new_ones_never_set_an_entry_back(
    log: list[VoteBatch], data: st.DataObject
) -> None:
    """A worker that was thought dead writes what it had decided long ago."""
    _, records = changelog(log)
    table, expected = VotedPartition(0), VotedPartition(0)
    for offset, record in enumerate(records):
        table.apply(offset, record)
        expected.apply(offset, record)
        for old in data.draw(st.lists(st.integers(0, offset), max_size=3)):
            table.apply(old, records[old])
        assert content(table) == content(expected)
        assert table.applied == offset


def test_applied_is_the_last_offset_without_a_hole_before_it() -> None:
    table = VotedPartition(0)
    seen = []
    for offset in (0, 1, 3, 5, 2, 3, 4):
        table.apply(offset, EMPTY)
        seen.append(table.applied)
    assert seen == [0, 1, 1, 1, 3, 3, 5]
    table.check_complete()


def test_a_new_partition_has_applied_nothing() -> None:
    table = VotedPartition(0)
    assert table.applied == -1
    assert table.log_id is None
    assert len(table) == 0
    table.check_complete()


def test_the_missing_record_is_named() -> None:
    table = VotedPartition(2)
    for offset in (0, 1, 4, 7):
        table.apply(offset, EMPTY)
    with pytest.raises(RecoveryFailed, match=r"offset 2 but has that of 4 .*partition 2"):
        table.check_complete()


def test_a_missing_first_record_is_named() -> None:
    table = VotedPartition(0)
    table.apply(1, EMPTY)
    with pytest.raises(RecoveryFailed, match="offset 0 but has that of 1"):
        table.check_complete()


def test_records_of_two_logs_are_refused() -> None:
    table = VotedPartition(4)
    table.apply(0, EMPTY)
    with pytest.raises(LogMismatch, match="two different input logs") as caught:
        table.apply(1, VotedRecord(b"?" * 16, b"", [], [], []))
    assert caught.value.where == {"table": "voted", "partition": 4, "offset": 1}
    assert table.applied == 0


def test_verdicts_of_the_latest_records_are_kept() -> None:
    table = VotedPartition(1)
    count = RECENT_RECORDS + 10
    for offset in range(count):
        rejection = Rejection(offset % 100, Status.INVALID, "not_on_roll")
        table.apply(offset, VotedRecord(LOG_ID, b"", [], [], [rejection]))
    for offset in (count - RECENT_RECORDS, count - 1):
        assert table.rejections(offset)[0].index == offset % 100
    for offset in (0, count - RECENT_RECORDS - 1):
        with pytest.raises(RecoveryFailed, match=rf"too old .*offset {offset}\b"):
            table.rejections(offset)
    with pytest.raises(RecoveryFailed):
        table.rejections(count)


def test_late_records_do_not_push_verdicts_out_that_are_needed() -> None:
    """A zombie's old records must not cost what a takeover has to emit again."""
    table = VotedPartition(0)
    count = 2 * RECENT_RECORDS
    for offset in range(count):
        table.apply(offset, EMPTY)
    for offset in range(100):
        table.apply(offset, EMPTY)
    for offset in range(count - RECENT_RECORDS, count):
        assert table.rejections(offset) == []


def test_a_whole_group_can_be_emitted_again() -> None:
    """A worker may end between a group's changelog and its verdicts: all must be in memory."""
    assert VALIDATION_GROUP_RECORDS <= RECENT_RECORDS // 2

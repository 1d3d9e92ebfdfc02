"""The pure parts of the rebuilds: what is missing, what is wrong, and a log from rows."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given

from schemas.codec import decode_verdicts, encode
from schemas.votes import VoteBatch
from streams.core.keys import stored_hash
from streams.core.rows import AUDIT_COLUMNS, REJECTED_COLUMNS, audit_rows, rejected_row, split
from streams.core.transition import apply_record
from streams.core.voted_partition import VotedPartition
from streams.errors import LogMismatch
from streams.maintenance.derived import DerivedFinding, _compare
from streams.maintenance.sources import AUDIT_BRIDGE, batch_of
from streams.maintenance.topics import Marks
from tests.strategies import LOG_ID, logs

EXPECTED = [b"a", b"b", b"c", b"d"]


def compared(
    present: list[tuple[int, bytes]], *, ordered: bool, expected: int = 3
) -> DerivedFinding:
    finding = DerivedFinding(0, expected)
    _compare(finding, present, EXPECTED, ordered=ordered)
    return finding


@pytest.mark.parametrize("ordered", [False, True])
def test_what_is_there_and_right_needs_nothing(ordered: bool) -> None:
    right = compared([(0, b"a"), (1, b"b"), (1, b"b"), (2, b"c"), (0, b"a")], ordered=ordered)
    assert right.right
    further = compared([(0, b"a"), (1, b"b"), (2, b"c"), (3, b"d")], ordered=ordered)
    assert further.right


@pytest.mark.parametrize("ordered", [False, True])
def test_an_end_that_is_missing_is_told(ordered: bool) -> None:
    finding = compared([(0, b"a")], ordered=ordered)
    assert (finding.missing, finding.wrong, finding.missing_offsets) == (2, 0, {1, 2})


def test_a_hole_is_filled_where_order_does_not_matter() -> None:
    finding = compared([(0, b"a"), (2, b"c")], ordered=False)
    assert (finding.wrong, finding.missing_offsets) == (0, {1})
    assert compared([(0, b"a"), (2, b"c")], ordered=True).wrong == 1


@pytest.mark.parametrize("ordered", [False, True])
@pytest.mark.parametrize("strange", [(1, b"x"), (4, b"e"), (0, b"b")])
def test_what_the_log_does_not_say_is_wrong(strange: tuple[int, bytes], ordered: bool) -> None:
    finding = compared([(0, b"a"), (1, b"b"), (2, b"c"), strange], ordered=ordered)
    assert finding.wrong == 1
    assert not finding.right


def test_marks_beyond_the_log_are_a_mismatch() -> None:
    marks = Marks({0: 5, 1: 5}, decided={0: 4}, emitted={0: 2, 1: 4}, counted={})
    assert marks.ends(marks.decided, marks.emitted, marks.counted) == {0: 5, 1: 5}
    marks.counted[1] = 5
    with pytest.raises(LogMismatch, match="Input offset 5 was decided, but the log ends at 4"):
        marks.ends(marks.counted)


def outcome(log: list[VoteBatch]) -> tuple[list[dict[str, Any]], Counter[Any]]:
    """Rows of the database by their columns, and how often each verdict was given."""
    table = VotedPartition(0)
    rows: list[dict[str, Any]] = []
    verdicts: Counter[Any] = Counter()
    for offset, batch in enumerate(log):
        made = apply_record(table, LOG_ID, offset, batch, encode(batch), changelog_topic="c")
        given_verdicts = decode_verdicts(made.verdicts.value or b"")
        accepted, rejected = split(given_verdicts, batch)
        empty: dict[str, Any] = dict.fromkeys(REJECTED_COLUMNS)
        own = [
            {**empty, **dict(zip(AUDIT_COLUMNS, row, strict=True))}
            for row in audit_rows(given_verdicts, batch, accepted)
        ]
        own += [dict(zip(REJECTED_COLUMNS, rejected_row(r), strict=True)) for r in rejected]
        rows += sorted(own, key=lambda row: row["source_index"])
        verdicts.update(
            ("counted", stored_hash(v.hash, v.contest, v.kind), v.choice, batch.ingest_ms)
            for _, v in accepted
        )
        verdicts.update(
            (r.rejection.status, r.rejection.reason, r.rejection.attempt, r.item.identity)
            for r in rejected
        )
    return rows, verdicts


@given(logs)
def test_a_log_from_rows_leads_to_the_same_rows(log: list[VoteBatch]) -> None:
    rows, verdicts = outcome(log)
    offsets = sorted({row["source_offset"] for row in rows})
    again = [batch_of([r for r in rows if r["source_offset"] == offset]) for offset in offsets]
    assert all(batch.bridge == AUDIT_BRIDGE for batch in again)
    assert outcome(again)[1] == verdicts

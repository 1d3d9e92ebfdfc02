"""Compares sums over all partitions with the tables of totals and with signed totals."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

from streams.core.rows import unix_us
from streams.maintenance.recount.findings import (
    DifferenceKind,
    PartitionRecount,
    RecountFinding,
    Totals,
    add_windows,
    added,
    digest_of,
)
from streams.proof.checkpoints import Checkpoint

_CONTESTS: Final = "SELECT contest_id, choice, votes FROM contest_results WHERE votes <> 0"
_LAWS: Final = "SELECT law_id, oui_count, non_count FROM vote_results"
_WINDOWS: Final = "SELECT contest, choice, window_start, votes FROM vote_windows WHERE votes <> 0"
_DUPLICATES: Final = "SELECT vote_hash, attempt_count FROM duplicate_attempts"
_CHECKPOINTS: Final = "SELECT note FROM proof_checkpoints ORDER BY size LIMIT $1"
_STRAY: Final = """
SELECT source_partition, source_offset, source_index FROM {table}
WHERE NOT source_partition = ANY ($1::int[]) LIMIT 1
"""
_CLOSINGS: Final = """
SELECT k.command_id, c.contest_id, k.partition, k.source_offset
FROM control_progress AS k JOIN contest_closings AS c USING (command_id)
"""


async def compare_whole(
    connection: Any,
    parts: list[PartitionRecount],
    last: Checkpoint | None,
    findings: list[RecountFinding],
    sum_key: bytes,
) -> None:
    """Compare what all partitions add up to.

    Args:
        connection: in the transaction whose snapshot the partitions were read in.
        parts: of all partitions.
        last: of the checkpoints to compare; None: there are none.
        findings: what differs is added there.
        sum_key: of the digests of the partitions.
    """
    # Sums of partitions that were not counted to their end say nothing.
    broken = {
        DifferenceKind.LOG_TRUNCATED,
        DifferenceKind.LOG_REPLACED,
        DifferenceKind.LOG_UNREADABLE,
    }
    if any(finding.kind in broken for finding in findings):
        return
    sums = _Sums(parts)
    findings += await _tables(connection, sums, sum_key)
    if last is not None:
        findings += await _signed(connection, parts, sums, last)
    findings += await _closings(connection, parts)
    partitions = [part.partition for part in parts]
    for table in ("vote_audit", "rejected_votes"):
        for row in await connection.fetch(_STRAY.format(table=table), partitions):
            what = "A row is of a partition that the log does not have"
            findings.append(
                RecountFinding(DifferenceKind.ROW_ADDED, what, table, row[0], row[1], row[2])
            )


class _Sums:
    def __init__(self, parts: list[PartitionRecount]) -> None:
        self.laws: Totals = Counter()
        self.contests: Totals = Counter()
        self.windows: dict[str, int] = {}
        self.revoted: set[str] = set()
        self.duplicates = 0
        for part in parts:
            self.laws.update(part.laws)
            self.contests.update(part.contests)
            for contest, digests in part.windows.items():
                self.windows[contest] = added(self.windows.get(contest, 0), digests)
            self.revoted |= part.revoted
            self.duplicates = added(self.duplicates, part.duplicates)


async def _tables(connection: Any, sums: _Sums, sum_key: bytes) -> list[RecountFinding]:
    contests = {(r[0], r[1]): r[2] for r in await connection.fetch(_CONTESTS)}
    laws: dict[tuple[str, str], int] = {}
    for row in await connection.fetch(_LAWS):
        laws[row[0], "oui"], laws[row[0], "non"] = row[1], row[2]
    found = [
        RecountFinding(
            DifferenceKind.TOTALS, f"Totals of {contest} are not those of the log", table
        )
        for table, mine, theirs in (
            ("contest_results", sums.contests, contests),
            ("vote_results", sums.laws, laws),
        )
        if (contest := _first_difference(mine, theirs)) is not None
    ]
    windows, duplicates = sums.windows, sums.duplicates
    async for contest, choice, start, votes in connection.cursor(_WINDOWS):
        add_windows(windows, sum_key, {(contest, choice, unix_us(start) // 1000): -votes})
    if left := sorted(contest for contest, digests in windows.items() if digests):
        what = f"Windows of {left[0]} are not those of the log (was BATCH_TIMEOUT changed?)"
        found.append(RecountFinding(DifferenceKind.WINDOWS, what, "vote_windows"))
    async for row in connection.cursor(_DUPLICATES):
        duplicates = added(duplicates, digest_of(sum_key, *row), times=-1)
    if duplicates:
        what = "Attempts after the first vote are not those of the log"
        found.append(RecountFinding(DifferenceKind.DUPLICATES, what, "duplicate_attempts"))
    return found


def _first_difference(
    mine: Mapping[tuple[str, str], int], theirs: Mapping[tuple[str, str], int]
) -> str | None:
    """The first contest whose totals differ."""
    for name in sorted({*mine, *theirs}):
        if mine.get(name, 0) != theirs.get(name, 0):
            return name[0]
    return None


async def _signed(
    connection: Any, parts: list[PartitionRecount], sums: _Sums, last: Checkpoint
) -> list[RecountFinding]:
    """Compare the totals and closing points of checkpoints, read again one after the other."""
    found: dict[str, RecountFinding] = {}
    so_far: Totals = Counter()
    places = {
        (contest, part.partition, offset)
        for part in parts
        for (_, contest), offset in part.closings.items()
    }
    async for (note,) in connection.cursor(_CHECKPOINTS, last.size):
        one = Checkpoint.parse(note)
        for part in parts:
            so_far.update(part.step(one.size))
        in_epoch = one.statement.epoch == last.statement.epoch
        totals = _totals_fault(one, so_far, sums) if in_epoch else None
        for fault in (totals, _closing_fault(one, places)):
            if fault is not None:
                found.setdefault(fault.kind, fault)
    return list(found.values())


def _totals_fault(one: Checkpoint, so_far: Totals, sums: _Sums) -> RecountFinding | None:
    statement = one.statement
    left_out = {*statement.hidden, *sums.revoted}
    mine = {k: n for k, n in so_far.items() if k[0] not in left_out}
    theirs = {k: n for k, n in statement.totals.items() if k[0] not in left_out}
    contest = _first_difference(mine, theirs)
    if contest is None:
        return None
    what = f"Signed totals of {contest} are not those of the log at that point"
    return RecountFinding(DifferenceKind.CHECKPOINT_TOTALS, what, checkpoint=one.size)


def _closing_fault(one: Checkpoint, places: set[tuple[str, int, int]]) -> RecountFinding | None:
    for closing in one.statement.closings:
        for partition, offset in closing.offsets.items():
            if (closing.contest, partition, offset) not in places:
                what = f"The signed closing point of {closing.contest} is not in the log"
                at = (partition, offset, None, one.size)
                return RecountFinding(DifferenceKind.CHECKPOINT_CLOSING, what, "", *at)
    return None


async def _closings(connection: Any, parts: list[PartitionRecount]) -> list[RecountFinding]:
    stored = {(r[0], r[1], r[2]): r[3] for r in await connection.fetch(_CLOSINGS)}
    mine = {
        (command, contest, part.partition): offset
        for part in parts
        for (command, contest), offset in part.closings.items()
    }
    for place in sorted({*stored, *mine}):
        if stored.get(place) != mine.get(place):
            what = f"The closing point of {place[1]} is not that of the log"
            return [
                RecountFinding(
                    DifferenceKind.CLOSING, what, "control_progress", place[2], mine.get(place)
                )
            ]
    return []

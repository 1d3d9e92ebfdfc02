"""Counts one partition of the log again, and compares what the database says about it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from schemas.codec import InputRecord, encode
from schemas.control import ContestsChanged, ContestState
from schemas.genesis import Genesis
from schemas.verdicts import Acceptance, Reason, Rejection, Status, acceptances_of
from schemas.votes import AdoptedVoteBatch, Vote, VoteBatch
from streams.adapters.kafka.reader import LogReader
from streams.adapters.kafka.view import LogView, Span
from streams.control.skips import Skips, read_input
from streams.core.keys import stored_hash, voter_key
from streams.core.leaves import leaf_hashes
from streams.core.merkle import extend, root_of
from streams.core.records import Undecodable
from streams.core.rows import RejectedItem, audit_rows, rejected_row, source_of, split
from streams.core.rules import MAX_NUMBER, epoch_of
from streams.core.topics import VALIDATION_TOPIC
from streams.core.transition import Transition, apply_record, verdicts_on
from streams.core.voted_partition import VotedPartition
from streams.core.windows import Deltas, Windows
from streams.maintenance.recount.findings import (
    DifferenceKind,
    Mark,
    PartitionRecount,
    added,
    digest_of,
)
from streams.maintenance.recount.row_streams import (
    AUDIT,
    REJECTED,
    RowStream,
)
from streams.maintenance.recount.side_streams import ChangelogBeside, StoredLeaves

_OVER: Final = frozenset({ContestState.CLOSED, ContestState.ARCHIVED})
_ALREADY_COUNTED: Final = "already_counted"
_KNOWN: Final = """
SELECT EXISTS (SELECT FROM rejected_votes WHERE identity = $1 AND (
    source_partition <> $2 OR (source_offset, source_index) < ($3, $4)))
"""
_ANYWHERE: Final = """
SELECT EXISTS (SELECT FROM vote_audit
WHERE source_partition = $1 AND source_offset = $2 AND source_index = $3)
"""
_SAVED: Final = 1024
"""Leaves that are collected before the tree grows."""


@dataclass(frozen=True)
class PartitionTask:
    """What is known about a partition before its records are read."""

    partition: int
    log_id: bytes
    """As the database has it."""
    end: int
    """Records below this offset are counted."""
    epoch: int
    """Of the database; rows of earlier ones were removed."""
    tree_start: int
    tree_size: int
    tree_peaks: bytes
    marks: list[Mark]
    """Of all checkpoints, by number."""
    secret: bytes
    window_ms: int
    changelog_topic: str
    on_disk: bool
    """Whether it has too many voters for the memory."""


class PartitionRecounter:
    """Reads the log, the changelog and the rows of one partition side by side.

    Args:
        task: what to count.
        state: an empty voted table.
        connection: in a transaction, for rows.
        advance: is told how many records were read.
        save: moves the latest changes of the voted table to disk, if it is kept there.
    """

    def __init__(
        self,
        task: PartitionTask,
        state: VotedPartition,
        connection: Any,
        advance: Callable[[int], None],
        save: Callable[[], None],
    ) -> None:
        self._task = task
        self._state = state
        self._connection = connection
        self._advance = advance
        self._save = save
        self._windows = Windows(task.window_ms)
        self.found = PartitionRecount(task.partition)
        self._deltas = Deltas()
        self._audit = RowStream(connection, AUDIT, task.partition)
        self._rejected = RowStream(connection, REJECTED, task.partition)
        self._leaves = StoredLeaves(connection, task.partition)
        self._tree = (0, b"")
        self._new: list[bytes] = []
        self._marks = list(reversed(task.marks))
        self._at_mark: Counter[tuple[str, str]] = Counter()
        self._adopted: dict[str, int] = {}
        self._before: dict[bytes, tuple[int, int]] = {}
        self._replaced = self._replaced_rows = 0
        self._rows_differ = False
        while self._marks and self._marks[-1].offset < 0:
            mark = self._marks.pop()
            if mark.size:
                what = "The checkpoint has a tree before the first record"
                self.found.find(DifferenceKind.TREE, what, checkpoint=mark.checkpoint)

    async def run(self, reader: LogReader, view: LogView, changelog: ChangelogBeside) -> None:
        """Count all records.

        Raises:
            ServiceUnavailable: a service does not answer.
        """
        task, found = self._task, self.found
        span = (await view.spans(VALIDATION_TOPIC)).get(task.partition, Span(0, 0))
        if span.begin > 0 or span.end < task.end:
            has = f"the log has offsets {span.begin} to {span.end - 1}"
            what = f"Offsets 0 to {task.end - 1} were counted; {has}"
            found.find(DifferenceKind.LOG_TRUNCATED, what, offset=min(span.end, task.end))
            return
        skips = Skips(reader)
        expected = 0
        async for records in view.read(VALIDATION_TOPIC, {task.partition: Span(0, task.end)}):
            for record in records:
                if record.offset != expected:
                    what = "The log has no record of this offset"
                    found.find(DifferenceKind.LOG_TRUNCATED, what, offset=expected)
                    return
                expected += 1
                raw = record.value or b""
                decoded = read_input(raw)
                if isinstance(decoded, Undecodable):
                    batch = await skips.replacement(task.partition, record.offset, raw)
                    if batch is None:
                        what = "A record cannot be decoded, and nobody decided to skip it"
                        found.find(DifferenceKind.LOG_UNREADABLE, what, offset=record.offset)
                        return
                    decoded, raw = batch, encode(batch)
                if not await self._record(record.offset, decoded, raw, changelog):
                    return
            found.records += len(records)
            self._advance(len(records))
            self._save()
        await self._ends(changelog)

    async def _record(
        self, offset: int, record: InputRecord, raw: bytes, changelog: ChangelogBeside
    ) -> bool:
        task, state = self._task, self._state
        if offset == 0 and (not isinstance(record, Genesis) or record.log_id != task.log_id):
            self.found.find(DifferenceKind.LOG_REPLACED, "The log has another identity", offset=0)
            return False
        if isinstance(record, VoteBatch) and state.rules.revoted:
            self._note_replaced(record)
        transition = apply_record(
            state, task.log_id, offset, record, raw, changelog_topic=task.changelog_topic
        )
        await self._check_change(offset, transition, changelog)
        if isinstance(record, ContestsChanged) and record.number < MAX_NUMBER:
            for contest in record.contests:
                if contest.state in _OVER:
                    self.found.closings.setdefault((record.command_id, contest.id), offset)
        if isinstance(record, VoteBatch):
            await self._batch(offset, record)
        self._check_marks(offset)
        return True

    async def _batch(self, offset: int, batch: VoteBatch) -> None:
        task, state = self._task, self._state
        verdicts = verdicts_on(
            task.log_id,
            task.partition,
            offset,
            rejections=state.rejections(offset),
            acceptances=state.acceptances(offset),
            raw=b"",
        )
        if offset >= task.tree_start:
            hashes = leaf_hashes(task.secret, verdicts, batch)
            await self._leaves.compare(offset, hashes, self.found)
            self._new += hashes
            self.found.leaves += len(hashes)
            if len(self._new) >= _SAVED:
                self._grow()
        if epoch_of(batch) != task.epoch:
            return
        accepted, rejected = split(verdicts, batch)
        more = acceptances_of(verdicts)
        weights = {a.index: a.weight for a in more if a.weight != 1}
        if state.rules.revoted:
            self._note_replacing(offset, accepted, more)
        self.found.votes += len(accepted)
        gone = await self._compare_rows(verdicts, batch, accepted, rejected, weights)
        start_ms = self._windows.start_ms(batch.ingest_ms)
        if not weights and not gone:
            self._deltas.add((vote for _, vote in accepted), start_ms)
        else:
            for index, vote in accepted:
                if index not in gone:
                    self._deltas.add_weighted(vote, start_ms, weights.get(index, 1))
        for item in rejected:
            if item.rejection.status == Status.DUPLICATE and isinstance(item.item, Vote):
                self._duplicate(item, adopted=isinstance(batch, AdoptedVoteBatch))

    # Rows

    async def _compare_rows(
        self,
        verdicts: Any,
        batch: VoteBatch,
        accepted: list[tuple[int, Vote]],
        rejected: list[RejectedItem],
        weights: Mapping[int, int],
    ) -> set[int]:
        """Compare the rows of one record; returns the items that later votes replaced."""
        offset = verdicts.offset
        expected = [
            (*row[:9], weights.get(row[12], 1), offset, row[12])  # type: ignore[call-overload]
            for row in audit_rows(verdicts, batch, accepted)
        ]
        rows = [] if self._rows_differ else await self._audit.through(offset)
        refused = await self._rejected.through(offset)
        if rows == expected and not refused and not rejected:
            return set()
        wanted = [_rejected_columns(item) for item in rejected]
        gone: set[int] = set()
        if refused != wanted:
            gone = await self._compare_rejected(verdicts, batch, refused, wanted, weights)
        left = [row for row in expected if row[-1] not in gone]
        if rows != left and not self._rows_differ:
            self._rows_differ = True
            await self._name_audit(left, rows)
        return gone

    async def _name_audit(self, expected: list[tuple[object, ...]], rows: list[Any]) -> None:
        """Name the first row of `vote_audit` that differs."""
        by_place = {(row[-2], row[-1]): row for row in rows}
        table, partition = "vote_audit", self._task.partition
        places = {(each[-2], each[-1]) for each in expected}
        for each in expected:
            at = {"table": table, "offset": each[-2], "item": each[-1]}
            row = by_place.get((each[-2], each[-1]))
            if row is None:
                if await self._connection.fetchval(_ANYWHERE, partition, each[-2], each[-1]):
                    self.found.find(
                        DifferenceKind.ROW_REORDERED, "A row is not in the log's order", **at
                    )
                else:
                    self.found.find(DifferenceKind.ROW_MISSING, "A counted vote has no row", **at)
                return
            if row != each:
                self.found.find(
                    DifferenceKind.ROW_CHANGED, "A row says something else than the log", **at
                )
                return
        for row in rows:
            if (row[-2], row[-1]) not in places:
                at = {"table": table, "offset": row[-2], "item": row[-1]}
                self.found.find(
                    DifferenceKind.ROW_ADDED, "A row has no counted vote in the log", **at
                )
                return
        kind = (
            DifferenceKind.ROW_ADDED if len(rows) > len(by_place) else DifferenceKind.ROW_REORDERED
        )
        what = (
            "Two rows have one place"
            if kind == DifferenceKind.ROW_ADDED
            else "Rows are not in order"
        )
        self.found.find(kind, what, table=table)

    async def _compare_rejected(
        self,
        verdicts: Any,
        batch: VoteBatch,
        rows: list[Any],
        wanted: list[tuple[object, ...]],
        weights: Mapping[int, int],
    ) -> set[int]:
        table = "rejected_votes"
        by_place = {(row[-2], row[-1]): row for row in rows}
        gone = set()
        for each in wanted:
            row = by_place.pop((each[-2], each[-1]), None)
            at = {"table": table, "offset": each[-2], "item": each[-1]}
            if row is None and not await self._is_known(each):
                self.found.find(DifferenceKind.ROW_MISSING, "A rejected vote has no row", **at)
            elif row is not None and row != each:
                self.found.find(
                    DifferenceKind.ROW_CHANGED, "A row says something else than the log", **at
                )
        rejected = {rejection.index for rejection in verdicts.rejections}
        for (offset, index), row in by_place.items():
            at = {"table": table, "offset": offset, "item": index}
            own = offset == verdicts.offset and index < len(batch.votes) and index not in rejected
            if own and row[0] == Status.REPLACED:
                vote = batch.votes[index]
                rejection = Rejection(index, Status.REPLACED, Reason.REVOTED)
                item = RejectedItem(
                    source_of(verdicts, batch), rejection, vote, weights.get(index, 1)
                )
                gone.add(index)
                self._replaced_rows = added(self._replaced_rows, digest_of(offset, index))
                if row != _rejected_columns(item):
                    what = "A row of a replaced vote says something else than the log"
                    self.found.find(DifferenceKind.ROW_CHANGED, what, **at)
            elif own and row[1] == _ALREADY_COUNTED:
                what = "The database had counted the voter where the log had not"
                self.found.find(DifferenceKind.ROW_SURPLUS, what, **at)
            else:
                what = "A row has no rejected vote in the log"
                self.found.find(DifferenceKind.ROW_ADDED, what, **at)
        return gone

    async def _is_known(self, row: tuple[object, ...]) -> bool:
        """Whether an earlier delivery of a rejected message has its row."""
        place = (self._task.partition, row[-2], row[-1])
        return bool(await self._connection.fetchval(_KNOWN, row[3], *place))

    def _note_replaced(self, batch: VoteBatch) -> None:
        """Note where the earlier votes are that the votes of a record may replace."""
        self.found.revoted |= self._state.rules.revoted
        self._before = {
            key: (entry.offset, entry.index)
            for vote in batch.votes
            if vote.contest in self._state.rules.revoted
            and (key := voter_key(vote.hash, vote.contest, vote.kind))
            and (entry := self._state.get(key)) is not None
        }

    def _note_replacing(
        self, offset: int, accepted: list[tuple[int, Vote]], more: list[Acceptance]
    ) -> None:
        """Add up the places of the votes that a record replaces."""
        replacing = {one.index for one in more if one.replaces}
        for index, vote in accepted:
            key = voter_key(vote.hash, vote.contest, vote.kind)
            if index in replacing and key in self._before:
                self._replaced = added(self._replaced, digest_of(*self._before[key]))
            self._before[key] = (offset, index)

    def _duplicate(self, item: RejectedItem, *, adopted: bool) -> None:
        """Follow the voter's row of `duplicate_attempts`, which has the highest attempt.

        Its contest is not compared: a hash may come with one law and then with another, and which
        of them the row has depends on how the sink grouped them. `rejected_votes` has each.
        """
        vote, attempt = item.item, item.rejection.attempt
        assert isinstance(vote, Vote)
        stored = stored_hash(vote.hash, vote.contest, vote.kind)
        before = attempt - 1
        if adopted or stored in self._adopted:
            before = self._adopted.get(stored, 0)
            self._adopted[stored] = attempt
        total = added(self.found.duplicates, digest_of(stored, attempt + 1))
        if before:
            total = added(total, digest_of(stored, before + 1), times=-1)
        self.found.duplicates = total

    # Tree and changelog

    def _grow(self) -> None:
        size, peaks = self._tree
        self._tree = (size + len(self._new), extend(size, peaks, self._new)[0])
        self._new = []

    def _check_marks(self, offset: int) -> None:
        while self._marks and self._marks[-1].offset <= offset:
            mark = self._marks.pop()
            self._grow()
            size, peaks = self._tree
            at = {"offset": mark.offset, "checkpoint": mark.checkpoint}
            if mark.log_id != self._task.log_id:
                self.found.find(
                    DifferenceKind.LOG_REPLACED, "The checkpoint is of another log", **at
                )
            elif mark.offset < offset or (size, root_of(peaks)) != (mark.size, mark.root):
                what = "The verdicts up to here do not give the signed tree"
                self.found.find(DifferenceKind.TREE, what, **at)
            totals = self._deltas.contests.copy()
            totals.subtract(self._at_mark)
            self.found.steps[mark.checkpoint] = Counter({k: n for k, n in totals.items() if n})
            self._at_mark = self._deltas.contests.copy()

    async def _check_change(
        self, offset: int, transition: Transition, changelog: ChangelogBeside
    ) -> None:
        fault = await changelog.compare(offset, transition.changelog.value or b"")
        if fault:
            table = self._task.changelog_topic
            self.found.find(DifferenceKind.VOTED_TABLE, fault, table=table, offset=offset)

    async def _ends(self, changelog: ChangelogBeside) -> None:
        """What is left over when all records are counted."""
        task, found = self._task, self.found
        self._grow()
        if self._tree != (task.tree_size, task.tree_peaks):
            what = "The tree of the database has another size or root"
            found.find(DifferenceKind.STORED_TREE, what, table="sink_offsets")
        await self._leaves.compare_end(found)
        for mark in self._marks:
            what = "A checkpoint was signed beyond what the database counted"
            found.find(DifferenceKind.TREE, what, offset=mark.offset, checkpoint=mark.checkpoint)
        for stream, table in ((self._audit, "vote_audit"), (self._rejected, "rejected_votes")):
            if self._rows_differ and stream is self._audit:
                continue
            row = await stream.rest()
            if row is not None:
                at = {"table": table, "offset": row[-2], "item": row[-1]}
                found.find(DifferenceKind.ROW_ADDED, "A row is of no counted record", **at)
        if self._replaced != self._replaced_rows:
            what = "Other votes are noted as replaced than the log says"
            found.find(DifferenceKind.ROW_CHANGED, what, table="rejected_votes")
        missing = changelog.missing()
        if missing is not None:
            what = "The changelog lacks the record of this offset"
            found.find(DifferenceKind.VOTED_TABLE, what, table=task.changelog_topic, offset=missing)
        found.audit_rows, found.rejected_rows = self._audit.count, self._rejected.count
        found.laws, found.contests = self._deltas.laws, self._deltas.contests
        found.windows = self._deltas.windows


def _rejected_columns(item: RejectedItem) -> tuple[object, ...]:
    """A row of `rejected_votes` as :data:`REJECTED` reads it."""
    row = rejected_row(item)
    verdict = row[13:17]
    vote = (row[0], row[1], row[2], row[4], row[5], row[6], row[7], row[8])
    return (*verdict, *vote, row[18], row[19], row[20], row[11], row[12])

"""Counts one partition of the log again, and compares what the database says about it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from schemas.codec import InputRecord, encode
from schemas.control import ContestsChanged, ContestState
from schemas.genesis import Genesis
from schemas.verdicts import Status, acceptances_of
from schemas.votes import AdoptedVoteBatch, Vote, VoteBatch
from streams.adapters.kafka.view import Record, Span
from streams.control.skips import Skips, read_input
from streams.core.keys import stored_hash
from streams.core.leaves import leaf_hashes
from streams.core.merkle import extend, root_of
from streams.core.records import Undecodable
from streams.core.rows import RejectedItem, split
from streams.core.rules import MAX_NUMBER, epoch_of
from streams.core.transition import Transition, apply_record, verdicts_on
from streams.core.voted_partition import VotedPartition
from streams.core.windows import Deltas, Windows
from streams.maintenance.recount.compared_rows import RowComparison
from streams.maintenance.recount.findings import (
    DifferenceKind,
    Mark,
    PartitionRecount,
    add_windows,
    added,
    digest_of,
)
from streams.maintenance.recount.side_streams import ChangelogBeside, StoredLeaves

_OVER: Final = frozenset({ContestState.CLOSED, ContestState.ARCHIVED})
_SAVED: Final = 1024
"""Leaves that are collected before the tree grows."""
_WINDOWS: Final = 1024
"""Windows that are collected before they are added up."""


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
    sum_key: bytes
    """Of the digests of this recount."""
    window_ms: int
    changelog_topic: str

    def lacks(self, log: Span) -> bool:
        """Whether the log lacks records that were counted."""
        return log.begin > 0 or log.end < self.end


@dataclass(frozen=True)
class PartitionSources:
    """What a partition is counted from, besides the rows of `vote_audit`."""

    log: AsyncIterator[Sequence[Record]]
    """Its records below the task's end."""
    skips: Skips
    changelog: ChangelogBeside
    connection: Any
    """In a transaction, for rows."""


class PartitionRecounter:
    """Reads the log, the changelog and the rows of one partition side by side.

    Args:
        task: what to count.
        state: an empty voted table.
        sources: to read.
        advance: is told how many records were read.
        save: moves the latest changes of the voted table to disk, if it is kept there.
    """

    def __init__(
        self,
        task: PartitionTask,
        state: VotedPartition,
        sources: PartitionSources,
        advance: Callable[[int], None],
        save: Callable[[], None],
    ) -> None:
        self._task = task
        self._state = state
        self._log, self._skips = sources.log, sources.skips
        self._changelog = sources.changelog
        self._advance = advance
        self._save = save
        self._fetched: Sequence[Record] = ()
        self._at = self._next = 0
        self._stopped = False
        self._given = -1
        self._windows = Windows(task.window_ms)
        self.found = PartitionRecount(task.partition)
        self._deltas = Deltas()
        self._rows = RowComparison(task.partition, sources.connection, self.found, task.sum_key)
        self._leaves = StoredLeaves(sources.connection, task.partition)
        self._tree = (0, b"")
        self._new: list[bytes] = []
        self._marks = list(reversed(task.marks))
        self._at_mark: list[int] = []
        self._adopted: dict[str, int] = {}
        while self._marks and self._marks[-1].offset < 0:
            mark = self._marks.pop()
            if mark.size:
                what = "The checkpoint has a tree before the first record"
                self.found.find(DifferenceKind.TREE, what, checkpoint=mark.checkpoint)

    def begins(self, span: Span) -> None:
        """Compare what the log has with what was counted."""
        if self._task.lacks(span):
            has = f"the log has offsets {span.begin} to {span.end - 1}"
            what = f"Offsets 0 to {self._task.end - 1} were counted; {has}"
            self._stop(DifferenceKind.LOG_TRUNCATED, what, offset=min(span.end, self._task.end))

    async def give(self, rows: Sequence[Any]) -> None:
        """Take the next rows of `vote_audit`, and count the records whose rows are all there.

        Raises:
            ServiceUnavailable: a service does not answer.
        """
        self._given = max(self._given, self._rows.give(rows))
        await self._through(self._given - 1)

    async def end(self) -> None:
        """Count the records that are left, and compare what is left over. There are no more rows.

        Raises:
            ServiceUnavailable: a service does not answer.
        """
        await self._through(self._task.end - 1)
        if not self._stopped:
            await self._ends()

    async def _through(self, last: int) -> None:
        while not self._stopped and self._next <= min(last, self._task.end - 1):
            if self._at == len(self._fetched):
                await self._fetch()
            record = self._fetched[self._at] if self._fetched else None
            if record is None or record.offset != self._next:
                what = "The log has no record of this offset"
                self._stop(DifferenceKind.LOG_TRUNCATED, what, offset=self._next)
                return
            self._at += 1
            self._next += 1
            await self._one(record)

    async def _fetch(self) -> None:
        if self._fetched:
            self._save()
        self._fetched, self._at = await anext(self._log, ()), 0
        self._advance(len(self._fetched))
        self.found.records += len(self._fetched)

    async def _one(self, record: Record) -> None:
        raw = record.value or b""
        decoded = read_input(raw)
        if isinstance(decoded, Undecodable):
            batch = await self._skips.replacement(self._task.partition, record.offset, raw)
            if batch is None:
                what = "A record cannot be decoded, and nobody decided to skip it"
                self._stop(DifferenceKind.LOG_UNREADABLE, what, offset=record.offset)
                return
            decoded, raw = batch, encode(batch)
        await self._record(record.offset, decoded, raw)

    def _stop(self, kind: DifferenceKind, what: str, *, offset: int) -> None:
        """Note why the rest of the log cannot be counted."""
        self._stopped = True
        self.found.find(kind, what, offset=offset)

    async def _record(self, offset: int, record: InputRecord, raw: bytes) -> None:
        task, state = self._task, self._state
        if offset == 0 and (not isinstance(record, Genesis) or record.log_id != task.log_id):
            self._stop(DifferenceKind.LOG_REPLACED, "The log has another identity", offset=0)
            return
        if isinstance(record, VoteBatch) and state.rules.revoted:
            self._rows.note_replaced(state, record)
        transition = apply_record(
            state, task.log_id, offset, record, raw, changelog_topic=task.changelog_topic
        )
        await self._check_change(offset, transition)
        if isinstance(record, ContestsChanged) and record.number < MAX_NUMBER:
            for contest in record.contests:
                if contest.state in _OVER:
                    self.found.closings.setdefault((record.command_id, contest.id), offset)
        if isinstance(record, VoteBatch):
            await self._batch(offset, record)
        self._check_marks(offset)

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
            self._rows.note_replacing(offset, accepted, more)
        self.found.votes += len(accepted)
        gone = await self._rows.compare(verdicts, batch, accepted, rejected, weights)
        start_ms = self._windows.start_ms(batch.ingest_ms)
        if not weights and not gone:
            self._deltas.add((vote for _, vote in accepted), start_ms)
        else:
            for index, vote in accepted:
                if index not in gone:
                    self._deltas.add_weighted(vote, start_ms, weights.get(index, 1))
        if len(self._deltas.windows) >= _WINDOWS:
            self._add_windows()
        for item in rejected:
            if item.rejection.status == Status.DUPLICATE and isinstance(item.item, Vote):
                self._duplicate(item, adopted=isinstance(batch, AdoptedVoteBatch))

    def _duplicate(self, item: RejectedItem, *, adopted: bool) -> None:
        """Follow the voter's row of `duplicate_attempts`, which has the highest attempt.

        Its contest is not compared: a hash may come with one law and then with another, and which
        of them a row of an earlier version has depends on how the sink grouped them.
        `rejected_votes` has each.
        """
        vote, attempt = item.item, item.rejection.attempt
        assert isinstance(vote, Vote)
        stored = stored_hash(vote.hash, vote.contest, vote.kind)
        before = attempt - 1
        if adopted or stored in self._adopted:
            before = self._adopted.get(stored, 0)
            self._adopted[stored] = attempt
        key = self._task.sum_key
        total = added(self.found.duplicates, digest_of(key, stored, attempt + 1))
        if before:
            total = added(total, digest_of(key, stored, before + 1), times=-1)
        self.found.duplicates = total

    def _add_windows(self) -> None:
        add_windows(self.found.windows, self._task.sum_key, self._deltas.windows)
        self._deltas.windows.clear()

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
            totals = list(self._deltas.contests.values())
            self.found.note_step(mark.checkpoint, self._at_mark, totals)
            self._at_mark = totals

    async def _check_change(self, offset: int, transition: Transition) -> None:
        fault = await self._changelog.compare(offset, transition.changelog.value or b"")
        if fault:
            table = self._task.changelog_topic
            self.found.find(DifferenceKind.VOTED_TABLE, fault, table=table, offset=offset)

    async def _ends(self) -> None:
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
        await self._rows.end()
        missing = self._changelog.missing()
        if missing is not None:
            what = "The changelog lacks the record of this offset"
            found.find(DifferenceKind.VOTED_TABLE, what, table=task.changelog_topic, offset=missing)
        found.laws, found.contests = self._deltas.laws, self._deltas.contests
        self._add_windows()

"""Compares the rows of one partition with its verdicts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from schemas.verdicts import Acceptance, Reason, Rejection, Status
from schemas.votes import Vote, VoteBatch
from streams.core.keys import voter_key
from streams.core.rows import RejectedItem, audit_rows, rejected_row, source_of
from streams.core.voted_partition import VotedPartition
from streams.maintenance.recount.findings import (
    DifferenceKind,
    PartitionRecount,
    added,
    digest_of,
)
from streams.maintenance.recount.row_streams import REJECTED, GivenRows, RowStream

_ALREADY_COUNTED: Final = "already_counted"
_KNOWN: Final = """
SELECT EXISTS (SELECT FROM rejected_votes WHERE identity = $1 AND (
    source_partition <> $2 OR (source_offset, source_index) < ($3, $4)))
"""
_ANYWHERE: Final = """
SELECT EXISTS (SELECT FROM vote_audit
WHERE source_partition = $1 AND source_offset = $2 AND source_index = $3)
"""


class RowComparison:
    """Takes the rows of one partition in the order of its log.

    Args:
        partition: of the rows.
        connection: in a transaction.
        found: what differs is noted there.
        sum_key: of digests.
    """

    def __init__(
        self, partition: int, connection: Any, found: PartitionRecount, sum_key: bytes
    ) -> None:
        self._partition = partition
        self._connection = connection
        self.found = found
        self._sum_key = sum_key
        self._audit = GivenRows()
        self._rejected = RowStream(connection, REJECTED, partition)
        self._before: dict[bytes, tuple[int, int]] = {}
        self._replaced = self._replaced_rows = 0
        self.differ = False
        """Whether rows of `vote_audit` differ; no more of them are compared then."""

    def give(self, rows: Sequence[Any]) -> int:
        """Take the next rows of `vote_audit`; returns the highest input offset among them."""
        if not self.differ:
            self._audit.give(rows)
        highest: int = max(row[-2] for row in rows)
        return highest

    async def compare(
        self,
        verdicts: Any,
        batch: VoteBatch,
        accepted: list[tuple[int, Vote]],
        rejected: list[RejectedItem],
        weights: Mapping[int, int],
    ) -> set[int]:
        """Compare the rows of one record; returns the items that later votes replaced."""
        offset = verdicts.offset
        partition = verdicts.partition
        expected = [
            (partition, *row[:9], weights.get(row[12], 1), offset, row[12])  # type: ignore[call-overload]
            for row in audit_rows(verdicts, batch, accepted)
        ]
        rows = [] if self.differ else await self._audit.through(offset)
        refused = await self._rejected.through(offset)
        if rows == expected and not refused and not rejected:
            return set()
        wanted = [rejected_columns(item) for item in rejected]
        gone: set[int] = set()
        if refused != wanted:
            gone = await self._compare_rejected(verdicts, batch, refused, wanted, weights)
        left = [row for row in expected if row[-1] not in gone]
        if rows != left and not self.differ:
            self.differ = True
            await self._name_audit(left, rows)
        return gone

    async def _name_audit(self, expected: list[tuple[object, ...]], rows: list[Any]) -> None:
        """Name the first row of `vote_audit` that differs."""
        by_place = {(row[-2], row[-1]): row for row in rows}
        table, partition = "vote_audit", self._partition
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
                digest = digest_of(self._sum_key, offset, index)
                self._replaced_rows = added(self._replaced_rows, digest)
                if row != rejected_columns(item):
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
        place = (self._partition, row[-2], row[-1])
        return bool(await self._connection.fetchval(_KNOWN, row[3], *place))

    def note_replaced(self, state: VotedPartition, batch: VoteBatch) -> None:
        """Note where the earlier votes are that the votes of a record may replace."""
        self.found.revoted |= state.rules.revoted
        self._before = {
            key: (entry.offset, entry.index)
            for vote in batch.votes
            if vote.contest in state.rules.revoted
            and (key := voter_key(vote.hash, vote.contest, vote.kind))
            and (entry := state.get(key)) is not None
        }

    def note_replacing(
        self, offset: int, accepted: list[tuple[int, Vote]], more: list[Acceptance]
    ) -> None:
        """Add up the places of the votes that a record replaces."""
        replacing = {one.index for one in more if one.replaces}
        for index, vote in accepted:
            key = voter_key(vote.hash, vote.contest, vote.kind)
            if index in replacing and key in self._before:
                digest = digest_of(self._sum_key, *self._before[key])
                self._replaced = added(self._replaced, digest)
            self._before[key] = (offset, index)

    async def end(self) -> None:
        """Compare that no row is left over."""
        for stream, table in ((self._audit, "vote_audit"), (self._rejected, "rejected_votes")):
            if self.differ and stream is self._audit:
                continue
            row = await stream.rest()
            if row is not None:
                at = {"table": table, "offset": row[-2], "item": row[-1]}
                self.found.find(DifferenceKind.ROW_ADDED, "A row is of no counted record", **at)
        if self._replaced != self._replaced_rows:
            what = "Other votes are noted as replaced than the log says"
            self.found.find(DifferenceKind.ROW_CHANGED, what, table="rejected_votes")
        self.found.audit_rows, self.found.rejected_rows = self._audit.count, self._rejected.count


def rejected_columns(item: RejectedItem) -> tuple[object, ...]:
    """A row of `rejected_votes` as :data:`REJECTED` reads it."""
    row = rejected_row(item)
    verdict = row[13:17]
    vote = (row[0], row[1], row[2], row[4], row[5], row[6], row[7], row[8])
    return (*verdict, *vote, row[18], row[19], row[20], row[11], row[12])

"""Rows of the database in the order of the log, a few thousand in memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

ROWS: Final = 4000
"""Rows of one fetch."""
SEGMENTS_AT_ONCE: Final = 32
"""Each has the leaves of a whole flush."""

AUDIT: Final = """
SELECT source_partition, vote_hash, voter_hash, citizen_id, law_id, contest, candidate_id, choice,
    "timestamp", processed_timestamp, weight, source_offset, source_index
FROM vote_audit WHERE source_partition = ANY ($1::int[]) ORDER BY id
"""
"""Of several partitions, because no index finds those of one: a query for each would read the whole
table every time."""
REJECTED: Final = """
SELECT status, reason, attempt_count, identity, vote_hash, voter_hash, citizen_id, contest,
    candidate_id, choice, "timestamp", processed_timestamp, body_length, body_sha256, weight,
    source_offset, source_index
FROM rejected_votes WHERE source_partition = $1 ORDER BY source_offset, source_index
"""
SEGMENTS: Final = """
SELECT first_leaf, records, hashes FROM proof_leaves WHERE partition = $1 ORDER BY first_leaf
"""
STREAMED: Final = "SET LOCAL enable_seqscan = off; SET LOCAL enable_sort = off"
"""Rows come by an index, so that nothing is sorted before the first."""


class GivenRows:
    """Rows that end with an offset and an index, or only an offset, to be taken in their order.

    Args:
        offset: column of the offset, counted from the end.
    """

    def __init__(self, *, offset: int = -2) -> None:
        self._offset = offset
        self._rows: Sequence[Any] = ()
        self._at = 0
        self.count = 0
        """Rows taken."""

    def give(self, rows: Sequence[Any]) -> None:
        """Add rows after those that are left."""
        self._rows = [*self._rows[self._at :], *rows]
        self._at = 0

    async def through(self, offset: int) -> list[Any]:
        """The next rows, up to those of an input offset."""
        found: list[Any] = []
        while True:
            rows, column = self._rows, self._offset
            start = at = self._at
            end = len(rows)
            while at < end and rows[at][column] <= offset:
                at += 1
            self._at = at
            found += rows[start:at]
            if at < end or not await self._fetch():
                self.count += len(found)
                return found

    async def rest(self) -> Any | None:
        """The next row, if there is one."""
        if self._at < len(self._rows) or await self._fetch():
            return self._rows[self._at]
        return None

    async def _fetch(self) -> bool:
        """Get more rows; False if there are none."""
        return False


class RowStream(GivenRows):
    """Rows of one query.

    Args:
        connection: in a transaction.
        query: with the partition as its argument.
        partition: of the rows.
        offset: column of the offset, counted from the end.
        at_once: rows of one fetch.
    """

    def __init__(
        self,
        connection: Any,
        query: str,
        partition: int,
        *,
        offset: int = -2,
        at_once: int = ROWS,
    ) -> None:
        super().__init__(offset=offset)
        self._connection = connection
        self._query = query
        self._partition = partition
        self._at_once = at_once
        self._cursor: Any = None

    async def _fetch(self) -> bool:
        if self._cursor is None:
            self._cursor = await self._connection.cursor(self._query, self._partition)
        self._rows, self._at = await self._cursor.fetch(self._at_once), 0
        return bool(self._rows)

"""What is read beside the log: stored leaves, and the changelog of the voted table."""

from __future__ import annotations

from collections.abc import AsyncIterator
from hashlib import sha256
from typing import Any

from streams.core.merkle import HASH_BYTES
from streams.core.tree_growth import records_of
from streams.inspect.voted import OffsetSet
from streams.maintenance.recount.findings import DifferenceKind, PartitionRecount
from streams.maintenance.recount.row_streams import SEGMENTS, SEGMENTS_AT_ONCE, RowStream


class StoredLeaves:
    """The stored leaves of a partition, by input record."""

    def __init__(self, connection: Any, partition: int) -> None:
        self._stream = RowStream(
            connection, SEGMENTS, partition, offset=0, at_once=SEGMENTS_AT_ONCE
        )
        self._records: list[tuple[int, bytes]] = []
        self._stopped = False

    async def compare(self, offset: int, hashes: list[bytes], found: PartitionRecount) -> None:
        """Compare the leaves of one record."""
        if self._stopped or not hashes:
            return
        if not self._records:
            await self._next()
        stored = self._records.pop() if self._records else None
        if stored != (offset, b"".join(hashes)):
            self._stopped = True
            what = "The stored leaves of a record are not those of its verdicts"
            found.find(DifferenceKind.STORED_TREE, what, table="proof_leaves", offset=offset)

    async def compare_end(self, found: PartitionRecount) -> None:
        """Compare that there are no more."""
        if self._stopped:
            return
        if self._records or await self._stream.rest() is not None:
            what = "The tree has leaves of records that were not counted"
            found.find(DifferenceKind.STORED_TREE, what, table="proof_leaves")

    async def _next(self) -> None:
        row = await self._stream.rest()
        if row is None:
            return
        first, records, hashes = row
        await self._stream.through(first)
        self._records = [
            (offset, hashes[start * HASH_BYTES : (start + count) * HASH_BYTES])
            for offset, start, count in records_of(0, records)
        ]
        self._records.reverse()


class ChangelogBeside:
    """The changelog of one partition, read beside the log.

    Args:
        records: of the changelog.
        end: records of input offsets below this are compared.
    """

    def __init__(self, records: AsyncIterator[list[Any]], end: int) -> None:
        self._records = records
        self._end = end
        self._seen: dict[int, bytes] = {}
        self._read = OffsetSet()
        self._done = False
        self._highest = -1
        self._late: dict[int, bytes] = {}
        """Digests of records that are missing so far."""

    async def compare(self, offset: int, value: bytes) -> str:
        """What is wrong with the record of an input offset; empty if nothing is."""
        while not self._done and self._highest < offset:
            await self._fetch()
        found = self._seen.pop(offset, None)
        if found is None:
            # Compaction may have kept only a later copy. At the end the first of those that are
            # missing is enough.
            if not (self._done and self._late):
                self._late[offset] = sha256(value).digest()
            return ""
        return "" if found == value else "The changelog says something else than the log"

    def missing(self) -> int | None:
        """The first offset without a record."""
        return min(self._late, default=None)

    async def _fetch(self) -> None:
        try:
            records = await anext(self._records)
        except StopAsyncIteration:
            self._done = True
            return
        for record in records:
            key = record.key or b""
            offset = int.from_bytes(key, "big")
            if len(key) != 8 or offset >= self._end:
                continue
            self._highest = max(self._highest, offset)
            if not self._read.add(offset):
                # A second copy, as after a crash; readers follow the first.
                continue
            value = record.value or b""
            if offset not in self._late:
                self._seen[offset] = value
            elif self._late[offset] == sha256(value).digest():
                del self._late[offset]

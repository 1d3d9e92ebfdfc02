"""The voted table for Faust: a table whose stage writes its store and changelog."""

from __future__ import annotations

import asyncio
import struct
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, aclosing, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import faust
import structlog
from faust.types import EventT

from schemas.codec import DecodeError, decode_voted
from schemas.voted import CHANGELOG_KEY
from streams.adapters.kafka.reader import LogReader
from streams.core.decide import VoterEntry
from streams.core.records import OutRecord
from streams.core.voted_partition import VotedPartition
from streams.core.voter_stores import BulkVoterStore
from streams.engine.partition_store import PartitionStore
from streams.errors import REBUILD_VOTED, ScrutinError
from streams.runtime.failstop import fail
from streams.runtime.memory import return_freed
from streams.runtime.outages import Retry, Service
from streams.worker.rocksdb_fill import FillingVoterStore
from streams.worker.rocksdb_store import Position, RocksDbVotedStore, digest

log = structlog.get_logger(__name__)

_BULK_FETCH_BYTES: Final = 8 * 1024 * 1024


@dataclass(frozen=True)
class Persistence:
    """Dependencies of a store that outlives the process."""

    disk: RocksDbVotedStore
    log_id: Callable[[int], bytes]
    """Identity of a partition's input log."""
    holds: Callable[[int, Position], Awaitable[bool]]
    """Whether a partition of the changelog has a record."""


class VotedStore(PartitionStore[bytes, VoterEntry, VotedPartition]):
    """Holds a :class:`VotedPartition` for each partition that this worker owns."""

    title = "voted table"

    def __post_init__(self) -> None:
        super().__post_init__()
        self._persistence: Persistence | None = None
        self._ahead: tuple[LogReader, Retry] | None = None

    def persist(self, persistence: Persistence) -> None:
        """Store partitions on disk; call it before the first is assigned."""
        self._persistence = persistence

    def read_ahead(self, reader: LogReader, retry: Retry) -> None:
        """Bulk-read changelogs of partitions without saved state through `reader`."""
        self._ahead = reader, retry

    def close(self) -> None:
        """Close the files on disk."""
        if self._persistence is not None:
            self._persistence.disk.close_all()

    def confirmed(self, records: Sequence[OutRecord], offsets: Sequence[int]) -> None:
        """Handle that this worker's records, and all before them, are in the changelog.

        Args:
            records: in the order of the log.
            offsets: their offsets in the changelog.
        """
        last: dict[int, tuple[OutRecord, int]] = {}
        for record, offset in zip(records, offsets, strict=True):
            self.written(record.partition, offset)
            last[record.partition] = record, offset
        for partition, (record, offset) in last.items():
            self._save(partition, offset, record.key, record.value or b"")

    def _save(self, partition: int, offset: int, key: bytes | None, value: bytes) -> None:
        """Save a partition if the changelog record is the last one that it has applied."""
        state = self.partitions.get(partition)
        if self._persistence is None or state is None or not state.complete:
            return
        # A decision that may not be written must not be saved: nothing would write it again.
        if key != CHANGELOG_KEY.pack(state.applied):
            return
        known = self._persisted.get(partition) == offset
        position = Position(offset, digest(key, value)) if known else None
        self._persistence.disk.save(state, position)

    # Called by the base class.

    def apply(self, message: Any) -> None:
        """Apply a record of the changelog."""
        self._apply(self.partitions[message.partition], message)

    def _apply(self, state: VotedPartition, message: Any) -> None:
        try:
            (offset,) = CHANGELOG_KEY.unpack(message.key)
            state.apply(offset, decode_voted(message.value))
        except (DecodeError, TypeError, ValueError, struct.error) as error:
            self.undecodable(message, "See who wrote it; " + REBUILD_VOTED, error)
        except Exception as error:  # noqa: BLE001 - a missing record or a disk error, which Faust would only log
            fail(error)

    def apply_changelog_batch(
        self,
        batch: Iterable[EventT],
        to_key: Callable[[Any], Any],
        to_value: Callable[[Any], Any],
    ) -> None:
        """Apply changelog records and save the partitions they change."""
        events = list(batch)
        super().apply_changelog_batch(events, to_key, to_value)
        last = {event.message.partition: event.message for event in events}
        try:
            for partition, message in last.items():
                self._save(partition, message.offset, message.key, message.value)
        except ScrutinError as error:
            fail(error)

    def ended(self, number: int) -> None:
        """Close the partition's files."""
        if self._persistence is not None:
            self._persistence.disk.close(number)

    async def begin(self, number: int) -> VotedPartition:
        """The state on disk if it came from this changelog; otherwise an empty one."""
        if self._persistence is None:
            return VotedPartition(number)
        disk = self._persistence.disk
        state = disk.open(number, self._persistence.log_id(number))
        position = disk.position(number)
        if position is None:
            return state
        if not await self._persistence.holds(number, position):
            log.warning(
                "the state on disk is from another changelog; reading all of it", partition=number
            )
            return disk.empty(number)
        log.info("voters are on disk", partition=number, voters=len(state), applied=state.applied)
        self._persisted[number] = position.offset
        return state

    async def preload(self, ends: Mapping[int, int]) -> None:
        """Bulk-read changelogs of partitions of which neither memory nor disk has anything."""
        if self._ahead is None:
            return
        _, retry = self._ahead
        for number, end in sorted(ends.items()):
            if end >= 0 and number in self.partitions and number not in self._persisted:
                await retry(Service.KAFKA, partial(self._preload, number, end))
        return_freed()

    async def _preload(self, number: int, end: int) -> None:
        if number not in self.partitions:
            return
        began_s = time.monotonic()
        state = self.partitions[number] = self._empty(number)
        position: Position | None = None
        try:
            with self._bulk(number) as bulk:
                state.voters = bulk
                last = await self._read(state, end)
                if last is not None:
                    state.voters = await asyncio.to_thread(bulk.done, self._moved)
            position = last
        except Exception:
            # The files of a partition that is no longer owned are closed or gone.
            if self._is_current(state):
                raise
        finally:
            # There may have been an outage of Kafka: then it is read again.
            if position is None and self._is_current(state):
                self.partitions[number] = self._empty(number)
        if position is None or not self._is_current(state):
            log.info("another rebalance came while voters were read", partition=number)
            return
        self._persisted[number] = end
        if self._persistence is not None and state.complete:
            self._persistence.disk.save(state, position)
        log.info(
            "voters are read",
            partition=number,
            voters=len(state),
            took_s=round(time.monotonic() - began_s, 2),
        )

    def _is_current(self, state: VotedPartition) -> bool:
        """Whether a state is that of its partition, which may have been lost during a wait."""
        return self.partitions.get(state.partition) is state

    async def _read(self, state: VotedPartition, end: int) -> Position | None:
        """Apply the changelog up to a record; returns its place, None if the partition is lost."""
        assert self._ahead is not None
        reader, _ = self._ahead
        topic = self.table.changelog_topic_name
        record = None
        async with aclosing(
            reader.read(topic, state.partition, None, end + 1, fetch_bytes=_BULK_FETCH_BYTES)
        ) as records:
            async for record in records:
                if not self._is_current(state):
                    return None
                self._apply(state, record)
                self._moved()
        assert record is not None
        return Position(end, digest(record.key, record.value))

    def _moved(self) -> None:
        self.last_applied_at_s = time.monotonic()

    def _bulk(self, number: int) -> AbstractContextManager[BulkVoterStore | FillingVoterStore]:
        if self._persistence is None:
            return nullcontext(BulkVoterStore())
        return self._persistence.disk.filling(number)

    def _empty(self, number: int) -> VotedPartition:
        if self._persistence is None:
            return VotedPartition(number)
        return self._persistence.disk.empty(number)

    def find(self, state: VotedPartition, key: bytes) -> VoterEntry | None:
        """A voter's entry."""
        return state.get(key) if isinstance(key, bytes) else None

    def keys_of(self, state: VotedPartition) -> Iterable[bytes]:
        """The voters of a partition."""
        return state


class VotedTable(faust.Table):  # type: ignore[misc]
    """A `faust.Table` over :class:`VotedStore`."""

    def _new_store(self) -> VotedStore:
        return VotedStore(
            "memory://",
            self.app,
            self,
            table_name=self.name,
            key_type=bytes,
            value_type=bytes,
        )

    @property
    def state(self) -> VotedStore:
        """The store, typed."""
        store = self.data
        assert isinstance(store, VotedStore)
        return store

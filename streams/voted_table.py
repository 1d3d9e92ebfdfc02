"""The voted table as Faust sees it: a table with a store and a changelog of our own."""

from __future__ import annotations

import struct
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import faust
import structlog
from faust.types import EventT

from schemas.codec import DecodeError, decode_voted
from schemas.voted import CHANGELOG_KEY
from streams.decide import Entry
from streams.errors import REBUILD_VOTED, ScrutinError
from streams.failstop import fail
from streams.log_writer import OutRecord
from streams.partition_store import PartitionStore
from streams.voted import VotedPartition
from streams.voted_disk import Position, VotedDisk, digest

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Persistence:
    """What the store needs to outlive the process."""

    disk: VotedDisk
    log_id: Callable[[int], bytes]
    """Identity of a partition's input log."""
    holds: Callable[[int, Position], Awaitable[bool]]
    """Whether a partition of the changelog has that record."""


class VotedStore(PartitionStore[bytes, Entry, VotedPartition]):
    """Holds a :class:`VotedPartition` for each partition that this worker owns."""

    title = "voted table"

    def __post_init__(self) -> None:
        super().__post_init__()
        self.last_applied_at_s = time.monotonic()
        self._persistence: Persistence | None = None

    def persist(self, persistence: Persistence) -> None:
        """Keep partitions on disk from now on; before the first is assigned."""
        self._persistence = persistence

    def close(self) -> None:
        """Let go of the disk."""
        if self._persistence is not None:
            self._persistence.disk.close_all()

    def confirmed(self, records: Sequence[OutRecord], offsets: Sequence[int]) -> None:
        """Our own records are in the changelog; whatever was applied before is, too.

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
        """Save a partition, if a record of the changelog is the last that it has applied."""
        state = self.partitions.get(partition)
        if self._persistence is None or state is None or not state.whole:
            return
        # What is decided but perhaps not written must not be saved: nobody would write it again.
        if key != CHANGELOG_KEY.pack(state.applied):
            return
        known = self._persisted.get(partition) == offset
        position = Position(offset, digest(key, value)) if known else None
        self._persistence.disk.save(state, position)

    # What the base asks.

    def apply(self, message: Any) -> None:
        """Apply a record of the changelog."""
        try:
            (offset,) = CHANGELOG_KEY.unpack(message.key)
            self.partitions[message.partition].apply(offset, decode_voted(message.value))
        except (DecodeError, TypeError, ValueError, struct.error) as error:
            self.undecodable(message, "See who wrote it; " + REBUILD_VOTED, error)
        except Exception as error:  # noqa: BLE001 - a gap; or the disk's, which Faust would only log
            fail(error)
        self.last_applied_at_s = time.monotonic()

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
        """Let go of the partition's files."""
        if self._persistence is not None:
            self._persistence.disk.close(number)

    async def begin(self, number: int) -> VotedPartition:
        """What is on disk, if the changelog is the one it came from; else nothing."""
        if self._persistence is None:
            return VotedPartition(number)
        disk = self._persistence.disk
        state = disk.open(number, self._persistence.log_id(number))
        position = disk.position(number)
        if position is None:
            return state
        if not await self._persistence.holds(number, position):
            log.warning("the changelog is not the one on disk; reading all of it", partition=number)
            return disk.anew(number)
        log.info("voters are on disk", partition=number, voters=len(state), applied=state.applied)
        self._persisted[number] = position.offset
        return state

    def find(self, state: VotedPartition, key: bytes) -> Entry | None:
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

"""The voted table as Faust sees it: a table with a store and a changelog of our own.

Faust creates the changelog, restores it on assignment and tells of revoked partitions. The store
decodes the records itself and never raises into Faust's restore, which would swallow the error.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import faust
import structlog
from faust.stores.base import Store
from faust.types import TP, EventT

from schemas.codec import DecodeError, decode_voted
from schemas.voted import CHANGELOG_KEY
from streams.decide import Entry
from streams.errors import REBUILD_VOTED, RecoveryFailed, ScrutinError
from streams.failstop import fail
from streams.log_writer import OutRecord
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


class VotedStore(Store):  # type: ignore[misc]
    """Holds a :class:`VotedPartition` for each partition that this worker owns."""

    def __post_init__(self) -> None:
        self.partitions: dict[int, VotedPartition] = {}
        self.last_applied_at_s = time.monotonic()
        self._persisted: dict[int, int] = {}
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

    def written(self, number: int, changelog_offset: int) -> None:
        """Note that our own record is in the changelog, so that a restore need not read it.

        Only an unbroken sequence counts: a hole is another worker's record, which must be read.
        """
        if number in self.partitions and self._persisted.get(number, -1) == changelog_offset - 1:
            self._persisted[number] = changelog_offset

    # What Faust calls.

    def persisted_offset(self, tp: TP) -> int | None:
        """Changelog offset up to which the partition is in memory."""
        return self._persisted.get(tp.partition)

    def apply_changelog_batch(
        self,
        batch: Iterable[EventT],
        to_key: Callable[[Any], Any],
        to_value: Callable[[Any], Any],
    ) -> None:
        """Apply changelog records in the order of their offsets."""
        del to_key, to_value
        last: dict[int, Any] = {}
        for event in batch:
            message = event.message
            try:
                (offset,) = CHANGELOG_KEY.unpack(message.key)
                state = self.partitions.get(message.partition)
                if state is None:
                    # Read before a rebalance that took the partition away.
                    continue
                state.apply(offset, decode_voted(message.value))
            except ScrutinError as error:
                fail(error)
            except (DecodeError, TypeError, ValueError, struct.error) as error:
                fail(
                    RecoveryFailed(
                        "A record of the voted table's changelog cannot be decoded",
                        where={
                            "topic": message.topic,
                            "partition": message.partition,
                            "offset": message.offset,
                        },
                        todo="See who wrote it; " + REBUILD_VOTED,
                    ),
                    cause=error,
                )
            except Exception as error:  # noqa: BLE001 - the disk's, which Faust would only log
                fail(error)
            self._persisted[message.partition] = message.offset
            self.last_applied_at_s = time.monotonic()
            last[message.partition] = message
        try:
            for partition, message in last.items():
                self._save(partition, message.offset, message.key, message.value)
        except ScrutinError as error:
            fail(error)

    async def on_rebalance(
        self,
        assigned: set[TP],
        revoked: set[TP],
        newly_assigned: set[TP],
        generation_id: int = 0,
    ) -> None:
        """Drop the partitions that are no longer ours; begin the new ones with what is on disk."""
        del revoked, newly_assigned, generation_id
        topic = self.table.changelog_topic_name
        ours = {tp.partition for tp in assigned if tp.topic == topic}
        for number in [p for p in self.partitions if p not in ours]:
            del self.partitions[number]
            self._persisted.pop(number, None)
            if self._persistence is not None:
                self._persistence.disk.close(number)
        for number in sorted(ours - self.partitions.keys()):
            try:
                self.partitions[number] = await self._begin(number)
            except Exception as error:  # noqa: BLE001 - Faust would log it and go on
                fail(error)

    async def _begin(self, number: int) -> VotedPartition:
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

    def reset_state(self) -> None:
        """What is on disk stays; it is checked when it is opened."""

    async def backup_partition(
        self, tp: TP | int, flush: bool = True, purge: bool = False, keep: int = 1
    ) -> None:
        """Nothing to back up: the changelog is the copy."""

    def restore_backup(self, tp: TP | int, latest: bool = True, backup_id: int = 0) -> None:
        """Nothing to restore from but the changelog."""

    # A mapping, for `voted[key]`.

    def __getitem__(self, key: bytes) -> Entry:
        for state in self.partitions.values():
            entry = state.get(key)
            if entry is not None:
                return entry
        raise KeyError(key)

    def __contains__(self, key: object) -> bool:
        return any(isinstance(key, bytes) and state.get(key) for state in self.partitions.values())

    def __iter__(self) -> Iterator[bytes]:
        for state in self.partitions.values():
            yield from state

    def __len__(self) -> int:
        return sum(len(state) for state in self.partitions.values())

    def __setitem__(self, key: bytes, value: Entry) -> None:
        raise TypeError("the voted table changes by validation only")

    def __delitem__(self, key: bytes) -> None:
        raise TypeError("the voted table changes by validation only")


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

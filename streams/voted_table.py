"""The voted table as Faust sees it: a table with a store and a changelog of our own.

Faust creates the changelog, restores it on assignment and tells of revoked partitions. The store
decodes the records itself and never raises into Faust's restore, which would swallow the error.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import faust
from faust.stores.base import Store
from faust.types import TP, EventT

from schemas.codec import DecodeError, decode_voted
from schemas.voted import CHANGELOG_KEY
from streams.decide import Entry
from streams.errors import REBUILD_VOTED, RecoveryFailed, ScrutinError
from streams.failstop import fail
from streams.voted import VotedPartition


class VotedStore(Store):  # type: ignore[misc]
    """Holds a :class:`VotedPartition` for each partition that this worker owns."""

    def __post_init__(self) -> None:
        self.partitions: dict[int, VotedPartition] = {}
        self.last_applied_at_s = time.monotonic()
        self._persisted: dict[int, int] = {}

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
            self._persisted[message.partition] = message.offset
            self.last_applied_at_s = time.monotonic()

    async def on_rebalance(
        self,
        assigned: set[TP],
        revoked: set[TP],
        newly_assigned: set[TP],
        generation_id: int = 0,
    ) -> None:
        """Drop the partitions that are no longer ours, and begin the new ones empty."""
        del revoked, newly_assigned, generation_id
        topic = self.table.changelog_topic_name
        ours = {tp.partition for tp in assigned if tp.topic == topic}
        for number in [p for p in self.partitions if p not in ours]:
            del self.partitions[number]
            self._persisted.pop(number, None)
        for number in ours - self.partitions.keys():
            self.partitions[number] = VotedPartition(number)

    def reset_state(self) -> None:
        """Nothing is kept on disk."""

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

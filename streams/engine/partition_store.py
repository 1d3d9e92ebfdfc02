"""Base class of Faust stores in memory whose stage writes the changelog.

Faust creates the changelog, restores it on assignment and reports revoked partitions. A store
decodes the records itself and never raises into Faust's restore, which would swallow the error.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from typing import Any, Generic, NoReturn, TypeVar, cast

from faust.stores.base import Store
from faust.types import TP, EventT

from streams.errors import RecoveryFailed
from streams.runtime.failstop import fail

K = TypeVar("K")
V = TypeVar("V")
P = TypeVar("P", bound=Sized)


class PartitionStore(Store, Generic[K, V, P]):  # type: ignore[misc]
    """Holds a `P` for each partition that this worker owns; the mapping covers all of them."""

    title = ""
    """Name of the table in messages."""

    def __post_init__(self) -> None:
        self.partitions: dict[int, P] = {}
        self._persisted: dict[int, int] = {}
        self.last_applied_at_s = time.monotonic()
        """Monotonic time at which a changelog record was last restored."""

    def written(self, number: int, changelog_offset: int) -> None:
        """Record that this worker's record is in the changelog, so that a restore need not read it.

        Only an unbroken sequence counts: a gap is another worker's record, which must be read.
        """
        if number in self.partitions and self._persisted.get(number, -1) == changelog_offset - 1:
            self._persisted[number] = changelog_offset

    # Provided by subclasses.

    async def begin(self, number: int) -> P:
        """State of a newly assigned partition, before its changelog is read."""
        raise NotImplementedError

    async def preload(self, ends: Mapping[int, int]) -> None:
        """Bulk-read the changelogs of assigned partitions, if that is faster.

        Args:
            ends: offset of the last record, by partition; -1 if there is none.
        """

    def ended(self, number: int) -> None:
        """Called when a partition is no longer owned."""

    def apply(self, message: Any) -> None:
        """Apply a changelog record; ends the process if that fails."""
        raise NotImplementedError

    def undecodable(self, message: Any, todo: str, cause: Exception) -> NoReturn:
        """End the process because of a changelog record."""
        fail(
            RecoveryFailed(
                f"A record of the {self.title}'s changelog cannot be decoded",
                where={
                    "topic": message.topic,
                    "partition": message.partition,
                    "offset": message.offset,
                },
                todo=todo,
            ),
            cause=cause,
        )

    # Called by Faust.

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
            # Other records were read before a rebalance that revoked their partition.
            if message.partition in self.partitions:
                self.apply(message)
                self._persisted[message.partition] = message.offset
                self.last_applied_at_s = time.monotonic()

    async def on_rebalance(
        self,
        assigned: set[TP],
        revoked: set[TP],
        newly_assigned: set[TP],
        generation_id: int = 0,
    ) -> None:
        """Drop partitions that are no longer owned, and begin the new ones."""
        del revoked, newly_assigned, generation_id
        topic = self.table.changelog_topic_name
        owned = {tp.partition for tp in assigned if tp.topic == topic}
        for number in [p for p in self.partitions if p not in owned]:
            del self.partitions[number]
            self._persisted.pop(number, None)
            self.ended(number)
        for number in sorted(owned - self.partitions.keys()):
            try:
                self.partitions[number] = await self.begin(number)
            except Exception as error:  # noqa: BLE001 - Faust would log it and go on
                fail(error)

    def reset_state(self) -> None:
        """Do nothing: the state of a partition is checked when it begins."""

    async def backup_partition(
        self, tp: TP | int, flush: bool = True, purge: bool = False, keep: int = 1
    ) -> None:
        """Do nothing: the changelog is the backup."""

    def restore_backup(self, tp: TP | int, latest: bool = True, backup_id: int = 0) -> None:
        """Do nothing: the changelog is the only backup."""

    # The mapping, for `table[key]`.

    def find(self, state: P, key: K) -> V | None:
        """The entry of a key in a partition."""
        raise NotImplementedError

    def keys_of(self, state: P) -> Iterable[K]:
        """The keys of a partition."""
        raise NotImplementedError

    def __getitem__(self, key: K) -> V:
        for state in self.partitions.values():
            entry = self.find(state, key)
            if entry is not None:
                return entry
        raise KeyError(key)

    def __contains__(self, key: object) -> bool:
        known = cast(K, key)
        return any(self.find(state, known) is not None for state in self.partitions.values())

    def __iter__(self) -> Iterator[K]:
        for state in self.partitions.values():
            yield from self.keys_of(state)

    def __len__(self) -> int:
        return sum(map(len, self.partitions.values()))

    def __setitem__(self, key: K, value: V) -> None:
        raise TypeError(f"the {self.title} is changed by its stage only")

    def __delitem__(self, key: K) -> None:
        raise TypeError(f"the {self.title} is changed by its stage only")

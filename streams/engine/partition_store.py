"""A Faust store in memory whose changelog we write: what is common to our tables.

Faust creates the changelog, restores it on assignment and tells of revoked partitions. A store
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
    """Holds a `P` for each partition that this worker owns; as a mapping it shows all of them."""

    title = ""
    """Of the table, in messages."""

    def __post_init__(self) -> None:
        self.partitions: dict[int, P] = {}
        self._persisted: dict[int, int] = {}
        self.last_applied_at_s = time.monotonic()
        """When a record of the changelog was restored last."""

    def written(self, number: int, changelog_offset: int) -> None:
        """Note that our own record is in the changelog, so that a restore need not read it.

        Only an unbroken sequence counts: a hole is another worker's record, which must be read.
        """
        if number in self.partitions and self._persisted.get(number, -1) == changelog_offset - 1:
            self._persisted[number] = changelog_offset

    # What a subclass says.

    async def begin(self, number: int) -> P:
        """State of a partition that is assigned, before its changelog is read."""
        raise NotImplementedError

    async def preload(self, ends: Mapping[int, int]) -> None:
        """Read the changelog of assigned partitions in one go, as far as that helps.

        Args:
            ends: offset of the last record, by partition; -1 if there is none.
        """

    def ended(self, number: int) -> None:
        """A partition is no longer ours."""

    def apply(self, message: Any) -> None:
        """Apply a record of the changelog; ends the process if it cannot be applied."""
        raise NotImplementedError

    def undecodable(self, message: Any, todo: str, cause: Exception) -> NoReturn:
        """End the process over a record of the changelog."""
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
            # Others were read before a rebalance that took their partition away.
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
        """Drop the partitions that are no longer ours, and begin the new ones."""
        del revoked, newly_assigned, generation_id
        topic = self.table.changelog_topic_name
        ours = {tp.partition for tp in assigned if tp.topic == topic}
        for number in [p for p in self.partitions if p not in ours]:
            del self.partitions[number]
            self._persisted.pop(number, None)
            self.ended(number)
        for number in sorted(ours - self.partitions.keys()):
            try:
                self.partitions[number] = await self.begin(number)
            except Exception as error:  # noqa: BLE001 - Faust would log it and go on
                fail(error)

    def reset_state(self) -> None:
        """What a partition begins with is checked when it begins."""

    async def backup_partition(
        self, tp: TP | int, flush: bool = True, purge: bool = False, keep: int = 1
    ) -> None:
        """Nothing to back up: the changelog is the copy."""

    def restore_backup(self, tp: TP | int, latest: bool = True, backup_id: int = 0) -> None:
        """Nothing to restore from but the changelog."""

    # A mapping, for `table[key]`.

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
        raise TypeError(f"the {self.title} changes by its stage only")

    def __delitem__(self, key: K) -> None:
        raise TypeError(f"the {self.title} changes by its stage only")

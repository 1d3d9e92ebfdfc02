"""The table of the tally's jobs as Faust sees it: Faust restores it, we write its changelog.

A key is an election and a slot; the states of an election go round through the slots, and the one
with the highest version counts. So a worker that was thought dead and writes late hides nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

import faust
from faust.stores.base import Store
from faust.types import TP, EventT

from schemas.tally import JobState
from streams.errors import RecoveryFailed
from streams.failstop import fail
from streams.tally.codec import DecodeError, decode_state

SLOTS: Final = 16


def changelog_key(state: JobState) -> bytes:
    """Where a state goes in the changelog."""
    return f"{state.election_id}\0{state.version % SLOTS}".encode()


class JobsStore(Store):  # type: ignore[misc]
    """Holds the job states of the partitions that this worker owns."""

    def __post_init__(self) -> None:
        self.partitions: dict[int, dict[str, JobState]] = {}
        self._persisted: dict[int, int] = {}

    def written(self, number: int, changelog_offset: int) -> None:
        """Note that our own record is in the changelog, so that a restore need not read it.

        Only an unbroken sequence counts: a hole is another worker's record, which must be read.
        """
        if number in self.partitions and self._persisted.get(number, -1) == changelog_offset - 1:
            self._persisted[number] = changelog_offset

    def put(self, number: int, state: JobState) -> None:
        """Keep a state unless a newer one is known."""
        jobs = self.partitions.get(number)
        if jobs is None:
            return
        known = jobs.get(state.election_id)
        if known is None or known.version < state.version:
            jobs[state.election_id] = state

    def applied(self, number: int) -> int:
        """Offset of the last event that a state of the partition has in it; -1 for none."""
        return max(
            (state.applied for state in self.partitions.get(number, {}).values()), default=-1
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
        """Apply changelog records."""
        del to_key, to_value
        for event in batch:
            message = event.message
            try:
                self.put(message.partition, decode_state(message.value))
            except (DecodeError, TypeError) as error:
                fail(
                    RecoveryFailed(
                        "A record of the jobs' changelog cannot be decoded",
                        where={
                            "topic": message.topic,
                            "partition": message.partition,
                            "offset": message.offset,
                        },
                        todo="It was not written by Scrutin or by a newer version",
                    ),
                    cause=error,
                )
            self._persisted[message.partition] = message.offset

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
            self.partitions[number] = {}

    def reset_state(self) -> None:
        """Nothing is kept on disk."""

    async def backup_partition(
        self, tp: TP | int, flush: bool = True, purge: bool = False, keep: int = 1
    ) -> None:
        """Nothing to back up: the changelog is the copy."""

    def restore_backup(self, tp: TP | int, latest: bool = True, backup_id: int = 0) -> None:
        """Nothing to restore from but the changelog."""

    # A mapping, for `tally_jobs[election_id]`.

    def __getitem__(self, key: str) -> JobState:
        for jobs in self.partitions.values():
            if key in jobs:
                return jobs[key]
        raise KeyError(key)

    def __contains__(self, key: object) -> bool:
        return any(key in jobs for jobs in self.partitions.values())

    def __iter__(self) -> Iterator[str]:
        for jobs in self.partitions.values():
            yield from jobs

    def __len__(self) -> int:
        return sum(map(len, self.partitions.values()))

    def __setitem__(self, key: str, value: JobState) -> None:
        raise TypeError("jobs change by events only")

    def __delitem__(self, key: str) -> None:
        raise TypeError("jobs change by events only")


class JobsTable(faust.Table):  # type: ignore[misc]
    """A `faust.Table` over :class:`JobsStore`."""

    def _new_store(self) -> JobsStore:
        return JobsStore(
            "memory://", self.app, self, table_name=self.name, key_type=bytes, value_type=bytes
        )

    @property
    def state(self) -> JobsStore:
        """The store, typed."""
        store = self.data
        assert isinstance(store, JobsStore)
        return store

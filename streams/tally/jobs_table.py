"""The Faust table of tally jobs. Faust restores it; the coordinator writes its changelog.

A key is an election and a slot. The states of an election rotate through the slots, and the highest
version counts. So a late write of a worker that was believed dead cannot hide a newer state.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import faust

from schemas.tally import JobState
from streams.engine.partition_store import PartitionStore
from streams.tally.codec import DecodeError, decode_state

SLOTS: Final = 16


def changelog_key(state: JobState) -> bytes:
    """Key of a state in the changelog."""
    return f"{state.election_id}\0{state.version % SLOTS}".encode()


class JobsStore(PartitionStore[str, JobState, dict[str, JobState]]):
    """The job states by election of the partitions that this worker owns."""

    title = "jobs' table"

    def put(self, number: int, state: JobState) -> None:
        """Store a state unless a newer one is known."""
        jobs = self.partitions.get(number)
        if jobs is None:
            return
        known = jobs.get(state.election_id)
        if known is None or known.version < state.version:
            jobs[state.election_id] = state

    def applied(self, number: int) -> int:
        """Offset of the last event applied to a state of the partition; -1 for none."""
        return max(
            (state.applied for state in self.partitions.get(number, {}).values()), default=-1
        )

    # Called by the base class.

    async def begin(self, number: int) -> dict[str, JobState]:
        """No jobs, until the changelog is read."""
        del number
        return {}

    def apply(self, message: Any) -> None:
        """Apply a record of the changelog."""
        try:
            self.put(message.partition, decode_state(message.value))
        except (DecodeError, TypeError) as error:
            self.undecodable(
                message, "It was written by another program or by a newer version", error
            )

    def find(self, state: dict[str, JobState], key: str) -> JobState | None:
        """The state of an election's jobs."""
        return state.get(key)

    def keys_of(self, state: dict[str, JobState]) -> Iterable[str]:
        """The elections of a partition."""
        return state


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

"""The table of the tally's jobs as Faust sees it: Faust restores it, we write its changelog.

A key is an election and a slot; the states of an election go round through the slots, and the one
with the highest version counts. So a worker that was thought dead and writes late hides nothing.
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
    """Where a state goes in the changelog."""
    return f"{state.election_id}\0{state.version % SLOTS}".encode()


class JobsStore(PartitionStore[str, JobState, dict[str, JobState]]):
    """Holds the job states, by election, of the partitions that this worker owns."""

    title = "jobs' table"

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

    # What the base asks.

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
                message, "It was not written by Scrutin, or by a newer version of it", error
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

"""Stores of a partition's voters: the protocol, and the store in memory."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator
from typing import Protocol

from schemas.verdicts import Acceptance, Rejection
from schemas.voted import FIRST_VOTE, Repeat, TableControl
from streams.core.decide import VoterEntry
from streams.core.vote_index import VoteIndex


class VoterStore(Protocol):
    """The voters of one partition.

    Additions are visible at once. A key that is added again keeps its first position; of
    several repeats of a key the latest counts.
    """

    def __len__(self) -> int:
        """Number of voter keys."""
        ...

    def __iter__(self) -> Iterator[bytes]:
        """Voter keys, in no particular order."""
        ...

    def get(self, key: bytes) -> VoterEntry | None:
        """The entry of a voter key; None if it has not voted."""
        ...

    def add(self, offset: int, first_votes: bytes) -> None:
        """Add the first votes of one input record (:data:`schemas.voted.FIRST_VOTE` each)."""
        ...

    def repeat(self, repeat: Repeat) -> None:
        """Replace the entry of a known key, after another attempt."""
        ...

    def reject(
        self, offset: int, rejections: list[Rejection], acceptances: list[Acceptance]
    ) -> None:
        """Store the decisions about an input record, if the store outlives the process."""
        ...

    def control(self, offset: int, control: TableControl) -> None:
        """Store a control record, if the store outlives the process."""
        ...

    def clear(self) -> None:
        """Remove all voters."""
        ...


class MemoryVoterStore:
    """Voters in memory, to be restored from the changelog.

    Args:
        first: initial first votes.
        repeats: initial later attempts.
    """

    def __init__(
        self, first: VoteIndex | None = None, repeats: dict[bytes, VoterEntry] | None = None
    ) -> None:
        self._first = VoteIndex() if first is None else first
        self._repeats = {} if repeats is None else repeats

    def __len__(self) -> int:
        """Number of voter keys."""
        return len(self._first)

    def __iter__(self) -> Iterator[bytes]:
        """Voter keys, in no particular order."""
        return iter(self._first)

    def get(self, key: bytes) -> VoterEntry | None:
        """The entry of a voter key; None if it has not voted."""
        if self._repeats:
            repeated = self._repeats.get(key)
            if repeated is not None:
                return repeated
        return self._first.get(key)

    def add(self, offset: int, first_votes: bytes) -> None:
        """Add the first votes of one input record."""
        self._first.add(offset, first_votes)

    def repeat(self, repeat: Repeat) -> None:
        """Add an attempt after the accepted vote."""
        self._repeats[repeat.key] = entry_of(repeat)

    def reject(
        self, offset: int, rejections: list[Rejection], acceptances: list[Acceptance]
    ) -> None:
        """Do nothing: the partition holds recent decisions."""

    def control(self, offset: int, control: TableControl) -> None:
        """Do nothing: the partition holds the rules."""

    def clear(self) -> None:
        """Remove all voters."""
        self._first = VoteIndex()
        self._repeats = {}


class BulkVoterStore:
    """Voters during a bulk read of a changelog; lookups are not possible until it is done."""

    def __init__(self) -> None:
        self._rows = bytearray()
        self._starts = array("Q")
        self._offsets = array("Q")
        self._repeats: dict[bytes, VoterEntry] = {}

    def __len__(self) -> int:
        """Number of first votes."""
        return len(self._rows) // FIRST_VOTE.size

    def __iter__(self) -> Iterator[bytes]:
        """Not possible before :meth:`done`."""
        raise RuntimeError("the voted table is being read")

    def get(self, key: bytes) -> VoterEntry | None:
        """Not possible before :meth:`done`."""
        del key
        raise RuntimeError("the voted table is being read")

    def add(self, offset: int, first_votes: bytes) -> None:
        """Add the first votes of one input record."""
        if len(first_votes) % FIRST_VOTE.size:
            raise ValueError(f"{len(first_votes)} bytes are no multiple of {FIRST_VOTE.size}")
        if first_votes:
            self._starts.append(len(self))
            self._offsets.append(offset)
            self._rows += first_votes

    def repeat(self, repeat: Repeat) -> None:
        """Add an attempt after the accepted vote."""
        self._repeats[repeat.key] = entry_of(repeat)

    def reject(
        self, offset: int, rejections: list[Rejection], acceptances: list[Acceptance]
    ) -> None:
        """Do nothing: the partition holds recent decisions."""

    def control(self, offset: int, control: TableControl) -> None:
        """Do nothing: the partition holds the rules."""

    def clear(self) -> None:
        """Remove all voters."""
        self._rows = bytearray()
        self._starts, self._offsets = array("Q"), array("Q")
        self._repeats = {}

    def done(self, moved: Callable[[], None] = lambda: None) -> MemoryVoterStore:
        """The store for lookups; this one must not be used afterwards.

        Args:
            moved: called when it is built.
        """
        first = VoteIndex.of(self._rows, self._starts, self._offsets)
        moved()
        return MemoryVoterStore(first, self._repeats)


def entry_of(repeat: Repeat) -> VoterEntry:
    """The entry that a repeat describes."""
    return VoterEntry(
        repeat.offset, repeat.index, repeat.identity, repeat.attempts, tuple(repeat.later)
    )

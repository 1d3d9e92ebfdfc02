"""The voted table's state, apart from Faust: one :class:`VotedPartition` per owned partition."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from schemas.verdicts import Rejection
from schemas.voted import FIRST_VOTE, VotedRecord
from streams.decide import Entry
from streams.errors import LogMismatch, RecoveryFailed

KEPT_VERDICTS: Final = 4096
"""Records whose rejections are kept, so that what was decided but not emitted can be emitted."""

_IDENTITY_BITS: Final = 64
_INDEX_BITS: Final = 16
_OFFSET_SHIFT: Final = _IDENTITY_BITS + _INDEX_BITS
_INDEX_MASK: Final = (1 << _INDEX_BITS) - 1
_IDENTITY_MASK: Final = (1 << _IDENTITY_BITS) - 1


@dataclass
class VotedPartition:
    """Who voted in one partition, and how far the input log was applied.

    Applying a record twice, or late (a worker that was thought dead wrote it), changes nothing:
    first positions take the minimum, attempts the maximum.
    """

    partition: int
    log_id: bytes | None = None
    """Identity of the input log that the applied records belong to."""
    applied: int = -1
    """Last input offset up to which every record was applied."""
    _first: dict[bytes, int] = field(default_factory=dict)
    # Voter key -> (offset, index, identity) in one integer: half the memory of a tuple.
    _repeats: dict[bytes, Entry] = field(default_factory=dict)
    _rejections: dict[int, list[Rejection]] = field(default_factory=dict)
    _ahead: set[int] = field(default_factory=set)
    _newest: int = -1

    def __len__(self) -> int:
        """Number of voter keys."""
        return len(self._first)

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._first)

    def get(self, key: bytes) -> Entry | None:
        """The entry of a voter key, if it has voted."""
        packed = self._first.get(key)
        if packed is None:
            return None
        if self._repeats:
            repeat = self._repeats.get(key)
            if repeat is not None:
                return repeat
        return Entry(
            packed >> _OFFSET_SHIFT,
            packed >> _IDENTITY_BITS & _INDEX_MASK,
            (packed & _IDENTITY_MASK).to_bytes(8, "big"),
        )

    def apply(self, offset: int, record: VotedRecord) -> None:
        """Apply the changelog record of one input offset.

        Raises:
            LogMismatch: the record belongs to another log.
        """
        if self.log_id is None:
            self.log_id = record.log_id
        elif self.log_id != record.log_id:
            raise LogMismatch(
                "The voted table's changelog holds records of two different input logs",
                where={"table": "voted", "partition": self.partition, "offset": offset},
                todo="Rebuild the table from the log it belongs to",
            )
        first = self._first
        base = offset << _OFFSET_SHIFT
        for key, index, _, identity in FIRST_VOTE.iter_unpack(record.first_votes):
            packed = base | index << _IDENTITY_BITS | int.from_bytes(identity, "big")
            known = first.get(key)
            if known is None or packed < known:
                first[key] = packed
        for repeat in record.repeats:
            self._apply_repeat(
                repeat.key,
                Entry(
                    repeat.offset,
                    repeat.index,
                    repeat.identity,
                    repeat.attempts,
                    tuple(repeat.later),
                ),
            )
        self._keep(offset, record.rejections)

    def _apply_repeat(self, key: bytes, entry: Entry) -> None:
        packed = (
            entry.offset << _OFFSET_SHIFT
            | entry.index << _IDENTITY_BITS
            | int.from_bytes(entry.identity, "big")
        )
        known = self._first.get(key)
        if known is None or packed < known:
            self._first[key] = packed
        before = self._repeats.get(key)
        if before is None or entry.attempts > before.attempts:
            self._repeats[key] = entry

    def _keep(self, offset: int, rejections: list[Rejection]) -> None:
        if offset == self.applied + 1:
            self.applied = offset
            while self.applied + 1 in self._ahead:
                self.applied += 1
                self._ahead.discard(self.applied)
        elif offset > self.applied:
            self._ahead.add(offset)
        self._newest = max(self._newest, offset)
        # By offset, not by arrival: a late record must not push out what is still needed.
        if offset > self._newest - KEPT_VERDICTS:
            self._rejections[offset] = rejections
            self._rejections.pop(offset - KEPT_VERDICTS, None)

    def rejections(self, offset: int) -> list[Rejection]:
        """Rejections decided for an applied input offset.

        Raises:
            RecoveryFailed: it is further back than what is kept.
        """
        try:
            return self._rejections[offset]
        except KeyError:
            raise RecoveryFailed(
                "Verdicts were decided but never emitted, and are too old to be in memory",
                where={"table": "voted", "partition": self.partition, "offset": offset},
                todo="The end of votes.validated was lost; rebuild it from the log",
            ) from None

    def check_whole(self) -> None:
        """Raise if records of the changelog are missing in the middle.

        Raises:
            RecoveryFailed: names the first missing offset.
        """
        if self._ahead:
            raise RecoveryFailed(
                f"The voted table's changelog misses the record of input offset {self.applied + 1}"
                f" but has that of {min(self._ahead)}",
                where={"table": "voted", "partition": self.partition},
                todo="The changelog lost records; rebuild the table from the input log",
            )

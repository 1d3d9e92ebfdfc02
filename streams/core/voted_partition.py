"""The voted table's state, apart from Faust: one :class:`VotedPartition` per owned partition."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from schemas.codec import ChangelogRecord
from schemas.verdicts import Rejection
from schemas.voted import ControlRecord
from streams.core.decide import VoterEntry
from streams.core.recent_verdicts import KeptVerdicts
from streams.core.rules import Rules
from streams.core.voter_stores import MemoryVoterStore, VoterStore
from streams.errors import REBUILD_VALIDATED, REBUILD_VOTED, LogMismatch, RecoveryFailed


@dataclass
class VotedPartition:
    """Who voted in one partition, what its rules are, and how far the input log was applied.

    Records take effect in the order of the input log, each once: one that comes again or late (a
    worker that was thought dead wrote it) changes nothing, one that comes early waits.
    """

    partition: int
    log_id: bytes | None = None
    """Identity of the input log that the applied records belong to."""
    applied: int = -1
    """Last input offset up to which every record was applied."""
    rules: Rules = field(default_factory=Rules)
    """What control records have decreed up to there."""
    entries: VoterStore = field(default_factory=MemoryVoterStore)
    """The voters."""
    kept: KeptVerdicts = field(default_factory=KeptVerdicts)
    """Rejections of the last records."""
    _ahead: dict[int, ChangelogRecord] = field(default_factory=dict)

    def __len__(self) -> int:
        """Number of voter keys."""
        return len(self.entries)

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.entries)

    def get(self, key: bytes) -> VoterEntry | None:
        """The entry of a voter key, if it has voted."""
        return self.entries.get(key)

    def apply(self, offset: int, record: ChangelogRecord) -> None:
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
                todo=REBUILD_VOTED,
            )
        if offset > self.applied + 1:
            self._ahead.setdefault(offset, record)
        elif offset > self.applied:
            self._apply(offset, record)
            while self._ahead and (early := self._ahead.pop(self.applied + 1, None)) is not None:
                self._apply(self.applied + 1, early)

    def _apply(self, offset: int, record: ChangelogRecord) -> None:
        if isinstance(record, ControlRecord):
            self.entries.control(offset, record.control)
            if self.rules.apply(record.control):
                self.entries.clear()
        else:
            self.entries.add(offset, record.first_votes)
            for repeat in record.repeats:
                self.entries.repeat(repeat)
        self.applied = offset
        self.entries.reject(offset, record.rejections)
        self.kept.put(offset, record.rejections)

    def rejections(self, offset: int) -> list[Rejection]:
        """Rejections decided for an applied input offset.

        Raises:
            RecoveryFailed: it is further back than what is kept.
        """
        try:
            return self.kept.get(offset)
        except KeyError:
            raise RecoveryFailed(
                "Verdicts were decided but never emitted, and are too old to be in memory",
                where={"table": "voted", "partition": self.partition, "offset": offset},
                todo=REBUILD_VALIDATED,
            ) from None

    @property
    def whole(self) -> bool:
        """Whether nothing waits for a record before it."""
        return not self._ahead

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
                todo=REBUILD_VOTED,
            )

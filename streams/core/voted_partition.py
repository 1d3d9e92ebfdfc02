"""State of the voted table, independent of Faust: a :class:`VotedPartition` per owned partition."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from schemas.codec import ChangelogRecord
from schemas.verdicts import Acceptance, Rejection
from schemas.voted import ControlRecord, WeighedVotedRecord
from streams.core.decide import VoterEntry
from streams.core.recent_verdicts import RecentVerdicts
from streams.core.rules import Rules
from streams.core.voter_stores import MemoryVoterStore, VoterStore
from streams.errors import REBUILD_VALIDATED, REBUILD_VOTED, LogMismatch, RecoveryFailed


@dataclass
class VotedPartition:
    """Voters and rules of one partition, and how far its input log was applied.

    Records take effect in the order of the input log, each once. A record that arrives again or
    late (from a worker that was thought dead) changes nothing; one that arrives early waits.
    """

    partition: int
    log_id: bytes | None = None
    """Identity of the input log that the applied records belong to."""
    applied: int = -1
    """Highest input offset up to which all records were applied."""
    rules: Rules = field(default_factory=Rules)
    """As control records up to :attr:`applied` set them."""
    voters: VoterStore = field(default_factory=MemoryVoterStore)
    """The voters."""
    recent: RecentVerdicts = field(default_factory=RecentVerdicts)
    """Rejections of the latest records."""
    _waiting: dict[int, ChangelogRecord] = field(default_factory=dict)

    def __len__(self) -> int:
        """Number of voter keys."""
        return len(self.voters)

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.voters)

    def get(self, key: bytes) -> VoterEntry | None:
        """The entry of a voter key; None if it has not voted."""
        return self.voters.get(key)

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
            self._waiting.setdefault(offset, record)
        elif offset > self.applied:
            self._apply(offset, record)
            while self._waiting:
                waiting = self._waiting.pop(self.applied + 1, None)
                if waiting is None:
                    break
                self._apply(self.applied + 1, waiting)

    def _apply(self, offset: int, record: ChangelogRecord) -> None:
        if isinstance(record, ControlRecord):
            self.voters.control(offset, record.control)
            if self.rules.apply(record.control):
                self.voters.clear()
        else:
            self.voters.add(offset, record.first_votes)
            for repeat in record.repeats:
                self.voters.repeat(repeat)
        self.applied = offset
        acceptances = record.acceptances if isinstance(record, WeighedVotedRecord) else []
        self.voters.reject(offset, record.rejections, acceptances)
        self.recent.put(offset, record.rejections, acceptances)

    def rejections(self, offset: int) -> list[Rejection]:
        """Rejections decided for an applied input offset.

        Raises:
            RecoveryFailed: the record is older than what is kept.
        """
        try:
            return self.recent.get(offset)
        except KeyError:
            raise RecoveryFailed(
                "Verdicts were decided but not emitted, and are too old to be in memory",
                where={"table": "voted", "partition": self.partition, "offset": offset},
                todo=REBUILD_VALIDATED,
            ) from None

    def acceptances(self, offset: int) -> list[Acceptance]:
        """More about votes accepted at an input offset, whose :meth:`rejections` are known."""
        return self.recent.acceptances(offset)

    @property
    def complete(self) -> bool:
        """Whether no record waits for an earlier one."""
        return not self._waiting

    def check_complete(self) -> None:
        """Raise if the changelog misses records before its last one.

        Raises:
            RecoveryFailed: names the first missing offset.
        """
        if self._waiting:
            raise RecoveryFailed(
                f"The voted table's changelog misses the record of input offset {self.applied + 1}"
                f" but has that of {min(self._waiting)}",
                where={"table": "voted", "partition": self.partition},
                todo=REBUILD_VOTED,
            )

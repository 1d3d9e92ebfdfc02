"""Decides which verdict batches a flush applies: those after the fence, in order, once. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from schemas.control import Control, EpochOpened
from schemas.genesis import Genesis, RehearsalGenesis
from schemas.skip import Skip
from schemas.verdicts import Reason, Rejection, Status, acceptances_of
from schemas.votes import Vote, VoteBatch
from streams.core.keys import stored_hash
from streams.core.records import VerdictEvent
from streams.core.rows import RejectedItem, source_of, split
from streams.core.tree_growth import Tree
from streams.errors import LOG_LOST, LogMismatch

Place = tuple[int, int, int]
"""Partition, input offset and number in the record."""


@dataclass
class FlushResult:
    """What a committed flush did."""

    counted: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Counted votes by (contest, choice)."""
    totals: dict[tuple[str, str], int] = field(default_factory=dict)
    """Committed totals of the same (contest, choice)."""
    rejected: int = 0
    replays: int = 0
    """Verdict batches at or below the fence."""
    already_counted: int = 0
    ignored: int = 0
    """Resets of logs that may not be reset."""


@dataclass(eq=False)
class MissingRange(Exception):
    """Verdict batches between the fence and an event are missing.

    Attributes:
        partition: partition of `votes.validated`.
        start: first offset of `votes.validated` that was not applied.
        end: offset of the event.
    """

    partition: int
    start: int
    end: int


@dataclass
class Fence:
    """How far a partition was counted, as `sink_offsets` holds it."""

    log_id: bytes
    source_offset: int
    validated_offset: int
    committed_offset: int
    """`validated_offset` before this flush."""
    epoch: int
    rehearsal: bool = False
    """Whether the partition's log may be reset."""
    tree: Tree = field(default_factory=Tree)
    """Of all verdicts up to here."""
    tree_secret: bytes = b""
    """Identifies the secret of the tree; empty: it has no leaf yet."""


@dataclass
class FlushWork:
    """What a flush writes, without the batches that the fence dropped."""

    accepted: list[tuple[VerdictEvent, VoteBatch, list[tuple[int, Vote]]]] = field(
        default_factory=list
    )
    rejected: list[RejectedItem] = field(default_factory=list)
    weights: dict[Place, int] = field(default_factory=dict)
    """Of accepted votes that do not count once."""
    replacing: set[str] = field(default_factory=set)
    """`vote_audit.vote_hash` of voters whose vote in the database is to be taken back."""
    controls: list[PassedControl] = field(default_factory=list)
    rehearsals: list[int] = field(default_factory=list)
    """Partitions whose log begins as a rehearsal."""

    def settle(self) -> None:
        """Of the votes of a voter who votes again, keep the last; find what it replaces."""
        again = {
            stored_hash(vote.hash, vote.contest, vote.kind)
            for event, batch, _ in self.accepted
            for acceptance in acceptances_of(event.verdicts)
            if acceptance.replaces
            for vote in (batch.votes[acceptance.index],)
        }
        if not again:
            return
        last: dict[str, Place] = {}
        began: set[str] = set()
        for event, _, accepted in self.accepted:
            replacing = {a.index for a in acceptances_of(event.verdicts) if a.replaces}
            for index, vote in accepted:
                name = stored_hash(vote.hash, vote.contest, vote.kind)
                if name in again:
                    if name not in last and index in replacing:
                        began.add(name)
                    last[name] = (event.verdicts.partition, event.verdicts.offset, index)
        self.replacing = began
        self.accepted = [self._without(*one, last) for one in self.accepted]

    def _without(
        self,
        event: VerdictEvent,
        batch: VoteBatch,
        accepted: list[tuple[int, Vote]],
        last: Mapping[str, Place],
    ) -> tuple[VerdictEvent, VoteBatch, list[tuple[int, Vote]]]:
        kept = []
        for index, vote in accepted:
            place = (event.verdicts.partition, event.verdicts.offset, index)
            name = stored_hash(vote.hash, vote.contest, vote.kind)
            if last.get(name, place) == place:
                kept.append((index, vote))
            else:
                rejection = Rejection(index, Status.REPLACED, Reason.REVOTED)
                source = source_of(event.verdicts, batch)
                self.rejected.append(
                    RejectedItem(source, rejection, vote, self.weights.get(place, 1))
                )
        return event, batch, kept


@dataclass(frozen=True, slots=True)
class PassedControl:
    """A control record that a flush passes."""

    partition: int
    log_id: bytes
    offset: int
    """In the input log."""
    control: Control


def admit(event: VerdictEvent, fence: Fence, work: FlushWork, result: FlushResult) -> None:
    """Decide whether a flush applies a verdict batch, and move the fence if it does.

    A batch at or below the fence is a replay and is dropped. Its items join `work` otherwise.

    Args:
        event: a verdict batch, in the order of `votes.validated`.
        fence: of its partition; changed in place.
        work: what the flush writes; extended in place.
        result: counts the replays.

    Raises:
        LogMismatch: the batch belongs to another input log than the database.
        MissingRange: batches before this one are missing. What this flush admitted before it is
            rolled back with it.
    """
    verdicts = event.verdicts
    if verdicts.log_id != fence.log_id:
        raise LogMismatch(
            "A verdict batch belongs to another input log than the database",
            where={"table": "sink_offsets", "partition": verdicts.partition},
            todo=LOG_LOST,
        )
    if verdicts.offset <= fence.source_offset:
        result.replays += 1
        fence.validated_offset = max(fence.validated_offset, event.offset)
        return
    if verdicts.previous_offset > fence.source_offset:
        raise MissingRange(verdicts.partition, fence.committed_offset + 1, event.offset)
    fence.source_offset = verdicts.offset
    fence.validated_offset = event.offset
    if isinstance(event.record, VoteBatch):
        accepted, rejected = split(verdicts, event.record)
        work.accepted.append((event, event.record, accepted))
        for acceptance in acceptances_of(verdicts):
            if acceptance.weight != 1:
                place = (verdicts.partition, verdicts.offset, acceptance.index)
                work.weights[place] = acceptance.weight
        work.rejected.extend(rejected)
    elif isinstance(event.record, RehearsalGenesis):
        if verdicts.offset == 0:
            fence.rehearsal = True
            work.rehearsals.append(verdicts.partition)
    elif isinstance(event.record, EpochOpened) and not fence.rehearsal:
        result.ignored += 1
    elif not isinstance(event.record, Genesis | Skip):
        passed = PassedControl(verdicts.partition, verdicts.log_id, verdicts.offset, event.record)
        work.controls.append(passed)

"""Micro-batches: buffers votes by partition until they are sealed into records. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

import msgspec

from schemas.codec import encode
from schemas.votes import Flag, Malformed, RuledVoteBatch, Vote, VoteBatch

MAX_RECORD_ITEMS: Final = 4_000
"""Items in a record. The records derived from it, with up to 180 bytes more for each item, must
fit a Kafka record too."""

MAX_BUFFER_BYTES: Final = 600_000
"""Bytes of items in a record as :func:`weight` counts them, which is at least their encoded size.
A single item may be heavier; the limit of a body is far below Kafka's limit."""

_OVERHEAD_BYTES: Final = 80
"""Upper bound for the identity, the numbers and the MessagePack headers of one item."""

_ON_ROLL: Final = int(Flag.ON_ROLL)
_PREVALIDATED: Final = int(Flag.PREVALIDATED)
_REPRODUCED: Final = int(Flag.REPRODUCED)


S = TypeVar("S")
"""The source of an item: one channel of one connection."""


class Pending(Generic[S]):
    """Items of one partition in order of arrival."""

    __slots__ = ("count", "malformed", "partition", "rejects", "tags", "votes", "weight")

    def __init__(self, partition: int) -> None:
        self.partition = partition
        self.votes: list[Vote] = []
        self.malformed: list[Malformed] = []
        self.tags: list[tuple[S, int]] = []
        """Session and delivery tag of each vote."""
        self.rejects: list[tuple[S, int]] = []
        """Session and delivery tag of each malformed message."""
        self.count = 0
        """Number of items."""
        self.weight = 0
        """Bytes as :func:`weight` counts them; too high after :meth:`forget`, never too low."""

    def forget(self, session: S) -> int:
        """Drop the items of a session; returns their number."""
        before = self.count
        kept = [i for i, (origin, _) in enumerate(self.tags) if origin is not session]
        self.votes = [self.votes[i] for i in kept]
        self.tags = [self.tags[i] for i in kept]
        kept = [i for i, (origin, _) in enumerate(self.rejects) if origin is not session]
        self.malformed = [self.malformed[i] for i in kept]
        self.rejects = [self.rejects[i] for i in kept]
        self.count = len(self.votes) + len(self.malformed)
        return before - self.count


class Buffers(Generic[S]):
    """The buffered items, by partition.

    Args:
        partitions: of the input topic.
    """

    def __init__(self, partitions: int) -> None:
        self._open: list[Pending[S]] = [Pending(p) for p in range(partitions)]
        self._full: list[Pending[S]] = []
        self.waiting = 0
        """Items in the buffers."""

    @property
    def has_full(self) -> bool:
        """Whether a record is full, so that waiting gains nothing."""
        return bool(self._full)

    def add(
        self, partition: int, item: Vote | Malformed, weight: int, session: S, tag: int
    ) -> None:
        """Append one item.

        Args:
            partition: of the input topic.
            item: as decoded.
            weight: as :func:`weight` returns it.
            session: source of the item.
            tag: its delivery tag in the session.
        """
        pending = self._open[partition]
        if pending.count and pending.weight + weight > MAX_BUFFER_BYTES:
            pending = self._replace(partition)
        pending.weight += weight
        pending.count += 1
        if type(item) is Vote:
            pending.votes.append(item)
            pending.tags.append((session, tag))
        else:
            assert isinstance(item, Malformed)
            pending.malformed.append(item)
            pending.rejects.append((session, tag))
        self.waiting += 1
        if pending.count >= MAX_RECORD_ITEMS:
            self._replace(partition)

    def take(self) -> list[Pending[S]]:
        """Remove and return all items; records of a partition stay in order."""
        taken = self._full
        self._full = []
        for partition, pending in enumerate(self._open):
            if pending.count:
                taken.append(pending)
                self._open[partition] = Pending(partition)
        self.waiting = 0
        return taken

    def forget(self, session: S) -> int:
        """Drop the items of a session, which RabbitMQ will deliver again; returns their number."""
        before = self.waiting
        # The other items stay in their records: no record grows, and the order is kept.
        for pending in (*self._full, *self._open):
            self.waiting -= pending.forget(session)
        self._full = [pending for pending in self._full if pending.count]
        return before - self.waiting

    def _replace(self, partition: int) -> Pending[S]:
        self._full.append(self._open[partition])
        pending: Pending[S] = Pending(partition)
        self._open[partition] = pending
        return pending


def weight(item: Vote | Malformed, body_bytes: int) -> int:
    """An upper bound of the bytes that the item takes in a record.

    Args:
        item: as decoded.
        body_bytes: length of the message body it was decoded from. No string of a vote is longer
            than in the body, except numbers in the metadata, whose exponents may be expanded.
    """
    if type(item) is Vote:
        if item.metadata is None:
            return body_bytes + _OVERHEAD_BYTES
        return body_bytes + len(item.metadata.encode()) + _OVERHEAD_BYTES
    assert isinstance(item, Malformed)
    return 2 * _OVERHEAD_BYTES + len(item.head)


def hashes_to_ask(batches: Sequence[Pending[S]]) -> list[str]:
    """Hashes to look up in the roll, in the order in which :func:`seal` expects the answers."""
    return [
        vote.hash for pending in batches for vote in pending.votes if not vote.flags & _PREVALIDATED
    ]


def stamp(votes: list[Vote], answers: Sequence[bool]) -> list[Vote]:
    """Clear :attr:`Flag.ON_ROLL` of the votes whose hash is not on the roll.

    Args:
        votes: of one record.
        answers: one for each vote that :func:`hashes_to_ask` names.
    """
    if all(answers):
        return votes
    remaining = iter(answers)
    return [
        vote
        if vote.flags & _PREVALIDATED or next(remaining)
        else msgspec.structs.replace(vote, flags=vote.flags & ~_ON_ROLL)
        for vote in votes
    ]


@dataclass(frozen=True)
class VotingRules:
    """The rules that a bridge writes into every record for validation."""

    epoch: int = 0
    """The epoch in which the votes were received."""
    rules: int = 0
    """Bits of :class:`schemas.votes.Rule`."""


NO_RULES: Final = VotingRules()


def seal(
    pending: Pending[S],
    answers: Sequence[bool],
    *,
    ingest_ms: int,
    bridge: str,
    voting_rules: VotingRules = NO_RULES,
) -> bytes:
    """Encode a record.

    Args:
        pending: content of the record.
        answers: of the roll, one for each vote that was looked up.
        ingest_ms: Unix time in milliseconds.
        bridge: name of the process.
        voting_rules: rules for its votes.
    """
    votes = stamp(pending.votes, answers)
    if voting_rules == NO_RULES:
        return encode(VoteBatch(ingest_ms, bridge, votes, pending.malformed))
    return encode(
        RuledVoteBatch(
            ingest_ms,
            bridge,
            votes,
            pending.malformed,
            voting_rules.epoch,
            int(voting_rules.rules),
        )
    )


def reproduced(batch: VoteBatch) -> VoteBatch:
    """The same record with every item flagged as possibly written before."""
    return msgspec.structs.replace(
        batch,
        votes=[msgspec.structs.replace(v, flags=v.flags | _REPRODUCED) for v in batch.votes],
        malformed=[
            msgspec.structs.replace(m, flags=m.flags | _REPRODUCED) for m in batch.malformed
        ],
    )

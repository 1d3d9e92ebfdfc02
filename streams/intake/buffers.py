"""Micro-batches: votes wait here, by partition, until they are sealed into records. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Generic, Protocol, TypeVar

import msgspec

from schemas.codec import encode
from schemas.votes import Flag, Malformed, RuledVoteBatch, Vote, VoteBatch

MAX_RECORD_ITEMS: Final = 4_000
"""Items in a record. What derives from it, with up to 180 bytes more for each item, must fit a
Kafka record too."""

MAX_BUFFER_BYTES: Final = 600_000
"""Bytes of items in a record, as :func:`weight` counts them: at least as many as they encode to.
One item alone may be heavier; a body is bounded far below what Kafka takes."""

_OVERHEAD_BYTES: Final = 80
"""More than the identity, the numbers and the MessagePack headers of one item take."""

_ON_ROLL: Final = int(Flag.ON_ROLL)
_PREVALIDATED: Final = int(Flag.PREVALIDATED)
_REPRODUCED: Final = int(Flag.REPRODUCED)


class DeliverySession(Protocol):
    """What delivered an item: one channel of one connection."""


S = TypeVar("S", bound=DeliverySession)


class Pending(Generic[S]):
    """Items of one partition in the order in which they came."""

    __slots__ = ("count", "malformed", "partition", "rejects", "tags", "votes", "weight")

    def __init__(self, partition: int) -> None:
        self.partition = partition
        self.votes: list[Vote] = []
        self.malformed: list[Malformed] = []
        self.tags: list[tuple[S, int]] = []
        """Where the votes came from: session and delivery tag of each."""
        self.rejects: list[tuple[S, int]] = []
        """Where the malformed messages came from."""
        self.count = 0
        """Items."""
        self.weight = 0
        """Bytes, as :func:`weight` counts them; too many after :meth:`forget`, never too few."""

    def forget(self, session: S) -> int:
        """Drop what a session delivered; returns how many items."""
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
    """The items that wait, by partition.

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
        """A record is full: nothing is gained by waiting."""
        return bool(self._full)

    def add(
        self, partition: int, item: Vote | Malformed, weight: int, session: S, tag: int
    ) -> None:
        """Append one item.

        Args:
            partition: its partition.
            item: as decoded.
            weight: its :func:`weight`.
            session: what delivered it.
            tag: its delivery tag there.
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
        """Take everything out, records of one partition in their order."""
        taken = self._full
        self._full = []
        for partition, pending in enumerate(self._open):
            if pending.count:
                taken.append(pending)
                self._open[partition] = Pending(partition)
        self.waiting = 0
        return taken

    def forget(self, session: S) -> int:
        """Drop what a session delivered because it will be delivered again; returns how much."""
        before = self.waiting
        # The rest stays in the records it was in: none grows, and the order is kept.
        for pending in (*self._full, *self._open):
            self.waiting -= pending.forget(session)
        self._full = [pending for pending in self._full if pending.count]
        return before - self.waiting

    def _replace(self, partition: int) -> Pending[S]:
        self._full.append(self._open[partition])
        fresh: Pending[S] = Pending(partition)
        self._open[partition] = fresh
        return fresh


def weight(item: Vote | Malformed, body_bytes: int) -> int:
    """At least as many bytes as the item takes in a record.

    Args:
        item: as decoded.
        body_bytes: length of the message body it was decoded from. No text of a vote is longer
            than in the body, but for numbers in the metadata, which may be written out.
    """
    if type(item) is Vote:
        if item.metadata is None:
            return body_bytes + _OVERHEAD_BYTES
        return body_bytes + len(item.metadata.encode()) + _OVERHEAD_BYTES
    assert isinstance(item, Malformed)
    return 2 * _OVERHEAD_BYTES + len(item.head)


def hashes_to_ask(batches: Sequence[Pending[S]]) -> list[str]:
    """Hashes that the roll has to answer for, in the order in which :func:`seal` wants answers."""
    return [
        vote.hash for pending in batches for vote in pending.votes if not vote.flags & _PREVALIDATED
    ]


def stamp(votes: list[Vote], answers: Sequence[bool]) -> list[Vote]:
    """Take :attr:`Flag.ON_ROLL` from the votes whose hash the roll did not know.

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
    """What a bridge writes into every record about how its votes are to be judged."""

    epoch: int = 0
    """The epoch the votes are taken in."""
    rules: int = 0
    """Bits of :class:`schemas.votes.Rule`."""


NO_RULES: Final = VotingRules()


def seal(
    pending: Pending[S],
    answers: Sequence[bool],
    *,
    ingest_ms: int,
    bridge: str,
    regime: VotingRules = NO_RULES,
) -> bytes:
    """Encode a record.

    Args:
        pending: what goes into it.
        answers: the roll's, one for each vote of it that was asked for.
        ingest_ms: Unix time in milliseconds.
        bridge: name of the process.
        regime: what the votes are judged by.
    """
    votes = stamp(pending.votes, answers)
    if regime == NO_RULES:
        return encode(VoteBatch(ingest_ms, bridge, votes, pending.malformed))
    return encode(
        RuledVoteBatch(ingest_ms, bridge, votes, pending.malformed, regime.epoch, int(regime.rules))
    )


def reproduced(batch: VoteBatch) -> VoteBatch:
    """The same record, saying of every item that it may have been written before."""
    return msgspec.structs.replace(
        batch,
        votes=[msgspec.structs.replace(v, flags=v.flags | _REPRODUCED) for v in batch.votes],
        malformed=[
            msgspec.structs.replace(m, flags=m.flags | _REPRODUCED) for m in batch.malformed
        ],
    )

"""Kafka records as the stages handle them, independent of Faust."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from schemas.codec import DecodeError, InputRecord, decode_input
from schemas.control import KEY_BYTES, RollChanged
from schemas.verdicts import VerdictBatch
from schemas.votes import VoteBatch
from streams.core.topics import CONTROL_TOPIC, VALIDATED_TOPIC, VALIDATION_TOPIC, WINDOWS_TOPIC
from streams.errors import REBUILD_VALIDATED, REBUILD_VOTED, PoisonRecord


@dataclass(frozen=True, slots=True)
class Undecodable:
    """Returned by the codecs instead of raising, because Faust would drop the record and go on."""

    error: Exception


@dataclass(slots=True)
class InputEvent:
    """A record of `votes.validation` in validation."""

    partition: int
    offset: int
    record: InputRecord | Undecodable
    raw: bytes
    """The record, still encoded."""
    generation: int
    ack: Callable[[], Any]
    """Acknowledges the event to Faust."""

    @property
    def weight(self) -> int:
        """Number of items."""
        record = self.record
        if isinstance(record, VoteBatch):
            return len(record.votes) + len(record.malformed)
        if isinstance(record, RollChanged):
            return 1 + (len(record.added) + len(record.withdrawn)) // KEY_BYTES
        return 1

    @property
    def size_bytes(self) -> int:
        """Size of the encoded record."""
        return len(self.raw)


@dataclass(slots=True)
class VerdictEvent:
    """A record of `votes.validated` in the sink."""

    offset: int
    """Offset in `votes.validated`."""
    verdicts: VerdictBatch
    record: InputRecord
    """The input record in it, decoded."""
    size_bytes: int
    generation: int
    ack: Callable[[], Any]
    """Acknowledges the event to Faust."""

    @property
    def weight(self) -> int:
        """Number of items."""
        record = self.record
        if not isinstance(record, VoteBatch):
            return 0
        return len(record.votes) + len(record.malformed)


_OTHER_VERSION: Final = "is this Scrutin's topic, and written by this version?"


def poison(topic: str, partition: int, offset: int, error: Exception) -> PoisonRecord:
    """The error for a record that cannot be decoded."""
    remedies = {
        VALIDATION_TOPIC: f"`scrutin skip {topic} {partition} {offset}` lets the count pass it",
        VALIDATED_TOPIC: REBUILD_VALIDATED,
        CONTROL_TOPIC: _OTHER_VERSION,
        WINDOWS_TOPIC: _OTHER_VERSION,
    }
    poisoned = PoisonRecord(
        f"A record cannot be decoded: {type(error).__name__}",
        where={"topic": topic, "partition": partition, "offset": offset},
        todo="No reader passes it, so that nothing is lost. See who wrote it; "
        + remedies.get(topic, REBUILD_VOTED),
    )
    poisoned.__cause__ = error
    return poisoned


@contextmanager
def poisoning(
    topic: str,
    partition: int,
    offset: int,
    errors: type[Exception] | tuple[type[Exception], ...] = DecodeError,
) -> Iterator[None]:
    """Raise :func:`poison` if a record cannot be decoded.

    Raises:
        PoisonRecord: it cannot.
    """
    try:
        yield
    except errors as error:
        raise poison(topic, partition, offset, error) from error


@dataclass(frozen=True, slots=True)
class OutRecord:
    """A record to write."""

    topic: str
    partition: int
    value: bytes | None
    """None removes the key from a compacted topic."""
    key: bytes | None = None


class Verdicts(msgspec.Struct, frozen=True):
    """One record of `votes.validated`."""

    batch: VerdictBatch
    offset: int

    def record(self) -> VoteBatch | None:
        """The input record, decoded; None for a genesis or control record.

        Raises:
            PoisonRecord: it cannot be decoded.
        """
        with poisoning(VALIDATED_TOPIC, self.batch.partition, self.offset):
            found = decode_input(self.batch.record)
        return found if isinstance(found, VoteBatch) else None


Handle = Callable[[Sequence[Verdicts]], Awaitable[None]]
"""Takes verdicts in the order of a partition; raises if one cannot be dealt with."""

"""Kafka records as the stages see them, apart from Faust."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from schemas.codec import InputRecord
from schemas.control import KEY_BYTES, RollChanged
from schemas.verdicts import VerdictBatch
from schemas.votes import VoteBatch
from streams.errors import REBUILD_VALIDATED, REBUILD_VOTED, PoisonRecord
from streams.topics import VALIDATED_TOPIC, VALIDATION_TOPIC

if TYPE_CHECKING:
    from faust.types import EventT


@dataclass(frozen=True, slots=True)
class Undecodable:
    """What the codecs return instead of raising: Faust would drop the record and go on."""

    error: Exception


@dataclass(slots=True)
class InputEvent:
    """A record of `votes.validation` on its way through validation."""

    partition: int
    offset: int
    record: InputRecord | Undecodable
    raw: bytes
    """The record as it was read."""
    generation: int
    acknowledge: Callable[[], Any]

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

    def ack(self) -> None:
        """Acknowledge the event to Faust."""
        self.acknowledge()


@dataclass(slots=True)
class VerdictEvent:
    """A record of `votes.validated` on its way into the sink."""

    offset: int
    """Its own offset in `votes.validated`."""
    verdicts: VerdictBatch
    record: InputRecord
    """The input record in it, decoded."""
    size_bytes: int
    generation: int
    acknowledge: Callable[[], Any]

    @property
    def weight(self) -> int:
        """Number of items."""
        record = self.record
        if not isinstance(record, VoteBatch):
            return 0
        return len(record.votes) + len(record.malformed)

    def ack(self) -> None:
        """Acknowledge the event to Faust."""
        self.acknowledge()


def poison(topic: str, partition: int, offset: int, error: Exception) -> PoisonRecord:
    """The error for a record that cannot be decoded."""
    remedies = {
        VALIDATION_TOPIC: f"`scrutin skip {topic} {partition} {offset}` lets the count pass it",
        VALIDATED_TOPIC: REBUILD_VALIDATED,
    }
    poisoned = PoisonRecord(
        f"A record cannot be decoded: {type(error).__name__}",
        where={"topic": topic, "partition": partition, "offset": offset},
        todo="Its partition stands still so that nothing is lost. See who wrote it; "
        + remedies.get(topic, REBUILD_VOTED),
    )
    poisoned.__cause__ = error
    return poisoned


def value_of(event: EventT) -> Any:
    """The decoded value of a Faust event, or :class:`Undecodable`."""
    # Faust asks no codec for a record without a value.
    return Undecodable(ValueError("no value")) if event.value is None else event.value


def decoded(event: EventT) -> Any:
    """The decoded value of a Faust event.

    Raises:
        PoisonRecord: it could not be decoded.
    """
    value = value_of(event)
    if isinstance(value, Undecodable):
        message = event.message
        raise poison(message.topic, message.partition, message.offset, value.error)
    return value

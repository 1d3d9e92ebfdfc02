"""The current assignment of partitions.

Kafka numbers the assignments of a group, and every event carries the number under which it was
read. An event of another assignment than the current one is neither processed nor acknowledged: the
new owner, which may be this worker again, reads it again.
"""

from __future__ import annotations

from typing import Any

from faust.exceptions import ConsumerNotStarted


class Assignment:
    """The current assignment, if any."""

    def __init__(self) -> None:
        self.generation: int | None = None
        """Its number in Kafka; None between a revoke and the end of the restore."""

    def begin(self, generation: int) -> None:
        """Start an assignment whose tables are restored."""
        self.generation = generation

    def end(self) -> None:
        """End the assignment, because partitions are revoked."""
        self.generation = None

    def covers(self, generation: int) -> bool:
        """Whether an event with this number belongs to the current assignment."""
        # Not by order: numbers restart from 1 for a group that Kafka forgot.
        return self.generation is not None and generation == self.generation


def owned(app: Any, topic: str) -> list[int]:
    """Numbers of the partitions of a topic that a Faust app owns."""
    try:
        assignment = app.consumer.assignment()
    except ConsumerNotStarted:
        # The consumer's thread may start later than the rest.
        return []
    return sorted(tp.partition for tp in assignment if tp.topic == topic)

"""Which assignment of partitions is in force.

Kafka numbers the assignments of a group; every event carries the number under which it was read.
An event of another assignment than the current one is not worked on and never acknowledged: the
new owner, who may be this worker again, reads it anew.
"""

from __future__ import annotations

from typing import Any

from faust.exceptions import ConsumerNotStarted


class Assignment:
    """The assignment in force, if any."""

    def __init__(self) -> None:
        self.generation: int | None = None
        """Kafka's number for it; None between a revoke and the end of the restore."""

    def begin(self, generation: int) -> None:
        """An assignment is in force and its tables are restored."""
        self.generation = generation

    def end(self) -> None:
        """Partitions are revoked."""
        self.generation = None

    def covers(self, generation: int) -> bool:
        """Whether an event with this number belongs to the assignment in force."""
        # Not by order: a group that Kafka forgot starts again from 1.
        return self.generation is not None and generation == self.generation


def owned(app: Any, topic: str) -> list[int]:
    """Numbers of the partitions of a topic that a Faust app owns."""
    try:
        assignment = app.consumer.assignment()
    except ConsumerNotStarted:
        # The consumer's thread may start later than the rest.
        return []
    return sorted(tp.partition for tp in assignment if tp.topic == topic)

"""Replay the input log from its beginning with the transitions that validation applies."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import InitVar, dataclass
from typing import NamedTuple

from schemas.codec import InputRecord, encode
from streams.adapters.kafka.reader import LogReader
from streams.adapters.kafka.view import Advance, LogView, Span
from streams.control.skips import Skips, read_input
from streams.core.records import Undecodable, poison
from streams.core.topics import VALIDATION_TOPIC
from streams.core.transition import Transition, apply_record
from streams.core.voted_partition import VotedPartition
from streams.errors import PoisonRecord


class ReplayStep(NamedTuple):
    """What follows from one input record."""

    offset: int
    transition: Transition


@dataclass
class Replay:
    """Replays partitions of the input log, one at a time."""

    view: LogView
    """Connected."""
    reader: InitVar[LogReader]
    """Looks ahead for skip commands."""
    log_ids: dict[int, bytes]
    """Partition -> identity of its log."""
    changelog_topic: str
    """Of the voted table."""

    def __post_init__(self, reader: LogReader) -> None:
        self._skips = Skips(reader)

    async def steps(
        self, partition: int, end: int, advance: Advance | None = None
    ) -> AsyncIterator[list[ReplayStep]]:
        """Replay the records below `end`, a list per fetch.

        Raises:
            PoisonRecord: a record cannot be decoded and was not skipped.
            ServiceUnavailable: Kafka does not answer.
        """
        state = VotedPartition(partition)
        log_id = self.log_ids[partition]
        spans = {partition: Span(0, end)}
        async for records in self.view.read(VALIDATION_TOPIC, spans, advance):
            steps = []
            for record in records:
                offset = record.offset
                decoded, raw = await self._decoded(partition, offset, record.value or b"")
                transition = apply_record(
                    state, log_id, offset, decoded, raw, changelog_topic=self.changelog_topic
                )
                steps.append(ReplayStep(offset, transition))
            yield steps

    async def _decoded(self, partition: int, offset: int, raw: bytes) -> tuple[InputRecord, bytes]:
        record = read_input(raw)
        if not isinstance(record, Undecodable):
            return record, raw
        batch = await self._skips.replacement(partition, offset, raw)
        if batch is None:
            raise self._stopped(partition, offset, record)
        return batch, encode(batch)

    @staticmethod
    def _stopped(partition: int, offset: int, record: Undecodable) -> PoisonRecord:
        return poison(VALIDATION_TOPIC, partition, offset, record.error)

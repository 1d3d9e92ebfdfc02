"""Replay the input log from its beginning with the transitions that validation applies."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import NamedTuple

from schemas.codec import ChangelogRecord, InputRecord, encode
from streams.adapters.kafka.reader import LogReader
from streams.adapters.kafka.view import Advance, LogView, Span
from streams.control.skips import Skips, read_input
from streams.core.records import Undecodable, poison
from streams.core.topics import VALIDATION_TOPIC
from streams.core.transition import apply_record
from streams.core.voted_partition import VotedPartition
from streams.errors import PoisonRecord


class ReplayStep(NamedTuple):
    """What follows from one input record."""

    offset: int
    raw: bytes
    """The encoded input record, or the replacement of a skipped one."""
    change: ChangelogRecord


class Replay:
    """Replays partitions of the input log, one at a time.

    Args:
        view: connected.
        reader: looks ahead for skip commands.
        log_ids: partition -> identity of its log.
    """

    def __init__(self, view: LogView, reader: LogReader, log_ids: dict[int, bytes]) -> None:
        self._view = view
        self._skips = Skips(reader)
        self.log_ids = log_ids

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
        async for records in self._view.read(VALIDATION_TOPIC, spans, advance):
            steps = []
            for record in records:
                decoded, raw = await self._decoded(partition, record.offset, record.value or b"")
                steps.append(
                    ReplayStep(
                        record.offset, raw, apply_record(state, log_id, record.offset, decoded)
                    )
                )
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

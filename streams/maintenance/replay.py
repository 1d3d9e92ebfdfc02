"""The input log folded once more, from its beginning, as validation folded it."""

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
    """What one input record leads to."""

    offset: int
    raw: bytes
    """The input record, or what stands in its place, encoded."""
    change: ChangelogRecord


class Replay:
    """Folds partitions of the input log, one at a time.

    Args:
        view: connected.
        reader: looks ahead for decisions to pass a record.
        log_ids: partition -> identity of its log.
    """

    def __init__(self, view: LogView, reader: LogReader, log_ids: dict[int, bytes]) -> None:
        self._view = view
        self._skips = Skips(reader)
        self.log_ids = log_ids

    async def steps(
        self, partition: int, end: int, advance: Advance | None = None
    ) -> AsyncIterator[list[ReplayStep]]:
        """Fold the records below `end`, a list per fetch.

        Raises:
            PoisonRecord: a record cannot be decoded and nobody let it pass.
            ServiceUnavailable: Kafka is away.
        """
        state = VotedPartition(partition)
        log_id = self.log_ids[partition]
        spans = {partition: Span(0, end)}
        async for records in self._view.read(VALIDATION_TOPIC, spans, advance):
            steps = []
            for record in records:
                given, raw = await self._given(partition, record.offset, record.value or b"")
                steps.append(
                    ReplayStep(
                        record.offset, raw, apply_record(state, log_id, record.offset, given)
                    )
                )
            yield steps

    async def _given(self, partition: int, offset: int, raw: bytes) -> tuple[InputRecord, bytes]:
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

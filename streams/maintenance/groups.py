"""Carry the positions of the bridges' consumer groups over to a rebuilt `votes.validated`.

In the new topic a record has the offset of its input record. Without this the groups would start at
the beginning: harmless for the mirror, but every review would be published again.
"""

from __future__ import annotations

from contextlib import aclosing

from aiokafka import TopicPartition

from schemas.codec import DecodeError, decode_verdicts
from streams.adapters.kafka.clients import kafka_consumer
from streams.adapters.kafka.reader import LogReader
from streams.core.topics import VALIDATED_TOPIC, egress_group, mirror_group
from streams.errors import LogMismatch
from streams.inspect.lag import committed_offsets
from streams.settings.configs import KafkaConfig

GroupPositions = dict[str, dict[int, int]]
"""Group -> partition -> last input offset that it processed."""

_BACK_RECORDS = 64


async def read_positions(kafka: KafkaConfig, reader: LogReader) -> GroupPositions:
    """Positions of the groups; those that the topic no longer reveals are left out.

    Raises:
        ServiceUnavailable: Kafka does not answer.
    """
    groups = {name: name for name in (egress_group(kafka.app_id), mirror_group(kafka.app_id))}
    committed = await committed_offsets(kafka.servers, groups)
    return {
        group: {
            partition: place
            for (topic, partition), offset in found.items()
            if topic == VALIDATED_TOPIC
            and (place := await _input_offset(reader, partition, offset)) is not None
        }
        for group, found in committed.items()
    }


async def _input_offset(reader: LogReader, partition: int, committed: int) -> int | None:
    """Input offset of the last record before a committed offset that can be read."""
    place = None
    start = max(0, committed - _BACK_RECORDS)
    try:
        reading = reader.read(VALIDATED_TOPIC, partition, start, committed)
        async with aclosing(reading):
            async for record in reading:
                try:
                    place = max(decode_verdicts(record.value).offset, place or 0)
                except DecodeError:
                    continue
    except LogMismatch:
        # Committed beyond the topic's end: the topic was recreated.
        return None
    return place


async def commit_positions(kafka: KafkaConfig, positions: GroupPositions) -> None:
    """Commit the groups' positions; they must have no members.

    Raises:
        ServiceUnavailable: Kafka does not answer.
    """
    for group, found in positions.items():
        if not found:
            continue
        async with kafka_consumer(kafka.servers, group_id=group) as consumer:
            offsets = {TopicPartition(VALIDATED_TOPIC, p): o + 1 for p, o in found.items()}
            consumer.assign(list(offsets))
            await consumer.commit(offsets)

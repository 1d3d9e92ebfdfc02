"""The roll as a worker would restore it from the voted table's changelog."""

from __future__ import annotations

from collections.abc import Mapping

from schemas.codec import decode_voted
from schemas.control import RollChanged
from schemas.voted import ControlRecord
from streams.adapters.kafka.view import Advance, LogView, Span
from streams.core.records import poisoning
from streams.core.rules import Rules

_TAG = b"voted-control/"
_TAG_BYTES = 24


async def restore_rolls(
    view: LogView, topic: str, spans: Mapping[int, Span], advance: Advance | None = None
) -> dict[int, Rules]:
    """Rules of each partition at the end of its span; about 60 bytes per roll entry.

    Raises:
        PoisonRecord: a record cannot be decoded.
        ServiceUnavailable: Kafka does not answer.
    """
    found = {partition: Rules() for partition in spans}
    seen: dict[int, bytes] = {}
    async for records in view.read(topic, spans, advance):
        for record in records:
            value, key = record.value or b"", record.key or b""
            # An input offset may occur twice; keys grow with the offsets.
            if _TAG not in value[:_TAG_BYTES] or key <= seen.get(record.partition, b""):
                continue
            seen[record.partition] = key
            with poisoning(topic, record.partition, record.offset):
                decoded = decode_voted(value)
            if isinstance(decoded, ControlRecord) and isinstance(decoded.control, RollChanged):
                found[record.partition].apply(decoded.control)
    return found

"""Data for `scrutin tables` about the voted table."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from schemas.codec import decode_input
from schemas.votes import VoteBatch
from streams.adapters.kafka.view import Advance, LogView, Span
from streams.core.records import poisoning
from streams.core.topics import VALIDATION_TOPIC
from streams.inspect.voted import Survey, VoterRow, entries, look_up, survey

VOTED_COLUMNS: Final[Mapping[str, type]] = {
    "key": str,
    "contest": str,
    "partition": int,
    "offset": int,
    "index": int,
    "attempts": int,
}
WINDOW_COLUMNS: Final[Mapping[str, type]] = {
    "contest": str,
    "choice": str,
    "window_start": str,
    "votes": int,
}


def voted_row(entry: VoterRow) -> dict[str, str | int | None]:
    """An entry as a row of :data:`VOTED_COLUMNS`; the key in hexadecimal."""
    return {
        "key": entry.key.hex(),
        "contest": entry.contest,
        "partition": entry.partition,
        "offset": entry.offset,
        "index": entry.item,
        "attempts": entry.attempts,
    }


def width(spans: Mapping[int, Span]) -> int:
    """Number of offsets in the spans."""
    return sum(span.end - span.begin for span in spans.values())


def steps(spans: Mapping[int, Span]) -> int:
    """Progress steps of :func:`all_entries`: each offset is read twice."""
    return 2 * width(spans)


async def all_entries(
    reader: LogView,
    topic: str,
    spans: Mapping[int, Span],
    advance: Advance | None = None,
    surveys: dict[int, Survey] | None = None,
) -> AsyncGenerator[list[VoterRow], None]:
    """All entries, partition by partition.

    Args:
        reader: of the topic.
        topic: the changelog.
        spans: its partitions.
        advance: called with progress.
        surveys: filled with the survey of each partition.
    """
    for partition, span in sorted(spans.items()):
        found = await survey(reader, topic, partition, span, advance)
        if surveys is not None:
            surveys[partition] = found
        async for batch in entries(reader, topic, partition, span, surveyed=found, advance=advance):
            yield batch


@dataclass
class VotedStats:
    """Figures of the voted table."""

    records: int = 0
    size_bytes: int = 0
    """Keys and values as stored, without Kafka's framing and compression."""
    repeated_records: int = 0
    attempts: int = 0
    """Submissions after an accepted one."""
    repeated_voters: int = 0
    """Entries with such submissions."""
    partitions: Counter[int] = field(default_factory=Counter)
    contests: Counter[str] = field(default_factory=Counter)
    rejections: Counter[str] = field(default_factory=Counter)
    """By `status: reason`."""
    logs: set[bytes] = field(default_factory=set)

    @property
    def entries(self) -> int:
        """Voters in the table."""
        return self.partitions.total()

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "entries": self.entries,
            "duplicate_attempts": self.attempts,
            "repeated_voters": self.repeated_voters,
            "records": self.records,
            "repeated_records": self.repeated_records,
            "bytes": self.size_bytes,
            "bytes_per_entry": self.size_bytes / self.entries if self.entries else None,
            "partitions": {str(p): n for p, n in self.partitions.items()},
            "contests": dict(self.contests),
            "rejections": dict(self.rejections),
            "log_ids": sorted(log.hex() for log in self.logs),
        }


async def voted_stats(
    reader: LogView, topic: str, spans: Mapping[int, Span], advance: Advance | None = None
) -> VotedStats:
    """Read the whole table and count it."""
    stats = VotedStats(partitions=Counter(dict.fromkeys(sorted(spans), 0)))
    surveys: dict[int, Survey] = {}
    contests: Counter[str] = Counter()
    async for batch in all_entries(reader, topic, spans, advance, surveys):
        for entry in batch:
            stats.partitions[entry.partition] += 1
            contests[entry.contest or "?"] += 1
            stats.attempts += entry.attempts
            stats.repeated_voters += entry.attempts > 0
    stats.contests = Counter(dict(contests.most_common()))
    rejections: Counter[str] = Counter()
    for found in surveys.values():
        stats.records += found.records
        stats.size_bytes += found.size_bytes
        stats.repeated_records += found.repeated_records
        stats.logs |= found.logs
        for (status, reason), count in found.rejections.items():
            rejections[f"{status}: {reason}"] += count
    stats.rejections = Counter(dict(rejections.most_common()))
    return stats


async def describe_entry(
    reader: LogView,
    topic: str,
    key: bytes,
    partition: int,
    *,
    show_choice: bool,
    advance: Advance | None = None,
) -> dict[str, Any]:
    """One voter's entry with the accepted vote from the input log.

    Returns:
        `found`, `key`, `partition` and, if found, `contest`, `offset`, `index`, `attempts`,
        `ingest_ms` (Unix time in milliseconds) and `bridge` (both None if the input record is
        missing), and `choice` if requested.
    """
    entry = await look_up(reader, topic, key, partition, advance)
    if entry is None:
        return {"found": False, "key": key.hex(), "partition": partition}
    described: dict[str, Any] = {"found": True, **voted_row(entry)}
    batch = await _input_record(reader, entry)
    described["ingest_ms"] = batch.ingest_ms if batch else None
    described["bridge"] = batch.bridge if batch else None
    if show_choice:
        known = batch is not None and entry.item < len(batch.votes)
        described["choice"] = batch.votes[entry.item].choice if batch and known else None
    return described


async def _input_record(reader: LogView, entry: VoterRow) -> VoteBatch | None:
    record = await reader.record_at(VALIDATION_TOPIC, entry.partition, entry.offset)
    if record is None or record.value is None:
        return None
    with poisoning(VALIDATION_TOPIC, entry.partition, entry.offset):
        decoded = decode_input(record.value)
    return decoded if isinstance(decoded, VoteBatch) else None

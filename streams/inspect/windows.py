"""The aggregation's windows from the compacted topic: the latest value of each key."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import NamedTuple

from schemas.codec import decode_window_key, decode_window_state
from streams.adapters.kafka.view import Advance, LogView, Record
from streams.core.records import poisoning
from streams.core.topics import WINDOWS_TOPIC


class Window(NamedTuple):
    """Votes of one choice of one contest in one window."""

    contest: str
    choice: str
    window_start_ms: int
    """Unix time in milliseconds."""
    votes: int

    @property
    def start(self) -> datetime:
        """Start of the window in UTC."""
        return datetime.fromtimestamp(self.window_start_ms / 1000, UTC)


class LatestWindows:
    """Keeps the latest value of every key, as compaction would."""

    def __init__(self) -> None:
        self.records = 0
        self.size_bytes = 0
        self._latest: dict[bytes, Record] = {}

    def __len__(self) -> int:
        return len(self._latest)

    def add(self, records: Iterable[Record]) -> None:
        """Add records in the order of the log."""
        for record in records:
            self.records += 1
            self.size_bytes += len(record.key or b"") + len(record.value or b"")
            if record.value is None:
                self._latest.pop(record.key or b"", None)
            else:
                self._latest[record.key or b""] = record

    def rows(self, *, contest: str | None = None, since_ms: int | None = None) -> list[Window]:
        """Windows by start, contest and choice.

        Args:
            contest: only this one.
            since_ms: only windows that start then or later, Unix time in milliseconds.

        Raises:
            PoisonRecord: a record is not valid.
        """
        windows = (_decode(record) for record in self._latest.values())
        return sorted(
            (
                w
                for w in windows
                if (contest is None or w.contest == contest)
                and (since_ms is None or w.window_start_ms >= since_ms)
            ),
            key=lambda w: (w.window_start_ms, w.contest, w.choice),
        )


def _decode(record: Record) -> Window:
    with poisoning(WINDOWS_TOPIC, record.partition, record.offset):
        key = decode_window_key(record.key or b"")
        state = decode_window_state(record.value or b"")
    return Window(key.contest, key.choice, key.window_start_ms, state.votes)


async def read_windows(reader: LogView, advance: Advance | None = None) -> LatestWindows:
    """Read `votes.windows` up to its present end."""
    latest = LatestWindows()
    async for records in reader.read(WINDOWS_TOPIC, await reader.spans(WINDOWS_TOPIC), advance):
        latest.add(records)
    return latest

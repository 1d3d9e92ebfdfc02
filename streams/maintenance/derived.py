"""Compare topics derived from the input log with the log, and repair them.

A topic that only lacks records gets them. One with wrong records is deleted and rewritten.
After an interruption a second run continues either.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final, Protocol

from schemas.codec import DecodeError, decode_verdicts
from schemas.voted import FIRST_VOTE, VotedRecord
from streams.adapters.kafka.view import Advance, LogView, Record, Span
from streams.adapters.kafka.writer import LogWriter
from streams.core.records import OutRecord
from streams.core.topics import VALIDATED_TOPIC, VALIDATION_TOPIC
from streams.errors import PoisonRecord
from streams.inspect.voted import decode as decode_change
from streams.maintenance.replay import Replay, ReplayStep

WRITE_RECORDS: Final = 500
WRITE_BYTES: Final = 8 * 1024 * 1024


class DerivedKind(Protocol):
    """A derived topic."""

    @property
    def topic(self) -> str:
        """Its name."""

    @property
    def ordered(self) -> bool:
        """Whether input offsets must be consecutive; otherwise any order is allowed."""

    def place(self, record: Record) -> int:
        """Input offset of one of its records.

        Raises:
            PoisonRecord, DecodeError: the record is not valid.
        """

    def derived(self, step: ReplayStep) -> OutRecord:
        """The record that follows from an input record."""


@dataclass(frozen=True)
class Changelog:
    """The voted table's changelog."""

    topic: str
    ordered: bool = False

    def place(self, record: Record) -> int:
        """As :class:`DerivedKind` says."""
        return decode_change(self.topic, record).offset

    def derived(self, step: ReplayStep) -> OutRecord:
        """As :class:`DerivedKind` says."""
        return step.transition.changelog


@dataclass(frozen=True)
class Validated:
    """`votes.validated`."""

    topic: str = VALIDATED_TOPIC
    ordered: bool = True

    def place(self, record: Record) -> int:
        """As :class:`DerivedKind` says."""
        return decode_verdicts(record.value or b"").offset

    def derived(self, step: ReplayStep) -> OutRecord:
        """As :class:`DerivedKind` says."""
        return step.transition.verdicts


@dataclass
class DerivedFinding:
    """How a partition of a derived topic compares with the log."""

    partition: int
    expected: int
    """Records that must be present."""
    missing: int = 0
    wrong: int = 0
    """Records that cannot be decoded, belong to another log, or contradict the log."""
    votes: int = 0
    """Accepted votes in the records that must be present."""
    missing_offsets: set[int] = field(default_factory=set, repr=False)
    """Input offsets of the missing records."""

    @property
    def right(self) -> bool:
        """Whether there is nothing to do."""
        return not self.missing and not self.wrong

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        described = asdict(self)
        del described["missing_offsets"]
        return described


def _digest(value: bytes | None) -> bytes:
    return hashlib.blake2b(value or b"", digest_size=8).digest()


async def examine(
    view: LogView,
    replay: Replay,
    kind: DerivedKind,
    ends: dict[int, int],
    advance: Advance | None = None,
) -> list[DerivedFinding]:
    """Compare a derived topic with a replay of the log.

    Args:
        view: connected.
        replay: of the input log.
        kind: which topic.
        ends: partition -> input offset up to which (exclusive) its records must be present.
        advance: called with the number of records read.

    Raises:
        PoisonRecord: a record of the input log cannot be decoded.
        ServiceUnavailable: Kafka does not answer.
    """
    spans = await view.spans(kind.topic)
    logged = await view.spans(VALIDATION_TOPIC)
    findings = []
    for partition, end in ends.items():
        finding = DerivedFinding(partition, end)
        present = await _present(view, kind, spans[partition], finding)
        # Records beyond the required ones are right as long as they agree with the log.
        furthest = max((offset for offset, _ in present), default=-1) + 1
        read_to = max(end, min(furthest, logged[partition].end))
        expected = await _expected(replay, kind, finding, read_to, advance)
        _compare(finding, present, expected, ordered=kind.ordered)
        findings.append(finding)
    return findings


async def _expected(
    replay: Replay, kind: DerivedKind, finding: DerivedFinding, end: int, advance: Advance | None
) -> list[bytes]:
    """Digests of the records derived from the log, by input offset."""
    expected: list[bytes] = []
    async for steps in replay.steps(finding.partition, end, advance):
        for step in steps:
            expected.append(_digest(kind.derived(step).value))
            change = step.transition.change
            if step.offset < finding.expected and isinstance(change, VotedRecord):
                finding.votes += len(change.first_votes) // FIRST_VOTE.size
    return expected


def _compare(
    finding: DerivedFinding,
    present: list[tuple[int, bytes]],
    expected: list[bytes],
    *,
    ordered: bool,
) -> None:
    finding.missing_offsets = set(range(finding.expected))
    last = -1
    for offset, digest in present:
        hole = ordered and offset > last + 1
        if hole or offset >= len(expected) or digest != expected[offset]:
            finding.wrong += 1
            continue
        last = max(last, offset)
        finding.missing_offsets.discard(offset)
    finding.missing = len(finding.missing_offsets)


async def _present(
    view: LogView, kind: DerivedKind, span: Span, finding: DerivedFinding
) -> list[tuple[int, bytes]]:
    """(input offset, digest) of the records in the topic, in their order."""
    present = []
    async for records in view.read(kind.topic, {finding.partition: span}):
        for record in records:
            try:
                present.append((kind.place(record), _digest(record.value)))
            except (PoisonRecord, DecodeError):
                finding.wrong += 1
    return present


async def write(
    replay: Replay,
    kind: DerivedKind,
    findings: Sequence[DerivedFinding],
    writer: LogWriter,
    advance: Callable[[int], None] | None = None,
) -> int:
    """Write the missing records in the order of the log; returns how many.

    Raises:
        ServiceUnavailable: Kafka does not answer; records already written stay.
    """
    written = 0
    for finding in findings:
        if not finding.missing_offsets:
            continue
        async for batch in _batches(replay, kind, finding, advance):
            await writer.write(batch)
            written += len(batch)
    return written


async def _batches(
    replay: Replay, kind: DerivedKind, finding: DerivedFinding, advance: Advance | None
) -> AsyncIterator[list[OutRecord]]:
    partition, batch, size_bytes = finding.partition, [], 0
    end = max(finding.missing_offsets) + 1
    async for steps in replay.steps(partition, end, advance):
        for step in steps:
            if step.offset not in finding.missing_offsets:
                continue
            record = kind.derived(step)
            batch.append(record)
            size_bytes += len(record.value or b"")
            if len(batch) >= WRITE_RECORDS or size_bytes >= WRITE_BYTES:
                yield batch
                batch, size_bytes = [], 0
    if batch:
        yield batch

"""Topics that are derived from the input log, beside what the log says; and made so again.

A topic that only lacks records gets them. One that holds anything else is deleted and written anew.
Both leave something a second run goes on from.
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
from streams.worker.derived_records import changelog_record, verdict_record

WRITE_RECORDS: Final = 500
WRITE_BYTES: Final = 8 * 1024 * 1024


class DerivedKind(Protocol):
    """A derived topic."""

    @property
    def topic(self) -> str:
        """Its name."""

    @property
    def ordered(self) -> bool:
        """Whether the input offsets must follow one another; else each must be there."""

    def place(self, record: Record) -> int:
        """Input offset of one of its records.

        Raises:
            PoisonRecord, DecodeError: it is not one of ours.
        """

    def derive(self, partition: int, log_id: bytes, step: ReplayStep) -> OutRecord:
        """Its record for an input record."""


@dataclass(frozen=True)
class Changelog:
    """The voted table's changelog."""

    topic: str
    ordered: bool = False

    def place(self, record: Record) -> int:
        """As :class:`DerivedKind` says."""
        return decode_change(self.topic, record).offset

    def derive(self, partition: int, log_id: bytes, step: ReplayStep) -> OutRecord:
        """As :class:`DerivedKind` says."""
        del log_id
        return changelog_record(self.topic, partition, step.offset, step.change)


@dataclass(frozen=True)
class Validated:
    """`votes.validated`."""

    topic: str = VALIDATED_TOPIC
    ordered: bool = True

    def place(self, record: Record) -> int:
        """As :class:`DerivedKind` says."""
        return decode_verdicts(record.value or b"").offset

    def derive(self, partition: int, log_id: bytes, step: ReplayStep) -> OutRecord:
        """As :class:`DerivedKind` says."""
        return verdict_record(partition, log_id, step.offset, step.change.rejections, step.raw)


@dataclass
class DerivedFinding:
    """A partition of a derived topic beside the log."""

    partition: int
    expected: int
    """Records that must be there."""
    missing: int = 0
    wrong: int = 0
    """Records that cannot be decoded, are of another log, or say what the log does not."""
    votes: int = 0
    """Accepted votes in the records that must be there."""
    lacking: set[int] = field(default_factory=set, repr=False)
    """Input offsets of what is missing."""

    @property
    def right(self) -> bool:
        """Whether there is nothing to do."""
        return not self.missing and not self.wrong

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        told = asdict(self)
        del told["lacking"]
        return told


def _digest(value: bytes | None) -> bytes:
    return hashlib.blake2b(value or b"", digest_size=8).digest()


async def examine(
    view: LogView,
    replay: Replay,
    kind: DerivedKind,
    ends: dict[int, int],
    advance: Advance | None = None,
) -> list[DerivedFinding]:
    """Compare a derived topic with the fold of the log.

    Args:
        view: connected.
        replay: of the input log.
        kind: which topic.
        ends: partition -> input offset up to which, exclusively, its records must be there.
        advance: told the records read.

    Raises:
        PoisonRecord: a record of the input log cannot be decoded.
        ServiceUnavailable: Kafka is away.
    """
    spans = await view.spans(kind.topic)
    logged = await view.spans(VALIDATION_TOPIC)
    findings = []
    for partition, end in ends.items():
        finding = DerivedFinding(partition, end)
        present = await _present(view, kind, spans[partition], finding)
        # Records beyond what must be there are right as long as the log says the same.
        furthest = max((offset for offset, _ in present), default=-1) + 1
        read_to = max(end, min(furthest, logged[partition].end))
        expected = await _expected(replay, kind, finding, read_to, advance)
        _compare(finding, present, expected, ordered=kind.ordered)
        findings.append(finding)
    return findings


async def _expected(
    replay: Replay, kind: DerivedKind, finding: DerivedFinding, end: int, advance: Advance | None
) -> list[bytes]:
    """Digests of the records that the log leads to, by input offset."""
    expected: list[bytes] = []
    log_id = replay.log_ids[finding.partition]
    async for steps in replay.steps(finding.partition, end, advance):
        for step in steps:
            expected.append(_digest(kind.derive(finding.partition, log_id, step).value))
            if step.offset < finding.expected and isinstance(step.change, VotedRecord):
                finding.votes += len(step.change.first_votes) // FIRST_VOTE.size
    return expected


def _compare(
    finding: DerivedFinding,
    present: list[tuple[int, bytes]],
    expected: list[bytes],
    *,
    ordered: bool,
) -> None:
    finding.lacking = set(range(finding.expected))
    last = -1
    for offset, digest in present:
        hole = ordered and offset > last + 1
        if hole or offset >= len(expected) or digest != expected[offset]:
            finding.wrong += 1
            continue
        last = max(last, offset)
        finding.lacking.discard(offset)
    finding.missing = len(finding.lacking)


async def _present(
    view: LogView, kind: DerivedKind, span: Span, finding: DerivedFinding
) -> list[tuple[int, bytes]]:
    """(input offset, digest) of the records there are, in their order."""
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
    """Write what is missing, in the order of the log; returns how many records.

    Raises:
        ServiceUnavailable: Kafka is away; what was written stays.
    """
    written = 0
    for finding in findings:
        if not finding.lacking:
            continue
        async for lot in _lots(replay, kind, finding, advance):
            await writer.write(lot)
            written += len(lot)
    return written


async def _lots(
    replay: Replay, kind: DerivedKind, finding: DerivedFinding, advance: Advance | None
) -> AsyncIterator[list[OutRecord]]:
    partition, lot, size_bytes = finding.partition, [], 0
    end = max(finding.lacking) + 1
    async for steps in replay.steps(partition, end, advance):
        for step in steps:
            if step.offset not in finding.lacking:
                continue
            record = kind.derive(partition, replay.log_ids[partition], step)
            lot.append(record)
            size_bytes += len(record.value or b"")
            if len(lot) >= WRITE_RECORDS or size_bytes >= WRITE_BYTES:
                yield lot
                lot, size_bytes = [], 0
    if lot:
        yield lot

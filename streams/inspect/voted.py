"""Read the voted table from its changelog.

A changelog may hold the record of one input offset twice (a worker wrote it and died before its
commit). The second equals the first and is skipped. If a voter key is accepted at two offsets all
the same, the first position counts, with the highest number of attempts.

Memory: one bit per input record, 8 bytes per entry of one partition during its survey, and the
repeated keys. Partitions are read one after the other, twice each.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from schemas.codec import DecodeError, decode_voted
from schemas.control import EpochOpened
from schemas.voted import (
    CHANGELOG_KEY,
    FIRST_VOTE,
    ControlRecord,
    VotedRecord,
    WeighedVotedRecord,
)
from streams.adapters.kafka.view import Advance, LogView, Record, Span
from streams.core.records import poisoning

_PREFIX = 8

_CONTROL_TAG = b"voted-control/"
_TAG_BYTES = 24


class VoterRow(NamedTuple):
    """One voter in the voted table.

    The identity digest is left out on purpose: it covers the message's body, and a reader who
    knows the rest of the body could find the choice by trying both.
    """

    key: bytes
    """Voter key, 32 bytes."""
    partition: int
    offset: int
    """Input offset of the record with the accepted vote; where the last counts, with that."""
    item: int
    """Index of the vote in that record."""
    contest: str | None
    """None if the changelog holds only a repeat of the key."""
    attempts: int
    """Submissions after the accepted one."""


class Applied(NamedTuple):
    """A changelog record and its input offset."""

    offset: int
    record: VotedRecord
    opens_epoch: bool = False
    """Whether entries before it are void."""


def decode(topic: str, record: Record) -> Applied:
    """Decode a changelog record.

    Raises:
        PoisonRecord: the record is not valid.
    """
    with poisoning(topic, record.partition, record.offset):
        if record.key is None or record.value is None:
            raise DecodeError("key or value is missing")
        if len(record.key) != CHANGELOG_KEY.size:
            raise DecodeError(f"the key has {len(record.key)} bytes")
        (offset,) = CHANGELOG_KEY.unpack(record.key)
        voted = decode_voted(record.value)
        if isinstance(voted, ControlRecord):
            empty = VotedRecord(voted.log_id, b"", [], [], [])
            return Applied(offset, empty, isinstance(voted.control, EpochOpened))
        if len(voted.first_votes) % FIRST_VOTE.size:
            raise DecodeError("the accepted votes are truncated")
        return Applied(offset, voted)


class OffsetSet:
    """A set of offsets, one bit each."""

    def __init__(self) -> None:
        self._bits = bytearray()

    def add(self, offset: int) -> bool:
        """Add an offset; False if it was in the set."""
        position, bit = offset >> 3, 1 << (offset & 7)
        if position >= len(self._bits):
            self._bits.extend(bytes(position + 1 - len(self._bits) + len(self._bits) // 2))
        if self._bits[position] & bit:
            return False
        self._bits[position] |= bit
        return True


@dataclass
class Survey:
    """Result of the first pass over a partition's changelog."""

    records: int = 0
    size_bytes: int = 0
    """Keys and values as stored, without Kafka's framing and compression."""
    repeated_records: int = 0
    """Records whose input offset another record has too."""
    rejections: Counter[tuple[str, str]] = field(default_factory=Counter)
    """By (status, reason)."""
    logs: set[bytes] = field(default_factory=set)
    """Identities of the logs that the records belong to; more than one is an error."""
    repeats: dict[bytes, tuple[tuple[int, int], int]] = field(default_factory=dict)
    """Voter key -> ((input offset, index) of its first acceptance, attempts)."""
    moved: set[bytes] = field(default_factory=set)
    """Voter keys whose entry moved to a later vote."""
    epoch_offset: int = -1
    """Input offset at which the last epoch was opened."""
    _prefixes: bytearray = field(default_factory=bytearray)
    _seen: OffsetSet = field(default_factory=OffsetSet)

    def add(self, applied: Applied, size: int) -> None:
        """Add one changelog record of `size` bytes."""
        self.records += 1
        self.size_bytes += size
        record = applied.record
        self.logs.add(record.log_id)
        if applied.opens_epoch:
            self.epoch_offset = max(self.epoch_offset, applied.offset)
            self.repeats = {k: r for k, r in self.repeats.items() if r[0][0] > self.epoch_offset}
            self.rejections.clear()
            self._prefixes.clear()
        if applied.offset < self.epoch_offset:
            return
        # Also from a repeated record: its number of attempts is a maximum.
        for repeat in record.repeats:
            position = (repeat.offset, repeat.index)
            known = self.repeats.get(repeat.key, (position, 0))
            if isinstance(record, WeighedVotedRecord):
                # Where the last vote counts, the entry is at its position.
                later = repeat.attempts > known[1]
                self.repeats[repeat.key] = (position, repeat.attempts) if later else known
                self.moved.add(repeat.key)
            else:
                known_at = known[0] if repeat.key in self.moved else min(known[0], position)
                self.repeats[repeat.key] = (known_at, max(known[1], repeat.attempts))
        if not self._seen.add(applied.offset):
            self.repeated_records += 1
            return
        for rejection in record.rejections:
            self.rejections[rejection.status, rejection.reason] += 1
        for start in range(0, len(record.first_votes), FIRST_VOTE.size):
            self._prefixes += record.first_votes[start : start + _PREFIX]

    def suspects(self) -> set[bytes]:
        """First 8 bytes of the keys that may be in the partition more than once."""
        import pyarrow as pa  # noqa: PLC0415 - slow to load
        import pyarrow.compute as pc  # noqa: PLC0415

        count = len(self._prefixes) // _PREFIX
        if count < 2:
            return set()
        data = pa.Array.from_buffers(pa.uint64(), count, [None, pa.py_buffer(self._prefixes)])
        ordered = data.take(pc.array_sort_indices(data))
        twice = ordered.slice(1).filter(pc.equal(ordered.slice(1), ordered.slice(0, count - 1)))
        # The bytes were read in this machine's byte order, so they are written in it again.
        return {number.to_bytes(_PREFIX, sys.byteorder) for number in twice.to_pylist()}


class VoterRows:
    """Second pass: turns the records of one surveyed partition into entries."""

    def __init__(self, partition: int, survey: Survey) -> None:
        self._partition = partition
        self._repeats = dict(survey.repeats)
        self._moved = survey.moved
        self._suspects = survey.suspects()
        self._epoch_offset = survey.epoch_offset
        self._held: dict[bytes, VoterRow] = {}
        self._seen = OffsetSet()

    def add(self, applied: Applied) -> Iterator[VoterRow]:
        """Entries that are final with this record."""
        if applied.offset < self._epoch_offset or not self._seen.add(applied.offset):
            return
        contests = applied.record.contests
        for key, index, contest, _ in FIRST_VOTE.iter_unpack(applied.record.first_votes):
            position = (applied.offset, index)
            attempts = 0
            if self._suspects and key[:_PREFIX] in self._suspects:
                known = self._held.get(key)
                if known is None or position < (known.offset, known.item):
                    self._held[key] = VoterRow(
                        key, self._partition, *position, contests[contest], 0
                    )
                continue
            if self._repeats and key in self._repeats:
                first, attempts = self._repeats.pop(key)
                position = first if key in self._moved else min(position, first)
            yield VoterRow(key, self._partition, *position, contests[contest], attempts)

    def rest(self) -> Iterator[VoterRow]:
        """Entries that are final only after the last record."""
        for key, held in self._held.items():
            position = (held.offset, held.item)
            first, attempts = self._repeats.pop(key, (position, 0))
            position = first if key in self._moved else min(position, first)
            yield VoterRow(key, self._partition, *position, held.contest, attempts)
        for key, (first, attempts) in self._repeats.items():
            yield VoterRow(key, self._partition, *first, None, attempts)


async def survey(
    reader: LogView, topic: str, partition: int, span: Span, advance: Advance | None = None
) -> Survey:
    """First pass over a partition."""
    found = Survey()
    async for records in reader.read(topic, {partition: span}, advance):
        for record in records:
            size = len(record.key or b"") + len(record.value or b"")
            found.add(decode(topic, record), size)
    return found


async def entries(
    reader: LogView,
    topic: str,
    partition: int,
    span: Span,
    *,
    surveyed: Survey,
    advance: Advance | None = None,
) -> AsyncIterator[list[VoterRow]]:
    """Second pass over a surveyed partition; yields its entries, roughly by input offset."""
    rows = VoterRows(partition, surveyed)
    async for records in reader.read(topic, {partition: span}, advance):
        yield [entry for record in records for entry in rows.add(decode(topic, record))]
    yield list(rows.rest())


def find(key: bytes, partition: int, records: Iterable[Applied]) -> VoterRow | None:
    """The entry of one voter key among a partition's changelog records."""
    position: tuple[int, int] | None = None
    contest: str | None = None
    attempts = 0
    for offset, record, opens_epoch in records:
        if opens_epoch:
            position, contest, attempts = None, None, 0
        for found, index, number, _ in FIRST_VOTE.iter_unpack(record.first_votes):
            if found == key and (
                position is None or contest is None or (offset, index) <= position
            ):
                position = min(position or (offset, index), (offset, index))
                contest = record.contests[number]
        for repeat in record.repeats:
            if repeat.key == key:
                at = (repeat.offset, repeat.index)
                moved = isinstance(record, WeighedVotedRecord) and repeat.attempts > attempts
                position = at if moved else min(position or at, at)
                attempts = max(attempts, repeat.attempts)
    if position is None:
        return None
    return VoterRow(key, partition, *position, contest, attempts)


async def look_up(
    reader: LogView, topic: str, key: bytes, partition: int, advance: Advance | None = None
) -> VoterRow | None:
    """Read one partition for one voter key."""
    span = (await reader.spans(topic))[partition]
    holding: list[Applied] = []
    async for records in reader.read(topic, {partition: span}, advance):
        # Keys are stored unencoded, so a byte search avoids most of the decoding.
        holding += [
            decode(topic, r)
            for r in records
            if r.value is not None and (key in r.value or _CONTROL_TAG in r.value[:_TAG_BYTES])
        ]
    return find(key, partition, holding)

"""Adds voters to the roll in the log and removes them.

Entries are voter keys, not hashes. A key belongs to the partition of its voter's vote, and for an
election it differs between contests. Records with thousands of keys each go directly to the
partitions; of two records about a key, the later one in the log wins.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Final

from schemas.codec import encode
from schemas.control import KEY_BYTES, ContestKind, RollChanged, WeighedRollChanged
from schemas.notices import RollLoaded
from schemas.votes import Kind
from streams.adapters.kafka.writer import LogWriter
from streams.adapters.postgres.connection import translated
from streams.core.contests import kind_of
from streams.core.keys import normalise_hash, partition_of, voter_key
from streams.core.records import OutRecord
from streams.core.topics import CONTROL_TOPIC, VALIDATION_TOPIC

RECORD_KEYS: Final = 15_000
"""Keys in a record: half of Kafka's limit, or five ninths with their weights."""

_WHERE: Final[dict[str, object]] = {"table": "roll_loads"}

Advance = Callable[[int], None]


def pack(hashes: Iterable[str], contests: Sequence[str], partitions: int) -> dict[int, bytearray]:
    """Voter keys by partition, concatenated.

    Args:
        hashes: as voters send them.
        contests: that the entries are for; empty: laws, because each hash belongs to one law.
        partitions: of the input log.
    """
    packed: dict[int, bytearray] = {}
    named = [(contest, vote_kind(contest)) for contest in contests] or [("", Kind.LAW)]
    for entry in hashes:
        normalised = normalise_hash(entry)
        for contest, kind in named:
            key = voter_key(normalised, contest, kind)
            partition = partition_of(key, partitions)
            if partition in packed:
                packed[partition] += key
            else:
                packed[partition] = bytearray(key)
    return packed


def vote_kind(contest: str) -> Kind:
    """The kind of vote that is cast in a contest."""
    return Kind.LAW if kind_of(contest) is ContestKind.LAW else Kind.CANDIDATE


def weights_by_key(weights: Mapping[str, int], contests: Sequence[str]) -> dict[bytes, int]:
    """Weights by voter key, from weights by hash.

    Args:
        weights: of hashes as voters send them.
        contests: see :func:`pack`.
    """
    named = [(contest, vote_kind(contest)) for contest in contests] or [("", Kind.LAW)]
    return {
        voter_key(normalise_hash(entry), contest, kind): weight
        for entry, weight in weights.items()
        for contest, kind in named
    }


@dataclass
class RollCommand:
    """One roll command, in as many records as it needs.

    Args:
        writer: to Kafka.
        weights: of keys whose votes do not count once.
    """

    writer: LogWriter
    weights: Mapping[bytes, int] = field(default_factory=dict)
    command_id: bytes = field(default_factory=lambda: secrets.token_bytes(16))
    issued_ms: int = field(default_factory=lambda: time.time_ns() // 1_000_000)
    _sequence: dict[int, int] = field(default_factory=dict)

    async def add(self, packed: Mapping[int, bytes | bytearray]) -> None:
        """Add keys to the roll; returns when Kafka has them.

        Raises:
            ServiceUnavailable: Kafka does not confirm.
        """
        await self._write([self._record(p, added=keys) for p, keys in _chunks(packed)])

    async def withdraw(self, packed: Mapping[int, bytes | bytearray]) -> None:
        """Remove keys from the roll; returns when Kafka has the records.

        Raises:
            ServiceUnavailable: Kafka does not confirm.
        """
        await self._write([self._record(p, withdrawn=keys) for p, keys in _chunks(packed)])

    async def end(self, partitions: Iterable[int]) -> None:
        """Mark the command's end in partitions, so that callers can wait until they have passed it.

        Raises:
            ServiceUnavailable: Kafka does not confirm.
        """
        await self._write([self._record(partition, last=True) for partition in partitions])

    def _record(
        self, partition: int, *, added: bytes = b"", withdrawn: bytes = b"", last: bool = False
    ) -> OutRecord:
        sequence = self._sequence.get(partition, 0)
        self._sequence[partition] = sequence + 1
        keys = [added[at : at + KEY_BYTES] for at in range(0, len(added), KEY_BYTES)]
        plain = (
            *(self.issued_ms, self.command_id, sequence, last, self.issued_ms),
            *(added, withdrawn),
        )
        record = (
            WeighedRollChanged(*plain, [self.weights.get(key, 1) for key in keys])
            if self.weights and any(key in self.weights for key in keys)
            else RollChanged(*plain)
        )
        return OutRecord(VALIDATION_TOPIC, partition, encode(record))

    async def _write(self, records: list[OutRecord]) -> None:
        if records:
            await self.writer.write(records)


def _chunks(packed: Mapping[int, bytes | bytearray]) -> Iterator[tuple[int, bytes]]:
    """The keys of a record each, by partition."""
    for partition, keys in sorted(packed.items()):
        for start in range(0, len(keys), RECORD_KEYS * KEY_BYTES):
            yield partition, bytes(keys[start : start + RECORD_KEYS * KEY_BYTES])


async def announce_roll(writer: LogWriter, log_id: bytes) -> None:
    """Notify the intake that the roll in the log is not empty.

    Raises:
        ServiceUnavailable: Kafka does not confirm.
    """
    notice = RollLoaded(log_id, time.time_ns() // 1_000_000)
    await writer.write([OutRecord(CONTROL_TOPIC, 0, encode(notice))])


@dataclass(frozen=True)
class Load:
    """Loads a roll into the log.

    Args:
        connection: to PostgreSQL, which stores the progress.
        writer: to Kafka.
        partitions: of the input log.
        log_id: the log's identity.
        source: digest of the source; an interrupted load of the same source is continued.
        name: of the source, for people.
    """

    connection: Any
    writer: LogWriter
    partitions: int
    log_id: bytes
    source: bytes
    name: str

    async def begin(self) -> int:
        """Number of entries that an interrupted load already wrote to the log.

        Raises:
            ServiceUnavailable: PostgreSQL does not answer.
        """
        async with translated(_WHERE):
            done = await self.connection.fetchval(
                "INSERT INTO roll_loads AS l (source, name) VALUES ($1, $2)"
                " ON CONFLICT (source) DO UPDATE SET"
                "  entries_done = CASE WHEN l.finished_at IS NULL THEN l.entries_done ELSE 0 END,"
                "  started_at = now(), finished_at = NULL"
                " RETURNING entries_done",
                self.source,
                self.name,
            )
        return int(done)

    async def run(
        self,
        hashes: Iterable[str],
        contests: Sequence[str],
        done: int,
        advance: Advance,
        weights: Mapping[str, int] | None = None,
    ) -> RollCommand:
        """Write all entries; returns the command, whose end every partition will pass.

        Args:
            hashes: all entries of the source.
            contests: see :func:`pack`.
            done: number of entries to leave out, from :meth:`begin`.
            advance: called with the number of further entries in the log, including those left out.
            weights: of hashes whose votes do not count once.

        Raises:
            ServiceUnavailable: a service does not answer; running it again continues from there.
        """
        command = RollCommand(self.writer, weights_by_key(weights or {}, contests))
        entries = iter(hashes)
        left_out = sum(1 for _ in islice(entries, done))
        advance(left_out)
        while chunk := list(islice(entries, min(RECORD_KEYS * self.partitions, 250_000))):
            await command.add(pack(chunk, contests, self.partitions))
            done += len(chunk)
            async with translated(_WHERE):
                await self.connection.execute(
                    "UPDATE roll_loads SET entries_done = $2 WHERE source = $1", self.source, done
                )
            advance(len(chunk))
        await command.end(range(self.partitions))
        await announce_roll(self.writer, self.log_id)
        async with translated(_WHERE):
            await self.connection.execute(
                "UPDATE roll_loads SET finished_at = now() WHERE source = $1", self.source
            )
        return command

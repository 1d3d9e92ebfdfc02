"""Skipped records: the operator's decision, how readers find it, and the replacement record.

The decision is a :class:`schemas.skip.Skip` after the record, in the same partition. A reader that
cannot decode a record looks ahead for it and treats the record as a batch with one malformed
message. So it gets a verdict, a row, a review and a count in the metrics like any other bad input.
"""

from __future__ import annotations

import hashlib
import time
from contextlib import aclosing
from typing import Final

from schemas.codec import DecodeError, InputRecord, decode_input, encode
from schemas.skip import Skip
from schemas.votes import Malformed, VoteBatch
from streams.adapters.kafka.reader import LogReader
from streams.adapters.kafka.writer import LogWriter
from streams.core.kept_body import kept_head
from streams.core.records import OutRecord, Undecodable
from streams.core.topics import VALIDATION_TOPIC
from streams.errors import ScrutinError

UNDECODABLE_RECORD: Final = "undecodable_record"
"""Reason in `rejected_votes` and in the review."""


def read_input(raw: bytes | None) -> InputRecord | Undecodable:
    """Decode a value of the input log, or return :class:`Undecodable`."""
    try:
        return decode_input(raw or b"")
    except DecodeError as error:
        return Undecodable(error)


def replacement_batch(skip: Skip, partition: int, raw: bytes) -> VoteBatch:
    """The batch that replaces a skipped record."""
    place = f"{partition}/{skip.offset}/".encode()
    malformed = Malformed(
        reason=UNDECODABLE_RECORD,
        flags=0,
        identity=hashlib.blake2b(place + skip.sha256, digest_size=16).digest(),
        length=len(raw),
        sha256=skip.sha256,
        head=kept_head(raw),
    )
    return VoteBatch(skip.decided_ms, "skip", [], [malformed])


class Skips:
    """Finds skip decisions in the input log and caches them.

    Args:
        reader: reads ranges of Kafka.
    """

    def __init__(self, reader: LogReader) -> None:
        self._reader = reader
        self._found: dict[tuple[int, int, bytes], Skip] = {}
        self._looked: dict[int, tuple[int, int]] = {}
        # By partition: the range of offsets already read.

    async def find(self, partition: int, offset: int, raw: bytes) -> Skip | None:
        """The decision to skip a record; None if the log has none yet.

        Raises:
            ServiceUnavailable: Kafka does not answer.
        """
        decision = (partition, offset, hashlib.sha256(raw).digest())
        if decision not in self._found:
            await self._look_ahead(partition, offset + 1)
        return self._found.get(decision)

    async def replacement(self, partition: int, offset: int, raw: bytes) -> VoteBatch | None:
        """The replacement of a record that cannot be decoded; None: it was not skipped.

        Raises:
            ServiceUnavailable: Kafka does not answer.
        """
        skip = await self.find(partition, offset, raw)
        return None if skip is None else replacement_batch(skip, partition, raw)

    async def _look_ahead(self, partition: int, start: int) -> None:
        end = await self._reader.end_offset(VALIDATION_TOPIC, partition)
        first, last = self._looked.get(partition, (start, start))
        await self._read(partition, start, first)
        await self._read(partition, last, end)
        self._looked[partition] = min(start, first), max(last, end)

    async def _read(self, partition: int, start: int, end: int) -> None:
        reading = self._reader.read(VALIDATION_TOPIC, partition, start, end)
        async with aclosing(reading):
            async for record in reading:
                found = read_input(record.value)
                if isinstance(found, Skip) and found.offset < record.offset:
                    # The first decision wins.
                    self._found.setdefault((partition, found.offset, found.sha256), found)


async def decide_skip(
    reader: LogReader, writer: LogWriter, partition: int, offset: int, reason: str, *, write: bool
) -> Skip:
    """Write the decision to skip a record that cannot be decoded.

    Args:
        reader: reads ranges of Kafka.
        writer: writes to Kafka.
        partition: of `votes.validation`.
        offset: of the record.
        reason: in the operator's words.
        write: False: only return the decision.

    Returns:
        The decision, which may already have been in the log.

    Raises:
        ScrutinError: there is no such record, or it can be decoded.
        ServiceUnavailable: Kafka does not answer.
    """
    where: dict[str, object] = {
        "topic": VALIDATION_TOPIC,
        "partition": partition,
        "offset": offset,
    }
    if offset == 0:
        raise ScrutinError(
            "The first record holds the log's identity and cannot be skipped",
            where=where,
            todo="Restore the topic, or see `scrutin rebuild log --help`",
        )
    end = await reader.end_offset(VALIDATION_TOPIC, partition)
    if offset >= end:
        raise ScrutinError(
            f"There is no such record; the partition ends before offset {end}", where=where
        )
    async with aclosing(reader.read(VALIDATION_TOPIC, partition, offset, offset + 1)) as reading:
        [raw] = [record.value or b"" async for record in reading]
    if not isinstance(read_input(raw), Undecodable):
        raise ScrutinError(
            "The record can be decoded, so there is nothing to skip",
            where=where,
            todo="Start the workers again; they reject what they cannot count with a reason",
        )
    known = await Skips(reader).find(partition, offset, raw)
    if known is not None:
        return known
    now_ms = time.time_ns() // 1_000_000
    skip = Skip(offset, len(raw), hashlib.sha256(raw).digest(), now_ms, reason)
    if write:
        await writer.write([OutRecord(VALIDATION_TOPIC, partition, encode(skip))])
    return skip

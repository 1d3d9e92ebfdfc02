"""The roll as a worker would restore it from the voted table's changelog."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping
from dataclasses import dataclass

from schemas.codec import decode_voted
from schemas.control import KEY_BYTES, RollChanged
from schemas.voted import ControlRecord
from streams.adapters.kafka.view import Advance, LogView, Span
from streams.core.key_set import KeySet
from streams.core.keys import ROLL_MARK_BYTES, roll_mark
from streams.core.records import poisoning
from streams.core.rules import Rules

_TAG = b"voted-control/"
_TAG_BYTES = 24


@dataclass(frozen=True)
class ContestVoters:
    """The voters that the roll has for a contest."""

    voters: int
    weight: int
    """Of all of them together."""
    strange: int
    """Entries of which the log does not say for which contest they are."""


async def restore_rolls(
    view: LogView, topic: str, spans: Mapping[int, Span], advance: Advance | None = None
) -> dict[int, Rules]:
    """Rules of each partition at the end of its span; about 60 bytes per roll entry.

    Raises:
        PoisonRecord: a record cannot be decoded.
        ServiceUnavailable: Kafka does not answer.
    """
    found = {partition: Rules() for partition in spans}
    async for partition, change in _changes(view, topic, spans, advance):
        found[partition].apply(change)
    return found


async def voters_of(
    view: LogView,
    topic: str,
    spans: Mapping[int, Span],
    *,
    contest: str,
    known: Collection[str],
    advance: Advance | None = None,
) -> ContestVoters:
    """The voters of a contest, by the marks of the commands that added them.

    Args:
        view: of the log.
        topic: the voted table's changelog.
        spans: its partitions.
        contest: whose voters are counted.
        known: all contests, and the empty name for the laws.
        advance: called with the number of records read.

    Raises:
        PoisonRecord: a record cannot be decoded.
        ServiceUnavailable: Kafka does not answer.
    """
    rules = {partition: Rules() for partition in spans}
    own, marked = ({partition: KeySet() for partition in spans} for _ in range(2))
    mark, marks = roll_mark(contest), frozenset(map(roll_mark, known))
    async for partition, change in _changes(view, topic, spans, advance):
        rules[partition].apply(change)
        end = change.command_id[-ROLL_MARK_BYTES:]
        # Of a forged record nothing comes onto the roll, so it does not matter here.
        whole = change.added[: len(change.added) // KEY_BYTES * KEY_BYTES]
        if end == mark:
            own[partition].add(whole)
        elif end in marks:
            marked[partition].add(whole)
    counted = [
        found.weights.get(key, 1)
        for partition, found in rules.items()
        for key in own[partition]
        if key in found.roll
    ]
    strange = sum(
        key not in own[partition] and key not in marked[partition]
        for partition, found in rules.items()
        for key in found.roll
    )
    return ContestVoters(len(counted), sum(counted), strange)


async def _changes(
    view: LogView, topic: str, spans: Mapping[int, Span], advance: Advance | None
) -> AsyncIterator[tuple[int, RollChanged]]:
    """Partition and record of each change of the roll, in order."""
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
                yield record.partition, decoded.control

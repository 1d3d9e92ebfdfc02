"""Encode adopted votes as records of the input log; pure."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

from schemas.codec import encode
from schemas.votes import AdoptedVoteBatch, Flag, Vote
from streams.core.keys import partition_of, voter_key
from streams.core.records import OutRecord
from streams.core.rows import unix_us
from streams.core.topics import VALIDATION_TOPIC
from streams.intake.buffers import MAX_BUFFER_BYTES, MAX_RECORD_ITEMS
from streams.messages.fields import MAX_DEPTH, NotAVote, clean

MAX_METADATA_BYTES: Final = 16_384
"""Limit for the other columns of an old row; longer metadata is left out and marked so."""

_FLAGS: Final = int(Flag.ON_ROLL | Flag.MESSAGE_ID | Flag.PREVALIDATED)
"""With a message id: a repeated item counts as a replay."""


_TOP_LEVEL: Final = ("ip_address", "user_agent", "region_id")
"""Fields that old clients send at the top level, where readers of the tables expect them."""

_VOTE_BYTES: Final = 200
"""Upper bound for a vote's identity, numbers and headers."""


def records(
    items: Iterable[Mapping[str, Any]],
    *,
    adoption: bytes,
    ingest_ms: int,
    name: str,
    epoch: int,
    partitions: int,
) -> list[OutRecord]:
    """Pack items into records for their voters' partitions, in order.

    Args:
        items: rows of the staged items.
        adoption: identity of the adoption, 16 bytes.
        ingest_ms: current time in Unix milliseconds.
        name: of this process.
        epoch: of the log.
        partitions: of the input topic.
    """
    full: list[OutRecord] = []
    waiting: dict[int, tuple[list[Vote], list[int]]] = {}
    weights: dict[int, int] = {}

    def seal(partition: int) -> None:
        votes, numbers = waiting.pop(partition)
        weights.pop(partition)
        batch = AdoptedVoteBatch(ingest_ms, name, votes, [], epoch, 0, adoption, numbers)
        full.append(OutRecord(VALIDATION_TOPIC, partition, encode(batch)))

    for item in items:
        vote = vote_of(item)
        partition = partition_of(voter_key(vote.hash, vote.contest, vote.kind), partitions)
        weight = _VOTE_BYTES + sum(
            len(text.encode())
            for text in (vote.hash, vote.contest, vote.choice, vote.citizen_id, vote.metadata)
            if text
        )
        if partition in waiting and (
            weights[partition] + weight > MAX_BUFFER_BYTES
            or len(waiting[partition][0]) >= MAX_RECORD_ITEMS
        ):
            seal(partition)
        votes, numbers = waiting.setdefault(partition, ([], []))
        votes.append(vote)
        numbers.append(item["number"])
        weights[partition] = weights.get(partition, 0) + weight
    for partition in sorted(waiting):
        seal(partition)
    return full


def vote_of(item: Mapping[str, Any]) -> Vote:
    """The vote of one item, marked as adopted in its metadata."""
    timestamp_us = max(0, unix_us(item["at"]))
    # Stays the same when the old system is read again.
    facts = [
        *(item[name] for name in ("origin", "hash", "contest", "kind", "choice", "number")),
        timestamp_us,
    ]
    identity = hashlib.blake2b(b"adopted\0" + msgspec.msgpack.encode(facts), digest_size=16)
    return Vote(
        hash=item["hash"],
        contest=item["contest"],
        kind=item["kind"],
        choice=item["choice"],
        flags=_FLAGS,
        identity=identity.digest(),
        timestamp_us=timestamp_us,
        citizen_id=item["citizen"],
        metadata=_metadata(item),
    )


def _metadata(item: Mapping[str, Any]) -> str:
    extra = _parsed(item["extra"])
    kept = _parsed(item["metadata"])
    for name in _TOP_LEVEL:
        if name in extra:
            kept.setdefault(name, extra.pop(name))
    mark = {"from": item["origin"], **extra}
    try:
        text = _json(clean(kept, MAX_DEPTH) | {"adopted": clean(mark, MAX_DEPTH)})
    except NotAVote:
        text = ""
    if not 0 < len(text.encode()) <= MAX_METADATA_BYTES:
        text = _json({"adopted": {"from": item["origin"], "metadata_left_out": True}})
    return text


def _parsed(text: str | None) -> dict[str, Any]:
    value = {} if text is None else msgspec.json.decode(text)
    return value if isinstance(value, dict) else {"value": value}


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()

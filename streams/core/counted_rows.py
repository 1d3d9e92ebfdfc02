"""Rows of the table `counted_votes`, in the binary form of PostgreSQL's COPY. Pure.

What the votes of a record have in common is encoded once. The driver, which encodes each field of
each row, takes three times as long.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from functools import lru_cache
from typing import Final

from schemas.verdicts import VerdictBatch
from schemas.votes import Kind, Vote, VoteBatch
from streams.core.keys import stored_key, voter_key
from streams.core.polls import POLL_PREFIX
from streams.core.rows import MAX_TIMESTAMP_US, candidate_id, moment, stored_metadata, unix_us

StoredKey = tuple[bool, bytes | None, str | None]
"""`law`, `vote_key` and `vote_text` of a row."""

VOTE_COLUMNS: Final = (
    "law",
    "processed_timestamp",
    "source_partition",
    "source_offset",
    "stretch",
    "contest",
    "choice",
    "candidate_id",
    "voter_key",
    "voter_text",
    "vote_text",
    "vote_key",
    "source_index",
    "timestamp",
    "citizen_id",
    "metadata",
    "weight",
)
"""In the order of a row. The view `vote_audit` shows them in the documented columns."""

_LAW: Final = int(Kind.LAW)
_NULL: Final = b"\xff\xff\xff\xff"
_BEGIN: Final = struct.Struct(">hi?iqihiqih")
_KEYED: Final = struct.Struct(">ii32siiiqi")
_TEXTUAL: Final = struct.Struct(">iiiiqi")
_BIGINT: Final = struct.Struct(">iq")
_SINCE_US: Final = 946_684_800_000_000
"""PostgreSQL counts time from 2000 on."""


def vote_rows(
    verdicts: VerdictBatch,
    batch: VoteBatch,
    accepted: list[tuple[int, Vote]],
    weights: Mapping[tuple[int, int, int], int],
    stretch: int,
) -> tuple[list[StoredKey], list[bytes]]:
    """Keys and rows of accepted votes; of weights, those that are not 1."""
    partition, offset = verdicts.partition, verdicts.offset
    ingested_us = unix_us(moment(batch.ingest_ms * 1000)) - _SINCE_US
    place = (8, ingested_us, 2, partition, 8, offset, 2, stretch)
    of_law = _BEGIN.pack(len(VOTE_COLUMNS), 1, True, *place)
    of_other = _BEGIN.pack(len(VOTE_COLUMNS), 1, False, *place)
    keys: list[StoredKey] = []
    rows: list[bytes] = []
    for index, vote in accepted:
        contest, us = vote.contest, vote.timestamp_us
        if not 0 <= us <= MAX_TIMESTAMP_US:
            raise OverflowError(f"a vote has the time {us}")
        key, text = stored_key(vote.hash)
        voter = b""
        begin = of_law
        if not (law := vote.kind == _LAW):
            begin = of_other
            voter = _bytes(key) + _text(text)
            key, text = voter_key(vote.hash, contest, vote.kind), None
        size, citizen = -1, b""
        if vote.citizen_id is not None:
            citizen = vote.citizen_id.encode()
            size = len(citizen)
        if key is not None:
            times = _KEYED.pack(-1, 32, key, 4, index, 8, us - _SINCE_US, size)
        else:
            times = _text(text) + _TEXTUAL.pack(-1, 4, index, 8, us - _SINCE_US, size)
        metadata = _NULL
        if (kept := vote.metadata) is not None:
            if contest.startswith(POLL_PREFIX):
                kept = stored_metadata(vote)
            if kept is not None:
                encoded = kept.encode()
                # The version of jsonb comes first.
                metadata = (len(encoded) + 1).to_bytes(4) + b"\1" + encoded
        weight = _bigint(weights.get((partition, offset, index))) if weights else _NULL
        named = _named(vote.kind, contest, vote.choice)
        rows.append(b"%b%b%b%b%b%b%b" % (begin, named, voter, times, citizen, metadata, weight))
        keys.append((law, key, text))
    return keys, rows


@lru_cache(maxsize=4096)
def _named(kind: int, contest: str, choice: str) -> bytes:
    """From `contest` on, as far as all votes for a choice have it in common."""
    names = _text(contest) + _text(choice)
    # A law has neither a number nor a voter's key of its own.
    return names + (_NULL * 3 if kind == _LAW else _bigint(candidate_id(choice)))


def _text(text: str | None) -> bytes:
    return _bytes(None if text is None else text.encode())


def _bytes(value: bytes | None) -> bytes:
    return _NULL if value is None else len(value).to_bytes(4) + value


def _bigint(number: int | None) -> bytes:
    return _NULL if number is None else _BIGINT.pack(8, number)

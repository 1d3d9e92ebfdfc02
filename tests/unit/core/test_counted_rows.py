"""Counted votes as rows of COPY."""

from __future__ import annotations

import struct
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given

from schemas.codec import encode
from schemas.verdicts import VerdictBatch
from schemas.votes import Kind, Vote, VoteBatch
from streams.core.counted_rows import VOTE_COLUMNS, StoredKey, vote_rows
from streams.core.keys import voter_key
from streams.core.rows import (
    AUDIT_COLUMNS,
    MAX_TIMESTAMP_US,
    Row,
    audit_rows,
    moment,
    split,
)
from tests.strategies import LOG_ID, batches, make_batch, make_vote

STRETCH = 7
NUMBERS = {
    "law": ">?",
    "processed_timestamp": ">q",
    "source_partition": ">h",
    "source_offset": ">q",
    "stretch": ">h",
    "candidate_id": ">q",
    "source_index": ">i",
    "timestamp": ">q",
    "weight": ">q",
}
SINCE_US = int(datetime(2000, 1, 1, tzinfo=UTC).timestamp()) * 1_000_000


def verdicts_on(batch: VoteBatch) -> VerdictBatch:
    return VerdictBatch(LOG_ID, 2, 9, 8, [], msgspec.Raw(encode(batch)))


def of(**changed: Any) -> Vote:
    return msgspec.structs.replace(make_vote(1), **changed)


def read(row: bytes) -> dict[str, Any]:
    """A row as PostgreSQL reads it."""
    (count,) = struct.unpack_from(">h", row)
    assert count == len(VOTE_COLUMNS)
    at, found = 2, {}
    for name in VOTE_COLUMNS:
        (size,) = struct.unpack_from(">i", row, at)
        at += 4
        value = None if size < 0 else row[at : at + size]
        at += max(size, 0)
        found[name] = None if value is None else _value(name, value)
    assert at == len(row)
    return found


def _value(name: str, value: bytes) -> object:
    if name.endswith("_key"):
        return value
    if name not in NUMBERS:
        return value.removeprefix(b"\1" if name == "metadata" else b"").decode()
    (number,) = struct.unpack(NUMBERS[name], value)
    return moment(number + SINCE_US) if name.endswith("timestamp") else number


def rows_of(
    batch: VoteBatch, weights: dict[tuple[int, int, int], int]
) -> tuple[list[StoredKey], list[dict[str, Any]], list[Row]]:
    """Keys and rows of all votes of a record, and their rows of `vote_audit`."""
    verdicts = verdicts_on(batch)
    accepted, _ = split(verdicts, batch)
    keys, rows = vote_rows(verdicts, batch, accepted, weights, STRETCH)
    return keys, [read(row) for row in rows], list(audit_rows(verdicts, batch, accepted))


@pytest.mark.parametrize(
    ("vote", "law", "keys"),
    [
        (of(hash="ab" * 32), True, (b"\xab" * 32, None, None, None)),
        (of(hash="no hash"), True, (None, "no hash", None, None)),
        (of(hash="AB" * 32), True, (None, "AB" * 32, None, None)),
        (
            of(hash="ab" * 32, contest="election:1", kind=Kind.CANDIDATE),
            False,
            (voter_key("ab" * 32, "election:1", Kind.CANDIDATE), None, b"\xab" * 32, None),
        ),
        (
            of(hash="no hash", contest="election:1", kind=Kind.CANDIDATE),
            False,
            (voter_key("no hash", "election:1", Kind.CANDIDATE), None, None, "no hash"),
        ),
    ],
)
def test_a_counted_vote_has_its_hashes_in_binary(
    vote: Vote, law: bool, keys: tuple[object, ...]
) -> None:
    found, rows, _ = rows_of(make_batch(make_vote(2), vote), {(2, 9, 1): 3})
    assert rows[1]["law"] is law
    assert found[1] == (law, *keys[:2])
    names = ("vote_key", "vote_text", "voter_key", "voter_text")
    assert tuple(rows[1][name] for name in names) == keys
    assert [(row["weight"], row["stretch"]) for row in rows] == [(None, STRETCH), (3, STRETCH)]


@given(batches)
def test_a_row_is_as_vote_audit_shows_it(batch: VoteBatch) -> None:
    keys, rows, shown = rows_of(batch, {})
    assert len(keys) == len(rows) == len(shown)
    for key, row, audit in zip(keys, rows, shown, strict=True):
        assert key == (row["law"], row["vote_key"], row["vote_text"])
        seen = dict(zip(AUDIT_COLUMNS, audit, strict=True))
        assert seen["vote_hash"] == (row["vote_text"] or row["vote_key"].hex())
        for name in set(VOTE_COLUMNS) & set(AUDIT_COLUMNS):
            assert row[name] == seen[name]


@pytest.mark.parametrize(
    ("metadata", "stored"),
    [('{"voter_name":"Ann"}', None), ('{"voter_name":"Ann","a":"é"}', '{"a":"é"}'), (None, None)],
)
def test_the_name_of_a_poll_voter_is_not_stored(metadata: str | None, stored: str | None) -> None:
    vote = of(contest="poll:7", kind=Kind.CANDIDATE, metadata=metadata)
    _, (row,), _ = rows_of(make_batch(vote), {})
    assert row["metadata"] == stored


@pytest.mark.parametrize("us", [-1, MAX_TIMESTAMP_US + 1, 1 << 63])
def test_a_time_that_no_reader_could_take_is_not_written(us: int) -> None:
    with pytest.raises(OverflowError):
        rows_of(make_batch(of(timestamp_us=us)), {})

"""Verdict batches as rows."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given

from schemas.codec import decode_verdicts, encode
from schemas.verdicts import Reason, Rejection, Status, VerdictBatch
from schemas.votes import Flag, Kind, Malformed, Vote, VoteBatch
from streams.core.decide import decide
from streams.core.keys import voter_key
from streams.core.rows import (
    AUDIT_COLUMNS,
    REJECTED_COLUMNS,
    RejectedItem,
    Row,
    SourcePosition,
    audit_rows,
    item_at,
    moment,
    rejected_row,
    split,
)
from tests.strategies import LOG_ID, batches, identity, make_batch, make_malformed, make_vote

INGEST_MS = 1_760_000_000_123
INGESTED = datetime(2025, 10, 9, 8, 53, 20, 123_000, tzinfo=UTC)
SOURCE = SourcePosition(2, 9, INGESTED)


def verdicts_on(batch: VoteBatch, *rejections: Rejection) -> VerdictBatch:
    return VerdictBatch(LOG_ID, 2, 9, 8, list(rejections), msgspec.Raw(encode(batch)))


def named(columns: tuple[str, ...], row: Row) -> dict[str, Any]:
    return dict(zip(columns, row, strict=True))


def of(**changed: Any) -> Vote:
    return msgspec.structs.replace(make_vote(1), **changed)


def audit(vote: Vote) -> dict[str, Any]:
    batch = make_batch(vote, ingest_ms=INGEST_MS)
    verdicts = verdicts_on(batch)
    ((row),) = audit_rows(verdicts, batch, split(verdicts, batch)[0])
    return named(AUDIT_COLUMNS, row)


def refused(item: Vote | Malformed, status: Status, *, attempt: int = 0) -> dict[str, Any]:
    rejection = Rejection(3, status, "reason", attempt)
    return named(REJECTED_COLUMNS, rejected_row(RejectedItem(SOURCE, rejection, item)))


def test_moments_are_exact_to_the_microsecond() -> None:
    assert moment(0) == datetime(1970, 1, 1, tzinfo=UTC)
    assert moment(1_760_000_000_123_456) == datetime(2025, 10, 9, 8, 53, 20, 123_456, tzinfo=UTC)
    assert moment(-1) == datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)


def test_a_counted_law_vote() -> None:
    vote = make_vote(1, citizen_id="c1", metadata='{"ip":"::1"}', timestamp_us=1_000_000)
    assert audit(vote) == {
        "vote_hash": vote.hash,
        "voter_hash": vote.hash,
        "citizen_id": "c1",
        "law_id": "L2025-001",
        "contest": "L2025-001",
        "candidate_id": None,
        "choice": "oui",
        "timestamp": datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC),
        "processed_timestamp": INGESTED,
        "metadata": '{"ip":"::1"}',
        "source_partition": 2,
        "source_offset": 9,
        "source_index": 0,
    }


def test_a_counted_candidate_vote() -> None:
    vote = make_vote("nas1", contest="election:1", kind=Kind.CANDIDATE, choice="42")
    row = audit(vote)
    assert row["vote_hash"] == voter_key("nas1", "election:1", Kind.CANDIDATE).hex()
    assert row["voter_hash"] == "nas1"
    assert row["law_id"] is None
    assert row["contest"] == "election:1"
    assert row["candidate_id"] == 42
    assert row["choice"] == "42"


@pytest.mark.parametrize(
    ("choice", "number"),
    [
        ("0", 0),
        ("007", 7),
        ("9" * 18, 10**18 - 1),
        ("9" * 19, None),
        ("", None),
        ("-1", None),
        ("1.5", None),
        ("independent", None),
        # Digits to `str.isdigit`, but no number or not ASCII.
        ("\u00b2", None),
        ("\u0661", None),
    ],
)
def test_candidate_ids_that_are_no_numbers_stay_in_choice(choice: str, number: int | None) -> None:
    vote = make_vote(1, contest="election:1", kind=Kind.CANDIDATE, choice=choice)
    assert audit(vote)["candidate_id"] == number
    assert audit(vote)["choice"] == choice


def test_a_rejected_vote() -> None:
    row = refused(make_vote(1, message="m"), Status.DUPLICATE, attempt=4)
    assert row["status"] == "duplicate"
    assert row["reason"] == "reason"
    assert row["attempt_count"] == 4
    assert row["identity"] == identity("m")
    assert (row["source_partition"], row["source_offset"], row["source_index"]) == (2, 9, 3)
    assert row["body_head"] is None
    assert row["choice"] == "oui"


def test_a_rejected_malformed_message() -> None:
    row = refused(make_malformed("m", body=b"{broken"), Status.MALFORMED)
    assert row == {
        **dict.fromkeys(AUDIT_COLUMNS),
        "processed_timestamp": INGESTED,
        "source_partition": 2,
        "source_offset": 9,
        "source_index": 3,
        "status": "malformed",
        "reason": "reason",
        "attempt_count": 0,
        "identity": identity("m"),
        "body_head": b"{broken",
        "body_length": 7,
        "body_sha256": hashlib.sha256(b"{broken").digest(),
        "weight": 1,
    }


def test_bodies_that_earlier_bridges_kept_lose_their_credentials() -> None:
    body = b'{"law_id":"L-1","nas":"123456789","code":"XK7Q2P"}'
    row = refused(make_malformed("m", body=body), Status.MALFORMED)
    assert row["body_head"] == b'{"law_id":"L-1"}'
    assert row["body_sha256"] == hashlib.sha256(body).digest()


@pytest.mark.parametrize(
    ("contest", "metadata", "stored"),
    [
        ("poll:7", '{"voter_name":"Ann"}', None),
        ("poll:7", '{"voter_name":"Ann","adopted":{"id":3}}', '{"adopted":{"id":3}}'),
        ("poll:7", '{"adopted":{"id":3}}', '{"adopted":{"id":3}}'),
        ("poll:7", None, None),
        ("L-1", '{"voter_name":"Ann"}', '{"voter_name":"Ann"}'),
    ],
)
def test_the_name_of_a_poll_voter_is_not_stored(
    contest: str, metadata: str | None, stored: str | None
) -> None:
    vote = msgspec.structs.replace(make_vote(1), contest=contest, metadata=metadata)
    assert audit(vote)["metadata"] == stored
    assert refused(vote, Status.DUPLICATE)["metadata"] == stored


def test_the_source_index_of_accepted_votes_is_their_number_in_the_record() -> None:
    batch = make_batch(*(make_vote(n) for n in range(4)))
    verdicts = verdicts_on(batch, Rejection(1, Status.INVALID, Reason.NOT_ON_ROLL))
    accepted, rejected = split(verdicts, batch)
    rows = [named(AUDIT_COLUMNS, row) for row in audit_rows(verdicts, batch, accepted)]
    assert [row["source_index"] for row in rows] == [0, 2, 3]
    assert [row["voter_hash"] for row in rows] == [batch.votes[n].hash for n in (0, 2, 3)]
    assert [item.item for item in rejected] == [batch.votes[1]]


def test_a_replay_is_neither_accepted_nor_rejected() -> None:
    batch = make_batch(make_vote(1), make_vote(1))
    accepted, rejected = split(
        verdicts_on(batch, Rejection(1, Status.REPLAY, Reason.REPLAY)), batch
    )
    assert [index for index, _ in accepted] == [0]
    assert rejected == []


def test_items_are_numbered_votes_first() -> None:
    batch = make_batch(make_vote(1), malformed=(make_malformed("x"), make_malformed("y")))
    assert [item_at(batch, n) for n in range(3)] == [*batch.votes, *batch.malformed]


@pytest.mark.parametrize(
    ("status", "flags", "known"),
    [
        (Status.INVALID, Flag(0), False),
        (Status.INVALID, Flag.REDELIVERED, True),
        (Status.INVALID, Flag.MESSAGE_ID, True),
        (Status.MALFORMED, Flag.REPRODUCED, True),
        (Status.MALFORMED, Flag.ON_ROLL, False),
        (Status.DUPLICATE, Flag.REDELIVERED | Flag.MESSAGE_ID, False),
    ],
)
def test_which_rows_may_be_there_already(status: Status, flags: Flag, known: bool) -> None:
    item: Vote | Malformed = make_vote(1, flags=flags)
    if status == Status.MALFORMED:
        item = make_malformed(flags=flags)
    assert RejectedItem(SOURCE, Rejection(0, status, "r"), item).may_be_known is known


@given(batches)
def test_every_item_is_accepted_rejected_or_a_replay(batch: VoteBatch) -> None:
    change = decide(batch, 9, LOG_ID, lambda _: None)
    verdicts = decode_verdicts(encode(verdicts_on(batch, *change.rejections)))
    accepted, rejected = split(verdicts, batch)
    replays = [r.index for r in change.rejections if r.status == Status.REPLAY]
    numbers = [index for index, _ in accepted] + [r.rejection.index for r in rejected] + replays
    assert sorted(numbers) == list(range(len(batch.votes) + len(batch.malformed)))
    assert len(list(audit_rows(verdicts, batch, accepted))) == len(accepted)
    for item in rejected:
        assert len(rejected_row(item)) == len(REJECTED_COLUMNS)

"""Verdicts as messages, and what RabbitMQ's confirms mean for them."""

from __future__ import annotations

import base64
import hashlib
import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.codec import encode
from schemas.verdicts import Reason, Rejection, Status, VerdictBatch
from schemas.votes import Flag, Kind, Malformed, Vote, VoteBatch
from streams.bridge.publisher import Flight
from streams.messages.outgoing import Publication, counted_votes, has_reviews, reviews

INGEST_MS = 1_763_121_600_250


def vote(number: int, **more: object) -> Vote:
    fields: dict[str, object] = {
        "hash": f"hash-{number}",
        "contest": "law-1",
        "kind": Kind.LAW,
        "choice": "oui",
        "flags": Flag.ON_ROLL,
        "identity": number.to_bytes(16, "big"),
        "timestamp_us": 1_763_121_600_000_000,
        "citizen_id": f"citizen-{number}",
    }
    return Vote(**(fields | more))  # type: ignore[arg-type]


FAULT = Malformed("not_json", 0, b"m" * 16, 5000, hashlib.sha256(b"x" * 5000).digest(), b"x" * 4096)


def verdicts(record: VoteBatch, *rejections: Rejection) -> VerdictBatch:
    return VerdictBatch(bytes(16), 0, 5, 4, list(rejections), msgspec.Raw(encode(record)))


def test_a_duplicate_is_reviewed_in_both_dialects() -> None:
    record = VoteBatch(INGEST_MS, "b", [vote(0), vote(1)], [])
    batch = verdicts(record, Rejection(1, Status.DUPLICATE, Reason.ALREADY_VOTED, 3))
    (publication,) = reviews(batch, record)
    assert json.loads(publication.body) == {
        "voter_hash": "hash-1",
        "vote_hash": "hash-1",
        "citizen_id": "citizen-1",
        "law_id": "law-1",
        "candidate_id": None,
        "vote": "oui",
        "choice": "oui",
        "vote_timestamp": "2025-11-14T12:00:00Z",
        "status": "duplicate",
        "reason": "already_voted",
        "attempt_count": 3,
        "processed_timestamp": "2025-11-14T12:00:00.250000Z",
        "body": None,
        "error_pattern": None,
    }


def test_a_malformed_message_is_reviewed_with_its_body() -> None:
    record = VoteBatch(INGEST_MS, "b", [vote(0)], [FAULT])
    (publication,) = reviews(verdicts(record, Rejection(1, Status.MALFORMED, "not_json")), record)
    review = json.loads(publication.body)
    assert review["body"] == {
        "base64": base64.b64encode(b"a" * 4096).decode(),
        "length": 5000,
        "sha256": hashlib.sha256(b"x" * 5000).hexdigest(),
    }
    assert (review["status"], review["reason"]) == ("malformed", "not_json")
    assert {review[name] for name in ("voter_hash", "vote_hash", "law_id", "vote")} == {None}


def test_a_review_has_no_credentials_of_bodies_that_earlier_bridges_kept() -> None:
    fault = msgspec.structs.replace(FAULT, head=b'{"law_id":"L-1","nas":"123456789","code":"X"}')
    record = VoteBatch(INGEST_MS, "b", [], [fault])
    (publication,) = reviews(verdicts(record, Rejection(0, Status.MALFORMED, "not_json")), record)
    body = json.loads(publication.body)["body"]
    assert base64.b64decode(body["base64"]) == b'{"law_id":"L-1"}'


def test_replays_are_not_reviewed() -> None:
    record = VoteBatch(INGEST_MS, "b", [vote(0), vote(1)], [])
    batch = verdicts(record, Rejection(0, Status.REPLAY, Reason.REPLAY))
    assert not has_reviews(batch)
    assert reviews(batch, record) == []


def test_candidate_votes_name_their_candidate() -> None:
    record = VoteBatch(
        INGEST_MS, "b", [vote(0, contest="election:e1", kind=Kind.CANDIDATE, choice="42")], []
    )
    (publication,) = reviews(
        verdicts(record, Rejection(0, Status.INVALID, Reason.NOT_ON_ROLL)), record
    )
    review = json.loads(publication.body)
    assert (review["law_id"], review["candidate_id"], review["choice"]) == (None, "42", "42")
    assert review["error_pattern"] == "hash-0"[:8]
    (counted,) = counted_votes(verdicts(record), record)
    message = json.loads(counted.body)
    assert "law_id" not in message
    assert (message["candidate_id"], message["election_id"]) == ("42", "e1")


def test_accepted_votes_go_out_in_every_aggregators_words() -> None:
    record = VoteBatch(INGEST_MS, "b", [vote(0), vote(1)], [FAULT])
    batch = verdicts(
        record,
        Rejection(0, Status.REPLAY, Reason.REPLAY),
        Rejection(2, Status.MALFORMED, "not_json"),
    )
    (publication,) = counted_votes(batch, record)
    assert json.loads(publication.body) == {
        "voter_hash": "hash-1",
        "vote_hash": "hash-1",
        "citizen_id": "citizen-1",
        "law_id": "law-1",
        "vote": "oui",
        "choice": "oui",
        "vote_timestamp": "2025-11-14T12:00:00Z",
        "timestamp": "2025-11-14T12:00:00Z",
        "status": "valid",
        "processed_timestamp": "2025-11-14T12:00:00.250000Z",
    }


def test_message_ids_are_stable_and_apart() -> None:
    record = VoteBatch(INGEST_MS, "b", [vote(0), vote(0), vote(0)], [])
    batch = verdicts(
        record,
        Rejection(1, Status.DUPLICATE, Reason.ALREADY_VOTED, 1),
        Rejection(2, Status.DUPLICATE, Reason.ALREADY_VOTED, 2),
    )
    ids = [p.message_id for p in reviews(batch, record)]
    assert ids == [p.message_id for p in reviews(batch, record)]
    assert len(set(ids)) == 2
    assert all(len(bytes.fromhex(one)) == 16 for one in ids)
    assert ids[0] not in {p.message_id for p in counted_votes(batch, record)}


# Confirms --------------------------------------------------------------------------------------


def publication(number: int) -> Publication:
    return Publication(f"id-{number}", b"")


def flight(count: int) -> Flight:
    found = Flight()
    for number in range(1, count + 1):
        found.publish(publication(number))
    return found


def test_confirms_one_by_one_and_many() -> None:
    found = flight(4)
    found.answered(2, multiple=False, taken=True)
    found.answered(3, multiple=True, taken=True)
    assert (len(found), found.confirmed) == (1, 3)
    assert found.unconfirmed == [publication(4)]


def test_a_returned_message_is_confirmed_but_nowhere() -> None:
    found = flight(3)
    found.returned("id-2")
    found.answered(3, multiple=True, taken=True)
    assert found.confirmed == 2
    assert found.unconfirmed == [publication(2)]


def test_two_returns_of_one_id_are_two_messages() -> None:
    found = Flight()
    found.publish(publication(1))
    found.publish(publication(1))
    found.returned("id-1")
    found.returned("id-1")
    found.answered(2, multiple=True, taken=True)
    assert found.unconfirmed == [publication(1), publication(1)]


def test_a_refusal_is_tried_again() -> None:
    found = flight(2)
    found.answered(1, multiple=False, taken=False)
    found.answered(2, multiple=False, taken=True)
    assert found.unconfirmed == [publication(1)]


@given(st.lists(st.tuples(st.integers(1, 12), st.booleans(), st.booleans()), max_size=30))
def test_nothing_is_forgotten(answers: list[tuple[int, bool, bool]]) -> None:
    found = flight(12)
    for tag, multiple, taken in answers:
        found.answered(tag, multiple, taken)
    assert found.confirmed + len(found.unconfirmed) == 12
    assert len({p.message_id for p in found.unconfirmed}) == len(found.unconfirmed)


@pytest.mark.parametrize("message_id", [None, ""])
def test_a_return_without_id_disturbs_nobody(message_id: str | None) -> None:
    found = flight(1)
    found.returned(message_id)
    found.answered(1, multiple=False, taken=True)
    assert found.unconfirmed == []

"""Votes in polls as the replaced services exchanged them, read and written."""

from __future__ import annotations

import json

import msgspec
import pytest

from schemas.codec import encode
from schemas.verdicts import Reason, Rejection, Status, VerdictBatch
from schemas.votes import Flag, Kind, Malformed, Vote, VoteBatch
from streams.core.keys import stored_hash
from streams.core.polls import Who, poll_key
from streams.gateway.voters import Voters
from streams.messages.decode import Decoded, decode
from streams.messages.outgoing import poll_updates

KEY = poll_key("s" * 32)
MESSAGE = {"voter_name": "Ann Bee", "poll_id": 7, "option_id": 2, "delta": 1}


def read(message: object) -> Decoded:
    body = message if isinstance(message, bytes) else json.dumps(message).encode()
    return decode(
        body,
        None,
        redelivered=False,
        prevalidated=False,
        poll_updates=True,
        ingest_us=1_763_121_600_000_000,
        max_body_bytes=1000,
        poll_key=KEY,
    )


def test_a_name_is_the_same_voter_by_queue_and_by_gateway() -> None:
    vote = read(MESSAGE).item
    assert isinstance(vote, Vote)
    assert (vote.contest, vote.kind, vote.choice) == ("poll:7", Kind.CANDIDATE, "2")
    assert vote.timestamp_us == 1_763_121_600_000_000
    assert json.loads(vote.metadata or "") == {"voter_name": "Ann Bee"}
    voters = Voters(KEY, ())
    sent = voters.vote(
        7, 1, voters.by_name("poll:7", " ANN  bee"), who=Who.NAME, voter_name="x", at_us=1
    )
    assert sent.submission.stored_hash == stored_hash(vote.hash, "poll:7", Kind.CANDIDATE)
    # In a poll for the roll a name is nobody.
    assert not vote.flags & Flag.PREVALIDATED


def test_numbers_may_be_texts_and_a_delta_may_be_absent() -> None:
    given = {"voter_name": "Ann Bee", "poll_id": "7", "option_id": "02"}
    assert read(given).key == read(MESSAGE).key
    vote = read(given).item
    assert isinstance(vote, Vote)
    assert vote.choice == "2"


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ({**MESSAGE, "delta": -1}, "bad_delta"),
        ({**MESSAGE, "delta": 2}, "bad_delta"),
        ({**MESSAGE, "delta": True}, "bad_delta"),
        ({**MESSAGE, "poll_id": -7}, "wrong_type"),
        ({**MESSAGE, "option_id": [2]}, "wrong_type"),
        ({**MESSAGE, "voter_name": " "}, "bad_hash"),
        ({**MESSAGE, "voter_name": "x" * 101}, "bad_hash"),
        ({**MESSAGE, "voter_name": "a\0b"}, "nul_in_string"),
        ({**MESSAGE, "voter_name": None}, "missing_hash"),
        ({"voter_name": "Ann", "option_id": 2}, "missing_contest"),
        ({"voter_name": "Ann", "poll_id": 2}, "missing_choice"),
        ({**MESSAGE, "more": "x" * 1000}, "too_large"),
        (b"nonsense", "not_json"),
        # A vote in another queue's words is none here.
        ({"vote_hash": "h", "law_id": "L", "choice": "oui"}, "missing_hash"),
    ],
)
def test_malformed_updates_are_named(message: object, reason: str) -> None:
    item = read(message).item
    assert isinstance(item, Malformed)
    assert item.reason == reason


def counted(contest: str, choice: str, metadata: str | None = None) -> Vote:
    return Vote("h", contest, Kind.CANDIDATE, choice, Flag.ON_ROLL, b"i" * 16, 0, None, metadata)


def test_counted_votes_in_polls_are_told() -> None:
    votes = [
        counted("poll:7", "2", '{"voter_name":"Ann"}'),
        counted("poll:7", "1"),
        counted("poll:7", "1", '{"voter_name":"Too late"}'),
        counted("election:7", "1"),
        counted("poll:by hand", "yes"),
    ]
    record = VoteBatch(0, "b", votes, [])
    rejections = [Rejection(2, Status.DUPLICATE, Reason.ALREADY_VOTED, 1)]
    batch = VerdictBatch(bytes(16), 0, 5, 4, rejections, msgspec.Raw(encode(record)))
    told = poll_updates(batch, record)
    assert [json.loads(each.body) for each in told] == [
        {"voter_name": "Ann", "poll_id": 7, "option_id": 2, "delta": 1},
        {"voter_name": "", "poll_id": 7, "option_id": 1, "delta": 1},
    ]
    assert poll_updates(batch, record) == told

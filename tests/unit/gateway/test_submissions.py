"""Votes over HTTP: hashes, messages, receipts, confirms; without services."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.votes import Kind, Vote
from streams.core.keys import ELECTION_PREFIX, stored_hash, voter_key
from streams.core.polls import POLL_PREFIX
from streams.core.rows import MAX_TIMESTAMP_US
from streams.core.texts import is_plain
from streams.gateway.store import MAX_POINTS, STEPS_S, fate_of, step_for
from streams.gateway.submissions import (
    Faulty,
    RequestClock,
    candidate_vote,
    election_hashes,
    law_hashes,
    law_vote,
    person_of,
)
from streams.intake.receipts import MAX_RECEIPT_CHARACTERS, BadReceipt, Receipts, Submission
from streams.messages.decode import decode
from streams.messages.fields import MAX_HASH_BYTES

SECRET = b"0123456789abcdef0123456789abcdef"


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def test_a_law_hash_is_made_as_in_the_replaced_service() -> None:
    assert law_hashes("123 456-789", "AB12CD", "L-1") == [sha256("123456789|AB12CD|L-1")]
    # The code as given comes first: both may be on the roll, and then they are two entries.
    assert law_hashes("123456789", "ab12cd", "L-1") == [
        sha256("123456789|ab12cd|L-1"),
        sha256("123456789|AB12CD|L-1"),
    ]


def test_an_election_hash_has_both_separators() -> None:
    assert election_hashes("123-456-789", "a") == [
        sha256("123456789a"),
        sha256("123456789|a"),
        sha256("123456789A"),
        sha256("123456789|A"),
    ]


@pytest.mark.parametrize(
    "nas",
    [
        "123\N{NO-BREAK SPACE}456\N{NARROW NO-BREAK SPACE}789",
        "123\N{EN DASH}456\N{NON-BREAKING HYPHEN}789",
        "123\N{MINUS SIGN}456\N{ZERO WIDTH SPACE}789",
        "\N{FULLWIDTH DIGIT ONE}23\t456 789 ",
    ],
)
def test_a_number_is_its_digits_however_it_was_typed(nas: str) -> None:
    assert person_of(nas) == "123456789"


@pytest.mark.parametrize(
    ("nas", "code", "field"),
    [
        *((nas, "A", "nas") for nas in ("", " - ", "12345678", "1234567890", "12345678a")),
        ("12345678\N{ARABIC-INDIC DIGIT NINE}", "A", "nas"),
        ("123456789", "", "code"),
        ("123456789", "x" * 11, "code"),
    ],
)
def test_credentials_have_bounds(nas: str, code: str, field: str) -> None:
    with pytest.raises(Faulty) as fault:
        law_hashes(nas, code, "L")
    assert fault.value.field == field


@given(
    at_us=st.integers(0, 4_000_000_000_000_000),
    law=st.text(min_size=1, max_size=40).filter(
        lambda t: is_plain(t) and not t.startswith((ELECTION_PREFIX, POLL_PREFIX))
    ),
    choice=st.sampled_from(["oui", "NON", " Oui "]),
)
def test_the_bridge_reads_what_the_gateway_wrote(at_us: int, law: str, choice: str) -> None:
    """The receipt finds the row that the sink will write: same hash, same microsecond."""
    out = law_vote(sha256(law), law, choice, at_us=at_us)
    decoded = decode(
        out.body,
        out.message_id.encode(),
        redelivered=False,
        prevalidated=False,
        ingest_us=0,
        max_body_bytes=65536,
    )
    vote = decoded.item
    assert isinstance(vote, Vote)
    assert (vote.contest, vote.choice) == (law, choice.strip().lower())
    assert vote.timestamp_us == at_us == out.submission.timestamp_us
    assert vote.identity == out.submission.identity
    assert stored_hash(vote.hash, vote.contest, vote.kind) == out.submission.stored_hash


@pytest.mark.parametrize(("candidate", "choice"), [("7", "7"), (None, ">")])
def test_a_candidate_vote_and_a_blank_one_are_read_alike(
    candidate: str | None, choice: str
) -> None:
    out = candidate_vote("v" * 20, candidate, election_id="3", region_id="2", at_us=5)
    decoded = decode(
        out.body,
        out.message_id.encode(),
        redelivered=False,
        prevalidated=False,
        ingest_us=0,
        max_body_bytes=65536,
    )
    vote = decoded.item
    assert isinstance(vote, Vote)
    assert (vote.contest, vote.choice, vote.kind) == ("election:3", choice, Kind.CANDIDATE)
    assert decoded.key == voter_key("v" * 20, "election:3", Kind.CANDIDATE)
    assert out.submission.stored_hash == decoded.key.hex()


@pytest.mark.parametrize(
    ("law", "choice", "field"),
    [("poll:1", "oui", "law_id"), ("L", "maybe", "vote"), ("a\0b", "oui", "law_id")],
)
def test_a_law_vote_is_refused_by_field(law: str, choice: str, field: str) -> None:
    with pytest.raises(Faulty) as fault:
        law_vote("h", law, choice, at_us=1)
    assert fault.value.field == field


def test_a_clock_never_repeats() -> None:
    clock = RequestClock()
    times = [clock.now_us() for _ in range(1000)]
    assert len(set(times)) == 1000
    assert times == sorted(times)


SUBMISSION = Submission("ab" * 32, 1_760_000_000_000_000, b"i" * 16, "L-1")


def test_a_receipt_opens_at_every_gateway_with_the_secret() -> None:
    receipt = Receipts(SECRET).seal(SUBMISSION)
    assert Receipts(SECRET).open(receipt) == SUBMISSION
    assert SUBMISSION.stored_hash not in receipt
    with pytest.raises(BadReceipt):
        Receipts(SECRET[::-1]).open(receipt)


def test_two_receipts_of_one_vote_differ() -> None:
    receipts = Receipts(SECRET)
    assert receipts.seal(SUBMISSION) != receipts.seal(SUBMISSION)


@pytest.mark.parametrize("size", [174, 176, 254, 255])
def test_the_receipt_of_any_vote_that_is_taken_opens(size: int) -> None:
    receipts = Receipts(SECRET)
    for name in ("x" * size, "é" * (size // 2)):
        for vote in (
            law_vote("h" * MAX_HASH_BYTES, name, "oui", at_us=MAX_TIMESTAMP_US),
            candidate_vote("h" * MAX_HASH_BYTES, "7", election_id=name, at_us=MAX_TIMESTAMP_US),
        ):
            receipt = receipts.seal(vote.submission)
            assert len(receipt) <= MAX_RECEIPT_CHARACTERS
            assert receipts.open(receipt) == vote.submission


@given(st.text(max_size=500))
def test_no_other_text_is_a_receipt(text: str) -> None:
    with pytest.raises(BadReceipt):
        Receipts(SECRET).open(text)


def test_a_malformed_vote_is_invalid_to_its_voter() -> None:
    assert fate_of("malformed", "bad_signature", 0).status == "invalid"
    assert fate_of("duplicate", "already_voted", 2).attempt == 2


@given(st.floats(0, 1e9))
def test_a_timeline_has_bounded_points(span_s: float) -> None:
    step = step_for(span_s)
    assert span_s / step < MAX_POINTS or step == STEPS_S[-1]
    finer = [s for s in STEPS_S if s < step]
    assert all(span_s / s >= MAX_POINTS for s in finer)

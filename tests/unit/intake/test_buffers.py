"""Micro-batches: order kept, records within Kafka's bounds, the roll's answers in their place."""

from __future__ import annotations

import math

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.codec import decode_input, encode
from schemas.verdicts import Rejection, VerdictBatch
from schemas.votes import Flag, Kind, Malformed, Rule, RuledVoteBatch, Vote, VoteBatch
from streams.core.topics import MAX_RECORD_BYTES
from streams.intake.buffers import (
    MAX_RECORD_ITEMS,
    Buffers,
    Pending,
    VotingRules,
    hashes_to_ask,
    reproduced,
    seal,
    weight,
)
from streams.intake.ingress import BACKLOG_FLUSHES, FREQUENT_PER_S, GATHER_S, first_wait_s
from streams.messages.decode import decode
from tests.strategies import under


class Source:
    """A session."""


SOURCE = Source()


def vote(number: int, *, flags: int = Flag.ON_ROLL, metadata: str | None = None) -> Vote:
    return Vote(
        f"hash-{number}", "law", Kind.LAW, "oui", flags, bytes(16), number, metadata=metadata
    )


def malformed(number: int, head: bytes = b"x") -> Malformed:
    return Malformed("not_json", 0, number.to_bytes(16, "big"), len(head), bytes(32), head)


def batch_of(value: bytes) -> VoteBatch:
    found = decode_input(value)
    assert isinstance(found, VoteBatch)
    return found


def test_items_keep_their_order_and_their_tags() -> None:
    buffers: Buffers[Source] = Buffers(2)
    for tag in range(1, 7):
        buffers.add(tag % 2, vote(tag) if tag != 3 else malformed(tag), 100, SOURCE, tag)
    assert buffers.waiting == 6
    even, odd = buffers.take()
    assert [v.timestamp_us for v in even.votes] == [2, 4, 6]
    assert [v.timestamp_us for v in odd.votes] == [1, 5]
    assert odd.rejects == [(SOURCE, 3)]
    assert [tag for _, tag in odd.tags] == [1, 5]
    assert buffers.waiting == 0
    assert buffers.take() == []


def test_a_full_record_is_closed() -> None:
    buffers: Buffers[Source] = Buffers(1)
    for tag in range(1, MAX_RECORD_ITEMS + 2):
        assert not buffers.has_full
        buffers.add(0, vote(tag), 1, SOURCE, tag)
        if tag == MAX_RECORD_ITEMS:
            break
    assert buffers.has_full
    buffers.add(0, vote(0), 1, SOURCE, MAX_RECORD_ITEMS + 1)
    first, second = buffers.take()
    assert (first.count, second.count) == (MAX_RECORD_ITEMS, 1)
    assert first.votes[-1].timestamp_us == MAX_RECORD_ITEMS


def test_a_record_says_what_its_votes_are_judged_by_only_if_there_is_something() -> None:
    pending: Pending[Source] = Pending(0)
    pending.votes = [vote(1)]
    plain = batch_of(seal(pending, [True], ingest_ms=1, bridge="b"))
    assert type(plain) is VoteBatch
    for rules in (VotingRules(epoch=2), VotingRules(rules=int(Rule.CONTESTS))):
        ruled = batch_of(seal(pending, [True], ingest_ms=1, bridge="b", voting_rules=rules))
        assert ruled == under(plain, rules.rules, epoch=rules.epoch)
        again = reproduced(ruled)
        assert type(again) is RuledVoteBatch
        assert (again.epoch, again.rules) == (rules.epoch, rules.rules)
        assert again.votes[0].flags & Flag.REPRODUCED


def test_forgetting_a_session_keeps_the_others() -> None:
    buffers: Buffers[Source] = Buffers(1)
    other = Source()
    for tag in range(1, 5):
        buffers.add(0, vote(tag), 100, SOURCE if tag % 2 else other, tag)
    buffers.add(0, malformed(5), 100, SOURCE, 5)
    assert buffers.forget(SOURCE) == 3
    assert buffers.waiting == 2
    (left,) = buffers.take()
    assert [v.timestamp_us for v in left.votes] == [2, 4]
    assert left.tags == [(other, 2), (other, 4)]
    assert not left.malformed


def test_forgetting_everything_leaves_no_empty_record() -> None:
    buffers: Buffers[Source] = Buffers(1)
    for tag in range(1, MAX_RECORD_ITEMS + 2):
        buffers.add(0, vote(tag), 1, SOURCE, tag)
    assert buffers.forget(SOURCE) == MAX_RECORD_ITEMS + 1
    assert not buffers.has_full
    assert buffers.take() == []


def test_answers_of_the_roll_find_their_votes() -> None:
    buffers: Buffers[Source] = Buffers(2)
    prevalidated = Flag.ON_ROLL | Flag.PREVALIDATED
    for number, flags in enumerate((Flag.ON_ROLL, prevalidated, Flag.ON_ROLL, Flag.ON_ROLL)):
        buffers.add(number % 2, vote(number, flags=flags), 100, SOURCE, number + 1)
    taken = buffers.take()
    assert hashes_to_ask(taken) == ["hash-0", "hash-2", "hash-3"]
    even = batch_of(seal(taken[0], [True, False], ingest_ms=7, bridge="b"))
    odd = batch_of(seal(taken[1], [False], ingest_ms=7, bridge="b"))
    assert [v.flags for v in even.votes] == [Flag.ON_ROLL, 0]
    assert [v.flags for v in odd.votes] == [prevalidated, 0]
    assert (even.ingest_ms, even.bridge) == (7, "b")


def test_reproduced_changes_flags_only() -> None:
    batch = VoteBatch(1, "b", [vote(1)], [malformed(2)])
    again = reproduced(batch)
    assert [i.flags & Flag.REPRODUCED for i in (*again.votes, *again.malformed)] == [2, 2]
    replace = msgspec.structs.replace
    assert [replace(v, flags=Flag.ON_ROLL) for v in again.votes] == batch.votes
    assert len(encode(again)) == len(encode(batch))


bodies = st.one_of(
    st.binary(max_size=9000),
    st.builds(
        lambda h, c, m: msgspec.json.encode(
            {"hash": h, "law_id": "l", "vote": c, "citizen_id": h, "extra": m}
        ),
        st.text(max_size=30),
        st.text(max_size=60),
        st.text(max_size=60) | st.floats(allow_nan=False, allow_infinity=False) | st.integers(),
    ),
    st.just(b'{"hash":"h","law_id":"l","vote":"v","x":[' + b"1e15," * 1000 + b"1]}"),
)


@given(st.lists(bodies, min_size=1, max_size=30))
def test_weight_is_never_too_small(raw: list[bytes]) -> None:
    buffers: Buffers[Source] = Buffers(1)
    for tag, body in enumerate(raw, 1):
        item = decode(
            body, None, redelivered=False, prevalidated=False, ingest_us=0, max_body_bytes=65536
        ).item
        assert len(encode(VoteBatch(0, "", [item], []))) <= weight(item, len(body)) + 16
        buffers.add(0, item, weight(item, len(body)), SOURCE, tag)
    (pending,) = buffers.take()
    sealed = seal(pending, [True] * pending.count, ingest_ms=2**42, bridge="x" * 200)
    assert len(sealed) <= pending.weight + 300


def test_records_of_the_heaviest_items_fit_kafka() -> None:
    """Bodies as large as the largest setting allows, each alone and among small ones."""
    buffers: Buffers[Source] = Buffers(1)
    largest = 524_288
    body = b'{"hash":"h","law_id":"l","vote":"oui","x":"' + b"y" * (largest - 45) + b'"}'
    assert len(body) == largest
    heavy = decode(
        body, None, redelivered=False, prevalidated=False, ingest_us=0, max_body_bytes=largest
    ).item
    assert isinstance(heavy, Vote)
    for tag in range(1, 40):
        item = heavy if tag % 10 == 0 else vote(tag)
        size = largest if tag % 10 == 0 else 200
        buffers.add(0, item, weight(item, size), SOURCE, tag)
    for pending in buffers.take():
        sealed = seal(pending, [True] * pending.count, ingest_ms=0, bridge="b")
        assert len(sealed) <= MAX_RECORD_BYTES


def test_what_derives_from_a_full_record_fits_kafka() -> None:
    """Every item of the fullest record rejected, with the longest words."""
    batch = VoteBatch(0, "b", [vote(i) for i in range(MAX_RECORD_ITEMS)], [])
    rejections = [
        Rejection(i, "duplicate", "conflicting_fields", 100_000) for i in range(MAX_RECORD_ITEMS)
    ]
    verdicts = VerdictBatch(bytes(16), 0, 2**40, 2**40, rejections, msgspec.Raw(encode(batch)))
    assert len(encode(verdicts)) - len(encode(batch)) < 180_000


@pytest.mark.parametrize("backlog", [False, True])
def test_a_vote_after_a_pause_waits_only_for_those_sent_with_it(backlog: bool) -> None:
    assert first_wait_s(80, math.inf, 0.0, backlog=backlog) == GATHER_S
    period_s = 0.08 * (BACKLOG_FLUSHES if backlog else 1)
    assert first_wait_s(80, period_s, 0.0, backlog=backlog) == GATHER_S
    assert first_wait_s(2, math.inf, 0.0, backlog=False) == 0.002


@pytest.mark.parametrize(
    ("votes_per_s", "backlog", "wait_s"),
    [
        (FREQUENT_PER_S, False, 0.04),
        (FREQUENT_PER_S * 2, False, 0.08),
        (FREQUENT_PER_S * 50, False, 0.12),
        (0, True, 0.12),
        (FREQUENT_PER_S * 50, True, 0.12),
    ],
)
def test_the_more_votes_a_second_the_further_apart_are_flushes(
    votes_per_s: int, backlog: bool, wait_s: float
) -> None:
    assert first_wait_s(40, 0.0, votes_per_s, backlog=backlog) == pytest.approx(wait_s)


@given(st.integers(1, 1000), st.floats(0, 10), st.floats(0, 1e6), st.booleans())
def test_flushes_are_at_least_so_far_apart_and_no_vote_waits_longer(
    flush_ms: int, since_s: float, votes_per_s: float, backlog: bool
) -> None:
    wait_s = first_wait_s(flush_ms, since_s, votes_per_s, backlog=backlog)
    longest_s = flush_ms / 1000 * BACKLOG_FLUSHES
    assert 0 < wait_s <= longest_s
    assert wait_s + since_s >= (longest_s if backlog else flush_ms / 1000) - 1e-9

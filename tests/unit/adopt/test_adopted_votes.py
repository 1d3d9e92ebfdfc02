"""Adopted votes in the fold: idempotent by their keys, and kept through every stage."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.codec import decode_input, encode
from schemas.verdicts import Rejection, VerdictBatch
from schemas.votes import REFUSED, AdoptedVoteBatch, Flag, Kind, Vote
from streams.adopt.records import MAX_METADATA_BYTES, records, vote_of
from streams.bridge.mirror import Change
from streams.core.decide import decide
from streams.core.voted_partition import VotedPartition
from tests.strategies import LOG_ID, epoch_opened, law_hash, make_batch, make_vote

AT = datetime(2026, 11, 20, 8, tzinfo=UTC)


def item(
    voter: int = 1,
    number: int = 0,
    *,
    choice: str = "oui",
    n: int = 1,
    at: datetime = AT,
    **more: object,
) -> dict[str, Any]:
    return {
        "n": n,
        "hash": law_hash(voter),
        "kind": 0,
        "contest": "L2025-001",
        "choice": choice,
        "number": number,
        "at": at,
        "citizen": None,
        "metadata": None,
        "extra": '{"status": "aggregated"}',
        "origin": "vote_audit",
        "source_row": n,
    } | more


def adopted(*items: dict[str, Any], epoch: int = 0) -> AdoptedVoteBatch:
    [record] = records(
        items, adoption=bytes(16), ingest_ms=1, name="adopt", epoch=epoch, partitions=1
    )
    batch = decode_input(record.value)
    assert isinstance(batch, AdoptedVoteBatch)
    return batch


class Fold:
    def __init__(self) -> None:
        self.state = VotedPartition(0)

    def take(self, batch: Any) -> list[Rejection]:
        offset = self.state.applied + 1
        change = decide(batch, offset, LOG_ID, self.state.get, self.state.rules)
        self.state.apply(offset, change)
        return change.rejections

    def verdicts(self, batch: Any) -> list[tuple[str, str, int]]:
        return [(str(r.status), str(r.reason), r.attempt) for r in self.take(batch)]


def test_a_first_vote_is_accepted_and_the_same_again_is_a_replay() -> None:
    fold = Fold()
    assert fold.verdicts(adopted(item())) == []
    assert fold.verdicts(adopted(item(n=99, source_row=99))) == [("replay", "replay", 0)]
    live = make_batch(make_vote(1, message="later"))
    assert fold.verdicts(live) == [("duplicate", "already_voted", 1)]


def test_attempts_keep_their_numbers_however_often_they_come() -> None:
    fold = Fold()
    batch = adopted(item(), *(item(number=n) for n in range(1, 12)), item(number=40))
    expected = [("duplicate", "already_voted", n) for n in [*range(1, 12), 40]]
    assert fold.verdicts(batch) == expected
    assert fold.verdicts(batch) == [("replay", "replay", 0)] * 13
    entry = fold.state.get(bytes.fromhex(law_hash(1)))
    assert entry is not None
    assert entry.attempts == 40
    assert fold.verdicts(make_batch(make_vote(1, message="later")))[0][2] == 41


def test_a_voter_without_a_vote_has_voted() -> None:
    fold = Fold()
    assert fold.verdicts(adopted(item(choice=""))) == [("invalid", "vote_lost", 0)]
    assert fold.verdicts(adopted(item(choice=""))) == [("replay", "replay", 0)]
    assert fold.verdicts(make_batch(make_vote(1))) == [("duplicate", "already_voted", 1)]


def test_attempts_of_a_voter_nothing_else_is_known_of() -> None:
    fold = Fold()
    assert fold.verdicts(adopted(item(number=3))) == [("duplicate", "already_voted", 3)]
    assert fold.verdicts(make_batch(make_vote(1))) == [("duplicate", "already_voted", 4)]


def test_a_refused_vote_leaves_the_voter_free() -> None:
    fold = Fold()
    assert fold.verdicts(adopted(item(number=REFUSED))) == [("invalid", "refused_before", 0)]
    assert fold.verdicts(make_batch(make_vote(1))) == []


def test_a_vote_that_was_here_first_stays() -> None:
    fold = Fold()
    assert fold.verdicts(make_batch(make_vote(1, choice="non"))) == []
    assert fold.verdicts(adopted(item())) == [("duplicate", "already_voted", 1)]
    assert fold.verdicts(adopted(item())) == [("replay", "replay", 0)]


def test_a_reset_voids_an_adoption_of_before_and_takes_one_of_after() -> None:
    fold = Fold()
    fold.state.rules.apply(epoch_opened(1, 1))
    assert fold.verdicts(adopted(item())) == [("void", "old_epoch", 0)]
    assert fold.verdicts(adopted(item(), epoch=1)) == []


@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.integers(-1, 4), st.sampled_from(["oui", "non", ""])),
        min_size=1,
        max_size=12,
    ),
    st.integers(1, 12),
)
def test_writing_a_chunk_again_changes_nothing(
    drawn: list[tuple[int, int, str]], chunk: int
) -> None:
    """Killed after Kafka has it and before the progress is noted."""
    items = [
        item(voter, number, choice=choice, n=n) for n, (voter, number, choice) in enumerate(drawn)
    ]
    once, twice = Fold(), Fold()
    for start in range(0, len(items), chunk):
        batch = adopted(*items[start : start + chunk])
        once.take(batch)
        twice.take(batch)
        rejected = twice.take(batch)
        assert len(rejected) == len(batch.votes)
        assert {str(r.status) for r in rejected} <= {"replay", "invalid"}
    for key in once.state:
        first, second = once.state.get(key), twice.state.get(key)
        assert first is not None
        assert second is not None
        assert first.attempts == second.attempts
    assert set(once.state) == set(twice.state)


def test_the_mirror_marks_everybody_who_had_voted() -> None:
    batch = adopted(item(1), item(2, choice=""), item(3, number=2), item(4, number=REFUSED))
    fold = Fold()
    verdicts = VerdictBatch(LOG_ID, 0, 0, -1, fold.take(batch), msgspec.Raw(encode(batch)))
    change = Change()
    change.add(verdicts, batch)
    assert set(change.voted) == {law_hash(1), law_hash(2), law_hash(3)}
    assert change.attempts == {law_hash(3): 2}


def test_a_vote_keeps_its_time_and_says_where_it_is_from() -> None:
    vote = vote_of(
        item(
            metadata='{"channel": "web", "NAS": "123"}',
            extra='{"id": 7, "ip_address": "10.0.0.1", "processed_at": "2026-11-20T08:00:01"}',
        )
    )
    assert vote.timestamp_us == int(AT.timestamp()) * 1_000_000
    assert vote.metadata is not None
    assert msgspec.json.decode(vote.metadata) == {
        "channel": "web",
        "ip_address": "10.0.0.1",
        "adopted": {"from": "vote_audit", "id": 7, "processed_at": "2026-11-20T08:00:01"},
    }
    assert vote.flags & Flag.MESSAGE_ID


@pytest.mark.parametrize("extra", ['{"a": "' + "x" * MAX_METADATA_BYTES + '"}', '{"a": "\\u0000"}'])
def test_what_no_row_can_hold_is_left_out_and_said_so(extra: str) -> None:
    vote = vote_of(item(extra=extra))
    assert vote.metadata is not None
    assert msgspec.json.decode(vote.metadata) == {
        "adopted": {"from": "vote_audit", "metadata_left_out": True}
    }


def test_records_are_bounded_and_each_holds_votes_of_its_partition() -> None:
    items = [item(n, n=n, extra='{"a": "' + "x" * 500 + '"}') for n in range(9000)]
    found = records(items, adoption=bytes(16), ingest_ms=1, name="a", epoch=0, partitions=2)
    assert all(len(record.value) < 1_000_000 for record in found)
    assert {record.partition for record in found} == {0, 1}
    votes: list[Vote] = []
    for record in found:
        batch = decode_input(record.value)
        assert isinstance(batch, AdoptedVoteBatch)
        votes += batch.votes
    assert len(votes) == 9000
    assert all(vote.kind == Kind.LAW for vote in votes)

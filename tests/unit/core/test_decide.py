"""Laws of the validation's decision."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from schemas.codec import decode_voted, encode
from schemas.verdicts import Reason, Rejection, Status
from schemas.voted import FIRST_VOTE, MAX_LATER_IDENTITIES, Repeat, VotedRecord
from schemas.votes import REPLAYABLE, Flag, Kind, Vote, VoteBatch
from streams.core.decide import VoterEntry, decide, stored_identity
from streams.core.keys import voter_key
from streams.core.voted_partition import VotedPartition
from tests.strategies import (
    LAWS,
    LOG_ID,
    batches,
    identity,
    law_hash,
    logs,
    make_batch,
    make_malformed,
    make_vote,
    votes,
)

ROLL = Flag.ON_ROLL


def key_of(vote: Vote) -> bytes:
    return voter_key(vote.hash, vote.contest, vote.kind)


def unseen(_: bytes) -> VoterEntry | None:
    return None


def run(batch: VoteBatch, *, offset: int = 1, table: VotedPartition | None = None) -> VotedRecord:
    return decide(batch, offset, LOG_ID, table.get if table else unseen)


def fold(log: list[VoteBatch]) -> tuple[VotedPartition, list[VotedRecord]]:
    """The table and the records after a whole log."""
    table = VotedPartition(0)
    records = []
    for offset, batch in enumerate(log):
        records.append(decide(batch, offset, LOG_ID, table.get))
        table.apply(offset, records[-1])
    return table, records


def verdict_names(record: VotedRecord) -> list[tuple[int, str, int]]:
    return [(r.index, str(r.status), r.attempt) for r in record.rejections]


# Examples.


def test_a_first_vote_is_accepted_with_its_position_and_contest() -> None:
    one = make_vote(1, contest=LAWS[0], message="a")
    two = make_vote(2, contest=LAWS[1], message="b")
    record = run(make_batch(one, two), offset=7)
    assert record.rejections == []
    assert record.repeats == []
    assert record.log_id == LOG_ID
    assert record.contests == [LAWS[0], LAWS[1]]
    assert list(FIRST_VOTE.iter_unpack(record.first_votes)) == [
        (key_of(one), 0, 0, stored_identity(one)),
        (key_of(two), 1, 1, stored_identity(two)),
    ]


def test_the_second_vote_of_a_voter_in_one_batch_is_a_duplicate() -> None:
    first = make_vote(1, choice="oui", message="a")
    second = make_vote(1, choice="non", message="b")
    record = run(make_batch(first, second), offset=4)
    assert record.rejections == [Rejection(1, Status.DUPLICATE, Reason.ALREADY_VOTED, 1)]
    assert len(record.first_votes) == FIRST_VOTE.size
    assert record.repeats == [
        Repeat(key_of(first), 4, 0, stored_identity(first), 1, [stored_identity(second)])
    ]


def test_attempts_are_numbered_from_one_and_go_on_over_batches() -> None:
    def again(n: int) -> Vote:
        return make_vote(1, message=f"again{n}")

    log = [make_batch(again(0), again(1)), make_batch(again(2)), make_batch(again(3), again(4))]
    _, records = fold(log)
    attempts = [r.attempt for record in records for r in record.rejections]
    assert attempts == [1, 2, 3, 4]


def test_a_repeat_record_keeps_the_place_of_the_accepted_vote() -> None:
    first = make_vote(1, message="first")
    log = [make_batch(), make_batch(make_vote(9), first), make_batch()]
    table, _ = fold(log)
    record = decide(make_batch(make_vote(1, message="later")), 3, LOG_ID, table.get)
    (repeat,) = record.repeats
    assert (repeat.offset, repeat.index, repeat.identity) == (1, 1, stored_identity(first))


@pytest.mark.parametrize("flag", [Flag.REDELIVERED, Flag.REPRODUCED, Flag.MESSAGE_ID])
def test_a_known_identity_with_a_replayable_flag_is_a_replay(flag: Flag) -> None:
    accepted = make_vote(1, message="same")
    table, _ = fold([make_batch(accepted)])
    record = run(make_batch(make_vote(1, message="same", flags=ROLL | flag)), table=table)
    assert record.rejections == [Rejection(0, Status.REPLAY, Reason.REPLAY)]
    assert record.repeats == []
    assert record.first_votes == b""


@pytest.mark.parametrize("flags", [ROLL, ROLL | Flag.PREVALIDATED])
def test_a_known_identity_without_a_replayable_flag_is_a_duplicate(flags: int) -> None:
    """A client without message ids that sends the same body twice has submitted twice."""
    table, _ = fold([make_batch(make_vote(1, message="same"))])
    record = run(make_batch(make_vote(1, message="same", flags=flags)), table=table)
    assert verdict_names(record) == [(0, "duplicate", 1)]


def test_a_replayable_flag_alone_is_no_replay() -> None:
    """RabbitMQ flags whatever was in flight when a channel closed, also first deliveries."""
    redelivered = ROLL | Flag.REDELIVERED
    first = run(make_batch(make_vote(1, message="new", flags=redelivered)))
    assert first.rejections == []
    table, _ = fold([make_batch(make_vote(1, message="first"))])
    other = run(make_batch(make_vote(1, message="other", flags=redelivered)), table=table)
    assert verdict_names(other) == [(0, "duplicate", 1)]


@pytest.mark.parametrize("flag", [Flag.REDELIVERED, Flag.REPRODUCED])
@pytest.mark.parametrize("before", [[], [make_vote(1, message="other")]])
def test_a_first_delivery_that_comes_after_the_second_is_a_replay(
    flag: Flag, before: list[Vote]
) -> None:
    """Its bridge was frozen with it, and another bridge wrote what RabbitMQ delivered again."""
    second = make_vote(1, message="same", flags=ROLL | flag)
    table, _ = fold([make_batch(*before, second)])
    late = make_vote(1, message="same")
    assert verdict_names(run(make_batch(late), table=table)) == [(0, "replay", 0)]


def test_a_kept_identity_has_63_bits_and_the_mark() -> None:
    for name in range(50):
        unmarked = make_vote(1, message=name)
        marked = make_vote(1, message=name, flags=ROLL | Flag.REDELIVERED)
        plain = stored_identity(unmarked)
        assert plain[:7] == stored_identity(marked)[:7] == identity(name)[:7]
        assert plain[7] == identity(name)[7] & 0xFE
        assert stored_identity(marked)[7] == identity(name)[7] | 1


@pytest.mark.parametrize("short", [b"", b"i", b"i" * 7])
def test_a_forged_identity_that_is_too_short_stops_nothing(short: bytes) -> None:
    """It has eight bytes in the table, like all others, and still counts once."""
    vote = replace(make_vote(1), identity=short)
    assert len(stored_identity(vote)) == 8
    record = run(make_batch(vote, vote), offset=0)
    assert len(record.first_votes) == FIRST_VOTE.size
    assert [one.reason for one in record.rejections] == [Reason.ALREADY_VOTED]


def test_a_replay_of_a_later_attempt_is_not_a_further_attempt() -> None:
    table, _ = fold([make_batch(make_vote(1, message="a"), make_vote(1, message="b"))])
    again = make_vote(1, message="b", flags=ROLL | Flag.REDELIVERED)
    assert verdict_names(run(make_batch(again), table=table)) == [(0, "replay", 0)]


def test_a_replay_within_the_batch_of_the_accepted_vote() -> None:
    vote = make_vote(1, message="a", flags=ROLL | Flag.MESSAGE_ID)
    assert verdict_names(run(make_batch(vote, vote, vote))) == [(1, "replay", 0), (2, "replay", 0)]


def test_the_number_of_kept_identities_is_bounded_and_the_latest_stay() -> None:
    count = MAX_LATER_IDENTITIES + 5
    attempts = [make_vote(1, message=n) for n in range(count + 1)]
    table, _ = fold([make_batch(*attempts)])
    entry = table.get(key_of(attempts[0]))
    assert entry is not None
    assert entry.attempts == count
    kept = range(count + 1 - MAX_LATER_IDENTITIES, count + 1)
    assert entry.later == tuple(stored_identity(attempts[n]) for n in kept)
    latest = make_vote(1, message=count, flags=ROLL | Flag.REDELIVERED)
    assert verdict_names(run(make_batch(latest), table=table)) == [(0, "replay", 0)]


def test_who_is_not_on_the_roll_is_invalid_before_anything_else() -> None:
    table, _ = fold([make_batch(make_vote(1, message="a"))])
    absent = make_vote(1, message="a", choice="maybe", flags=Flag.REDELIVERED)
    record = run(make_batch(absent), table=table)
    assert record.rejections == [Rejection(0, Status.INVALID, Reason.NOT_ON_ROLL)]


@pytest.mark.parametrize("choice", ["", "OUI", "yes", "oui ", "42"])
def test_a_law_knows_two_choices(choice: str) -> None:
    record = run(make_batch(make_vote(1, choice=choice)))
    assert record.rejections == [Rejection(0, Status.INVALID, Reason.UNKNOWN_CHOICE)]
    assert record.first_votes == b""


@pytest.mark.parametrize("choice", ["", "oui", "7", "independent"])
def test_a_candidate_vote_takes_any_choice(choice: str) -> None:
    vote = make_vote(1, kind=Kind.CANDIDATE, contest="election:1", choice=choice)
    assert run(make_batch(vote)).rejections == []


def test_an_invalid_vote_does_not_use_up_the_voters_vote() -> None:
    record = run(make_batch(make_vote(1, choice="maybe"), make_vote(1, choice="oui")))
    assert verdict_names(record) == [(0, "invalid", 0)]
    assert len(record.first_votes) == FIRST_VOTE.size


def test_one_voter_votes_once_in_each_contest_of_an_election() -> None:
    def cast(contest: str) -> Vote:
        return make_vote("nas1CODE", kind=Kind.CANDIDATE, contest=contest, choice="7")

    record = run(make_batch(cast("election:1"), cast("election:2"), cast("election:1")))
    assert verdict_names(record) == [(2, "duplicate", 1)]
    assert record.contests == ["election:1", "election:2"]


def test_malformed_messages_follow_the_votes_and_are_always_rejected() -> None:
    batch = make_batch(
        make_vote(1),
        malformed=(make_malformed("x", reason="not_json"), make_malformed("y", reason="too_large")),
    )
    assert run(batch).rejections == [
        Rejection(1, Status.MALFORMED, "not_json"),
        Rejection(2, Status.MALFORMED, "too_large"),
    ]


def test_an_empty_batch_changes_nothing_but_is_recorded() -> None:
    assert run(make_batch()) == VotedRecord(LOG_ID, b"", [], [], [])


# Laws.


@given(logs)
def test_the_decision_is_deterministic(log: list[VoteBatch]) -> None:
    """Two workers that read the same log write the same changelog, byte for byte."""
    _, one = fold(log)
    _, other = fold(log)
    assert [encode(r) for r in one] == [encode(r) for r in other]


@given(logs)
def test_a_changelog_record_survives_its_encoding(log: list[VoteBatch]) -> None:
    for record in fold(log)[1]:
        assert decode_voted(encode(record)) == record


@given(batches)
def test_every_item_is_accepted_or_rejected_once_in_ascending_order(batch: VoteBatch) -> None:
    record = run(batch)
    indexes = [r.index for r in record.rejections]
    assert indexes == sorted(set(indexes))
    accepted = {index for _, index, _, _ in FIRST_VOTE.iter_unpack(record.first_votes)}
    assert not accepted & set(indexes)
    assert accepted | set(indexes) == set(range(len(batch.votes) + len(batch.malformed)))
    malformed = set(range(len(batch.votes), len(batch.votes) + len(batch.malformed)))
    assert {r.index for r in record.rejections if r.status == Status.MALFORMED} == malformed


@given(logs)
def test_first_means_first_in_the_log(log: list[VoteBatch]) -> None:
    """Against a model that knows nothing of tables: the first valid vote of each key counts."""
    table, records = fold(log)
    seen: dict[bytes, tuple[int, int]] = {}
    for offset, (batch, record) in enumerate(zip(log, records, strict=True)):
        refused = {r.index: r for r in record.rejections}
        for index, vote in enumerate(batch.votes):
            on_roll = bool(vote.flags & ROLL)
            known_choice = vote.kind != Kind.LAW or vote.choice in {"oui", "non"}
            valid = on_roll and known_choice
            if valid and key_of(vote) not in seen:
                seen[key_of(vote)] = (offset, index)
                assert index not in refused
            else:
                assert refused[index].status in (
                    {Status.DUPLICATE, Status.REPLAY} if valid else {Status.INVALID}
                )
    assert len(table) == len(seen)
    for key, place in seen.items():
        entry = table.get(key)
        assert entry is not None
        assert (entry.offset, entry.index) == place


@given(logs)
def test_attempts_of_a_voter_count_up_without_gaps(log: list[VoteBatch]) -> None:
    table, records = fold(log)
    attempts: Counter[bytes] = Counter()
    for batch, record in zip(log, records, strict=True):
        for rejection in record.rejections:
            if rejection.status == Status.DUPLICATE:
                key = key_of(batch.votes[rejection.index])
                attempts[key] += 1
                assert rejection.attempt == attempts[key]
            else:
                assert rejection.attempt == 0
    for key in table:
        entry = table.get(key)
        assert entry is not None
        assert entry.attempts == attempts[key]


@given(logs)
def test_only_flagged_votes_and_their_unflagged_twins_are_replays(log: list[VoteBatch]) -> None:
    _, records = fold(log)
    flagged: set[tuple[bytes, bytes]] = set()
    for batch, record in zip(log, records, strict=True):
        replays = {r.index for r in record.rejections if r.status == Status.REPLAY}
        for index, vote in enumerate(batch.votes):
            if vote.flags & REPLAYABLE:
                flagged.add((key_of(vote), vote.identity))
            elif index in replays:
                assert (key_of(vote), vote.identity) in flagged


@given(st.lists(votes, max_size=20), st.lists(st.integers(0, 20), max_size=4))
def test_a_batch_split_in_any_way_gives_the_same_verdicts(
    items: list[Vote], cuts: list[int]
) -> None:
    _, (whole,) = fold([make_batch(*items)])
    bounds = [0, *sorted(min(cut, len(items)) for cut in cuts), len(items)]
    starts = bounds[:-1]
    parts = [make_batch(*items[a:b]) for a, b in zip(starts, bounds[1:], strict=True)]
    split_table, records = fold(parts)
    joined = [
        (start + r.index, r.status, r.reason, r.attempt)
        for start, record in zip(starts, records, strict=True)
        for r in record.rejections
    ]
    assert joined == [(r.index, r.status, r.reason, r.attempt) for r in whole.rejections]
    whole_table, _ = fold([make_batch(*items)])
    assert set(split_table) == set(whole_table)
    for key in whole_table:
        one, other = whole_table.get(key), split_table.get(key)
        assert one is not None
        assert other is not None
        assert (one.identity, one.attempts, one.later) == (
            other.identity,
            other.attempts,
            other.later,
        )


@given(logs)
def test_a_log_delivered_a_second_time_with_flags_changes_nothing(log: list[VoteBatch]) -> None:
    """Everything redelivered at once: no further vote, and no attempt that is not remembered."""
    table, _ = fold(log)
    before = {key: table.get(key) for key in table}
    again = [
        make_batch(*(replace(v, flags=v.flags | Flag.REDELIVERED) for v in batch.votes))
        for batch in log
    ]
    for offset, batch in enumerate(again, start=len(log)):
        record = decide(batch, offset, LOG_ID, table.get)
        assert record.first_votes == b""
        table.apply(offset, record)
    for key, entry in before.items():
        now = table.get(key)
        assert entry is not None
        assert now is not None
        if entry.attempts <= MAX_LATER_IDENTITIES:
            assert now == entry


def test_hashes_are_known_to_the_decision_as_the_bridge_normalises_them() -> None:
    """Upper case reaches the decision in lower case; were it not so, the key is the same."""
    lower, upper = make_vote(law_hash(1)), make_vote(law_hash(1).upper(), message="u")
    assert verdict_names(run(make_batch(lower, upper))) == [(1, "duplicate", 1)]

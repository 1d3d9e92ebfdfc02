"""Votes with weights, and elections in which the last vote of a voter counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.codec import decode_verdicts, decode_voted, encode
from schemas.control import MAX_WEIGHT, Conduct, Control, WeighedRollChanged
from schemas.verdicts import Acceptance, VerdictBatch, WeighedVerdictBatch
from schemas.voted import (
    MAX_LATER_IDENTITIES,
    ControlRecord,
    VotedRecord,
    WeighedVotedRecord,
)
from schemas.votes import Flag, Kind, Vote, VoteBatch
from streams.core.contests import ContestRefused, draft
from streams.core.fence import Fence, FlushResult, FlushWork, admit
from streams.core.keys import stored_hash, voter_key
from streams.core.records import VerdictEvent
from streams.core.transition import apply_record
from streams.core.voted_partition import VotedPartition
from tests.strategies import (
    LAWS,
    LOG_ID,
    contests_changed,
    identity,
    law_hash,
    make_batch,
    make_contest,
    make_vote,
    roll_changed,
    under,
)

ELECTION = "election:1"
REVOTE, WEIGHTED = Conduct(revote=True), Conduct(revote=True, weighted=True)


def ballot(voter: int, choice: str, number: int, flags: Flag = Flag.ON_ROLL) -> Vote:
    vote = make_vote(voter, contest=ELECTION, kind=Kind.CANDIDATE, choice=choice)
    return msgspec.structs.replace(vote, identity=identity(number), flags=int(flags))


def key_of(voter: int) -> bytes:
    return voter_key(law_hash(voter), ELECTION, Kind.CANDIDATE)


def weighing(number: int, **weights: int) -> WeighedRollChanged:
    """Give voters `v1`, `v2` ... a weight each."""
    keys = tuple(key_of(int(name[1:])) for name in weights)
    plain = roll_changed(number, added=keys)
    return WeighedRollChanged(*msgspec.structs.astuple(plain), list(weights.values()))


def opened(conduct: Conduct, *, enforced: bool = True) -> Control:
    contest = make_contest(ELECTION, choices=["a", "b", "c"], conduct=conduct)
    return contests_changed(1, contest, enforced=enforced)


@dataclass
class Log:
    """A log of one partition and what the validation makes of it."""

    table: VotedPartition = field(default_factory=lambda: VotedPartition(0))
    changes: list[VotedRecord] = field(default_factory=list)
    verdicts: list[VerdictEvent] = field(default_factory=list)

    def take(self, *records: VoteBatch | Control) -> Log:
        for record in records:
            made = apply_record(
                self.table,
                LOG_ID,
                self.table.applied + 1,
                record,
                encode(record),
                changelog_topic="voted",
            )
            assert made.verdicts.value is not None
            verdicts = decode_verdicts(made.verdicts.value)
            event = VerdictEvent(len(self.verdicts), verdicts, record, 1, 0, lambda: None)
            self.verdicts.append(event)
            if isinstance(made.change, VotedRecord):
                self.changes.append(made.change)
        return self


def counted(events: Sequence[VerdictEvent], sizes: Sequence[int]) -> dict[str, tuple[str, int]]:
    """Choice and weight of each voter in a database that takes flushes of these sizes."""
    database: dict[str, tuple[str, int]] = {}
    fence = Fence(LOG_ID, -1, -1, -1, 0)
    position = 0
    for size in [*sizes, len(events)]:
        work, result = FlushWork(), FlushResult()
        for event in events[position : position + size]:
            admit(event, fence, work, result)
        position += size
        work.settle()
        for name in work.replacing:
            del database[name]
        for event, _, accepted in work.accepted:
            for index, vote in accepted:
                name = stored_hash(vote.hash, vote.contest, vote.kind)
                assert name not in database, "the unique key would refuse it"
                place = (event.verdicts.partition, event.verdicts.offset, index)
                database[name] = (vote.choice, work.weights.get(place, 1))
    return database


ballots = st.lists(st.tuples(st.integers(1, 4), st.sampled_from("abc")), min_size=1, max_size=24)
cuts = st.lists(st.integers(1, 5), max_size=12)


def batched(given: Sequence[tuple[int, str]], sizes: Sequence[int]) -> list[VoteBatch]:
    records, position = [], 0
    numbered = [ballot(voter, choice, n) for n, (voter, choice) in enumerate(given, 10)]
    for size in [*sizes, len(numbered)]:
        if part := numbered[position : position + size]:
            records.append(under(make_batch(*part)))
        position += size
    return records


@given(ballots, cuts, cuts)
def test_a_revote_equals_the_last_vote_alone(
    given: list[tuple[int, str]], records: list[int], flushes: list[int]
) -> None:
    log = Log().take(opened(REVOTE), *batched(given, records))
    last = dict(given)
    alone = Log().take(opened(REVOTE), *batched(list(last.items()), []))
    assert counted(log.verdicts, flushes) == counted(alone.verdicts, [])
    assert len(counted(log.verdicts, flushes)) == len(last)


@given(ballots, st.lists(st.integers(1, 9), min_size=4, max_size=4), cuts, cuts)
def test_a_weight_equals_as_many_copies(
    given: list[tuple[int, str]], weights: list[int], records: list[int], flushes: list[int]
) -> None:
    named = {f"v{voter}": weight for voter, weight in enumerate(weights, 1)}
    log = Log().take(opened(WEIGHTED), weighing(2, **named), *batched(given, records))
    votes: Counter[str] = Counter()
    for choice, weight in counted(log.verdicts, flushes).values():
        votes[choice] += weight
    copies = [
        (100 * voter + copy, choice)
        for voter, choice in given
        for copy in range(weights[voter - 1])
    ]
    copied = Log().take(opened(REVOTE), *batched(copies, []))
    assert votes == Counter(choice for choice, _ in counted(copied.verdicts, []).values())


@given(ballots, cuts, st.integers(0, 24))
def test_a_restored_table_goes_on_as_the_first_would(
    given: list[tuple[int, str]], records: list[int], taken: int
) -> None:
    log = Log().take(opened(WEIGHTED), weighing(2, v1=3), *batched(given, records))
    restored = VotedPartition(0)
    restored.apply(0, _control(opened(WEIGHTED)))
    restored.apply(1, _control(weighing(2, v1=3)))
    for offset, change in enumerate(log.changes[:taken], 2):
        restored.apply(offset, decode_voted(encode(change)))
    again = Log(restored)
    again.take(*batched(given, records)[taken:])
    assert again.changes == log.changes[taken:]
    for offset in range(2, restored.applied + 1):
        assert restored.acceptances(offset) == log.table.acceptances(offset)


def _control(control: Control) -> ControlRecord:
    return ControlRecord(LOG_ID, control)


def test_a_delivery_of_the_replaced_vote_does_not_bring_it_back() -> None:
    first = ballot(1, "a", 10)
    again = ballot(1, "a", 10, Flag.ON_ROLL | Flag.REDELIVERED)
    log = Log().take(opened(REVOTE), *(under(make_batch(v)) for v in (first, ballot(1, "b", 11))))
    log.take(under(make_batch(again)))
    assert [r.status for r in log.changes[-1].rejections] == ["replay"]
    assert list(counted(log.verdicts, [])[stored_hash(law_hash(1), ELECTION, 1)]) == ["b", 1]


def test_so_many_votes_before_are_recognised() -> None:
    log = Log().take(opened(REVOTE))
    log.take(*(under(make_batch(ballot(1, "a", 10 + n))) for n in range(MAX_LATER_IDENTITIES + 1)))
    oldest = ballot(1, "b", 10, Flag.ON_ROLL | Flag.REDELIVERED)
    log.take(under(make_batch(oldest)))
    assert [r.status for r in log.changes[-1].rejections] == ["replay"]


@pytest.mark.parametrize(
    ("conduct", "enforced"), [(Conduct(), True), (Conduct(weighted=True), True), (REVOTE, False)]
)
def test_without_the_setting_the_first_vote_counts(conduct: Conduct, *, enforced: bool) -> None:
    log = Log().take(opened(conduct, enforced=enforced))
    log.take(*(under(make_batch(ballot(1, choice, n))) for n, choice in enumerate("ab", 10)))
    last = log.changes[-1]
    assert type(last) is VotedRecord
    assert [(r.status, r.reason) for r in last.rejections] == [("duplicate", "already_voted")]


def test_after_the_closing_no_vote_replaces_another() -> None:
    contest = make_contest(ELECTION, choices=["a", "b", "c"], conduct=REVOTE)
    over = msgspec.structs.replace(contest, state="closed")
    log = Log().take(opened(REVOTE), under(make_batch(ballot(1, "a", 10))))
    log.take(contests_changed(2, over), under(make_batch(ballot(1, "b", 11))))
    assert [r.reason for r in log.changes[-1].rejections] == ["contest_closed"]


def test_a_weight_holds_in_weighted_contests_until_it_is_taken_away() -> None:
    vote = under(make_batch(ballot(1, "a", 10)))
    assert Log().take(opened(REVOTE), weighing(2, v1=5), vote).changes[-1].rejections == []
    assert type(Log().take(opened(REVOTE), weighing(2, v1=5), vote).changes[-1]) is VotedRecord
    weighed = Log().take(opened(WEIGHTED), weighing(2, v1=5), vote).changes[-1]
    assert isinstance(weighed, WeighedVotedRecord)
    assert weighed.acceptances == [Acceptance(0, 5)]
    plain = roll_changed(3, added=(key_of(1),))
    assert type(Log().take(opened(WEIGHTED), weighing(2, v1=5), plain, vote).changes[-1]) is (
        VotedRecord
    )


@pytest.mark.parametrize("weight", [0, -1, MAX_WEIGHT + 1])
def test_a_forged_weight_is_ignored(weight: int) -> None:
    log = Log().take(opened(WEIGHTED), weighing(2, v1=weight))
    assert (log.table.rules.ignored, len(log.table.rules.roll)) == (1, 0)
    short = msgspec.structs.replace(weighing(3, v1=2), weights=[2, 2])
    log.take(short)
    assert (log.table.rules.ignored, len(log.table.rules.roll)) == (2, 0)


def test_revotes_are_for_elections() -> None:
    with pytest.raises(ContestRefused, match="revote is for elections"):
        draft(LAWS[0], conduct=REVOTE)
    law = make_contest(LAWS[0], conduct=REVOTE)
    log = Log().take(contests_changed(1, law))
    assert (log.table.rules.ignored, log.table.rules.revoted) == (1, set())


def test_verdicts_with_nothing_more_to_say_are_of_the_first_version() -> None:
    log = Log().take(opened(WEIGHTED), under(make_batch(ballot(1, "a", 10))))
    assert type(log.verdicts[-1].verdicts) is VerdictBatch
    log.take(under(make_batch(ballot(1, "b", 11))))
    assert isinstance(log.verdicts[-1].verdicts, WeighedVerdictBatch)

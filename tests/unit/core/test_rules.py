"""Laws of the fold with control records, and what each rule does to a vote."""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.codec import (
    ChangelogRecord,
    decode_input,
    decode_verdicts,
    decode_voted,
    encode,
)
from schemas.control import Contest, ContestRoll, ContestState, Control
from schemas.genesis import Genesis
from schemas.verdicts import VerdictBatch
from schemas.voted import CHANGELOG_KEY, FIRST_VOTE, ControlRecord, VotedRecord
from schemas.votes import Flag, Kind, Rule, Vote, VoteBatch
from streams.core.decide import VoterEntry, decide
from streams.core.key_set import KeySet
from streams.core.keys import voter_key
from streams.core.rules import MAX_NUMBER, Rules, by_flags
from streams.core.voted_partition import VotedPartition
from tests.strategies import (
    LAWS,
    LOG_ID,
    contests_changed,
    epoch_opened,
    law_hash,
    make_batch,
    make_contest,
    make_malformed,
    make_vote,
    roll_changed,
    ruled_logs,
    under,
)

FIXTURE = Path(__file__).parents[2] / "fixtures" / "log_before_control_records.json"


def change(table: VotedPartition, offset: int, record: VoteBatch | Control) -> ChangelogRecord:
    if isinstance(record, VoteBatch):
        return decide(record, offset, LOG_ID, table.get, table.rules)
    return ControlRecord(LOG_ID, record)


def fold(
    log: Sequence[VoteBatch | Control],
) -> tuple[VotedPartition, list[ChangelogRecord]]:
    table = VotedPartition(0)
    records = []
    for offset, record in enumerate(log):
        records.append(change(table, offset, record))
        table.apply(offset, records[-1])
    return table, records


def reasons(*log: VoteBatch | Control) -> list[list[str]]:
    """Of each record's rejections."""
    return [[str(r.reason) for r in record.rejections] for record in fold(log)[1]]


def last(*log: VoteBatch | Control) -> list[str]:
    return reasons(*log)[-1]


def content(table: VotedPartition) -> object:
    rules = table.rules
    entries: dict[bytes, VoterEntry | None] = {key: table.get(key) for key in table}
    return entries, rules.epoch, rules.contests, set(rules.roll), table.applied


def key_of(voter: int, contest: str = LAWS[0], kind: Kind = Kind.LAW) -> bytes:
    return voter_key(law_hash(voter), contest, kind)


# The fold.


@given(ruled_logs, st.data())
def test_a_restore_gives_the_table_and_the_rules_that_the_fold_had(
    log: list[VoteBatch | Control], data: st.DataObject
) -> None:
    """From the changelog as Kafka keeps it, with records twice and late ones among them."""
    expected, records = fold(log)
    restored = VotedPartition(0)
    for offset, record in enumerate(records):
        restored.apply(offset, decode_voted(encode(record)))
        for old in data.draw(st.lists(st.integers(0, offset), max_size=2)):
            restored.apply(old, records[old])
    assert content(restored) == content(expected)


@given(ruled_logs, st.data())
def test_a_takeover_anywhere_goes_on_with_the_same_verdicts(
    log: list[VoteBatch | Control], data: st.DataObject
) -> None:
    expected, records = fold(log)
    cut = data.draw(st.integers(0, len(log)))
    successor = VotedPartition(0)
    for offset, record in enumerate(records[:cut]):
        successor.apply(offset, record)
    for offset, given_record in list(enumerate(log))[cut:]:
        decided = change(successor, offset, given_record)
        assert encode(decided) == encode(records[offset])
        successor.apply(offset, decided)
    assert content(successor) == content(expected)


@given(ruled_logs, st.permutations(range(12)))
def test_the_order_in_which_changelog_records_arrive_does_not_matter(
    log: list[VoteBatch | Control], order: list[int]
) -> None:
    expected, records = fold(log)
    table = VotedPartition(0)
    for offset in order:
        if offset < len(records):
            table.apply(offset, records[offset])
    assert content(table) == content(expected)


def forward(old: Contest, new: Contest) -> bool:
    """Whether a contest may become so, from the words of docs/contests.md."""
    order = ["draft", "open", "closed", "archived"]
    fixed = ["kind", "choices", "roll", "opens_ms", "method", "regions"]
    if old.state in {"closed", "archived"}:
        fixed += ["title", "closes_ms"]
    plain = {"method": "single", "regions": None}
    return order.index(new.state) >= order.index(old.state) and (
        old.state == "draft"
        or all(getattr(old, f, plain.get(f)) == getattr(new, f, plain.get(f)) for f in fixed)
    )


@given(ruled_logs)
def test_no_vote_is_accepted_that_the_rules_forbid(log: list[VoteBatch | Control]) -> None:
    """An oracle of its own: what is accepted is looked at with the commands before it."""
    _, records = fold(log)
    states: dict[str, tuple[int, Contest]] = {}
    epoch, settled = 0, set[str]()
    for record, decided in zip(log, records, strict=True):
        if not isinstance(record, VoteBatch):
            for contest in getattr(record, "contests", ()):
                number, known = states.get(contest.id, (0, None))
                if record.number > number and (
                    contest.id not in settled or known is None or forward(known, contest)
                ):
                    states[contest.id] = (record.number, contest)
                    settled.add(contest.id)
            if getattr(record, "epoch", 0) > epoch:
                epoch = record.epoch
                settled.clear()
            continue
        refused = {rejection.index for rejection in decided.rejections}
        accepted = [v for index, v in enumerate(record.votes) if index not in refused]
        assert not accepted or getattr(record, "epoch", 0) >= epoch
        if getattr(record, "rules", 0) & Rule.CONTESTS:
            assert all(states[vote.contest][1].state == ContestState.OPEN for vote in accepted)


@given(st.integers(0, 6))
def test_a_command_that_comes_again_changes_nothing(again: int) -> None:
    commands = [
        contests_changed(1, make_contest()),
        roll_changed(2, added=(key_of(1),)),
        contests_changed(3, make_contest(state=ContestState.CLOSED)),
        roll_changed(4, withdrawn=(key_of(1),)),
        epoch_opened(5, 1),
        roll_changed(6, added=(key_of(2),)),
    ]
    once, _ = fold(commands)
    twice, _ = fold([*commands, *commands[:again]])
    assert content(twice)[1:4] == content(once)[1:4]  # type: ignore[index]


def unmarked(record: VotedRecord) -> VotedRecord:
    """Without the last bit of the identities, which was a part of them once."""

    def even(identity: bytes) -> bytes:
        return identity[:-1] + bytes((identity[-1] & 0xFE,))

    firsts = FIRST_VOTE.iter_unpack(record.first_votes)
    return msgspec.structs.replace(
        record,
        first_votes=b"".join(FIRST_VOTE.pack(*first, even(last)) for *first, last in firsts),
        repeats=[
            msgspec.structs.replace(
                repeat, identity=even(repeat.identity), later=[even(i) for i in repeat.later]
            )
            for repeat in record.repeats
        ],
    )


def test_a_log_of_the_version_before_is_read_and_decided_as_ever() -> None:
    table = VotedPartition(0)
    for offset, stored in enumerate(json.loads(FIXTURE.read_text())):
        raw = bytes.fromhex(stored["input"])
        record = decode_input(raw)
        decided = (
            VotedRecord(LOG_ID, b"", [], [], [])
            if isinstance(record, Genesis)
            else change(table, offset, record)
        )
        assert CHANGELOG_KEY.pack(offset).hex() == stored["changelog_key"]
        written_then = decode_voted(bytes.fromhex(stored["changelog"]))
        assert encode(written_then).hex() == stored["changelog"]
        assert isinstance(written_then, VotedRecord)
        assert unmarked(decided) == unmarked(written_then)
        table.apply(offset, written_then)
        verdicts = decode_verdicts(bytes.fromhex(stored["verdicts"]))
        assert verdicts.rejections == decided.rejections
        written = VerdictBatch(LOG_ID, 0, offset, offset - 1, decided.rejections, msgspec.Raw(raw))
        assert encode(written).hex() == stored["verdicts"]
    assert len(table) == 11


# Contests.


def test_without_enforcement_no_contest_matters() -> None:
    closed = contests_changed(1, make_contest(state=ContestState.CLOSED), enforced=False)
    assert last(closed, make_batch(make_vote(1))) == []
    assert last(closed, under(make_batch(make_vote(1)), 0)) == []


@pytest.mark.parametrize("rules", [None, 0, Rule.POLLS, Rule.ROLL_TABLE])
def test_a_contest_that_the_log_knows_is_enforced_and_others_count(rules: int | None) -> None:
    """Whatever the bridge says: nothing, no rules, or rules about something else."""

    def votes(*votes: Vote) -> VoteBatch:
        return make_batch(*votes) if rules is None else under(make_batch(*votes), rules)

    roll = roll_changed(1, added=(key_of(1), key_of(2, LAWS[1])))
    log = (
        roll,
        contests_changed(1, make_contest(choices=["oui"])),
        votes(make_vote(1, choice="non"), make_vote(2, contest=LAWS[1])),
        contests_changed(2, make_contest(state=ContestState.CLOSED, choices=["oui"])),
        votes(make_vote(1), make_vote(2, contest=LAWS[1], message="again")),
    )
    assert reasons(*log) == [
        [],
        [],
        ["choice_not_allowed"],
        [],
        ["contest_closed", "already_voted"],
    ]


def test_without_announced_contests_votes_are_judged_by_their_flags_alone() -> None:
    """No rule costs anything where nobody uses contests."""
    assert Rules().validator(make_batch(make_vote(1))) is by_flags


def test_a_contest_stays_enforced_once_it_has_begun() -> None:
    opened = contests_changed(1, make_contest())
    closed = contests_changed(2, make_contest(state=ContestState.CLOSED), enforced=False)
    assert last(opened, closed, make_batch(make_vote(1))) == ["contest_closed"]
    draft = contests_changed(1, make_contest(state=ContestState.DRAFT))
    again = contests_changed(2, make_contest(state=ContestState.DRAFT), enforced=False)
    assert last(draft, again, make_batch(make_vote(1))) == []


OVER = make_contest(state=ContestState.CLOSED, choices=["oui", "non"])


@pytest.mark.parametrize(
    ("before", "forged"),
    [
        (make_contest(), make_contest(state=ContestState.DRAFT)),
        (OVER, make_contest(choices=["oui", "non"])),
        (OVER, make_contest(state=ContestState.DRAFT, choices=["oui", "non"])),
        (OVER, make_contest(state=ContestState.CLOSED, choices=["oui"])),
        (OVER, msgspec.structs.replace(OVER, title="Another")),
        (OVER, msgspec.structs.replace(OVER, state=ContestState.ARCHIVED, roll=ContestRoll.OPEN)),
        (msgspec.structs.replace(OVER, state=ContestState.ARCHIVED), OVER),
        (make_contest(), make_contest(roll=ContestRoll.OPEN)),
        (make_contest(choices=["oui"]), make_contest(choices=["oui", "non"])),
        (make_contest(), make_contest(state=ContestState.CLOSED, roll=ContestRoll.OPEN)),
        (make_contest("election:1"), make_contest("election:1", ranked=True)),
        (make_contest(), msgspec.structs.replace(make_contest(), kind="election")),
        (make_contest(), msgspec.structs.replace(make_contest(), state="nonsense")),
        (
            make_contest("election:1", choices=["7"]),
            make_contest("election:1", choices=["7"], regions=["5", "6"]),
        ),
    ],
)
def test_a_command_that_takes_a_contest_back_is_ignored(before: Contest, forged: Contest) -> None:
    """And it takes no number: commands that follow have their effect."""
    command = partial(contests_changed, enforced=False)
    table, _ = fold([command(1, before), command(2**60, forged)])
    assert table.rules.contests[before.id] == before
    assert table.rules.ignored == 1
    if before.state == ContestState.OPEN:
        closed = msgspec.structs.replace(before, state=ContestState.CLOSED, title="T", closes_ms=5)
        table, _ = fold([command(1, before), command(2, closed)])
        assert table.rules.contests[before.id] == closed


def test_nonsense_about_a_new_contest_is_ignored() -> None:
    """Only a forged record holds it; it must not stop the partition."""
    for forged in (
        msgspec.structs.replace(make_contest(), state="nonsense"),
        make_contest("election:1", choices=["7"], regions=["5", "6"]),
    ):
        table, _ = fold([contests_changed(1, forged)])
        assert (table.rules.contests, table.rules.ignored) == ({}, 1)


def test_a_number_that_no_command_has_stops_no_later_command() -> None:
    closed = make_contest(state=ContestState.CLOSED)
    for number in (MAX_NUMBER, 2**63, 2**64 - 1):
        forged = contests_changed(number, make_contest(closes_ms=99))
        table, _ = fold([contests_changed(1, make_contest()), forged, contests_changed(2, closed)])
        kept = table.rules.contests[closed.id]
        assert (kept.state, kept.closes_ms, table.rules.ignored) == (closed.state, None, 1)


def test_after_a_reset_a_contest_may_begin_again() -> None:
    draft = contests_changed(4, make_contest(state=ContestState.DRAFT, choices=["oui"]))
    table, _ = fold([contests_changed(1, OVER), epoch_opened(3, 1), draft])
    assert table.rules.contests[OVER.id].state == ContestState.DRAFT
    assert table.rules.ignored == 0
    opened = contests_changed(5, make_contest(choices=["oui"]))
    again = contests_changed(6, make_contest(state=ContestState.DRAFT, choices=["oui"]))
    table, _ = fold([contests_changed(1, OVER), epoch_opened(3, 1), draft, opened, again])
    assert (table.rules.contests[OVER.id].state, table.rules.ignored) == (ContestState.OPEN, 1)


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        (None, ["unknown_contest"]),
        (ContestState.DRAFT, ["contest_not_open"]),
        (ContestState.OPEN, []),
        (ContestState.CLOSED, ["contest_closed"]),
        (ContestState.ARCHIVED, ["contest_closed"]),
    ],
)
def test_a_vote_counts_in_an_open_contest_only(
    state: ContestState | None, expected: list[str]
) -> None:
    before = [contests_changed(1, make_contest(state=state))] if state else []
    assert last(*before, under(make_batch(make_vote(1)))) == expected


def test_a_vote_is_judged_by_its_place_in_the_log() -> None:
    vote = [under(make_batch(make_vote(n))) for n in range(3)]
    opened = contests_changed(1, make_contest())
    closed = contests_changed(2, make_contest(state=ContestState.CLOSED))
    assert reasons(vote[0], opened, vote[1], closed, vote[2]) == [
        ["unknown_contest"],
        [],
        [],
        [],
        ["contest_closed"],
    ]


def test_a_choice_that_is_none_of_the_contest_is_refused() -> None:
    opened = contests_changed(
        1, make_contest(choices=["oui"]), make_contest("election:1", choices=["7", "42"])
    )
    votes = make_batch(
        make_vote(1, choice="oui"),
        make_vote(2, choice="non"),
        make_vote(3, contest="election:1", kind=Kind.CANDIDATE, choice="42"),
        make_vote(4, contest="election:1", kind=Kind.CANDIDATE, choice="8"),
    )
    assert last(opened, under(votes)) == ["choice_not_allowed"] * 2


def test_a_counted_vote_that_comes_again_after_the_closing_is_a_replay() -> None:
    counted = make_vote(1, flags=Flag.ON_ROLL | Flag.MESSAGE_ID)
    log = (
        contests_changed(1, make_contest()),
        under(make_batch(counted)),
        contests_changed(2, make_contest(state=ContestState.CLOSED)),
        under(make_batch(counted, make_vote(1, message="another"))),
    )
    assert last(*log) == ["replay", "contest_closed"]


def test_an_older_command_that_comes_late_does_not_reopen() -> None:
    closed = contests_changed(2, make_contest(state=ContestState.CLOSED))
    assert last(closed, contests_changed(1, make_contest()), under(make_batch(make_vote(1)))) == [
        "contest_closed"
    ]


# The roll.


def test_only_voters_on_the_roll_of_the_log_count() -> None:
    loaded = roll_changed(1, added=(key_of(1), key_of(2)))
    votes = [make_vote(n, flags=Flag(0)) for n in (1, 2, 3)]
    assert last(loaded, under(make_batch(*votes), Rule.ROLL_TABLE)) == ["not_on_roll"]


def test_a_withdrawn_voter_can_no_longer_vote_but_a_cast_vote_stays() -> None:
    first = make_vote(1, flags=Flag.MESSAGE_ID)
    log = (
        roll_changed(1, added=(key_of(1), key_of(2))),
        under(make_batch(first), Rule.ROLL_TABLE),
        roll_changed(2, withdrawn=(key_of(1), key_of(2))),
        under(make_batch(first, make_vote(2)), Rule.ROLL_TABLE),
    )
    table, _ = fold(log)
    assert last(*log) == ["replay", "not_on_roll"]
    assert table.get(key_of(1)) is not None


def test_a_contest_can_have_another_roll_than_the_deployment() -> None:
    opened = contests_changed(
        1, make_contest(roll=ContestRoll.TABLE), make_contest(LAWS[1], roll=ContestRoll.OPEN)
    )
    votes = make_batch(make_vote(1), make_vote(2, contest=LAWS[1], flags=Flag(0)))
    assert last(opened, under(votes)) == ["not_on_roll"]


def test_votes_validated_by_somebody_else_are_not_asked_for_the_roll() -> None:
    vote = make_vote(1, flags=Flag.ON_ROLL | Flag.PREVALIDATED)
    assert last(under(make_batch(vote), Rule.ROLL_TABLE)) == []


def test_a_poll_of_the_roll_needs_entries_of_its_own() -> None:
    """Neither the Redis set nor the mark of a poll that is open to all lets anybody vote in it."""
    poll = "poll:1"
    opened = contests_changed(1, make_contest(poll, choices=["1"], roll=ContestRoll.TABLE))
    loaded = roll_changed(1, added=(key_of(1, poll, Kind.CANDIDATE), key_of(2), key_of(3)))
    votes = [
        make_vote(n, contest=poll, kind=Kind.CANDIDATE, choice="1", flags=given_flags)
        for n, given_flags in (
            (1, Flag.ON_ROLL),
            (2, Flag.ON_ROLL),
            (3, Flag.ON_ROLL | Flag.PREVALIDATED),
        )
    ]
    assert last(opened, loaded, under(make_batch(*votes), Rule.POLLS)) == ["not_on_roll"] * 2


# Epochs.


def test_an_epoch_begins_with_an_empty_table() -> None:
    again = under(make_batch(make_vote(1, message="again")), 0, epoch=1)
    log = (make_batch(make_vote(1)), epoch_opened(1, 1), again)
    assert last(*log) == []
    assert len(fold(log)[0]) == 1


def test_what_was_taken_in_before_the_epoch_is_void() -> None:
    late = make_batch(make_vote(1), malformed=(make_malformed(),))
    log = (epoch_opened(1, 2), late, under(late, 0, epoch=1), under(late, 0, epoch=2))
    assert reasons(*log)[1:] == [["old_epoch"] * 2, ["old_epoch"] * 2, ["not_json"]]


def test_rules_outlive_an_epoch() -> None:
    log = (
        contests_changed(1, make_contest()),
        roll_changed(1, added=(key_of(1),)),
        epoch_opened(2, 1),
        under(make_batch(make_vote(1)), Rule.CONTESTS | Rule.ROLL_TABLE, epoch=1),
    )
    assert last(*log) == []


# The set.


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 40)), max_size=60), st.integers(1, 3))
def test_packed_keys_are_a_set(steps: list[tuple[bool, int]], spread: int) -> None:
    """Keys that share long beginnings, so that one bucket's neighbours overlap."""
    packed, plain = KeySet(), set[bytes]()
    for add, number in steps:
        key = bytes(31 - number % spread) + bytes([number % 3] * (1 + number % spread))
        key = key[:31] + bytes([number % 7])
        if add:
            assert packed.add(key) == (key not in plain)
            plain.add(key)
        else:
            assert packed.discard(key) == (key in plain)
            plain.discard(key)
        assert len(packed) == len(plain)
        assert (key in packed) == (key in plain)
    assert set(packed) == plain


def test_memory_per_roll_entry_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    rng = random.Random(1)
    count = 400_000
    packed = KeySet()
    packed.add(rng.randbytes(32 * count))
    size = sys.getsizeof(packed._buckets) + sum(
        sys.getsizeof(number) + sys.getsizeof(bucket) for number, bucket in packed._buckets.items()
    )
    assert len(packed) == count
    with capsys.disabled():
        print(f"\nroll: {size / count:.0f} bytes per entry of {count:,}")


def test_parts_of_keys_change_no_roll() -> None:
    """Part of a key would move all that come after it, or break the fold."""
    first, second = b"k" * 32, b"k" * 31 + b"l"
    rules = Rules()
    rules.apply(roll_changed(1, added=(first,)))
    rules.apply(roll_changed(2, added=(first[:31],)))
    rules.apply(roll_changed(3, withdrawn=(bytes(32), b"x")))
    rules.apply(roll_changed(4, added=(second,)))
    assert list(rules.roll) == [first, second]
    assert rules.ignored == 2

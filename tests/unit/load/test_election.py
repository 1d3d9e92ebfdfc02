"""The election and its script: reproducible, and as the plan says."""

from __future__ import annotations

import hashlib
import json
from collections import Counter

import pytest

from streams.core.keys import stored_hash as product_stored_hash
from streams.errors import SettingsError
from streams.load.election import AGGREGATION, VALIDATION, LoadPlan, SyntheticElection
from streams.load.forms import FAULTS
from streams.load.script import ExpectedVerdict, ScriptedMessage, messages


def play(plan: LoadPlan) -> list[ScriptedMessage]:
    return list(messages(SyntheticElection(plan), lambda n: 1_800_000_000_000_000 + n))


PLAN = LoadPlan(
    votes=3000,
    duplicates=0.05,
    repeats=0.02,
    unknown=0.03,
    bad_choice=0.01,
    malformed=0.02,
    candidates=0.1,
)


def test_same_plan_same_messages() -> None:
    assert play(PLAN) == play(PLAN)


def test_a_mixture_is_a_third_each_plain_with_metadata_and_with_an_unknown_field() -> None:
    sent = play(
        LoadPlan(
            votes=300, mixture=True, duplicates=0, repeats=0, unknown=0, malformed=0, bad_choice=0
        )
    )
    bodies = [json.loads(m.body) for m in sent if m.fate is ExpectedVerdict.COUNTED]
    more = [[name for name in ("metadata", "channel") if name in body] for body in bodies]
    assert more.count([]) == more.count(["metadata"]) == more.count(["channel"]) == 100


def test_other_seed_shares_no_voter() -> None:
    voters = {m.voter for m in play(PLAN)}
    others = {m.voter for m in play(LoadPlan(**{**PLAN.as_dict(), "seed": 2}))}
    assert voters & others == {""}


def test_counts_are_exact() -> None:
    sent = play(PLAN)
    fates = Counter(m.fate for m in sent)
    assert fates == {
        ExpectedVerdict.COUNTED: 3000,
        # 150 voters again, every fifth of them twice.
        ExpectedVerdict.DUPLICATE: 180,
        ExpectedVerdict.REPEAT: 60,
        ExpectedVerdict.UNKNOWN: 90,
        ExpectedVerdict.BAD_CHOICE: 30,
        ExpectedVerdict.MALFORMED: 60,
    }
    assert len(sent) == PLAN.messages
    assert (
        sum(m.contest.startswith("election:") for m in sent if m.fate is ExpectedVerdict.COUNTED)
        == 300
    )


def test_nobody_is_counted_twice() -> None:
    counted = [m.stored for m in play(PLAN) if m.fate is ExpectedVerdict.COUNTED]
    assert len(set(counted)) == len(counted)


def test_invalid_voters_cast_no_other_vote() -> None:
    sent = play(PLAN)
    invalid = {
        m.voter for m in sent if m.fate in {ExpectedVerdict.UNKNOWN, ExpectedVerdict.BAD_CHOICE}
    }
    counted = {m.voter for m in sent if m.fate is ExpectedVerdict.COUNTED}
    assert len(invalid) == 120
    assert not invalid & counted


def test_roll_knows_exactly_the_known() -> None:
    roll = list(SyntheticElection(PLAN).roll())
    known = set(roll)
    assert len(roll) == len(known) == PLAN.roll_size
    for message in play(PLAN):
        if message.fate is ExpectedVerdict.UNKNOWN:
            assert message.voter not in known
        elif message.fate is not ExpectedVerdict.MALFORMED:
            assert message.voter in known


def test_hash_of_a_law_is_the_documented_one() -> None:
    election = SyntheticElection(PLAN)
    nas, code = election.identity(17)
    text = f"{nas}|{code}|law-002"
    assert election.law_hash(17, "law-002") == hashlib.sha256(text.encode()).hexdigest()
    assert len(str(nas)) == 9
    assert code == code.upper()
    assert len(code) == 6


def test_duplicates_come_later_with_the_same_choice_and_another_id() -> None:
    first: dict[str, ScriptedMessage] = {}
    for message in play(PLAN):
        if message.fate is ExpectedVerdict.COUNTED:
            first[message.stored] = message
        elif message.fate is ExpectedVerdict.DUPLICATE:
            assert first[message.stored].choice == message.choice
            assert first[message.stored].message_id != message.message_id


def test_conflicting_duplicates_differ_sometimes() -> None:
    first: dict[str, str] = {}
    differing = 0
    for message in play(LoadPlan(votes=2000, duplicates=0.2, conflicting=True)):
        if message.fate is ExpectedVerdict.COUNTED:
            first[message.stored] = message.choice
        elif message.fate is ExpectedVerdict.DUPLICATE:
            differing += first[message.stored] != message.choice
    assert differing > 100


def test_repeats_are_the_very_same_message() -> None:
    sent = play(PLAN)
    originals = {m.message_id: m for m in sent if m.fate is ExpectedVerdict.COUNTED}
    for repeat in (m for m in sent if m.fate is ExpectedVerdict.REPEAT):
        assert originals[repeat.message_id].body == repeat.body
    ids = Counter(m.message_id for m in sent)
    assert Counter(ids.values()) == {1: len(sent) - 120, 2: 60}


def test_every_form_is_used_and_is_json() -> None:
    fields = set()
    for message in play(PLAN):
        if message.fate is not ExpectedVerdict.MALFORMED:
            fields.add(frozenset(json.loads(message.body)))
    assert len(fields) == 7
    assert {"hash", "nas", "code", "law_id", "vote", "submitted_at", "vote_timestamp"} in fields
    assert {"vote_hash", "citizen_id", "law_id", "choice", "timestamp"} in fields
    assert {"voter_hash", "candidate_id", "vote_timestamp"} in fields


def test_every_kind_of_malformed_message_and_no_two_equal() -> None:
    bad = [m for m in play(PLAN) if m.fate is ExpectedVerdict.MALFORMED]
    assert {m.reason for m in bad} == {fault.reason for fault in FAULTS}
    assert len({m.body for m in bad}) == len(bad)
    assert all(len(m.body) > PLAN.max_body_bytes for m in bad if m.reason == "too_large")


def test_unknown_voters_count_where_nobody_asks_the_roll() -> None:
    plan = LoadPlan(votes=1000, unknown=0.1, queue=AGGREGATION)
    fates = Counter(m.fate for m in play(plan))
    assert fates[ExpectedVerdict.COUNTED] == 1100
    assert fates[ExpectedVerdict.UNKNOWN] == 0
    assert LoadPlan(votes=1000, unknown=0.1, queue=VALIDATION).messages == plan.messages


def test_stored_hash_agrees_with_the_product() -> None:
    for message in play(PLAN):
        if message.voter:
            kind = int(message.contest.startswith("election:"))
            assert message.stored == product_stored_hash(message.voter, message.contest, kind)


def test_bodies_carry_the_clock() -> None:
    plan = LoadPlan(votes=50, duplicates=0, repeats=0, unknown=0, bad_choice=0, malformed=0)
    sent = list(messages(SyntheticElection(plan), lambda n: 1_800_000_000_000_000 + n))
    body = json.loads(sent[8].body)
    assert body["timestamp"] == "2027-01-15T08:00:00.000008Z"


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"votes": -1}, "votes"),
        ({"laws": 0}, "laws"),
        ({"duplicates": 1.5}, "duplicates"),
        ({"votes": 1000, "laws": 1, "citizens": 10}, "needed"),
        ({"queue": "votes.review"}, "votes.review"),
    ],
)
def test_impossible_plans_are_refused_by_name(changes: dict[str, object], named: str) -> None:
    with pytest.raises(SettingsError, match=named):
        LoadPlan(**changes)  # type: ignore[arg-type]


def test_no_votes_no_messages() -> None:
    assert play(LoadPlan(votes=0)) == []

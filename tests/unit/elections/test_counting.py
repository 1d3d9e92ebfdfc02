"""Counting seats: against a count that shares nothing with the product, and by worked examples."""

from __future__ import annotations

import hashlib
from collections import Counter
from itertools import zip_longest

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from schemas.control import MajorityOf, Overvote, RankedRules, TieBreak
from streams.core import ranking
from streams.core.ranking import Ranking
from streams.elections.counting import instant_runoff, plurality
from streams.elections.rounds import BY_LIST, BY_LOT, Count, Inactive, Outcome
from tests.slow_count import slow_runoff

NAMES = ("1", "2", "3", "4", "5")
LOT = "election:9|3|"

rankings = st.lists(
    st.permutations([*NAMES, "stranger"]).flatmap(
        lambda order: st.integers(0, 6).map(lambda length: tuple(order[:length]))
    ),
    max_size=30,
)


@given(rankings)
@example([("1", "2"), ("2", "1"), ("3",)])
def test_rounds_are_those_of_a_slow_count(ballots: list[Ranking]) -> None:
    count = instant_runoff(NAMES, Counter(ballots), lot=LOT)
    expected = slow_runoff(NAMES, ballots, LOT)
    assert [
        {
            "votes": dict(one.votes),
            "exhausted": one.exhausted,
            "won": [one.elected] if one.elected else [],
            "lost": one.eliminated[0] if one.eliminated else None,
        }
        for one in count.rounds
    ] == expected
    assert count.uncountable == sum(b != () and not set(b) & set(NAMES) for b in ballots)
    assert count.blank == ballots.count(())


@given(rankings)
def test_no_ballot_is_lost_and_none_counts_twice(ballots: list[Ranking]) -> None:
    count = instant_runoff(NAMES, Counter(ballots), lot=LOT)
    for one in count.rounds:
        assert one.active + one.exhausted + one.blank + count.uncountable == len(ballots)
    for one, after in zip(count.rounds, count.rounds[1:], strict=False):
        gained = dict(one.transfers)
        [out] = one.eliminated
        assert sum(gained.values()) == dict(one.votes)[out]
        before = dict(one.votes)
        assert {n: v - before[n] for n, v in after.votes if v != before[n]} == {
            n: v for n, v in gained.items() if n is not None
        }
        assert after.exhausted == one.exhausted + gained.get(None, 0)
    assert (count.elected is not None) == any(set(b) & set(NAMES) for b in ballots)


@given(rankings, st.lists(st.integers(1, 10**9), min_size=30, max_size=30))
def test_weights_add_up_to_what_was_cast_in_every_round(
    ballots: list[Ranking], weights: list[int]
) -> None:
    weighed: Counter[Ranking] = Counter()
    for ballot, weight in zip(ballots, weights, strict=False):
        weighed[ballot] += weight
    count = instant_runoff(NAMES, weighed, lot=LOT)
    for one in count.rounds:
        assert one.active + one.exhausted + one.blank + count.uncountable == weighed.total()
    assert count.blank == weighed[()]


@given(rankings, st.randoms(use_true_random=False))
def test_order_of_ballots_and_candidates_changes_nobodys_fate(
    ballots: list[Ranking], rng: object
) -> None:
    shuffled = list(ballots)
    rng.shuffle(shuffled)  # type: ignore[attr-defined]
    count = instant_runoff(NAMES, Counter(ballots), lot=LOT)
    other = instant_runoff(NAMES[::-1], Counter(shuffled), lot=LOT)
    assert fates(count) == fates(other)


def fates(count: Count) -> list[tuple[object, ...]]:
    return [(sorted(one.votes), one.eliminated, one.elected) for one in count.rounds]


@given(rankings)
def test_the_majoritys_first_choice_wins_at_once(ballots: list[Ranking]) -> None:
    count = instant_runoff(NAMES, Counter([*ballots, *[("5",)] * (len(ballots) + 1)]), lot=LOT)
    assert (count.elected, len(count.rounds)) == ("5", 1)


def test_a_worked_example() -> None:
    """Five rounds of voters, as a textbook has them: the leader of the first round loses."""
    ballots = {("1", "2"): 42, ("2", "3"): 26, ("3", "2"): 15, ("4", "3", "2"): 17}
    count = instant_runoff(("1", "2", "3", "4"), ballots)
    first, second, third = count.rounds
    assert dict(first.votes) == {"1": 42, "2": 26, "4": 17, "3": 15}
    assert (first.eliminated, first.transfers) == (("3",), (("2", 15),))
    assert dict(second.votes) == {"1": 42, "2": 41, "4": 17}
    assert (second.eliminated, second.transfers) == (("4",), (("2", 17),))
    assert (third.elected, dict(third.votes)) == ("2", {"2": 58, "1": 42})
    assert first.tie is second.tie is None


def test_a_tie_is_broken_by_the_round_before() -> None:
    ballots = {("1",): 6, ("2",): 3, ("3",): 2, ("4", "3"): 1}
    first, second, third = instant_runoff(("1", "2", "3", "4"), ballots | {("1",): 5}).rounds
    assert first.eliminated == ("4",)
    assert second.tie is not None
    assert (second.tie.candidates, second.tie.round, second.eliminated) == (
        ("2", "3"),
        1,
        ("3",),
    )
    assert third.elected == "1"
    assert third.exhausted == 3


def test_a_tie_from_the_start_is_broken_by_lot() -> None:
    lots = {n: hashlib.sha256(f"{LOT}{n}".encode()).hexdigest() for n in ("1", "2")}
    first, second = instant_runoff(("1", "2"), {("1",): 1, ("2",): 1}, lot=LOT).rounds
    assert first.tie is not None
    assert (first.tie.candidates, first.tie.round) == (("1", "2"), BY_LOT)
    assert first.eliminated == (min(lots, key=lots.__getitem__),)
    assert second.elected == max(lots, key=lots.__getitem__)


def test_counts_beyond_what_a_float_can_tell_apart() -> None:
    many = 2**53
    count = instant_runoff(("1", "2"), {("1",): many, ("2",): many + 1})
    assert (count.elected, len(count.rounds)) == ("2", 1)


@given(st.lists(st.sampled_from([*NAMES, "stranger"]), max_size=30))
def test_plurality_is_a_plain_tally(votes: list[str]) -> None:
    count = plurality(NAMES, Counter((name,) for name in votes))
    tally = Counter(name for name in votes if name in NAMES)
    assert count.uncountable == votes.count("stranger")
    if not tally:
        assert count == Count((), None, uncountable=count.uncountable, outcome=Outcome.NOBODY)
        return
    [only] = count.rounds
    assert {name: n for name, n in only.votes if n} == dict(tally)
    best = sorted(name for name in tally if tally[name] == max(tally.values()))
    assert (count.elected, list(count.tied)) == ((best[0], []) if len(best) == 1 else (None, best))


def test_a_ranking_in_a_single_choice_election_counts_for_nobody() -> None:
    assert plurality(("1", "2"), {("1", "2"): 3, ("1",): 1}).uncountable == 3


def runoff(ballots: dict[str, int], rules: RankedRules, names: str = "123") -> Count:
    box = {ranking.from_text(choice): number for choice, number in ballots.items()}
    return instant_runoff(tuple(names), box, rules=rules, lot=LOT)


def rounds_of(count: Count) -> list[tuple[dict[str, int], str]]:
    return [(dict(one.votes), "".join(one.eliminated)) for one in count.rounds]


MARKED = {"1": 4, "2=3>1": 2, "2": 3, "3": 3, "2=3>2": 1, "1=2>3": 1}


@pytest.mark.parametrize(
    ("overvote", "first", "inactive"),
    [
        ("always_skip_to_next_rank", {"1": 6, "2": 4, "3": 4}, 0),
        ("exhaust_immediately", {"1": 4, "2": 3, "3": 3}, 4),
        ("exhaust_if_multiple_continuing", {"1": 4, "2": 3, "3": 3}, 4),
    ],
)
def test_an_overvote_counts_as_the_rules_say(
    overvote: str, first: dict[str, int], inactive: int
) -> None:
    [one, *_] = runoff(MARKED, RankedRules(overvote=overvote)).rounds
    assert (dict(one.votes), dict(one.inactive)[Inactive.OVERVOTE]) == (first, inactive)


def test_an_overvote_with_one_continuing_candidate_counts_for_that_one() -> None:
    rules = RankedRules(overvote="exhaust_if_multiple_continuing")
    count = runoff({"1": 4, "2": 3, "3>2=3": 2}, rules)
    assert rounds_of(count) == [({"1": 4, "2": 3, "3": 2}, "3"), ({"2": 5, "1": 4}, "")]
    assert count.elected == "2"


@pytest.mark.parametrize(("allowed", "votes"), [(None, 6), (2, 6), (1, 5), (0, 4)])
def test_skipped_ranks_exhaust_a_ballot_beyond_what_is_allowed(
    allowed: int | None, votes: int
) -> None:
    count = runoff({"1": 4, ">1": 1, ">>1": 1}, RankedRules(max_skipped_ranks=allowed))
    [one] = count.rounds
    assert dict(one.votes)["1"] == votes
    assert dict(one.inactive)[Inactive.SKIPPED] == 6 - votes


def test_a_repeated_candidate_exhausts_a_ballot_where_the_rules_say_so() -> None:
    ballots = {"1": 4, "2": 3, "3>3>2": 2}
    assert runoff(ballots, RankedRules()).elected == "2"
    count = runoff(ballots, RankedRules(exhaust_on_duplicate=True))
    assert (count.elected, dict(count.rounds[-1].inactive)[Inactive.REPEATED]) == ("1", 2)


def test_ranks_behind_the_last_that_counts_do_not_count() -> None:
    ballots = {"1": 4, "2": 3, "3>2": 2}
    assert runoff(ballots, RankedRules(max_ranks=1)).elected == "1"
    assert runoff(ballots, RankedRules(max_ranks=2)).elected == "2"


def test_a_full_ranking_may_leave_out_the_last_and_nothing_else() -> None:
    full = {"1>2>3": 2, "2>1": 3, "3": 5, "1>1>2": 1, "1=2>3": 1, "1>>2>3": 1, "9>1>2": 1}
    count = runoff(full, RankedRules(full_ranking=True))
    [one] = count.rounds
    assert (dict(one.votes), count.elected) == ({"2": 3, "1": 2, "3": 0}, "2")
    assert dict(one.inactive)[Inactive.INFORMAL] == 9


def test_a_count_goes_on_until_two_remain() -> None:
    ballots = {"1": 9, "2": 3, "3>2": 2}
    assert len(runoff(ballots, RankedRules()).rounds) == 1
    count = runoff(ballots, RankedRules(until_two_remain=True))
    assert rounds_of(count) == [({"1": 9, "2": 3, "3": 2}, "3"), ({"1": 9, "2": 5}, "")]


def test_hopeless_candidates_go_together() -> None:
    ballots = {"1": 9, "2": 8, "3": 3, "4>2": 2, "5>2": 2}
    count = runoff(ballots, RankedRules(batch_elimination=True), "12345")
    assert [one.eliminated for one in count.rounds] == [("4", "5", "3"), ()]
    assert (count.rounds[0].transfers, count.elected) == ((("2", 4), (None, 3)), "2")


def test_candidates_below_the_fewest_votes_go_in_the_first_round() -> None:
    ballots = {"1": 5, "2": 4, "3>2": 2, "4>2": 1}
    count = runoff(ballots, RankedRules(min_votes=3), "1234")
    assert [one.eliminated for one in count.rounds] == [("3", "4"), ()]
    assert count.elected == "2"


@pytest.mark.parametrize(
    ("majority_of", "rounds"), [("continuing", 2), ("first_round", 3), ("cast", 3)]
)
def test_a_majority_is_of_the_ballots_that_the_rules_name(majority_of: str, rounds: int) -> None:
    ballots = {"1": 5, "2": 4, "3": 3, ">": 1}
    count = runoff(ballots, RankedRules(majority_of=majority_of))
    assert (len(count.rounds), count.elected) == (rounds, "1")


def test_blank_ballots_are_in_a_majority_of_all_that_were_cast() -> None:
    ballots = {"1": 5, "2": 4, ">": 1}
    assert len(runoff(ballots, RankedRules(), "12").rounds) == 1
    assert len(runoff(ballots, RankedRules(majority_of="cast"), "12").rounds) == 2


def test_the_last_round_elects_who_leads_or_nobody_if_two_do() -> None:
    rules = RankedRules(max_rounds=1)
    assert runoff({"1": 4, "2": 3, "3": 3}, rules).elected == "1"
    tied = runoff({"1": 4, "2": 4, "3": 3}, rules)
    assert (tied.elected, tied.tied, len(tied.rounds)) == (None, ("1", "2"), 1)


@pytest.mark.parametrize(
    ("tie_break", "loser", "by"),
    [
        ("previous_rounds_then_lot", "3", 2),
        ("first_rounds_then_lot", "2", 1),
        ("list_order", "3", BY_LIST),
        ("lot", min("23", key=lambda n: hashlib.sha256(f"{LOT}{n}".encode()).digest()), BY_LOT),
    ],
)
def test_ties_are_broken_as_the_rules_say(tie_break: str, loser: str, by: int) -> None:
    # 2 and 3 have 6 and 7 votes in round 1, 8 and 7 in round 2, 9 each in round 3.
    count = runoff(
        {"1": 12, "2": 6, "3": 7, "4>2": 2, "5>3": 2, "5>2": 1},
        RankedRules(tie_break=tie_break),
        "12345",
    )
    tie = count.rounds[2].tie
    assert tie is not None
    assert (tie.candidates, count.rounds[2].eliminated, tie.round) == (("2", "3"), (loser,), by)


@pytest.mark.parametrize("votes", [3, 30])
def test_undeclared_write_ins_never_win(votes: int) -> None:
    rules = RankedRules(undeclared_write_in="3")
    count = runoff({"1": 5, "2": 4, "3>2": votes}, rules)
    assert (count.rounds[0].eliminated, count.elected) == (("3",), "2")
    assert runoff({"3": 5}, rules).elected is None


marks = st.lists(st.lists(st.sampled_from([*NAMES, "stranger"]), max_size=3), max_size=6).map(
    ranking.to_text
)
some_rules = st.builds(
    RankedRules,
    overvote=st.sampled_from(list(Overvote)),
    max_skipped_ranks=st.none() | st.integers(0, 2),
    exhaust_on_duplicate=st.booleans(),
    max_ranks=st.none() | st.integers(1, 4),
    full_ranking=st.booleans(),
    until_two_remain=st.booleans(),
    max_rounds=st.none() | st.integers(1, 3),
    batch_elimination=st.booleans(),
    min_votes=st.integers(0, 4),
    majority_of=st.sampled_from(list(MajorityOf)),
    tie_break=st.sampled_from(list(TieBreak)),
    undeclared_write_in=st.none() | st.just("5"),
)


@given(st.lists(marks, max_size=30), some_rules, st.randoms(use_true_random=False))
def test_no_ballot_vanishes_whatever_the_rules(
    choices: list[str], rules: RankedRules, rng: object
) -> None:
    count = runoff(Counter(choices), rules, "12345")
    for one, after in zip_longest(count.rounds, count.rounds[1:]):
        assert one.active + one.exhausted + one.blank + count.uncountable == len(choices)
        if after is not None:
            gone = sum(dict(one.votes)[name] for name in one.eliminated)
            assert sum(number for _, number in one.transfers) == gone
            assert dict(after.votes).keys() == dict(one.votes).keys() - set(one.eliminated)
    shuffled = list(choices)
    rng.shuffle(shuffled)  # type: ignore[attr-defined]
    assert runoff(Counter(shuffled), rules, "12345") == count
    # A ballot cast three times counts as three ballots.
    assert runoff(Counter(choices * 3), rules, "12345").elected == count.elected or rules.min_votes

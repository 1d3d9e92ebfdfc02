"""Counting seats: against a count that shares nothing with the product, and by worked examples."""

from __future__ import annotations

import hashlib
from collections import Counter

from hypothesis import example, given
from hypothesis import strategies as st

from streams.core.ranking import Ranking
from streams.elections.counting import BY_LOT, Count, instant_runoff, plurality
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
        assert count == Count((), None, uncountable=count.uncountable)
        return
    [only] = count.rounds
    assert {name: n for name, n in only.votes if n} == dict(tally)
    best = sorted(name for name in tally if tally[name] == max(tally.values()))
    assert (count.elected, list(count.tied)) == ((best[0], []) if len(best) == 1 else (None, best))


def test_a_ranking_in_a_single_choice_election_counts_for_nobody() -> None:
    assert plurality(("1", "2"), {("1", "2"): 3, ("1",): 1}).uncountable == 3

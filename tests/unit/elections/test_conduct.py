"""Counts of elections in which candidates withdraw, officials draw lots, or votes are too few."""

from __future__ import annotations

import itertools
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.control import Conduct, Lot, RankedRules, TieBreak, Withdrawal, WithdrawnVotes
from streams.core import ranking
from streams.core.ranking import to_text
from streams.elections.counting import instant_runoff, plurality
from streams.elections.rounds import BY_HAND, BY_LOT, Count, Inactive, Outcome
from streams.elections.rules import read_rules
from tests.unit.elections.test_counting import marks

BY_DRAW = RankedRules(tie_break=TieBreak.LOT)


def conduct(gone: str = "", votes: str = WithdrawnVotes.NEXT_PREFERENCE, **more: Any) -> Conduct:
    withdrawn = tuple(Withdrawal(name, "dead") for name in gone)
    return Conduct(withdrawn=withdrawn, withdrawn_votes=votes, **more)


def runoff(ballots: dict[str, int], held: Conduct, names: str = "123", **more: Any) -> Count:
    marks = {ranking.from_text(choice): number for choice, number in ballots.items()}
    return instant_runoff(tuple(names), marks, conduct=held, **more)


def single(ballots: dict[str, int], held: Conduct, names: str = "123") -> Count:
    marks = {ranking.from_text(choice): number for choice, number in ballots.items()}
    return plurality(tuple(names), marks, conduct=held)


DEAD_LEADER = {"1>2": 6, "2": 3, "3": 4}


@pytest.mark.parametrize(
    ("what", "elected", "outcome", "first"),
    [
        # The dead candidate's ballots count for their next preference.
        (WithdrawnVotes.NEXT_PREFERENCE, "2", Outcome.ELECTED, {"2": 9, "3": 4}),
        # They count for the dead candidate until only one other candidate is left.
        (WithdrawnVotes.CANNOT_BE_ELECTED, "3", Outcome.ELECTED, {"1": 6, "2": 3, "3": 4}),
        # Six of the ten ballots that still count would elect the dead candidate.
        (WithdrawnVotes.VACANT, None, Outcome.VACANT, {"1": 6, "2": 3, "3": 4}),
    ],
)
def test_votes_of_a_dead_candidate_count_as_the_rule_says(
    what: str, elected: str | None, outcome: Outcome, first: dict[str, int]
) -> None:
    count = runoff(DEAD_LEADER, conduct("1", what))
    assert (count.elected, count.outcome, dict(count.rounds[0].votes)) == (elected, outcome, first)
    assert count.missed == ("1" if outcome is Outcome.VACANT else None)
    assert runoff(DEAD_LEADER, conduct()).elected == "1"


@pytest.mark.parametrize(
    ("what", "elected", "outcome", "votes", "withdrawn"),
    [
        (WithdrawnVotes.NEXT_PREFERENCE, "3", Outcome.ELECTED, {"2": 3, "3": 4}, 6),
        (WithdrawnVotes.CANNOT_BE_ELECTED, "3", Outcome.ELECTED, {"1": 6, "2": 3, "3": 4}, 0),
        (WithdrawnVotes.VACANT, None, Outcome.VACANT, {"1": 6, "2": 3, "3": 4}, 0),
    ],
)
def test_votes_of_a_dead_candidate_in_a_single_choice(
    what: str, elected: str | None, outcome: Outcome, votes: dict[str, int], withdrawn: int
) -> None:
    count = single({"1": 6, "2": 3, "3": 4, ">": 2}, conduct("1", what))
    [only] = count.rounds
    assert (count.elected, count.outcome, dict(only.votes)) == (elected, outcome, votes)
    assert dict(only.inactive).get(Inactive.WITHDRAWN, 0) == withdrawn
    assert (only.active + only.exhausted + only.blank, count.blank) == (15, 2)


def test_ballots_for_the_withdrawn_alone_are_exhausted_and_not_lost() -> None:
    count = runoff({"1": 5, "2": 1, "3>2": 1}, conduct("1"))
    assert [dict(one.inactive)[Inactive.CHOICES] for one in count.rounds] == [5] * len(count.rounds)
    assert count.uncountable == 0


def test_nobody_is_elected_when_all_withdraw() -> None:
    for what in WithdrawnVotes:
        ranked = runoff({"1": 2, "2>1": 1}, conduct("123", what))
        plain = single({"1": 2, "2": 1}, conduct("123", what))
        assert ranked.elected is plain.elected is None
        assert ranked.outcome == plain.outcome
        assert ranked.outcome in {Outcome.NOBODY, Outcome.VACANT}


TIED = {"1": 2, "2": 2, "3": 2, "4": 3}


def test_a_count_waits_for_each_lot_that_officials_draw() -> None:
    held = conduct(lots_by_hand=True)
    count = runoff(TIED, held, "1234", rules=BY_DRAW)
    assert (count.outcome, count.awaits, len(count.rounds)) == (
        Outcome.LOT_NEEDED,
        ("1", "2", "3"),
        1,
    )
    first = Lot(("1", "2", "3"), "2")
    count = runoff(TIED, conduct(lots_by_hand=True, lots=(first,)), "1234", rules=BY_DRAW)
    assert (count.outcome, count.awaits) == (Outcome.LOT_NEEDED, ("1", "3"))
    [one, two] = count.rounds
    assert one.tie is not None
    assert (one.eliminated, one.tie.round) == (("2",), BY_HAND)
    assert (two.eliminated, two.elected) == ((), None)
    both = conduct(lots_by_hand=True, lots=(first, Lot(("1", "3"), "3")))
    count = runoff(TIED, both, "1234", rules=BY_DRAW)
    assert (count.outcome, count.elected) == (Outcome.ELECTED, "4")
    assert [one.eliminated for one in count.rounds] == [("2",), ("3",), ()]


def test_a_lot_to_elect_is_another_lot_than_one_to_eliminate() -> None:
    lots = (Lot(("1", "2"), "1"), Lot(("1", "2"), "2", elects=True))
    tied = {"1": 1, "2": 1}
    held = conduct(lots_by_hand=True, lots=lots)
    assert runoff(tied, held, "12").elected == "2"
    assert runoff(tied, held, "12", rules=RankedRules(max_rounds=1)).elected == "2"
    assert runoff(tied, conduct(lots_by_hand=True, lots=lots[1:]), "12").awaits == ("1", "2")
    assert single(tied, held, "12").elected == "2"
    waiting = single(tied, conduct(lots_by_hand=True, lots=lots[:1]), "12")
    assert (waiting.outcome, waiting.awaits) == (Outcome.LOT_NEEDED, ("1", "2"))
    assert single(tied, conduct(), "12").outcome is Outcome.TIED


def test_a_count_waits_for_the_seed_only_if_it_needs_a_lot() -> None:
    waiting = runoff(TIED, conduct(), "1234", rules=BY_DRAW, lot=None)
    assert (waiting.outcome, waiting.awaits) == (Outcome.SEED_NEEDED, ("1", "2", "3"))
    assert waiting.rounds[0].tie is not None
    assert waiting.rounds[0].tie.round == BY_LOT
    assert runoff({"1": 2, "2": 1}, conduct(), "12", lot=None).elected == "1"


def test_the_lot_is_as_likely_for_everybody_whatever_the_order_of_the_list() -> None:
    seeds = range(3000)
    for names in itertools.permutations("123"):
        lost = Counter(
            runoff({"1": 1, "2": 1, "3": 1}, conduct(), "".join(names), rules=BY_DRAW, lot=f"{s}||")
            .rounds[0]
            .eliminated[0]
            for s in seeds
        )
        # With 2 degrees of freedom 13.8 is exceeded once in a thousand; the seeds are fixed.
        assert sum((lost[name] - 1000) ** 2 / 1000 for name in "123") < 13.8


@pytest.mark.parametrize(
    ("share", "outcome"), [("1/2", Outcome.ELECTED), ("6/11", Outcome.NO_QUORUM)]
)
def test_an_elected_candidate_needs_a_share_of_all_ballots(share: str, outcome: Outcome) -> None:
    ballots = {"1": 5, "2": 3, ">": 2}
    held = conduct(winner_quorum=share)
    for count in (runoff(ballots, held), single(ballots, held)):
        assert count.outcome == outcome
        assert (count.elected or count.missed) == "1"
        assert count.rounds[-1].elected == count.elected


@pytest.mark.parametrize(
    ("rule", "first"),
    [
        ("always_skip_to_next_rank", {"1": 5, "2": 2, "3": 4}),
        ("exhaust_immediately", {"1": 3, "2": 2, "3": 4}),
        ("exhaust_if_multiple_continuing", {"1": 3, "2": 2, "3": 4}),
    ],
)
def test_an_overvote_whose_candidates_are_not_named(rule: str, first: dict[str, int]) -> None:
    ballots = {"1": 3, "2": 2, "3": 4, "=>1": 2, "=": 1}
    [one, *_] = runoff(ballots, conduct(), rules=RankedRules(overvote=rule)).rounds
    assert dict(one.votes) == first
    assert dict(one.inactive)[Inactive.OVERVOTE] == 12 - sum(first.values())
    assert to_text([["="], "1"]) == "=>1"


@given(
    st.lists(marks, max_size=30),
    st.sets(st.sampled_from("12345")),
    st.sampled_from(WithdrawnVotes),
)
def test_no_ballot_is_lost_when_candidates_withdraw(
    ballots: list[str], gone: set[str], what: str
) -> None:
    count = runoff(dict(Counter(ballots)), conduct("".join(sorted(gone)), what), "12345")
    for one in count.rounds:
        assert one.active + one.exhausted + one.blank + count.uncountable == len(ballots)
    assert count.elected not in gone


def test_undeclared_write_ins_never_win_a_single_choice() -> None:
    _, held = read_rules({"undeclared_write_in": "3"}, ranked=False)
    count = single({"1": 2, "2": 3, "3": 9}, held)
    assert (count.elected, dict(count.rounds[0].votes)["3"]) == ("2", 9)
    assert single({"3": 9}, held).outcome is Outcome.NOBODY

"""Single transferable vote: against counts of single papers, by worked examples, by properties."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from schemas.control import RankedRules
from streams.core.ranking import Ranking
from streams.elections.rounds import fixed
from streams.elections.seats.meek import meek
from streams.elections.seats.scottish import UNIT, scottish
from streams.elections.seats.stages import SeatsCount, papers
from streams.elections.standing import drawn

NAMES = ("1", "2", "3", "4", "5", "6")
LOT = "election:9|3|"

ballots_of = st.lists(
    st.tuples(st.permutations(NAMES), st.integers(0, 6), st.integers(1, 30)).map(
        lambda one: (tuple(one[0][: one[1]]), one[2])
    ),
    max_size=14,
)
seats_of = st.integers(1, 5)


def box(pairs: list[tuple[Ranking, int]]) -> Counter[Ranking]:
    found: Counter[Ranking] = Counter()
    for ranking, number in pairs:
        found[ranking] += number
    return found


def slow_scottish(ballots: Counter[Ranking], seats: int) -> list[dict[str, Fraction]]:
    """Votes of each stage, paper by paper, in fractions; a tie of any kind is not counted."""
    heap = [[order, 0, Fraction(1)] for order, n in ballots.items() if order for _ in range(n)]
    quota = len(heap) // (seats + 1) + 1
    continuing, elected, kept = list(NAMES), [], {}
    stages = []
    while True:
        for paper in heap:
            while paper[1] < len(paper[0]) and paper[0][paper[1]] in kept.get("out", ()):
                paper[1] += 1
        votes = {
            n: sum((p[2] for p in heap if p[0][p[1] :][:1] == (n,)), Fraction(0)) for n in NAMES
        }
        votes.update({name: value for name, value in kept.items() if name != "out"})
        stages.append({name: value for name, value in votes.items() if value})
        for name in sorted(continuing, key=lambda each: -votes[each]):
            if votes[name] >= quota:
                elected.append(name)
                continuing.remove(name)
        if len(elected) >= seats or len(continuing) <= seats - len(elected):
            return stages
        over = {n: votes[n] - quota for n in elected if votes[n] > quota}
        out = kept.setdefault("out", set(elected))
        out |= set(elected)
        if over:
            high = [name for name in over if over[name] == max(over.values())]
            assume(len(high) == 1)
            kept[high[0]] = Fraction(quota)
            for paper in heap:
                if paper[0][paper[1] :][:1] == (high[0],):
                    cut = paper[2] * over[high[0]] / votes[high[0]] * UNIT
                    paper[2] = Fraction(int(cut), UNIT)
                    paper[1] = _next(paper, continuing)
        else:
            low = [n for n in continuing if votes[n] == min(votes[m] for m in continuing)]
            assume(len(low) == 1)
            continuing.remove(low[0])
            for paper in heap:
                if paper[0][paper[1] :][:1] == (low[0],):
                    paper[1] = _next(paper, continuing)
        kept["out"] = set()


def _next(paper: list, continuing: list[str]) -> int:
    order, at, _ = paper
    return next((p for p in range(at + 1, len(order)) if order[p] in continuing), len(order))


@given(ballots_of, seats_of)
def test_stages_are_those_of_single_papers(pairs: list[tuple[Ranking, int]], seats: int) -> None:
    ballots = box(pairs)
    expected = slow_scottish(ballots, seats)
    count = scottish(NAMES, ballots, seats, lot=LOT)
    assert [
        {name: Fraction(votes, UNIT) for name, votes in stage.votes if votes}
        for stage in count.stages
    ] == expected


@given(ballots_of, seats_of, st.sampled_from([scottish, meek]))
@example([], 3, meek)
@example([((), 4)], 3, scottish)
def test_votes_are_conserved_and_every_seat_is_filled(
    pairs: list[tuple[Ranking, int]], seats: int, method: object
) -> None:
    count: SeatsCount = method(NAMES, box(pairs), seats, lot=LOT)
    unit = 10**count.places
    assert count.papers + count.blank + count.invalid == sum(number for _, number in pairs)
    assert len(set(count.elected)) == len(count.elected) == min(seats, len(NAMES))
    for stage in count.stages:
        assert sum(v for _, v in stage.votes) + stage.non_transferable == count.papers * unit
        assert stage.non_transferable >= -count.papers * len(NAMES)
    assert [name for stage in count.stages for name in stage.elected] == list(count.elected)


@given(ballots_of, seats_of, st.permutations(NAMES), st.sampled_from([scottish, meek]))
def test_other_names_give_the_same_count(
    pairs: list[tuple[Ranking, int]], seats: int, names: list[str], method: object
) -> None:
    """Unless a lot decides, which depends on names."""
    first: SeatsCount = method(NAMES, box(pairs), seats, lot=LOT)
    assume(not any(stage.tied and not stage.broken_by for stage in first.stages))
    other = dict(zip(NAMES, names, strict=True))
    renamed = [(tuple(other[name] for name in order), number) for order, number in pairs]
    second: SeatsCount = method([other[name] for name in NAMES], box(renamed), seats, lot=LOT)
    assert [other[name] for name in first.elected] == list(second.elected)
    assert [[v for _, v in stage.votes] for stage in first.stages] == [
        [v for _, v in stage.votes] for stage in second.stages
    ]


@given(ballots_of, seats_of)
def test_a_solid_coalition_has_the_seats_that_its_quotas_give_it(
    pairs: list[tuple[Ranking, int]], seats: int
) -> None:
    """Voters who prefer the same candidates to all others fill a seat for each quota they are."""
    for method in (scottish, meek):
        count = method(NAMES, box(pairs), seats, lot=LOT)
        for size in range(1, len(NAMES)):
            group = set(NAMES[:size])
            solid = sum(n for order, n in pairs if group <= set(order[:size]))
            # Droop's quota in whole papers; cut transfers together may take less than one paper.
            quotas = max(0, solid - 1) // (count.papers // (seats + 1) + 1)
            assert len(group & set(count.elected)) >= min(size, seats, quotas)


def test_a_surplus_is_cut_to_five_places() -> None:
    # 23 papers for 2 seats: quota 8. 13 of 1 exceed it by 5; each paper goes on at 5/13.
    count = scottish(
        ("1", "2", "3"), {("1", "2"): 7, ("1", "3"): 5, ("1",): 1, ("2",): 4, ("3",): 6}, 2
    )
    first, second, third = count.stages
    assert (first.quota, first.elected, first.surplus_of) == (8 * UNIT, ("1",), "1")
    # 7 x 0.38461 and 5 x 0.38461; 0.38461 is not transferable and 0.00007 is lost in cutting.
    assert dict(second.votes) == {"1": 800000, "2": 669227, "3": 792305}
    assert (second.non_transferable, second.excluded) == (38468, "2")
    assert (third.elected, count.elected) == (("3",), ("1", "3"))
    assert count.shown(second.non_transferable) == "0.38468"


def test_the_last_seats_are_filled_without_a_transfer() -> None:
    count = scottish(("1", "2", "3"), {("1", "3"): 60, ("2",): 9, ("3",): 8}, 2)
    assert [(s.surplus_of, s.excluded) for s in count.stages] == [("1", None), (None, None)]
    assert count.elected == ("1", "3")


def test_ties_go_back_to_the_latest_stage_that_differs_then_to_the_lot() -> None:
    # 4 goes first; then 2 and 3 have 5 papers each, but 3 had more before.
    count = scottish(("1", "2", "3", "4"), {("1",): 9, ("2",): 4, ("3",): 5, ("4", "2"): 1}, 1)
    assert [(s.excluded, s.tied, s.broken_by) for s in count.stages[:2]] == [
        ("4", (), 0),
        ("2", ("2", "3"), 1),
    ]
    even = scottish(("1", "2", "3"), {("1",): 3, ("2",): 2, ("3",): 2}, 1, lot=LOT)
    assert even.stages[0].tied == ("2", "3")
    assert even.stages[0].excluded == min(("2", "3"), key=lambda name: drawn(LOT, name))


def test_meek_s_keep_factors_are_those_of_the_reference_rule() -> None:
    # Quota and surplus are those that a reference count of the same rule reports for these papers.
    count = meek(("1", "2", "3"), {("1", "2"): 4, ("3",): 2}, 2)
    first, second, last = count.stages
    assert (first.quota, first.elected) == (2000000001, ("1",))
    assert (second.quota, second.excluded) == (2000000001, "2")
    assert second.keep_factors == (("1", 500000001),)
    assert dict(second.votes)["1"] - second.quota == 3
    assert (last.elected, count.elected) == (("3",), ("1", "3"))


@pytest.mark.parametrize(
    ("ballot", "order"),
    [
        (("1", "2", "3"), ("1", "2", "3")),
        (("1", "gone", "3"), ("1", "3")),
        (("1", "", "3"), ("1",)),
        (("1", "2=3", "4"), ("1",)),
        (("1", "2", "1", "3"), ("1", "2")),
    ],
)
def test_a_paper_counts_up_to_its_first_break(ballot: Ranking, order: Ranking) -> None:
    assert papers(NAMES, {ballot: 3}).orders == {order: 3}


def test_papers_without_a_first_preference_are_told_apart() -> None:
    read = papers(NAMES, {(): 2, ("", "1"): 3, ("1=2",): 4, ("gone",): 5, ("1",): 6})
    assert (read.valid, read.blank, read.invalid) == (6, 2, 12)
    forgiving = papers(NAMES, {("", "1"): 3, ("1=2", "3"): 4, ("2", "2", "1"): 1}, RankedRules())
    assert forgiving.orders == {("1",): 3, ("3",): 4, ("2", "1"): 1}


def test_fixed_point_text() -> None:
    assert [fixed(v, 5) for v in (0, 1, 100000, -150000)] == [
        "0.00000",
        "0.00001",
        "1.00000",
        "-1.50000",
    ]
    assert fixed(7, 0) == "7"


@pytest.mark.parametrize("method", [scottish, meek])
def test_no_seat_is_refused(method: object) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        method(NAMES, {}, 0)

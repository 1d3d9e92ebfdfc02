"""Risk of audits: the figures of the papers, and the bound itself."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.elections.audits.risk import (
    Discrepancies,
    Pair,
    alpha,
    bravo,
    bravo_size,
    compare_papers,
    comparison_size,
    kaplan_markov,
    pairs_of,
)

AB = Pair("A", "B")
seen_votes = st.lists(st.sampled_from(["A", "B", "C", None]), max_size=60)


@pytest.mark.parametrize(
    ("share", "expected"),
    [
        # The formula of Lindeman, Stark, Yates 2012 as rlacalc 0.3.0 evaluates it, at 10 %.
        (0.60, 119),
        (0.52, 2902),
        (0.505, 46151),
    ],
)
def test_bravo_looks_at_as_many_papers_as_its_authors_expect(share: float, expected: int) -> None:
    assert bravo_size(share, 0.1) == expected


@pytest.mark.parametrize(
    ("margin", "found", "expected"),
    [
        # The examples of "A Gentle Introduction", page 5, at 10 %, as rlacalc 0.3.0 rounds them.
        (0.2, Discrepancies(0), 24),
        (0.1, Discrepancies(0), 48),
        (0.05, Discrepancies(0), 96),
        (0.002, Discrepancies(0), 2393),
        (0.05, Discrepancies(0, over_one=1), 123),
        (0.005, Discrepancies(0, over_one=1, under_one=1), 1067),
    ],
)
def test_comparisons_need_the_papers_of_the_gentle_introduction(
    margin: float, found: Discrepancies, expected: int
) -> None:
    assert comparison_size(margin, 0.1, found) == expected


def test_a_comparison_of_that_size_has_the_risk() -> None:
    for margin in (0.2, 0.05, 0.002):
        needed = comparison_size(margin, 0.1, Discrepancies(0))
        assert kaplan_markov(margin, Discrepancies(needed)) <= 0.1
        assert kaplan_markov(margin, Discrepancies(needed - needed // 10)) > 0.1


def test_risks_of_real_audits() -> None:
    """Custer and Las Animas counties, Colorado 2018; a comparison by New Hampshire's margin."""
    custer = ["A"] * 170 + ["B"] * 135
    assert _last_bravo({"A": 1410, "B": 1132}, custer) == pytest.approx(0.1342382069344729)
    las_animas = ["A"] * 45 + ["B"] * 32
    assert _last_bravo({"A": 2894, "B": 1695}, las_animas) == pytest.approx(0.47002027242290234)
    margin = (354040 - 337589) / (354040 + 337589 + 33234)
    found = Discrepancies(200, over_one=1)
    assert kaplan_markov(margin, found) == pytest.approx(0.21438135077031842)


def _last_bravo(votes: dict[str, int], seen: list[str]) -> float:
    """The risk after the last paper, not the lowest on the way: losers first."""
    return bravo(votes, AB, sorted(seen, reverse=True)).risk


def test_bravo_by_hand() -> None:
    votes = {"A": 6, "B": 4, "C": 1}
    # 1.2 for each A, 0.8 for each B; nothing for others.
    assert bravo(votes, AB, ["A", "A", "C", None, "B"]).risk == pytest.approx(1 / 1.44)
    assert bravo(votes, AB, ["B", "B"]).risk == 1.0
    assert bravo(votes, AB, ["A"] * 13).risk == pytest.approx(1.2**-13)
    assert bravo({"A": 6, "B": 0}, AB, ["A", "A", "B", "A"]).risk == pytest.approx(0.25)


@given(seen_votes.map(lambda votes: [v for v in votes if v in {"A", "B"}]))
def test_alpha_that_never_learns_is_bravo(seen: list[str | None]) -> None:
    votes = {"A": 600, "B": 400}
    steady = alpha(votes, AB, seen, papers=1000, weight=1e12)
    assert steady.risk == pytest.approx(bravo(votes, AB, seen).risk, rel=1e-6)


@given(seen_votes, st.integers(1, 99), st.booleans())
def test_risks_are_from_0_to_1_and_never_rise_with_more_papers(
    seen: list[str | None], share: int, replaced: bool
) -> None:
    votes = {"A": 100 + share, "B": 100, "C": 7}
    risks = [
        alpha(votes, AB, seen[:size], papers=400, replaced=replaced).risk
        for size in range(len(seen) + 1)
    ]
    assert risks[0] == 1.0
    assert all(0 <= later <= earlier for earlier, later in pairwise(risks))


def test_all_papers_leave_no_risk_of_a_true_outcome_and_no_wrong_one_passes() -> None:
    papers = ["A"] * 51 + ["B"] * 49
    votes = {"A": 60, "B": 40}
    for seed in range(50):
        random.Random(seed).shuffle(papers)
        assert alpha(votes, AB, papers, papers=100, replaced=False).risk == 0.0
        tied = ["A" if vote == "A" else "B" for vote in papers]
        tied[tied.index("A")] = "B"
        assert alpha(votes, AB, tied, papers=100, replaced=False).risk > 0.0
    with pytest.raises(ValueError, match="more papers"):
        alpha(votes, AB, [*papers, "A"], papers=100, replaced=False)


@pytest.mark.parametrize("method", ["bravo", "alpha", "alpha without replacement"])
def test_wrong_outcomes_pass_no_more_often_than_the_limit(method: str) -> None:
    """B really ties; 400 audits of up to 300 papers at a limit of 20 %."""
    votes = {"A": 560, "B": 440}
    true = ["A"] * 500 + ["B"] * 500
    rng = random.Random(7)
    passed = 0
    for _ in range(400):
        if method == "alpha without replacement":
            seen = rng.sample(true, 300)
            passed += alpha(votes, AB, seen, papers=1000, replaced=False).risk <= 0.2
        else:
            seen = rng.choices(true, k=300)
            found = bravo(votes, AB, seen) if method == "bravo" else None
            passed += (found or alpha(votes, AB, seen, papers=1000)).risk <= 0.2
    # 80 expected at most; three standard deviations are 24.
    assert passed <= 104


def test_papers_are_compared_by_the_worst_pair() -> None:
    votes = {"A": 50, "B": 30, "C": 10}
    assert pairs_of(votes) == [AB, Pair("A", "C")]
    assert pairs_of(votes, 2) == [Pair("A", "C"), Pair("B", "C")]
    found = compare_papers(
        pairs_of(votes),
        [("A", "A"), ("A", "B"), ("A", None), (None, "A"), ("B", "A"), ("C", "B"), (None, None)],
    )
    assert found == Discrepancies(7, over_two=1, over_one=2, under_one=2, under_two=0)
    for tied in ({"A": 5, "B": 5}, {"A": 5}, {}):
        with pytest.raises(ValueError, match="no winner"):
            pairs_of(tied)

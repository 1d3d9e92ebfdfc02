"""Risk of audits: the figures of the papers, and the bound itself."""

from __future__ import annotations

import random
from bisect import bisect_left
from dataclasses import dataclass
from itertools import pairwise
from statistics import mean, stdev

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.elections.audits.risk import (
    Discrepancies,
    Pair,
    alpha,
    bravo,
    bravo_mean,
    compare_papers,
    comparison_size,
    kaplan_markov,
    pairs_of,
)

AB = Pair("A", "B")
seen_votes = st.lists(st.sampled_from(["A", "B", "C", None]), max_size=60)


@pytest.mark.parametrize(
    ("share", "mean"),
    [
        (0.70, 30),
        (0.65, 53),
        (0.60, 119),
        (0.58, 185),
        (0.55, 469),
        (0.54, 731),
        (0.53, 1_295),
        (0.52, 2_902),
        (0.51, 11_562),
        (0.505, 46_150),
    ],
)
def test_bravo_looks_at_as_many_papers_on_average_as_its_paper_prints(
    share: float, mean: int
) -> None:
    """Table 1 of Lindeman, Stark and Yates 2012, column ASN, at 10 %.

    The paper's table is quoted in "BRAVO Table I" and "II" of
    github.com/gwexploratoryaudits/brla_explore.
    """
    assert round(bravo_mean(share, 0.1)) == mean


@pytest.mark.parametrize(
    ("share", "papers"),
    [
        (0.70, [12, 22, 38, 60, 131]),
        (0.65, [23, 38, 66, 108, 236]),
        (0.60, [49, 84, 149, 244, 538]),
        # The last one is exact as that repository has it; the paper's simulation prints 840.
        (0.58, [77, 131, 231, 381, 842]),
    ],
)
def test_bravo_ends_after_as_many_papers_as_its_paper_prints(
    share: float, papers: list[int]
) -> None:
    """The same table: after how many papers 25, 50, 75, 90 and 99 % of audits have ended."""
    votes = {"A": round(100 * share), "B": round(100 * (1 - share))}
    shares = [0.25, 0.5, 0.75, 0.9, 0.99]
    ended, found = 0.0, []
    # Chance that an audit goes on with so many papers for A; the fewest that end it.
    going = [1.0]
    fewest = 0
    while shares:
        size = len(going)
        drawn = [0.0, *(chance * share for chance in going)]
        for count, chance in enumerate(going):
            drawn[count] += chance * (1 - share)
        while fewest <= size and (
            bravo(votes, AB, ["B"] * (size - fewest) + ["A"] * fewest).risk > 0.1
        ):
            fewest += 1
        ended += sum(drawn[fewest:])
        going = drawn[:fewest] + [0.0] * (size + 1 - fewest)
        while shares and ended >= shares[0]:
            found.append(size)
            del shares[0]
    assert found == papers


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
        # As Stark's own code tests these examples (github.com/pbstark/CORLA18).
        (0.05, Discrepancies(0, under_one=1), 80),
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


@pytest.mark.parametrize(
    ("margin", "limit", "papers"),
    [(2_000 / 110_000, 0.10, 263), (389_000 / 2_000_000, 0.05, 31)],
)
def test_a_comparison_ends_after_as_many_papers_as_the_paper_of_suite_prints(
    margin: float, limit: float, papers: int
) -> None:
    """Ottoboni, Stark, Lindeman, McBurnett 2018, "Numerical examples": without any error."""
    assert kaplan_markov(margin, Discrepancies(papers)) <= limit
    assert kaplan_markov(margin, Discrepancies(papers - 1)) > limit


def test_the_risk_of_a_stratum_is_what_the_notebook_of_suite_prints() -> None:
    """Its `fisher_combined_pvalue`: 500 papers of 10,000, three tenths of a margin of 200."""
    risk = kaplan_markov(0.3 * 200 / 10_000, Discrepancies(500))
    assert risk == pytest.approx(0.23557770396261943, rel=1e-13)


@pytest.mark.parametrize(
    ("share", "reported", "weight", "printed"),
    [(0.70, 70, 10, 45), (0.70, 70, 100, 40), (0.70, 60, 1000, 51), (0.70, 55, 100, 62)],
)
def test_alpha_ends_after_as_many_papers_as_its_paper_prints(
    share: float, reported: int, weight: float, printed: int
) -> None:
    """Table 1 of Stark 2023: means of 1,000 audits at 5 %, so both means have an error."""
    votes = {"A": reported, "B": 100 - reported}
    rng = random.Random(f"{share} {reported} {weight}")
    sizes = []
    for _ in range(400):
        seen = rng.choices(["A", "B"], [share, 1 - share], k=400)
        # More papers never raise the risk.
        risks = Risks(votes, seen, weight)
        sizes.append(bisect_left(range(len(seen) + 1), True, key=risks.ended))
    assert max(sizes) <= 400
    error = stdev(sizes) * (1 / 400 + 1 / 1000) ** 0.5
    assert abs(mean(sizes) - printed) < 3 * error + 0.5


@dataclass(frozen=True)
class Risks:
    votes: dict[str, int]
    seen: list[str]
    weight: float

    def ended(self, size: int) -> bool:
        found = alpha(self.votes, AB, self.seen[:size], papers=100, weight=self.weight)
        return found.risk <= 0.05


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

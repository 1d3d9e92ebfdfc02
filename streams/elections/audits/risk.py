"""The risk that is left after looking at a sample: BRAVO, ALPHA and Kaplan-Markov. Pure.

The risk is the largest chance that the audit ends without a full count although the reported
winner did not win. It is a bound at every moment, so an audit may look as often as it wants.

- *BRAVO* (Lindeman, Stark, Yates 2012): looks at papers alone. For each winner and loser, a paper
  for the winner multiplies a statistic by 2 s and one for the loser by 2 (1 - s), where s is the
  winner's reported share of both; the risk is 1 over the largest value so far.
- *ALPHA* (Stark 2023): the same with a share that learns from the papers seen so far, so a wrong
  report costs less. It can draw without replacement.
- *Kaplan-Markov*, "super-simple" (Stark 2010; Lindeman and Stark 2012): compares papers with the
  records that the count used.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

GAMMA: Final = 1.03905
"""Inflation of errors in super-simple audits, as in "A Gentle Introduction"."""
ALPHA_WEIGHT: Final = 100
"""How many papers the reported share weighs against those that were seen (d)."""


@dataclass(frozen=True)
class Pair:
    """A winner and a loser, whose order the audit tests."""

    winner: str
    loser: str


@dataclass(frozen=True)
class PairRisk:
    """What a sample says of a pair."""

    pair: Pair
    risk: float
    """From 0 to 1."""


def pairs_of(votes: Mapping[str, int], seats: int = 1) -> list[Pair]:
    """Each winner with each loser, by the reported votes.

    Raises:
        ValueError: the last seat is tied, or there is no loser.
    """
    ordered = sorted(votes, key=lambda name: -votes[name])
    winners, losers = ordered[:seats], ordered[seats:]
    if not winners or not losers or votes[winners[-1]] == votes[losers[0]]:
        raise ValueError("the reported votes have no winner, or no loser")
    return [Pair(winner, loser) for winner in winners for loser in losers]


def bravo(votes: Mapping[str, int], pair: Pair, seen: Iterable[str | None]) -> PairRisk:
    """The risk by BRAVO.

    Args:
        votes: as reported.
        pair: of the candidates.
        seen: the vote of each paper, in the order of drawing, with replacement; None: no vote.
    """
    share = votes[pair.winner] / (votes[pair.winner] + votes[pair.loser])
    up, down = math.log(2 * share), _log(2 * (1 - share))
    value = best = 0.0
    for vote in seen:
        value += up if vote == pair.winner else down if vote == pair.loser else 0.0
        best = max(best, value)
    return PairRisk(pair, math.exp(-best))


def bravo_mean(share: float, limit: float) -> float:
    """About how many votes for the two BRAVO looks at on average; the share is of the winner."""
    up, down = math.log(2 * share), _log(2 * (1 - share))
    gain = share * up + ((1 - share) * down if share < 1 else 0.0)
    return (math.log(1 / limit) + up / 2) / gain


def alpha(
    votes: Mapping[str, int],
    pair: Pair,
    seen: Sequence[str | None],
    *,
    papers: int,
    replaced: bool = True,
    weight: float = ALPHA_WEIGHT,
) -> PairRisk:
    """The risk by ALPHA with the truncated shrinkage estimator.

    Args:
        votes: as reported.
        pair: of the candidates; a paper for neither counts a half.
        seen: the vote of each paper, in the order of drawing.
        papers: number of all papers.
        replaced: whether a paper is put back and may be drawn again.
        weight: of the reported mean, in papers.

    Raises:
        ValueError: more papers were seen than there are.
    """
    if not replaced and len(seen) > papers:
        raise ValueError("more papers were seen than there are")
    reported = 0.5 + (votes[pair.winner] - votes[pair.loser]) / (2 * papers)
    distance = (reported - 0.5) / 2
    total = value = best = 0.0
    for number, vote in enumerate(seen, 1):
        mean = 0.5 if replaced else (papers * 0.5 - total) / (papers - number + 1)
        if mean >= 1:
            # The winner can reach half, but no more.
            break
        x = 1.0 if vote == pair.winner else 0.0 if vote == pair.loser else 0.5
        if mean <= 0:
            # The winner has half already; with any more, nothing is left to doubt.
            if mean < 0 or x:
                return PairRisk(pair, 0.0)
            continue
        spread = distance / math.sqrt(weight + number - 1)
        learnt = (weight * reported + total) / (weight + number - 1)
        # Never below the mean under test, or the bound would not hold.
        eta = max(mean, min(max(learnt, mean + spread), 1 - spread))
        value += _log(x * eta / mean + (1 - x) * (1 - eta) / (1 - mean))
        total += x
        best = max(best, value)
    if not replaced and total > papers / 2:
        return PairRisk(pair, 0.0)
    return PairRisk(pair, math.exp(-best))


@dataclass(frozen=True)
class Discrepancies:
    """Papers by how far their records overstate the margin of any winner over any loser."""

    seen: int
    over_two: int = 0
    over_one: int = 0
    under_one: int = 0
    under_two: int = 0


def compare_papers(
    pairs: Iterable[Pair], papers: Iterable[tuple[str | None, str | None]]
) -> Discrepancies:
    """Count discrepancies of (recorded vote, vote seen on the paper)."""
    pairs = list(pairs)
    found: Counter[int] = Counter()
    for recorded, seen in papers:
        found[max(_margin(recorded, pair) - _margin(seen, pair) for pair in pairs)] += 1
    return Discrepancies(found.total(), found[2], found[1], found[-1], found[-2])


def kaplan_markov(margin: float, found: Discrepancies, gamma: float = GAMMA) -> float:
    """The risk of a comparison audit.

    Args:
        margin: the smallest margin in votes, divided by all papers ("diluted").
        found: in the sample, drawn with replacement.
        gamma: inflation of errors, above 1.
    """
    value = found.seen * math.log(1 - margin / (2 * gamma)) - _errors(found, gamma)
    return min(1.0, math.exp(value))


def comparison_size(margin: float, limit: float, found: Discrepancies, gamma: float = GAMMA) -> int:
    """Papers after which such an audit may end, if these discrepancies are all it finds.

    The formula of "A Gentle Introduction", whose bound is a little larger than the risk's.
    """
    needed = -2 * gamma * (math.log(limit) + _errors(found, gamma)) / margin
    errors = found.over_two + found.over_one + found.under_one + found.under_two
    return max(errors, math.ceil(needed))


def _errors(found: Discrepancies, gamma: float) -> float:
    return (
        found.over_one * math.log(1 - 1 / (2 * gamma))
        + found.over_two * math.log(1 - 1 / gamma)
        + found.under_one * math.log(1 + 1 / (2 * gamma))
        + found.under_two * math.log(1 + 1 / gamma)
    )


def _margin(vote: str | None, pair: Pair) -> int:
    return (vote == pair.winner) - (vote == pair.loser)


def _log(value: float) -> float:
    return math.log(value) if value > 0 else -math.inf

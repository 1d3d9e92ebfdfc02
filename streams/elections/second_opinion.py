"""A second opinion on a count: by other rules, or as another program published it. Pure.

A file holds one of three: rules as an election's column `rules` has them, a configuration of
RCTab, or a summary of rounds in RCTab's form, a list of them if there are several contests.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import zip_longest
from typing import Any, Final

from streams.elections.results import Seat
from streams.elections.rounds import fixed
from streams.errors import ScrutinError


class OpinionRefused(ScrutinError):
    """A file is no second opinion."""


@dataclass(frozen=True)
class OpinionRound:
    """What two counts are compared by."""

    votes: dict[str, str]
    """Name -> votes, without those who have none."""
    elected: tuple[str, ...]
    out: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"votes": self.votes, "elected": self.elected, "eliminated": self.out}


@dataclass(frozen=True)
class RoundDifference:
    """The first round in which two counts differ."""

    round: int
    ours: OpinionRound | None
    """None: the count had ended."""
    theirs: OpinionRound | None
    candidates: tuple[str, ...]
    """Whose votes differ; nobody if only who is elected or eliminated does."""

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "round": self.round,
            "ours": None if self.ours is None else self.ours.as_dict(),
            "theirs": None if self.theirs is None else self.theirs.as_dict(),
            "candidates": self.candidates,
        }


def rounds_of(seat: Seat) -> list[OpinionRound]:
    """The rounds of Scrutin's count."""
    names = {str(one.id): one.name for one in seat.candidates}
    return [
        OpinionRound(
            {names[name]: fixed(votes, seat.count.places) for name, votes in one.votes if votes},
            tuple(names[name] for name in (one.elected, *one.winners) if name),
            tuple(names[name] for name in one.eliminated),
        )
        for one in seat.count.rounds
    ]


def published_rounds(summary: Mapping[str, Any]) -> list[OpinionRound]:
    """The rounds of a summary in RCTab's form.

    Raises:
        OpinionRefused: it has another form.
    """
    try:
        found = []
        for one in summary["results"]:
            tally = {str(name): str(votes) for name, votes in one["tally"].items()}
            events = one.get("tallyResults", [])
            found.append(
                OpinionRound(
                    {name: votes for name, votes in tally.items() if Fraction(votes)},
                    tuple(str(e["elected"]) for e in events if "elected" in e),
                    tuple(str(e["eliminated"]) for e in events if "eliminated" in e),
                )
            )
    except (KeyError, TypeError, ValueError, AttributeError, ZeroDivisionError) as fault:
        raise OpinionRefused(
            f"The summary of rounds has another form: {fault!r}",
            todo="Each of its results has round, tally and tallyResults, as RCTab writes them",
        ) from fault
    return found


def first_difference(
    ours: Sequence[OpinionRound], theirs: Sequence[OpinionRound]
) -> RoundDifference | None:
    """The first round that differs in votes, or in who is elected or eliminated."""
    for number, (mine, other) in enumerate(zip_longest(ours, theirs), 1):
        if mine is None or other is None:
            return RoundDifference(number, mine, other, ())
        one, two = _plain(mine), _plain(other)
        if one != two:
            names = {*one[0], *two[0]}
            differ = tuple(sorted(n for n in names if one[0].get(n) != two[0].get(n)))
            return RoundDifference(number, mine, other, differ)
    return None


def _plain(one: OpinionRound) -> tuple[dict[str, Fraction], set[str], set[str]]:
    votes = {_folded(name): Fraction(number) for name, number in one.votes.items()}
    return votes, set(map(_folded, one.elected)), set(map(_folded, one.out))


def _folded(name: str) -> str:
    return " ".join(name.casefold().split())


_RCTAB: Final = {
    "alwaysSkipToNextRank": "always_skip_to_next_rank",
    "exhaustImmediately": "exhaust_immediately",
    "exhaustIfMultipleContinuing": "exhaust_if_multiple_continuing",
    "previousRoundCountsThenRandom": "previous_rounds_then_lot",
    "random": "lot",
    "useCandidateOrder": "list_order",
    "generatePermutation": "lot",
    "stopCountingAndAsk": "lot",
    "interactive": "lot",
    "previousRoundCountsThenInteractive": "previous_rounds_then_lot",
    "previousRoundCountsThenAsk": "previous_rounds_then_lot",
}
_NO_LIMIT: Final = {"max", "unlimited", "", None}


def rules_of_rctab(configuration: Mapping[str, Any]) -> dict[str, Any]:
    """The rules of a configuration of RCTab, as an election's column `rules` has them.

    Raises:
        OpinionRefused: it asks for a count that these rules do not have.
    """
    given = configuration["rules"]
    mode = given.get("winnerElectionMode", "singleWinnerMajority")
    until_two = mode == "singleWinnerMajority" and bool(
        given.get("continueUntilTwoCandidatesRemain", False)
    )
    if mode not in {"singleWinnerMajority", "standard"}:
        raise OpinionRefused(
            f"There is no count like RCTab's {str(mode)[:60]!r} here", todo="Use one for one seat"
        )

    def limit(name: str) -> int | None:
        value = given.get(name)
        return None if value in _NO_LIMIT else int(value)

    def word(name: str, usual: str) -> str:
        value = str(given.get(name, usual))
        return _RCTAB.get(value, value)

    rules = {
        "overvote": word("overvoteRule", "alwaysSkipToNextRank"),
        "max_skipped_ranks": limit("maxSkippedRanksAllowed"),
        "exhaust_on_duplicate": bool(given.get("exhaustOnDuplicateCandidate", False)),
        "max_ranks": limit("maxRankingsAllowed"),
        "until_two_remain": until_two,
        "batch_elimination": bool(given.get("batchElimination", False)),
        "min_votes": limit("minimumVoteThreshold") or 0,
        "max_rounds": limit("stopTabulationEarlyAfterRound"),
        "tie_break": word("tiebreakMode", "random"),
    }
    seed = given.get("randomSeed")
    return rules | ({} if seed in _NO_LIMIT else {"lot_seed": str(seed)})

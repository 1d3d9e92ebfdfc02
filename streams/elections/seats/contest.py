"""Counts the seats of one region as its contest says: transferable vote or party lists. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from itertools import zip_longest

from schemas.control import ListOrder, RankedRules, SeatMethod, SeatRules
from streams.core.ranking import Ranking
from streams.core.seats import TRANSFERABLE
from streams.elections.counting import first_choices
from streams.elections.rounds import (
    ALONE,
    Count,
    Inactive,
    Outcome,
    PartyList,
    Round,
    Tie,
    Transfer,
)
from streams.elections.seats.lists import allot
from streams.elections.seats.meek import meek
from streams.elections.seats.scottish import scottish
from streams.elections.seats.stages import STRICT, SeatsCount, Stage
from streams.elections.standing import Standing


def count_seats(
    standing: Standing,
    ballots: Mapping[Ranking, int],
    rules: SeatRules,
    seats: int,
    *,
    marks: RankedRules | None = None,
) -> Count:
    """Count the seats of a region.

    Args:
        standing: candidates of the region in ballot order, and how the election is held.
        ballots: ranks as marked -> number of ballots.
        rules: of the contest.
        seats: to fill.
        marks: what marks of a ranking mean; None: a paper counts up to the first break.
    """
    if rules.method not in TRANSFERABLE:
        return count_lists(standing, ballots, rules, seats)
    method = scottish if rules.method == SeatMethod.STV_SCOTTISH else meek
    found = method(
        standing.candidates,
        ballots,
        seats,
        rules=marks or STRICT,
        lot=standing.lot,
        conduct=standing.conduct,
    )
    return count_of(found, standing.waits_for)


def count_of(found: SeatsCount, waits_for: Outcome = Outcome.SEED_NEEDED) -> Count:
    """A transferable vote as rounds; a transfer is what candidates have more in the next stage."""
    outcome = Outcome.ELECTED if found.elected else Outcome.NOBODY
    return Count(
        tuple(_round(found, *pair) for pair in zip_longest(found.stages, found.stages[1:])),
        None,
        blank=found.blank,
        outcome=waits_for if found.awaits else outcome,
        awaits=found.awaits,
        seats=found.seats,
        places=found.places,
        of_several=found.elected,
    )


def _round(found: SeatsCount, stage: Stage, after: Stage | None) -> Round:
    unit = 10**found.places
    inactive = {
        Inactive.BLANK: found.blank * unit,
        Inactive.INFORMAL: found.invalid * unit,
        Inactive.CHOICES: stage.non_transferable,
    }
    more: list[tuple[str | None, int]] = []
    # Keep factors change the votes of all at once, so there a gain has no single source.
    if after is not None and not (stage.keep_factors or after.keep_factors):
        before = dict(stage.votes)
        more = [(name, votes - before[name]) for name, votes in after.votes]
        more.append((None, after.non_transferable - stage.non_transferable))
    return Round(
        stage.number,
        tuple(sorted(stage.votes, key=lambda one: -one[1])),
        tuple(inactive.items()),
        () if stage.excluded is None else (stage.excluded,),
        tie=Tie(stage.tied, stage.broken_by) if stage.tied else None,
        transfers=tuple((name, votes) for name, votes in more if votes > 0),
        winners=stage.elected,
        transfer=Transfer(stage.quota, stage.surplus_of, stage.keep_factors),
    )


def count_lists(
    standing: Standing, ballots: Mapping[Ranking, int], rules: SeatRules, seats: int
) -> Count:
    """Give seats to lists by the votes of their candidates, and to candidates by the list's order.

    Equal claims to the last seats, and equal votes for a list's last seat where votes order it,
    are reported, and nobody is elected to these seats.
    """
    votes, inactive, uncountable = first_choices(standing, ballots)
    members: dict[str, list[str]] = {}
    for name in votes:
        members.setdefault(rules.lists.get(name, f"{ALONE}{name}"), []).append(name)
    own = {each: sum(votes[name] for name in names) for each, names in members.items()}
    found = allot(
        own,
        seats,
        SeatMethod(rules.method),
        threshold=Fraction(rules.threshold or 0),
        first_divisor=Fraction(rules.first_divisor),
    )
    lists, winners, tied = [], list[str](), list[str]()
    for each, names in members.items():
        places = found.seats[each]
        able = [name for name in names if name not in standing.barred]
        if rules.list_order == ListOrder.VOTES:
            able.sort(key=lambda name: -votes[name])
            elected, equal = _first(able, votes, places)
            tied += equal
        else:
            elected = able[:places]
        elected = [name for name in elected if name not in standing.vacant]
        winners += elected
        below, claims = each in found.below, each in found.tied
        lists.append(PartyList(each, own[each], places, tuple(elected), below, claims))
    outcome = Outcome.ELECTED if any(own.values()) else Outcome.NOBODY
    return Count(
        (
            Round(
                1,
                tuple(sorted(votes.items(), key=lambda one: -one[1])),
                inactive,
                winners=tuple(winners),
            ),
        ),
        None,
        tuple(tied),
        uncountable,
        dict(inactive).get(Inactive.BLANK, 0),
        Outcome.TIED if found.tied_seats or tied else outcome,
        seats=seats,
        of_several=tuple(winners),
        lists=tuple(lists),
        awards=found.awards,
        tied_seats=found.tied_seats,
    )


def _first(
    ordered: Sequence[str], votes: Mapping[str, int], places: int
) -> tuple[list[str], list[str]]:
    """The first of a list, and those who have equal votes at its end."""
    if not places or places >= len(ordered) or votes[ordered[places - 1]] > votes[ordered[places]]:
        return list(ordered[:places]), []
    edge = votes[ordered[places]]
    return (
        [name for name in ordered if votes[name] > edge],
        [name for name in ordered if votes[name] == edge],
    )

"""How a contest fills several seats; pure."""

from __future__ import annotations

import re
from typing import Final

from schemas.control import (
    Conduct,
    ConductedContest,
    Contest,
    ContestMethod,
    ListOrder,
    RankedRules,
    SeatMethod,
    SeatRules,
    WithdrawnVotes,
)
from streams.core.conduct import conduct_of, is_no_share

_DIVISOR: Final = re.compile(r"[1-9][0-9]{0,5}(/[1-9][0-9]{0,5})?")
MAX_SEATS: Final = 999
TRANSFERABLE: Final = frozenset({SeatMethod.STV_SCOTTISH, SeatMethod.STV_MEEK})
"""Methods for rankings; the others are for party lists and single choices."""
RULES_OF_MARKS: Final = frozenset(
    {"overvote", "max_skipped_ranks", "exhaust_on_duplicate", "max_ranks", "lot_seed"}
)
"""Rules that a transferable vote has too: what marks mean, and the seed of the lot."""


def seats_fault(contest: Contest) -> str | None:
    """What is wrong with how several seats are filled, for people; None if nothing is."""
    conduct = conduct_of(contest)
    rules = conduct.seats
    if rules is None or not isinstance(contest, ConductedContest):
        return None
    if fault := _number_fault(contest, rules):
        return fault
    if conduct.winner_quorum is not None or conduct.undeclared_write_in is not None:
        return "winner_quorum and undeclared_write_in are for one seat"
    if rules.method in TRANSFERABLE:
        return _transferable_fault(conduct, rules, contest.rules)
    return _lists_fault(conduct, rules, frozenset(contest.choices or ()))


def _number_fault(contest: ConductedContest, rules: SeatRules) -> str | None:
    if rules.method not in set(SeatMethod):
        return f"count_by is {rules.method!r}; use {', '.join(SeatMethod)}"
    ranked = rules.method in TRANSFERABLE
    if ranked != (contest.method == ContestMethod.RANKED):
        return f"{rules.method} is for {'rankings' if ranked else 'single choices'}"
    numbers = rules.seats.values() if isinstance(rules.seats, dict) else [rules.seats]
    if not numbers or not all(1 <= number <= MAX_SEATS for number in numbers):
        return f"seats are from 1 to {MAX_SEATS}"
    if isinstance(rules.seats, dict) and rules.seats.keys() != frozenset(contest.regions or ()):
        return "seats do not name each region of the candidates once"
    return None


def _transferable_fault(
    conduct: Conduct, rules: SeatRules, marks: RankedRules | None
) -> str | None:
    if rules != SeatRules(rules.method, rules.seats):
        return "threshold, first_divisor and list_order are for party lists"
    if conduct.withdrawn_votes != WithdrawnVotes.NEXT_PREFERENCE:
        return f"withdrawn_votes of {rules.method} is {WithdrawnVotes.NEXT_PREFERENCE}"
    plain = RankedRules()
    for name in RankedRules.__struct_fields__:
        if name not in RULES_OF_MARKS and getattr(marks, name, None) != getattr(plain, name):
            return f"{name} is for one seat"
    return None


def _lists_fault(conduct: Conduct, rules: SeatRules, choices: frozenset[str]) -> str | None:
    share = rules.threshold
    if share is not None and is_no_share(share):
        return f"threshold is {share!r}, which is no share such as 1/20"
    if not _DIVISOR.fullmatch(rules.first_divisor):
        return f"first_divisor is {rules.first_divisor!r}, which is no number such as 7/5"
    if rules.list_order not in set(ListOrder):
        return f"list_order is {rules.list_order!r}; use {', '.join(ListOrder)}"
    if conduct.lots_by_hand:
        return "lots_by_hand is not for party lists: ties for seats are reported"
    if not choices.issuperset(rules.lists):
        return "lists name a candidate who does not stand"
    return None


def seats_of(conduct: Conduct, region: str | None) -> int:
    """How many seats a region has, or the whole country."""
    if conduct.seats is None:
        return 1
    seats = conduct.seats.seats
    return seats if isinstance(seats, int) else seats.get(region or "", 1)

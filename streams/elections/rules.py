"""Rules for ranked ballots as people write them: a preset's name, or an object of settings."""

from __future__ import annotations

import json
from fractions import Fraction
from typing import Any, Final

import msgspec

from schemas.control import (
    CONDUCT_FACTS,
    Conduct,
    MajorityOf,
    Overvote,
    RankedRules,
    SeatRules,
    TieBreak,
)
from streams.core.conduct import share_of
from streams.elections.rounds import DEFAULT_RULES
from streams.elections.seats.stages import STRICT

PRESETS: Final = {
    "default": DEFAULT_RULES,
    # A second skipped rank in a row exhausts a ballot, and so does an over-vote.
    "maine": RankedRules(
        overvote=Overvote.EXHAUST,
        max_skipped_ranks=1,
        batch_elimination=True,
        tie_break=TieBreak.LOT,
    ),
    # An over-voted rank is passed over; candidates who cannot catch up go together.
    "minneapolis": RankedRules(max_ranks=3, batch_elimination=True, tie_break=TieBreak.LOT),
    # Candidates who cannot be elected any more go together, until two remain.
    "new_york_city": RankedRules(
        overvote=Overvote.EXHAUST,
        max_ranks=5,
        batch_elimination=True,
        until_two_remain=True,
        tie_break=TieBreak.EARLIEST_ROUND,
    ),
    # The quota is that of the first count; a paper counts up to the first break in its order.
    "ireland_president": RankedRules(
        overvote=Overvote.EXHAUST,
        max_skipped_ranks=0,
        majority_of=MajorityOf.FIRST_ROUND,
        tie_break=TieBreak.EARLIEST_ROUND,
    ),
    # A paper counts up to the first break in its order, as in a transferable vote.
    "first_break": STRICT,
    # The distribution of preferences goes on until two candidates remain.
    "australia_house": RankedRules(
        full_ranking=True, until_two_remain=True, tie_break=TieBreak.LATEST_ROUND
    ),
}
"""Rules by name. docs/elections.md says whose they are."""


SEAT_SETTINGS: Final = ("count_by", "seats", "threshold", "first_divisor", "list_order")
"""Of :class:`schemas.control.SeatRules`, in its order; the first is its method."""
CONDUCT_SETTINGS: Final = frozenset(Conduct.__struct_fields__) - frozenset(
    CONDUCT_FACTS
) | frozenset(SEAT_SETTINGS)


def read_rules(value: Any, *, ranked: bool) -> tuple[RankedRules | None, Conduct]:
    """The rules in a cell of a table or a field of a JSON file.

    Args:
        value: None or empty; the name of a preset; or an object (in a cell: its JSON) with settings
            of :class:`schemas.control.Conduct` and, for a ranked election, fields of
            :class:`schemas.control.RankedRules` and `preset` for what it begins with.
        ranked: whether it is a ranked election.

    Returns:
        How marks are counted, None for a single choice; and how the election is held.

    Raises:
        ValueError: it is none of these.
    """
    fields: Any = {}
    if isinstance(value, str) and value and not value.lstrip().startswith("{"):
        fields = {"preset": value}
    elif value is not None and value != "":
        fields = json.loads(value) if isinstance(value, str) else value
    if not isinstance(fields, dict):
        raise ValueError("rules are neither the name of a preset nor an object")
    # A ranked election has its own rule of that name.
    settings = CONDUCT_SETTINGS - {"undeclared_write_in"} if ranked else CONDUCT_SETTINGS
    conduct = _conduct({name: field for name, field in fields.items() if name in settings})
    own = {name: field for name, field in fields.items() if name not in settings}
    if not ranked:
        if own:
            raise ValueError(f"the rule {min(own)} is for ranked elections only")
        return None, conduct
    usual = "default" if conduct.seats is None else "first_break"
    base = msgspec.to_builtins(_preset(own.pop("preset", None) or usual))
    try:
        return msgspec.convert(base | own, RankedRules), conduct
    except msgspec.ValidationError as error:
        raise ValueError(f"rules: {error}") from error


def _conduct(given: dict[str, Any]) -> Conduct:
    fields = dict(given)
    seats: dict[str, Any] = {n: fields.pop(n) for n in SEAT_SETTINGS if n in fields}
    if any(value is not None for value in seats.values()):
        fields["seats"] = _seats(seats)
    shares = {
        name: share_of(str(fields[name]))
        for name in ("turnout_quorum", "winner_quorum")
        if fields.get(name) is not None
    }
    try:
        return msgspec.convert(fields | shares, Conduct)
    except msgspec.ValidationError as error:
        raise ValueError(f"rules: {error}") from error


def _seats(fields: dict[str, Any]) -> SeatRules:
    if fields.get("threshold") is not None:
        fields["threshold"] = share_of(str(fields["threshold"]))
    if fields.get("first_divisor") is not None:
        fields["first_divisor"] = str(Fraction(str(fields["first_divisor"])))
    given = {name: value for name, value in fields.items() if value is not None}
    if not {"count_by", "seats"} <= given.keys():
        raise ValueError("several seats need count_by and seats")
    try:
        return msgspec.convert(given | {"method": given.pop("count_by")}, SeatRules)
    except msgspec.ValidationError as error:
        raise ValueError(f"rules: {error}") from error


def shown(rules: RankedRules | None, conduct: Conduct) -> dict[str, Any]:
    """Rules as a JSON object; those of a ranked election with the name of their preset."""
    held = {name: getattr(conduct, name) for name in Conduct.__struct_fields__}
    several = SeatRules.__struct_fields__[: len(SEAT_SETTINGS)]
    held |= {
        name: getattr(conduct.seats, field, None)
        for name, field in zip(SEAT_SETTINGS, several, strict=True)
    }
    settings = {name: held[name] for name in held if name in CONDUCT_SETTINGS}
    if rules is None:
        return settings
    name = next((name for name, preset in PRESETS.items() if preset == rules), None)
    fields: dict[str, Any] = msgspec.to_builtins(rules)
    return {"preset": name, **settings, **fields}


def _preset(name: Any) -> RankedRules:
    try:
        return PRESETS[str(name).strip().lower().replace("-", "_").replace(" ", "_")]
    except KeyError:
        raise ValueError(f"there are no rules {name!r}; use {', '.join(PRESETS)}") from None

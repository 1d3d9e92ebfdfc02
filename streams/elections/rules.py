"""Rules for ranked ballots as people write them: a preset's name, or an object of settings."""

from __future__ import annotations

import json
from typing import Any, Final

import msgspec

from schemas.control import MajorityOf, Overvote, RankedRules, TieBreak
from streams.elections.counting import DEFAULT_RULES

PRESETS: Final = {
    "default": DEFAULT_RULES,
    # A second skipped rank in a row exhausts a ballot, and so does an over-vote.
    "maine": RankedRules(overvote=Overvote.EXHAUST, max_skipped_ranks=1, tie_break=TieBreak.LOT),
    # An over-voted rank is passed over; candidates who cannot catch up go together.
    "minneapolis": RankedRules(max_ranks=3, batch_elimination=True, tie_break=TieBreak.LOT),
    "new_york_city": RankedRules(
        overvote=Overvote.EXHAUST,
        max_ranks=5,
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
    "australia_house": RankedRules(full_ranking=True, tie_break=TieBreak.LATEST_ROUND),
}
"""Rules by name. docs/elections.md says whose they are."""


def read_rules(value: Any) -> RankedRules | None:
    """The rules in a cell of a table or a field of a JSON file.

    Args:
        value: None or empty; the name of a preset; or an object (in a cell: its JSON) with fields
            of :class:`schemas.control.RankedRules`, and `preset` for what it begins with.

    Raises:
        ValueError: it is none of these.
    """
    if value is None or value == "":
        return None
    if isinstance(value, str) and not value.lstrip().startswith("{"):
        return _preset(value)
    fields = json.loads(value) if isinstance(value, str) else value
    if not isinstance(fields, dict):
        raise ValueError("rules are neither the name of a preset nor an object")
    own = {name: field for name, field in fields.items() if name != "preset"}
    base = msgspec.to_builtins(_preset(fields.get("preset", "default")))
    try:
        return msgspec.convert(base | own, RankedRules)
    except msgspec.ValidationError as error:
        raise ValueError(f"rules: {error}") from error


def shown(rules: RankedRules) -> dict[str, Any]:
    """Rules as a JSON object, with the name of the preset that they are."""
    name = next((name for name, preset in PRESETS.items() if preset == rules), None)
    fields: dict[str, Any] = msgspec.to_builtins(rules)
    return {"preset": name, **fields}


def _preset(name: Any) -> RankedRules:
    try:
        return PRESETS[str(name).strip().lower().replace("-", "_").replace(" ", "_")]
    except KeyError:
        raise ValueError(f"there are no rules {name!r}; use {', '.join(PRESETS)}") from None

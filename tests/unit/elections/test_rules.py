"""Rules of ranked elections as people write them."""

from __future__ import annotations

import json

import pytest

from schemas.control import ContestMethod, RankedContest, RankedRules
from streams.core.contests import rules_fault
from streams.elections.definitions import Definitions, ElectionsRefused, contest_of, merged, read
from streams.elections.rules import PRESETS, read_rules, shown


@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_possible_and_found_by_name(name: str) -> None:
    rules = PRESETS[name]
    assert rules_fault(rules, ["1", "2"]) is None
    assert read_rules(name.replace("_", " ").title()) == rules
    assert read_rules(json.dumps(shown(rules) | {"preset": name})) == rules
    assert shown(rules)["preset"] == name


def test_settings_change_a_preset() -> None:
    rules = read_rules({"preset": "maine", "max_skipped_ranks": 2})
    assert rules is not None
    assert (rules.overvote, rules.max_skipped_ranks) == ("exhaust_immediately", 2)
    assert shown(rules)["preset"] is None
    assert read_rules("") is read_rules(None) is None


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("main", "no rules 'main'; use default, maine"),
        ({"overvotes": "skip"}, "overvotes"),
        ({"max_ranks": "three"}, "max_ranks"),
        ([1], "neither"),
        ("{", "Expecting"),
    ],
)
def test_rules_that_cannot_be_read_are_refused(value: object, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        read_rules(value)


def tables(**election: object) -> dict[str, list[dict[str, object]]]:
    return {
        "elections": [{"id": 1, "name": "Mayor", "voting_method": "ranked_choice", **election}],
        "candidates": [{"id": n, "election_id": 1, "last_name": f"C{n}"} for n in (7, 8)],
    }


def announced(**election: object) -> RankedRules | None:
    every = merged(Definitions(), read(tables(**election)))
    contest = contest_of(every, every.elections[1])
    assert contest is not None
    return contest.rules if isinstance(contest, RankedContest) else None


def test_rules_become_part_of_the_contest() -> None:
    assert announced() == PRESETS["default"]
    assert announced(rules="minneapolis") == PRESETS["minneapolis"]
    assert announced(voting_method=ContestMethod.SINGLE) is None


@pytest.mark.parametrize(
    ("election", "why"),
    [
        ({"rules": "nowhere"}, "no rules 'nowhere'"),
        ({"rules": "maine", "voting_method": "single_choice"}, "ranked elections only"),
    ],
)
def test_an_import_refuses_rules_by_row(election: dict[str, object], why: str) -> None:
    with pytest.raises(ElectionsRefused, match=f"Row 1 of elections.*{why}"):
        read(tables(**election))

"""Rules of ranked elections as people write them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import msgspec
import pytest

from schemas.control import Conduct, ContestMethod, RankedContest, RankedRules, SeatRules
from streams.core.contests import rules_fault
from streams.core.ranking import Ranking
from streams.elections.counting import instant_runoff
from streams.elections.definitions import Definitions, ElectionsRefused, contest_of, merged, read
from streams.elections.rounds import DEFAULT_RULES, Inactive
from streams.elections.rules import CONDUCT_SETTINGS, PRESETS, read_rules, shown

PLAIN = Conduct()


@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_possible_and_found_by_name(name: str) -> None:
    rules = PRESETS[name]
    assert rules_fault(rules, ["1", "2"]) is None
    assert read_rules(name.replace("_", " ").title(), ranked=True) == (rules, PLAIN)
    told = shown(rules, PLAIN)
    assert read_rules(json.dumps(told | {"preset": name}), ranked=True) == (rules, PLAIN)
    assert told["preset"] == name


def test_settings_change_a_preset() -> None:
    rules, _ = read_rules({"preset": "maine", "max_skipped_ranks": 2}, ranked=True)
    assert rules is not None
    assert (rules.overvote, rules.max_skipped_ranks) == ("exhaust_immediately", 2)
    assert shown(rules, PLAIN)["preset"] is None
    assert read_rules("", ranked=True) == read_rules(None, ranked=True) == (DEFAULT_RULES, PLAIN)
    assert read_rules("", ranked=False) == (None, PLAIN)


@pytest.mark.parametrize("ranked", [True, False])
def test_how_an_election_is_held_stands_beside_its_rules(ranked: bool) -> None:
    given = {"hidden": True, "turnout_quorum": "25 %", "winner_quorum": 0.5}
    rules, conduct = read_rules(given, ranked=ranked)
    assert conduct == Conduct(hidden=True, turnout_quorum="1/4", winner_quorum="1/2")
    assert rules == (DEFAULT_RULES if ranked else None)
    told = shown(rules, conduct)
    assert (told["hidden"], told["turnout_quorum"], "eligible" in told) == (True, "1/4", False)
    assert ("overvote" in told) is ranked


def test_several_seats_stand_beside_the_rules_too() -> None:
    given = {"count_by": "stv_meek", "seats": {"10": 3}, "max_ranks": 5}
    rules, conduct = read_rules(given, ranked=True)
    assert conduct.seats == SeatRules("stv_meek", {"10": 3})
    assert rules == msgspec.structs.replace(PRESETS["first_break"], max_ranks=5)
    assert read_rules(json.dumps(shown(rules, conduct)), ranked=True) == (rules, conduct)


def test_first_divisors_are_numbers() -> None:
    given = {"count_by": "modified_sainte_lague", "seats": 9, "first_divisor": 1.2}
    _, conduct = read_rules(given | {"threshold": "4 %"}, ranked=False)
    assert conduct.seats == SeatRules("modified_sainte_lague", 9, "1/25", "6/5")
    assert read_rules(shown(None, conduct), ranked=False) == (None, conduct)


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ({"count_by": "hare"}, "need count_by and seats"),
        ({"seats": 2}, "need count_by and seats"),
        ({"seats": "two", "count_by": "hare"}, "seats"),
        ("main", "no rules 'main'; use default, maine"),
        ({"overvotes": "skip"}, "overvotes"),
        ({"max_ranks": "three"}, "max_ranks"),
        ({"hidden": "maybe"}, "hidden"),
        ({"turnout_quorum": "most"}, "most"),
        ({"seed": "a fact, not a setting"}, "seed"),
        ([1], "neither"),
        ("{", "Expecting"),
    ],
)
def test_rules_that_cannot_be_read_are_refused(value: object, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        read_rules(value, ranked=True)


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


def test_irelands_president_of_1990_as_published() -> None:
    lenihan, robinson, currie = "1", "2", "3"
    ballots = {
        (lenihan,): 694_484,
        (robinson,): 612_265,
        (currie, lenihan): 36_789,
        (currie, robinson): 205_565,
        (currie,): 25_548,
    }
    count = instant_runoff("123", ballots, rules=PRESETS["ireland_president"])
    first, second = count.rounds
    assert (dict(first.votes)[currie], first.eliminated) == (267_902, (currie,))
    assert (dict(second.votes), second.elected) == (
        {robinson: 817_830, lenihan: 731_273},
        robinson,
    )
    assert second.exhausted == 25_548


def test_new_york_city_as_the_charter_says() -> None:
    """By hand: five ranks, over-votes end a ballot, skipped ranks do not, batches, two remain."""
    ballots: dict[Ranking, int] = {
        ("A",): 9,
        ("B", "A"): 8,
        ("C", "B"): 2,
        ("", "", "C", "B"): 1,
        ("D", "A=B", "B"): 1,
        ("=", "A"): 1,
        # The sixth rank does not count.
        ("E", "D", "C", "", "", "B"): 1,
    }
    count = instant_runoff("ABCDE", ballots, rules=PRESETS["new_york_city"])
    first, last = count.rounds
    assert dict(first.votes) == {"A": 9, "B": 8, "C": 3, "D": 1, "E": 1}
    # C, D and E have five votes together, fewer than B.
    assert sorted(first.eliminated) == ["C", "D", "E"]
    assert (dict(last.votes), last.elected) == ({"B": 11, "A": 9}, "B")
    gone = {reason: number for reason, number in last.inactive if number}
    assert gone == {Inactive.OVERVOTE: 2, Inactive.CHOICES: 1}


def test_the_documentation_has_every_setting_with_a_test_that_exists() -> None:
    root = Path(__file__).parents[3]
    text = (root / "docs/elections.md").read_text(encoding="utf-8")
    table = dict(re.findall(r"^\| `(\w+)` \|.* `(test_\w+)` \|$", text, re.MULTILINE))
    settings = {*RankedRules.__struct_fields__, *CONDUCT_SETTINGS}
    assert settings <= table.keys()
    tests = "".join(
        path.read_text(encoding="utf-8") for path in (root / "tests").rglob("test_*.py")
    )
    assert [name for name in table.values() if f"def {name}(" not in tests] == []

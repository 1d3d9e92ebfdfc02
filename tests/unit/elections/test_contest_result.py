"""One form of result for every contest, which never says more than is known."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.control import Conduct
from streams.elections.contest_making import (
    ContestFacts,
    Moment,
    result_of_election,
    result_of_totals,
)
from streams.elections.contest_result import ContestPhase, ContestResult, LogPosition, phase_of
from streams.elections.definitions import (
    CandidateDefinition,
    Definitions,
    ElectionDefinition,
    PartyDefinition,
    Region,
)
from streams.elections.patches import change_between
from streams.elections.results import result_of

NOW = datetime(2026, 11, 29, 20, 14, 3, tzinfo=UTC)
MOMENT = Moment(NOW, [LogPosition(0, 41)])
OPEN = ContestFacts("L1", kind="law", title="Law 1", state="open", choices=("oui", "non"))


def proof(*, final: bool, enforced: bool = True) -> dict[str, Any]:
    return {"closed_at": NOW, "final": final, "enforced": enforced}


@pytest.mark.parametrize(
    ("state", "closing", "phase"),
    [
        (None, None, ContestPhase.UNANNOUNCED),
        ("draft", None, ContestPhase.ANNOUNCED),
        ("open", None, ContestPhase.VOTING),
        ("closed", proof(final=False), ContestPhase.COUNTING),
        ("closed", proof(final=True), ContestPhase.FINAL),
        ("archived", proof(final=True), ContestPhase.FINAL),
        ("closed", proof(final=False, enforced=False), ContestPhase.NOT_ENFORCED),
        ("archived", None, ContestPhase.NOT_ENFORCED),
    ],
)
def test_phases(state: str | None, closing: dict[str, Any] | None, phase: ContestPhase) -> None:
    assert phase_of(state, closing) is phase


def test_a_law_while_people_vote() -> None:
    found = result_of_totals(OPEN, {"oui": 3, "non": 1}, MOMENT)
    assert [(one.id, one.votes, one.share) for one in found.choices] == [
        ("oui", 3, 0.75),
        ("non", 1, 0.25),
    ]
    assert [one.leading for one in found.choices] == [True, False]
    assert not any(one.elected for one in found.choices)
    assert (found.total_votes, found.position) == (4, [LogPosition(0, 41)])


@pytest.mark.parametrize("totals", [{}, {"oui": 0}])
def test_without_votes_nobody_leads(totals: dict[str, int]) -> None:
    found = result_of_totals(OPEN, totals, MOMENT)
    assert [(one.id, one.share) for one in found.choices] == [("non", None), ("oui", None)]
    assert not any(one.leading or one.tied or one.elected for one in found.choices)


def test_a_tie_has_no_leader_and_nobody_elected() -> None:
    facts = msgspec.structs.replace(OPEN, state="closed", proof=proof(final=True))
    found = result_of_totals(facts, {"oui": 2, "non": 2}, MOMENT)
    assert all(one.tied and not one.leading and not one.elected for one in found.choices)


def test_only_a_final_result_elects() -> None:
    for final in (False, True):
        facts = msgspec.structs.replace(OPEN, state="closed", proof=proof(final=final))
        found = result_of_totals(facts, {"oui": 2, "non": 1}, MOMENT)
        assert (found.choices[0].leading, found.choices[0].elected) == (not final, final)


def test_a_hidden_contest_tells_only_how_many_voted() -> None:
    facts = msgspec.structs.replace(OPEN, hidden=True)
    found = result_of_totals(facts, {"": 4}, MOMENT)
    assert (found.choices, found.total_votes, found.hidden) == ([], 4, True)


def election(*, regions: bool, hidden: bool = False) -> tuple[ContestFacts, Definitions]:
    held = ElectionDefinition(7, "E7", "Elections", conduct=Conduct(eligible=20))
    known = Definitions(
        {1: PartyDefinition(1, "A", "Apples", "#00ff00")},
        {5: Region(5, "N", "North"), 6: Region(6, "S", "South")},
        {7: held},
        {
            n: CandidateDefinition(n, 7, (5 if n < 3 else 6) if regions else None, 1, f"C{n}", "X")
            for n in (1, 2, 3)
        },
    )
    facts = ContestFacts("election:7", kind="election", state="open", hidden=hidden)
    return facts, known


def test_regions_add_up_to_the_total() -> None:
    facts, known = election(regions=True)
    counted = result_of(known, known.elections[7], [("1", None, 5), ("2", None, 3), ("3", None, 2)])
    found = result_of_election(facts, counted, MOMENT)
    assert set(found.seats) == {"5", "6"}
    assert sum(seat.ballots for seat in found.seats.values()) == found.total_votes == 10
    north = found.seats["5"]
    assert [(c.name, c.votes, c.share, c.leading) for c in north.choices] == [
        ("C1 X", 5, 0.625, True),
        ("C2 X", 3, 0.375, False),
    ]
    assert (north.margin, north.outcome) == (2, "leading")
    assert [(p.code, p.votes, p.seats, p.color) for p in found.parties] == [("A", 10, 2, "#00ff00")]
    assert (found.turnout.share, found.choices) == (0.5, [])


def test_candidates_of_the_whole_country_are_the_choices() -> None:
    facts, known = election(regions=False)
    counted = result_of(known, known.elections[7], [("1", None, 5), ("3", None, 2)])
    found = result_of_election(facts, counted, MOMENT)
    assert [c.id for c in found.choices] == ["1", "3", "2"]
    assert set(found.seats) == {"0"}


def test_a_hidden_election_shows_no_seat_and_no_party() -> None:
    facts, known = election(regions=True, hidden=True)
    counted = result_of(known, known.elections[7], [("1", None, 5)])
    found = result_of_election(facts, counted, MOMENT)
    assert (found.seats, found.parties, found.choices, found.turnout.blank) == ({}, [], [], None)


documents = st.recursive(
    st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3)
    ),
    max_leaves=8,
)


def applied(document: Any, patch: Any) -> Any:
    """RFC 7396, section 2, as its pseudocode has it."""
    if not isinstance(patch, dict):
        return patch
    target = dict(document) if isinstance(document, dict) else {}
    for name, value in patch.items():
        if value is None:
            target.pop(name, None)
        else:
            target[name] = applied(target.get(name), value)
    return target


@given(documents, documents)
def test_a_patch_leads_from_one_document_to_the_other(old: Any, new: Any) -> None:
    assert applied(old, change_between(old, new)) == new


def applied_by_item(document: Any, patch: Any) -> Any:
    """As the pages apply patches (`feed.js`)."""
    if isinstance(document, list) and isinstance(patch, dict):
        assert all(isinstance(each, dict) for each in document)
        indexes = {int(n): each for n, each in patch.items()}
        assert indexes.keys() <= set(range(len(document)))
        return [
            applied_by_item(each, indexes[n]) if n in indexes else each
            for n, each in enumerate(document)
        ]
    if not isinstance(patch, dict):
        return patch
    target = dict(document) if isinstance(document, dict) else {}
    for name, value in patch.items():
        if value is None:
            target.pop(name, None)
        else:
            target[name] = applied_by_item(target.get(name), value)
    return target


@given(st.lists(st.lists(st.integers(0, 9), min_size=7, max_size=7), min_size=1, max_size=6))
def test_what_is_used_again_of_an_earlier_count_changes_nothing(history: list[list[int]]) -> None:
    """Results and patches are those of counts from the beginning, and smaller by item."""
    facts, known = election(regions=True)
    chosen, before, shown = known.elections[7], None, None
    for votes in history:
        ballots = [(str(n), None, number) for n, number in enumerate(votes) if number]
        whole = result_of_election(facts, result_of(known, chosen, ballots), MOMENT)
        counted = result_of(known, chosen, ballots, before)
        again = None if before is None or shown is None else (before, shown)
        made = result_of_election(facts, counted, MOMENT, again)
        assert made == whole
        assert made.total_votes == sum(s.ballots for s in made.seats.values()) + made.uncountable
        if shown is not None:
            old, new = msgspec.to_builtins(shown), msgspec.to_builtins(whole)
            for by_item, apply in ((False, applied), (True, applied_by_item)):
                patch = json.loads(
                    msgspec.json.encode(change_between(shown, made, by_item=by_item))
                )
                assert without_nulls(apply(old, patch)) == without_nulls(new)
        before, shown = counted, made


def without_nulls(document: Any) -> Any:
    """A field that a patch sets to null is missing after it."""
    if isinstance(document, dict):
        return {n: without_nulls(v) for n, v in document.items() if v is not None}
    if isinstance(document, list):
        return [without_nulls(each) for each in document]
    return document


def test_a_patch_of_a_result_names_only_what_changed() -> None:
    facts, known = election(regions=True)
    one, two = (
        msgspec.to_builtins(
            result_of_election(facts, result_of(known, known.elections[7], votes), MOMENT)
        )
        for votes in ([("1", None, 5)], [("1", None, 5), ("3", None, 1)])
    )
    patch = change_between(one, two)
    assert set(patch) == {"total_votes", "seats", "parties", "turnout"}
    assert set(patch["seats"]) == {"6"}


def test_the_form_has_a_json_schema() -> None:
    schema = msgspec.json.schema(ContestResult)
    assert {"ContestResult", "SeatResult", "ChoiceResult"} <= set(schema["$defs"])

"""What may become of a contest."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from schemas.control import Contest, ContestKind, ContestState
from streams.core.contests import (
    ContestRefused,
    archive,
    close_now,
    contest_id,
    create,
    draft,
    due_changes,
    extend,
    from_table,
    open_now,
    reset_to_drafts,
)
from streams.core.dates import parse_begin, parse_end
from streams.runtime.zones import zone_of
from tests.strategies import make_contest

NOW_MS = 1_760_000_000_000
DRAFT, OPEN, CLOSED, ARCHIVED = ContestState


def known(*contests: Contest) -> dict[str, Contest]:
    return {contest.id: contest for contest in contests}


@pytest.mark.parametrize(
    ("name", "kind", "expected"),
    [
        ("C-42", None, "C-42"),
        ("election:1", None, "election:1"),
        ("1", ContestKind.ELECTION, "election:1"),
        ("election:1", ContestKind.ELECTION, "election:1"),
        ("poll:abc", None, "poll:abc"),
    ],
)
def test_an_id_has_its_kinds_prefix_once(
    name: str, kind: ContestKind | None, expected: str
) -> None:
    assert contest_id(name, kind) == expected


def test_a_law_is_answered_with_oui_or_non() -> None:
    assert draft("C-42").choices == ["oui", "non"]
    assert draft("election:1").choices is None
    assert draft("election:1", choices=["7", "7", "42"]).choices == ["7", "42"]
    with pytest.raises(ContestRefused, match="choices are oui and non"):
        draft("C-42", choices=["peut-être"])


def test_a_contest_cannot_close_before_it_opens() -> None:
    with pytest.raises(ContestRefused, match="before it opens"):
        draft("C-42", opens_ms=NOW_MS, closes_ms=NOW_MS)


def test_the_way_of_a_contest() -> None:
    contests = known()
    for step, state in [
        (lambda c: create(c, [draft("C-42")]), DRAFT),
        (lambda c: open_now(c, "C-42", NOW_MS), OPEN),
        (lambda c: close_now(c, "C-42"), CLOSED),
        (lambda c: archive(c, "C-42"), ARCHIVED),
    ]:
        (changed,) = step(contests)
        assert changed.state == state
        contests = known(changed)


@pytest.mark.parametrize("state", list(ContestState))
def test_a_step_given_again_changes_nothing_or_is_refused(state: ContestState) -> None:
    contests = known(replace(draft("C-42"), state=state))
    assert create(contests, [draft("C-42")]) == []
    steps = {
        OPEN: lambda: open_now(contests, "C-42", NOW_MS),
        CLOSED: lambda: close_now(contests, "C-42"),
        ARCHIVED: lambda: archive(contests, "C-42"),
    }
    ways = {(DRAFT, OPEN), (OPEN, CLOSED), (CLOSED, ARCHIVED)}
    same = {(s, s) for s in steps} | {(ARCHIVED, CLOSED)}
    for target, step in steps.items():
        if (state, target) in ways:
            assert [c.state for c in step()] == [target]
        elif (state, target) in same:
            assert step() == []
        else:
            with pytest.raises(ContestRefused):
                step()


def test_a_contest_that_is_not_there_is_named() -> None:
    with pytest.raises(ContestRefused, match=r"no such contest \(contest C-1\)"):
        close_now(known(), "C-1")


def test_only_drafts_are_announced_anew() -> None:
    other = draft("C-42", title="Another")
    assert create(known(draft("C-42")), [other]) == [other]
    with pytest.raises(ContestRefused, match="open already, with another title") as refused:
        create(known(make_contest("C-42")), [other])
    assert "extend" in str(refused.value)
    moved = draft("C-42", closes_ms=NOW_MS)
    with pytest.raises(ContestRefused, match="another end"):
        create(known(make_contest("C-42")), [moved])


def test_a_closing_time_moves_while_the_contest_is_not_over() -> None:
    (later,) = extend(known(make_contest(closes_ms=NOW_MS)), "L2025-001", NOW_MS + 9, NOW_MS)
    assert later.closes_ms == NOW_MS + 9
    assert extend(known(later), later.id, NOW_MS + 9, NOW_MS) == []
    for state in (CLOSED, ARCHIVED):
        with pytest.raises(ContestRefused, match="final"):
            extend(known(make_contest(state=state)), "L2025-001", NOW_MS + 9, NOW_MS)
    with pytest.raises(ContestRefused, match="has passed"):
        extend(known(later), later.id, NOW_MS, NOW_MS)


@given(
    st.sampled_from(list(ContestState)),
    st.none() | st.integers(0, 20),
    st.none() | st.integers(0, 20),
    st.integers(0, 25),
)
def test_time_opens_and_closes_once_and_only_forward(
    state: ContestState, opens: int | None, closes: int | None, now: int
) -> None:
    contests = known(make_contest("C-42", state, opens_ms=opens, closes_ms=closes))
    order = list(ContestState)
    for _ in range(3):
        changed = due_changes(contests, now)
        if not changed:
            break
        assert order.index(changed[0].state) == order.index(contests["C-42"].state) + 1
        contests = known(*changed)
    after = contests["C-42"].state
    if state == DRAFT and opens is not None and opens <= now:
        assert after == (CLOSED if closes is not None and closes <= now else OPEN)
    elif state == OPEN and closes is not None and closes <= now:
        assert after == CLOSED
    else:
        assert after == state


def test_a_rehearsal_begins_with_drafts_again() -> None:
    closed = make_contest("C-1", CLOSED, closes_ms=NOW_MS)
    again = reset_to_drafts(known(closed, make_contest("C-2"), make_contest("C-3", DRAFT)))
    assert again == [make_contest("C-1", DRAFT)]


def test_rows_of_a_file_become_drafts() -> None:
    rows = [
        {"id": "C-42", "closes": "2026-06-01T20:00:00+02:00"},
        {"id": "1", "kind": "election", "choices": "7|42", "title": "Mairie", "roll": "table"},
    ]
    law, election = from_table(rows)
    assert law.closes_ms == parse_begin("2026-06-01T18:00:00Z")
    assert (election.id, election.choices, election.roll) == ("election:1", ["7", "42"], "table")


@pytest.mark.parametrize(
    "row",
    [{}, {"id": "C-1", "state": "open"}, {"id": "C-1", "kind": "vote"}, {"id": "1", "opens": "x"}],
)
def test_a_row_that_is_no_contest_is_numbered(row: dict[str, str]) -> None:
    with pytest.raises(ContestRefused, match="Row 2 of the table is no contest"):
        from_table([{"id": "C-0"}, row])


@pytest.mark.parametrize("day", ["2026-12-05", "20261205"])
def test_a_date_alone_in_a_table_is_a_whole_day(day: str) -> None:
    toronto = zone_of("America/Toronto")
    [law] = from_table([{"id": "C-1", "opens": day, "closes": day}], toronto)
    assert law.opens_ms == parse_begin("2026-12-05T00:00-05:00")
    assert law.closes_ms == parse_end("2026-12-06T00:00-05:00")
    with pytest.raises(ContestRefused, match=r"Row 1 .* does not exist"):
        from_table([{"id": "C-1", "closes": "2026-03-08T02:30"}], toronto)

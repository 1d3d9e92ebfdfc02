"""Several seats of an election: from its definition to the result that is shown."""

from __future__ import annotations

import json
from io import StringIO
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from schemas.control import Conduct, ListOrder, SeatMethod, SeatRules, Withdrawal
from streams.cli.election.show import render_result
from streams.core.conduct import commitment_to
from streams.core.ranking import Ranking
from streams.elections.definitions import contest_of, merged, read
from streams.elections.results import ElectionResult, result_of
from streams.elections.rounds import Count, Outcome
from streams.elections.seats.contest import count_seats
from streams.elections.seats.scottish import scottish
from streams.elections.standing import Standing

NAMES = ("1", "2", "3", "4")
PAPERS: dict[Ranking, int] = {("1", "2"): 7, ("1", "3"): 5, ("1",): 1, ("2",): 4, ("3",): 6}
PARTIES = SeatRules("dhondt", 3, lists={"1": "7", "2": "7", "3": "8"})


def held(rules: SeatRules, **conduct: Any) -> Standing:
    return Standing(NAMES, Conduct(seats=rules, **conduct), "lot|")


def stv(papers: dict[Ranking, int], seats: int = 2, **conduct: Any) -> Count:
    rules = SeatRules("stv_scottish", seats)
    return count_seats(held(rules, **conduct), papers, rules, seats)


def lists(votes: dict[str, int], rules: SeatRules = PARTIES, **conduct: Any) -> Count:
    found = rules.seats
    assert isinstance(found, int)
    return count_seats(
        held(rules, **conduct), {(name,): n for name, n in votes.items()}, rules, found
    )


papers_of = st.dictionaries(
    st.permutations(NAMES).flatmap(lambda p: st.integers(0, 4).map(lambda n: tuple(p[:n]))),
    st.integers(1, 50),
)


@given(papers_of, st.integers(1, 4), st.sampled_from(["stv_scottish", "stv_meek"]))
def test_every_round_has_all_ballots(papers: dict[Ranking, int], seats: int, by: str) -> None:
    rules = SeatRules(by, seats)
    count = count_seats(held(rules), papers, rules, seats)
    cast = sum(papers.values()) * 10**count.places
    for one in count.rounds:
        assert one.active + one.exhausted + one.blank == cast
    assert [name for one in count.rounds for name in one.winners] == list(count.winners)
    assert len(count.winners) == seats
    for one, after in zip(count.rounds, count.rounds[1:], strict=False):
        gained = dict(one.transfers)
        if by == "stv_scottish":
            assert all(
                dict(after.votes)[n] - dict(one.votes)[n] == g for n, g in gained.items() if n
            )


def test_a_surplus_is_a_transfer() -> None:
    count = stv(PAPERS)
    first, *others = count.rounds
    assert (count.winners, count.seats, count.elected) == (("1", "3"), 2, None)
    assert first.transfer is not None
    assert (count.text(first.transfer.quota), first.transfer.surplus_of) == ("8.00000", "1")
    assert {n: count.number(v) for n, v in first.transfers} == {
        "2": "2.69227",
        "3": "1.92305",
        None: "0.38468",
    }
    assert [one.eliminated for one in others] == [("4",), ("2",), ()]


def test_a_withdrawn_candidate_is_passed_over() -> None:
    gone = (Withdrawal("1", "dead"),)
    count = stv(PAPERS, withdrawn=gone)
    assert dict(count.rounds[0].votes) == {"2": 1100000, "3": 1100000, "4": 0}
    assert dict(count.rounds[0].inactive)["informal"] == 100000
    assert count.winners == scottish(("2", "3", "4"), PAPERS, 2, lot="lot|").elected


@pytest.mark.parametrize("by", ["stv_scottish", "stv_meek"])
def test_a_count_waits_for_its_lot(by: str) -> None:
    papers: dict[Ranking, int] = {("1",): 5, ("2",): 3, ("3",): 3, ("4",): 3}
    rules = SeatRules(by, 2)
    standing = Standing(NAMES, Conduct(seats=rules), None)
    count = count_seats(standing, papers, rules, 2)
    assert (count.outcome, count.awaits) == (Outcome.SEED_NEEDED, ("2", "3", "4"))
    assert count.winners == ("1",)
    by_hand = held(rules, lots_by_hand=True)
    assert count_seats(by_hand, papers, rules, 2).outcome == Outcome.LOT_NEEDED
    assert count_seats(held(rules), papers, rules, 2).outcome == Outcome.ELECTED


def test_lists_have_seats_and_the_first_of_them_are_elected() -> None:
    count = lists({"1": 30, "2": 70, "3": 45, "4": 9})
    assert [(one.name, one.votes, one.seats, one.elected) for one in count.lists] == [
        ("7", 100, 2, ("1", "2")),
        ("8", 45, 1, ("3",)),
        ("candidate:4", 9, 0, ()),
    ]
    assert [(award.name, award.by) for award in count.awards] == [("7", 100), ("7", 50), ("8", 45)]
    assert count.outcome == Outcome.ELECTED
    by_votes = SeatRules("dhondt", 2, "1/10", list_order=ListOrder.VOTES, lists=PARTIES.lists)
    count = lists({"1": 30, "2": 70, "3": 52, "4": 9}, by_votes)
    assert [one.elected for one in count.lists] == [("2",), ("3",), ()]
    assert [one.below for one in count.lists] == [False, False, True]


def test_ties_of_lists_and_within_a_list_are_told() -> None:
    count = lists({"1": 60, "3": 60})
    assert (count.outcome, count.tied_seats, count.winners) == (Outcome.TIED, 1, ("1", "3"))
    assert [one.tied for one in count.lists] == [True, True, False]
    rules = SeatRules("hare", 1, list_order=ListOrder.VOTES, lists=PARTIES.lists)
    count = lists({"1": 20, "2": 20, "3": 5}, rules)
    assert (count.outcome, count.tied, count.winners) == (Outcome.TIED, ("1", "2"), ())
    assert lists({}).outcome == Outcome.NOBODY


@pytest.mark.parametrize(
    ("rule", "votes", "elected"),
    [
        ("next_preference", 70, ("2",)),
        ("cannot_be_elected", 100, ("2",)),
        ("seat_vacant_if_elected", 100, ("2",)),
    ],
)
def test_votes_of_a_withdrawn_candidate_of_a_list(
    rule: str, votes: int, elected: tuple[str, ...]
) -> None:
    gone = (Withdrawal("1", "dead"),)
    count = lists({"1": 30, "2": 70, "3": 45}, withdrawn=gone, withdrawn_votes=rule)
    assert (count.lists[0].votes, count.lists[0].elected) == (votes, elected)
    assert count.lists[0].seats == 2


TABLES: dict[str, list[dict[str, Any]]] = {
    "parties": [{"id": 7, "party_code": "A"}, {"id": 8, "party_code": "B"}],
    "regions": [{"id": 5, "region_code": "N"}, {"id": 6, "region_code": "S"}],
    "elections": [
        {
            "id": 1,
            "election_name": "Council",
            "voting_method": "ranked_choice",
            "rules": {"count_by": "stv_scottish", "seats": {"5": 2, "6": 1}},
        },
        {
            "id": 2,
            "election_name": "Assembly",
            "rules": json.dumps({"count_by": "hare", "seats": 3, "threshold": "5%"}),
        },
    ],
    "candidates": [
        *(
            {"id": n, "election_id": 1, "last_name": f"C{n}", "region_id": 5, "party_id": 7}
            for n in (11, 12, 13)
        ),
        *({"id": n, "election_id": 1, "last_name": f"C{n}", "region_id": 6} for n in (21, 22)),
        {"id": 31, "election_id": 2, "last_name": "D31", "party_id": 7},
        {"id": 32, "election_id": 2, "last_name": "D32", "party_id": 8},
        {"id": 33, "election_id": 2, "last_name": "D33"},
    ],
}
KNOWN = merged(read({}), read(TABLES))


def result(number: int, ballots: list[tuple[str, int]], *, final: bool = True) -> ElectionResult:
    found = result_of(KNOWN, KNOWN.elections[number], [(text, None, n) for text, n in ballots])
    return ElectionResult(**{**vars(found), "final": final})


COUNCIL = [("11>12", 10), ("12", 4), ("13", 2), ("21", 3), ("22", 2), ("11=12", 1)]


def test_the_contest_carries_seats_and_lists() -> None:
    council, assembly = (contest_of(KNOWN, KNOWN.elections[n]) for n in (1, 2))
    assert council is not None
    assert assembly is not None
    assert council.conduct.seats == SeatRules("stv_scottish", {"5": 2, "6": 1})
    assert council.rules.overvote == "exhaust_immediately"
    assert assembly.conduct.seats == SeatRules("hare", 3, "1/20", lists={"31": "7", "32": "8"})


def test_a_result_names_all_who_are_elected_by_stage() -> None:
    found = result(1, COUNCIL).as_dict()
    north, south = found["seats"]
    assert (north["seats"], north["elected"], north["all_elected"]) == (2, None, [11, 12])
    first, last = north["rounds"]
    assert (first["quota"], first["all_elected"], first["surplus_of"]) == ("6.00000", [11], 11)
    assert first["votes"] == {"11": "10.00000", "12": "4.00000", "13": "2.00000"}
    assert first["inactive"] == {"informal": "1.00000"}
    assert (last["votes"]["12"], last["all_elected"]) == ("8.00000", [12])
    assert (south["all_elected"], south["outcome"]) == ([21], "elected")
    assert found["parties"][0] == {"party_code": "A", "votes": 16, "seats": 2, "leading": 0}
    assert (found["rules"]["count_by"], found["rules"]["seats"]) == (
        "stv_scottish",
        {"5": 2, "6": 1},
    )
    early = result(1, COUNCIL, final=False).as_dict()["seats"][0]
    assert (early["all_elected"], early["all_leading"], early["outcome"]) == (
        [],
        [11, 12],
        "leading",
    )


def test_a_result_of_lists_has_their_seats() -> None:
    found = result(2, [("31", 60), ("32", 35), ("33", 4)]).as_dict()
    [seat] = found["seats"]
    assert [(one["party_code"], one["seats"], one["all_elected"]) for one in seat["lists"]] == [
        ("A", 2, [31]),
        ("B", 1, [32]),
        (None, 0, []),
    ]
    assert [one["list"] for one in seat["awards"]] == ["7", "8", "7"]
    assert seat["lists"][2]["below_threshold"] is True
    assert [(one["party_code"], one["seats"]) for one in found["parties"]] == [
        ("A", 2),
        ("B", 1),
        (None, 0),
    ]


def test_the_terminal_shows_quota_surplus_and_lists() -> None:
    screen = Console(width=100, file=StringIO(), record=True)
    screen.print(render_result(result(1, COUNCIL)))
    screen.print(render_result(result(2, [("31", 60), ("32", 35), ("33", 4)])))
    text = screen.export_text()
    assert "elected: C11, C12" in text
    assert "round 1: C11 reached a seat; the quota is 6.00000" in text
    assert "round 1: the surplus of C11 goes on" in text
    assert "below the threshold" in text


def test_a_lot_of_several_seats_comes_from_the_revealed_seed() -> None:
    election = KNOWN.elections[1]
    even = [("11", 5), ("12", 3), ("13", 3)]
    seed = "a seed that is long enough"
    outcomes = []
    for known in (None, seed):
        conduct = Conduct(
            seats=election.conduct.seats, seed_commitment=commitment_to(seed), seed=known
        )
        changed = type(election)(**{**vars(election), "conduct": conduct})
        found = result_of(KNOWN, changed, [(text, None, n) for text, n in even])
        outcomes.append(found.seats[0].count.outcome)
    assert outcomes == [Outcome.SEED_NEEDED, Outcome.ELECTED]


def test_the_apportionments_are_methods_of_contests() -> None:
    for method in SeatMethod:
        if not method.startswith("stv"):
            assert lists({"1": 5, "3": 3}, SeatRules(method, 2, lists=PARTIES.lists)).winners

"""Decoding of ballots in elections: rankings, and votes that name no election."""

from __future__ import annotations

from typing import Any

import pytest

from schemas.votes import Kind, Vote
from streams.messages.fields import MalformedReason
from tests.unit.messages.test_decode import DOCUMENTED, HASH, NOON, reason, run, vote

BALLOT = {"voter_hash": HASH, "election_id": 1, "vote_timestamp": NOON}


@pytest.mark.parametrize(
    "ranks",
    [
        {"ranked_choices": [7, 42, 3]},
        {"ranked_choices": ["7", "42", "3"], "voting_method": "ranked_choice"},
        {"ranked_choices": [7, 42, 3], "candidate_id": 7},
        {"candidate_id": "7>42>3"},
        {
            "ranked_choices": [
                {"candidate_id": 42, "rank": 2},
                {"candidate_id": 7, "rank": 1},
                {"candidate_id": 3, "rank": "3"},
            ]
        },
        {"ranked_choices": [{"candidate_id": c, "rank": n} for n, c in enumerate((7, 42, 3))]},
    ],
)
def test_a_ranking_is_one_choice(ranks: dict[str, Any]) -> None:
    ballot = vote(BALLOT | ranks)
    assert (ballot.contest, ballot.kind, ballot.choice) == (
        "election:1",
        Kind.CANDIDATE,
        "7>42>3",
    )
    assert "ranked_choices" not in (ballot.metadata or "")


def at(*marks: tuple[int, object]) -> list[dict[str, object]]:
    return [{"candidate_id": candidate, "rank": rank} for candidate, rank in marks]


@pytest.mark.parametrize(
    ("ranks", "choice"),
    [
        ([7, 7], "7>7"),
        ([7, [42, 3], 5], "7>3=42>5"),
        ([[42, 3, 42]], "3=42"),
        ([None, 7, None, 3, None], ">7>>3"),
        (at((7, 1), (42, 1), (3, 9)), "42=7>>>>>>>>3"),
        (at((7, 1), (7, 2)), "7>7"),
        ([], ">"),
        ([None, []], ">"),
        (at((3, 2)), ">3"),
        ([{"candidate_id": None, "rank": 1}, {"candidate_id": [3, 7], "rank": 2}], ">3=7"),
    ],
)
def test_a_ballot_is_never_malformed_for_how_it_was_marked(ranks: list[Any], choice: str) -> None:
    ballot = vote(BALLOT | {"ranked_choices": ranks})
    assert (ballot.contest, ballot.choice) == ("election:1", choice)


@pytest.mark.parametrize("candidate", [7, 42, "42=7>3"])
def test_a_candidate_beside_a_ranking_is_one_of_its_first(candidate: object) -> None:
    ranks = {"ranked_choices": [None, [7, 42], 3], "candidate_id": candidate}
    assert vote(BALLOT | ranks | {"ranked_choices": [[7, 42], 3]}).choice == "42=7>3"
    assert reason(BALLOT | ranks | {"candidate_id": 3}) == MalformedReason.CONFLICTING_FIELDS


@pytest.mark.parametrize(
    ("ranks", "why"),
    [
        ({"ranked_choices": at((3, 1025))}, MalformedReason.BAD_RANKING),
        ({"ranked_choices": at((3, -1))}, MalformedReason.BAD_RANKING),
        ({"ranked_choices": at((3, "1.5"))}, MalformedReason.WRONG_TYPE),
        ({"ranked_choices": at((3, True))}, MalformedReason.WRONG_TYPE),
        ({"ranked_choices": ["7=3"]}, MalformedReason.BAD_RANKING),
        ({"ranked_choices": ["7>3"]}, MalformedReason.BAD_RANKING),
        ({"ranked_choices": [str(n) * 9 for n in range(200)]}, MalformedReason.BAD_RANKING),
        ({"ranked_choices": [7, 3], "candidate_id": 3}, MalformedReason.CONFLICTING_FIELDS),
        ({"ranked_choices": [7, True]}, MalformedReason.WRONG_TYPE),
        ({"ranked_choices": "7"}, MalformedReason.WRONG_TYPE),
        ({"ranked_choices": [7, {"candidate_id": 3, "rank": 1}]}, MalformedReason.WRONG_TYPE),
        ({"ranked_choices": [{"candidate_id": 3}]}, MalformedReason.WRONG_TYPE),
        ({"ranked_choices": [], "election_id": None}, MalformedReason.MISSING_CONTEST),
    ],
)
def test_no_ranking(ranks: dict[str, Any], why: MalformedReason) -> None:
    assert reason(BALLOT | ranks) == why


@pytest.mark.parametrize("method", ["single_choice", {"a": []}, 5])
def test_ranks_beside_another_method_are_not_meant(method: object) -> None:
    ballot = vote(BALLOT | {"candidate_id": 7, "ranked_choices": [3, 7], "voting_method": method})
    assert ballot.choice == "7"


@pytest.mark.parametrize("more", [{}, {"region_id": 5}])
def test_votes_without_an_election_are_for_the_one_that_is_set(more: dict[str, Any]) -> None:
    """The second body takes the thorough way."""
    body = {"voter_hash": HASH, "candidate_id": 7, "vote_timestamp": NOON} | more
    assert vote(body).contest == "election:"
    set_to = run(body, default_election="1")
    named = run(body | {"election_id": 1}, default_election="2")
    assert isinstance(set_to.item, Vote)
    assert isinstance(named.item, Vote)
    assert set_to.item.contest == named.item.contest == "election:1"
    assert set_to.key == named.key
    assert vote(DOCUMENTED, default_election="1").contest == "law-001"

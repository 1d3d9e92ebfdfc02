"""Ballots of a file as votes: candidates by name, identities that do not change, marks kept."""

from __future__ import annotations

import json

import pytest

from schemas.votes import Vote
from streams.core.ranking import from_text
from streams.elections.definitions import CandidateDefinition, ElectionDefinition
from streams.elections.files.items import FileBallot, FileLayout, FileRefused, NoBallot
from streams.elections.files.votes import FileVote, Source, match, votes_of
from streams.messages.decode import decode

ELECTION = ElectionDefinition(4, "E-4", "Ward", method="ranked_choice")
SINGLE = ElectionDefinition(4, "E-4", "Ward")
SOURCE = Source("ward.blt", "ab" * 32)
STANDING = [
    CandidateDefinition(number, 4, None, None, first, last)
    for number, first, last in ((7, "Ann", "Lee"), (8, "Bob", "Ng"), (9, "Cyd", "Roe"))
]
LAYOUT = FileLayout(
    {"1": "ann  LEE", "2": "Bob Ng", "3": "Gone", "4": "9"}, withdrawn=frozenset("3")
)


def decoded(vote: FileVote) -> Vote:
    found = decode(
        vote.body,
        vote.message_id.encode(),
        redelivered=False,
        prevalidated=True,
        ingest_us=1,
        max_body_bytes=4096,
    ).item
    assert isinstance(found, Vote)
    return found


def votes(marks: tuple[tuple[str, ...], ...], number: int = 1, row: int = 3) -> list[FileVote]:
    ballot = FileBallot(row, marks, number)
    return list(votes_of(ballot, match(LAYOUT, STANDING), ELECTION, SOURCE))


@pytest.mark.parametrize(
    ("marks", "choice"),
    [
        ((("1",), ("2",)), "7>8"),
        ((("=",), ("2",)), "=>8"),
        ((("1", "4"), (), ("2",)), "7=9>>8"),
        ((("1",), ("1",)), "7>7"),
        ((("3",), ("2",)), "8"),
        ((("1", "3"), ("2",)), "7>8"),
        ((), ">"),
        ((("3",),), ">"),
    ],
)
def test_marks_reach_the_log_as_they_were_made(
    marks: tuple[tuple[str, ...], ...], choice: str
) -> None:
    [vote] = votes(marks)
    assert (decoded(vote).choice, decoded(vote).contest) == (choice, "election:4")
    names = match(LAYOUT, STANDING)
    assert names.ranking(FileBallot(3, marks)) == from_text(choice)


def test_each_ballot_of_a_line_is_a_voter_and_says_where_it_comes_from() -> None:
    first = votes((("1",),), 3)
    assert first == votes((("1",),), 3)
    found = [decoded(vote) for vote in (*first, *votes((("1",),), 1, row=4))]
    assert len({vote.hash for vote in found}) == len({v.identity for v in found}) == 4
    assert json.loads(found[0].metadata or "")["source"] == {
        "file": "ward.blt",
        "sha256": "ab" * 32,
        "row": 3,
    }
    other = votes_of(
        FileBallot(3, (("1",),)), match(LAYOUT, STANDING), ELECTION, Source("ward.blt", "cd" * 32)
    )
    assert decoded(next(other)).hash != found[0].hash


def test_a_single_choice_takes_one_mark_and_the_region() -> None:
    names = match(LAYOUT, STANDING)
    [vote] = votes_of(FileBallot(1, (("2",),)), names, SINGLE, SOURCE, region=5)
    assert (decoded(vote).choice, json.loads(vote.body)["region_id"]) == ("8", 5)
    for marks in ((), (("1", "2"),), (("1",), ("2",))):
        with pytest.raises(NoBallot, match="not exactly one"):
            list(votes_of(FileBallot(1, marks), names, SINGLE, SOURCE))


def test_names_that_nobody_has_are_refused_before_anything_is_sent() -> None:
    layout = FileLayout({"1": "Ann Lee", "2": "Robert Ng"})
    with pytest.raises(FileRefused, match="No candidate is called 'Robert Ng'"):
        match(layout, STANDING)
    assert match(layout, STANDING, {"Robert NG": "8"}).known == {"1": "7", "2": "8"}
    with pytest.raises(FileRefused, match="no candidate 6"):
        match(layout, STANDING, {"Robert Ng": "6"})
    with pytest.raises(FileRefused, match="the same candidate"):
        match(layout, STANDING, {"Robert Ng": "7"})
    namesakes = [*STANDING, CandidateDefinition(10, 4, None, None, "ann", "lee")]
    with pytest.raises(FileRefused, match="'Ann Lee'"):
        match(FileLayout({"1": "Ann Lee"}), namesakes)


def test_a_file_without_a_list_of_names_is_checked_line_by_line() -> None:
    names = match(FileLayout(open_names=True), STANDING)
    assert names.ranks(FileBallot(1, (("bob ng",), ("7",)))) == [["8"], ["7"]]
    with pytest.raises(NoBallot, match="no candidate 'Eve'"):
        names.ranks(FileBallot(1, (("Eve",),)))


def test_a_ballot_that_no_vote_can_hold_is_refused() -> None:
    names = match(LAYOUT, STANDING)
    with pytest.raises(NoBallot, match="longer than"):
        names.ranks(FileBallot(1, (("1",),) * 600))

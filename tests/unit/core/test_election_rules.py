"""Votes in elections with regions and rankings, judged by the log."""

from __future__ import annotations

import pytest

from schemas.codec import decode_input, decode_voted, encode
from schemas.control import Contest, ContestsChanged
from schemas.voted import ControlRecord
from schemas.votes import Kind, VoteBatch
from streams.core.voted_partition import VotedPartition
from tests.strategies import LOG_ID, contests_changed, make_batch, make_contest, make_vote, under
from tests.unit.core.test_rules import last


def ballot(choice: str, metadata: str | None = None, voter: int = 1) -> VoteBatch:
    vote = make_vote(
        voter, contest="election:1", kind=Kind.CANDIDATE, choice=choice, metadata=metadata
    )
    return under(make_batch(vote))


REGIONAL = make_contest("election:1", choices=["7", "8", "42"], regions=["5", "5", "6"])
RANKED = make_contest("election:1", choices=["7", "8", "42"], regions=["5", "5", "6"], ranked=True)


@pytest.mark.parametrize(
    ("contest", "choice", "metadata", "why"),
    [
        (REGIONAL, "7", None, []),
        (REGIONAL, "7", '{"region_id":5}', []),
        (REGIONAL, "7", '{"region_id":"5","other":[1]}', []),
        (REGIONAL, "7", '{"region_id":6}', ["other_region"]),
        (REGIONAL, "42", '{"region_id":"5"}', ["other_region"]),
        (REGIONAL, "7", '{"region_id":{}}', []),
        (REGIONAL, "9", '{"region_id":5}', ["choice_not_allowed"]),
        (REGIONAL, "7>8", None, ["choice_not_allowed"]),
        (RANKED, "7>8", '{"region_id":5}', []),
        (RANKED, "8", None, []),
        (RANKED, "7>8", '{"region_id":6}', ["other_region"]),
        (RANKED, "7>42", None, ["other_region"]),
        (RANKED, "7>7", None, ["choice_not_allowed"]),
        (RANKED, "7>", None, ["choice_not_allowed"]),
        (RANKED, "7>9", None, ["choice_not_allowed"]),
    ],
)
def test_candidates_and_regions(
    contest: Contest, choice: str, metadata: str | None, why: list[str]
) -> None:
    assert last(contests_changed(1, contest), ballot(choice, metadata)) == why


def test_regions_and_rankings_come_back_with_the_changelog() -> None:
    change_ = ControlRecord(LOG_ID, contests_changed(1, RANKED))
    table = VotedPartition(0)
    decoded = decode_voted(encode(change_))
    table.apply(0, decoded)
    assert table.rules.contests == {"election:1": RANKED}


def test_a_plain_contest_is_written_as_it_always_was() -> None:
    plain = contests_changed(1, make_contest(), enforced=False)
    assert encode(plain)[2:12] == b"contests/1"
    assert encode(contests_changed(1, RANKED, enforced=False))[2:12] == b"contests/2"
    assert encode(contests_changed(1, make_contest()))[2:12] == b"contests/3"
    both = decode_input(encode(contests_changed(1, make_contest(), RANKED)))
    assert isinstance(both, ContestsChanged)
    assert both.contests[1] == RANKED

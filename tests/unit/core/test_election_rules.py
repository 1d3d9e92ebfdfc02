"""Votes in elections with regions and rankings, judged by the log."""

from __future__ import annotations

import msgspec
import pytest

from schemas.codec import decode_input, decode_voted, encode
from schemas.control import Contest, ContestsChanged, RankedRules
from schemas.voted import ControlRecord
from schemas.votes import Kind, VoteBatch
from streams.core.contests import ContestRefused, draft
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


MARKED = make_contest(
    "election:1",
    choices=["7", "8", "42"],
    regions=["5", "5", "6"],
    ranked=True,
    rules=RankedRules(),
)


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
        # Skipped ranks count as before there were rules, when the bridge left them out.
        (RANKED, ">7>>8", None, []),
        (RANKED, "7=8", None, ["choice_not_allowed"]),
        (RANKED, ">", None, ["choice_not_allowed"]),
        (RANKED, "7>9", None, ["choice_not_allowed"]),
        *(
            (MARKED, choice, None, [])
            for choice in (">", "7", "7>7", "7=8>7", ">7>>8", "7=7>8", "7>8>7>8")
        ),
        (MARKED, "7=42", None, ["other_region"]),
        (MARKED, "7=9", None, ["choice_not_allowed"]),
        (MARKED, "7==8", None, ["choice_not_allowed"]),
        (MARKED, ">", '{"region_id":6}', []),
    ],
)
def test_candidates_and_regions(
    contest: Contest, choice: str, metadata: str | None, why: list[str]
) -> None:
    assert last(contests_changed(1, contest), ballot(choice, metadata)) == why


@pytest.mark.parametrize("contest", [RANKED, MARKED])
def test_regions_and_rankings_come_back_with_the_changelog(contest: Contest) -> None:
    change_ = ControlRecord(LOG_ID, contests_changed(1, contest))
    table = VotedPartition(0)
    decoded = decode_voted(encode(change_))
    table.apply(0, decoded)
    assert table.rules.contests == {"election:1": contest}
    assert table.rules.enforced == {"election:1"}


def test_rules_do_not_change_once_a_contest_is_open() -> None:
    other = msgspec.structs.replace(MARKED, rules=RankedRules(min_votes=5))
    table = VotedPartition(0)
    for offset, contest in enumerate((MARKED, other)):
        table.apply(offset, ControlRecord(LOG_ID, contests_changed(offset + 1, contest)))
    assert table.rules.contests == {"election:1": MARKED}
    assert table.rules.ignored == 1


@pytest.mark.parametrize(
    "rules",
    [
        RankedRules(overvote="guess"),
        RankedRules(majority_of="all"),
        RankedRules(tie_break="coin"),
        RankedRules(max_ranks=0),
        RankedRules(max_skipped_ranks=-1),
        RankedRules(undeclared_write_in="9"),
    ],
)
def test_rules_that_nobody_can_follow_are_refused_by_command_and_log(rules: RankedRules) -> None:
    with pytest.raises(ContestRefused, match="rules"):
        draft("election:1", choices=["7", "8"], method="ranked", rules=rules)
    table = VotedPartition(0)
    forged = msgspec.structs.replace(MARKED, rules=rules)
    table.apply(0, ControlRecord(LOG_ID, contests_changed(1, forged)))
    assert table.rules.contests == {}


def test_a_plain_contest_is_written_as_it_always_was() -> None:
    plain = contests_changed(1, make_contest(), enforced=False)
    assert encode(plain)[2:12] == b"contests/1"
    assert encode(contests_changed(1, RANKED, enforced=False))[2:12] == b"contests/2"
    assert encode(contests_changed(1, make_contest()))[2:12] == b"contests/3"
    assert encode(contests_changed(1, MARKED))[2:12] == b"contests/4"
    loose = decode_input(encode(contests_changed(1, make_contest(), MARKED, enforced=False)))
    assert isinstance(loose, ContestsChanged)
    assert (loose.contests[1], loose.enforced) == (MARKED, False)
    both = decode_input(encode(contests_changed(1, make_contest(), RANKED)))
    assert isinstance(both, ContestsChanged)
    assert both.contests[1] == RANKED

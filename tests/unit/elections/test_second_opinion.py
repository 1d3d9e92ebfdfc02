"""A second opinion: the first round in which two counts differ."""

from __future__ import annotations

import json
from typing import Any

import pytest

from streams.cli.election.compare import compared
from streams.elections.definitions import merged, read
from streams.elections.reports.tables import rounds
from streams.elections.results import ElectionResult, result_of
from streams.elections.second_opinion import (
    OpinionRefused,
    first_difference,
    published_rounds,
    rounds_of,
    rules_of_rctab,
)
from streams.errors import SettingsError

NAMES = {11: "Ann", 12: "Bob", 13: "Cyd"}
SKIPPING = [("11", 5), ("12", 4), (">>13>12", 3)]


def counted(ballots: list[tuple[str, int]], **rules: Any) -> ElectionResult:
    known = merged(
        read({}),
        read(
            {
                "elections": [
                    {
                        "id": 1,
                        "election_name": "Mayor",
                        "voting_method": "ranked_choice",
                        "rules": rules,
                    }
                ],
                "candidates": [
                    {"id": n, "election_id": 1, "last_name": name} for n, name in NAMES.items()
                ],
            }
        ),
    )
    return result_of(known, known.elections[1], [(text, None, n) for text, n in ballots])


def test_the_first_round_that_differs_is_named() -> None:
    found = compared(counted(SKIPPING), {"preset": "maine"})
    [seat] = found["seats"]
    assert (found["same"], seat["elected"], seat["other_elected"]) == (False, ("Bob",), ("Ann",))
    difference = seat["first_difference"]
    assert (difference["round"], difference["candidates"]) == (1, ("cyd",))
    assert difference["ours"]["votes"] == {"Ann": "5", "Bob": "4", "Cyd": "3"}
    assert difference["theirs"]["votes"] == {"Ann": "5", "Bob": "4"}
    assert compared(counted(SKIPPING), {})["same"] is True


def test_a_configuration_of_rctab_is_rules() -> None:
    config = {
        "rules": {
            "overvoteRule": "exhaustImmediately",
            "maxSkippedRanksAllowed": "1",
            "maxRankingsAllowed": "max",
            "tiebreakMode": "random",
            "randomSeed": "17",
            "winnerElectionMode": "singleWinnerMajority",
            "minimumVoteThreshold": "",
        }
    }
    assert rules_of_rctab(config) == {
        "overvote": "exhaust_immediately",
        "max_skipped_ranks": 1,
        "exhaust_on_duplicate": False,
        "max_ranks": None,
        "until_two_remain": False,
        "batch_elimination": False,
        "min_votes": 0,
        "max_rounds": None,
        "tie_break": "lot",
        "lot_seed": "17",
    }
    assert compared(counted(SKIPPING), config)["same"] is False
    with pytest.raises(OpinionRefused, match="bottomsUp"):
        rules_of_rctab({"rules": {"winnerElectionMode": "bottomsUp"}})


def test_published_rounds_are_compared_by_name_and_number() -> None:
    ours = counted(SKIPPING)
    final = ElectionResult(**{**vars(ours), "final": True})
    summary = json.loads(json.dumps(rounds(final, final.seats[0])))
    assert compared(ours, summary)["same"] is True
    summary["results"][0]["tally"] = {" ANN": 5.0, "bob": "4", "Cyd": 3, "Write-in": 0}
    assert compared(ours, [summary])["same"] is True
    summary["results"][1]["tally"]["Bob"] = "8"
    difference = first_difference(rounds_of(ours.seats[0]), published_rounds(summary))
    assert difference is not None
    assert (difference.round, difference.candidates) == (2, ("bob",))
    summary["results"].pop()
    ended = first_difference(rounds_of(ours.seats[0]), published_rounds(summary))
    assert ended is not None
    assert (ended.round, ended.theirs) == (2, None)


@pytest.mark.parametrize(
    "text", ["{}", '{"results": [{}]}', '{"results": [{"tally": {"A": "x"}}]}']
)
def test_what_is_no_summary_is_refused(text: str) -> None:
    with pytest.raises(OpinionRefused):
        published_rounds(json.loads(text))


def test_what_is_no_opinion_is_refused() -> None:
    with pytest.raises(SettingsError, match="no rules"):
        compared(counted(SKIPPING), {"preset": "nowhere"})
    with pytest.raises(OpinionRefused, match="2 contests"):
        compared(counted(SKIPPING), [{"results": []}, {"results": []}])


def test_several_seats_have_another_method_as_second_opinion() -> None:
    ballots = [("11>12", 7), ("11>13", 5), ("11", 1), ("12", 4), ("13", 6)]
    ours = counted(ballots, count_by="stv_scottish", seats=2)
    found = compared(ours, {"count_by": "stv_meek", "seats": 2})
    [seat] = found["seats"]
    assert (seat["elected"], seat["first_difference"]["round"]) == (("Ann", "Cyd"), 2)
    assert compared(ours, {"preset": "first_break"})["same"] is True

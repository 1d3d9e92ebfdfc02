"""Results as rows for open data, with a data dictionary, and rounds as RCTab writes them. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from streams.elections.results import BROKEN_BY, ElectionResult, Seat

COLUMNS: Final = {
    "election_id": "number of the election",
    "election_name": "name of the election",
    "region_id": "number of the region; empty: the whole country",
    "region_name": "name of the region",
    "round": "number of the round, from 1",
    "candidate_id": "number of the candidate",
    "candidate_name": "name on the ballot",
    "party_code": "code of the candidate's party; empty: none",
    "votes": "ballots that count for the candidate in this round",
    "transferred": "of these, ballots that came at the end of the round before",
    "status": "elected, leading (the result is not final), eliminated in this round, or continuing",
    "active": "ballots that count for a candidate in this round",
    "exhausted": "ballots with marks that count for nobody in this round",
    "blank": "ballots without a mark",
    "final": "true: the contest is closed, and every vote cast in time is counted",
}
"""Column -> what it holds: the data dictionary."""


def rows(result: ElectionResult) -> Iterator[dict[str, Any]]:
    """A row for each seat, round and candidate who is in it."""
    won = "elected" if result.final else "leading"
    for seat in result.seats:
        candidates = {str(one.id): one for one in seat.candidates}
        received: dict[str | None, int] = {}
        for one in seat.count.rounds:
            for name, votes in one.votes:
                candidate = candidates[name]
                party = result.definitions.parties.get(candidate.party_id or 0)
                status = "eliminated" if name in one.eliminated else "continuing"
                yield {
                    "election_id": result.election.id,
                    "election_name": result.election.name,
                    "region_id": seat.region.id if seat.region else None,
                    "region_name": seat.region.name if seat.region else None,
                    "round": one.number,
                    "candidate_id": candidate.id,
                    "candidate_name": candidate.name,
                    "party_code": party.code if party else None,
                    "votes": votes,
                    "transferred": received.get(name, 0),
                    "status": won if one.elected == name else status,
                    "active": one.active,
                    "exhausted": one.exhausted,
                    "blank": one.blank,
                    "final": result.final,
                }
            received = dict(one.transfers)


def rounds(result: ElectionResult, seat: Seat) -> dict[str, Any]:
    """The rounds of a seat in the form of RCTab's summary: names and numbers as text."""
    names = {str(one.id): one.name for one in seat.candidates}

    def shown(transfers: tuple[tuple[str | None, int], ...]) -> dict[str, str]:
        return {"exhausted" if to is None else names[to]: str(number) for to, number in transfers}

    return {
        "config": {
            "contest": f"{result.election.name}"
            + (f" - {seat.region.name}" if seat.region else ""),
            "date": result.election.date.isoformat() if result.election.date else None,
            "final": result.final,
        },
        "results": [
            {
                "round": one.number,
                "tally": {names[name]: str(votes) for name, votes in one.votes},
                "inactiveBallots": {str(why): str(number) for why, number in one.inactive},
                "tallyResults": [
                    *({"eliminated": names[name]} for name in one.eliminated),
                    *([{"transfers": shown(one.transfers)}] if one.transfers else []),
                    *(
                        [{"elected" if result.final else "leading": names[one.elected]}]
                        if one.elected
                        else []
                    ),
                ],
                "tie": None
                if one.tie is None
                else {
                    "candidates": [names[name] for name in one.tie.candidates],
                    "brokenBy": BROKEN_BY.get(one.tie.round, f"round {one.tie.round}"),
                },
            }
            for one in seat.count.rounds
        ],
    }

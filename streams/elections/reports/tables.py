"""Results as rows for open data, with a data dictionary, and rounds as RCTab writes them. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any, Final

from streams.elections.results import BROKEN_BY, ElectionResult, Seat
from streams.elections.rounds import Count, fixed

COLUMNS: Final = {
    "election_id": "number of the election",
    "election_name": "name of the election",
    "region_id": "number of the region; empty: the whole country",
    "region_name": "name of the region",
    "round": "number of the round, from 1",
    "candidate_id": "number of the candidate",
    "candidate_name": "name on the ballot",
    "party_code": "code of the candidate's party; empty: none",
    "votes": "ballots that count for the candidate in this round; of a transferable vote in"
    " decimal places",
    "transferred": "of these, ballots that came at the end of the round before",
    "status": "elected here or before, leading (the same, and the result is not final),"
    " eliminated in this round, or continuing",
    "seats": "seats of the region",
    "quota": "votes that elect, in a transferable vote; empty: another method",
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
        count = seat.count
        elected: set[str] = set()
        for one in seat.count.rounds:
            elected.update(one.winners, filter(None, [one.elected]))
            quota = None if one.transfer is None else one.transfer.quota
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
                    "votes": _number(count, votes),
                    "transferred": _number(count, received.get(name, 0)),
                    "status": won if name in elected else status,
                    "seats": count.seats,
                    "quota": None if quota is None else _number(count, quota),
                    "active": _number(count, one.active),
                    "exhausted": _number(count, one.exhausted),
                    "blank": _number(count, one.blank),
                    "final": result.final,
                }
            received = dict(one.transfers)


def _number(count: Count, value: int) -> int | Decimal:
    return Decimal(value).scaleb(-count.places) if count.places else value


def rounds(result: ElectionResult, seat: Seat) -> dict[str, Any]:
    """The rounds of a seat in the form of RCTab's summary: names and numbers as text."""
    names = {str(one.id): one.name for one in seat.candidates}

    def shown(transfers: tuple[tuple[str | None, int], ...]) -> dict[str, str]:
        return {"exhausted" if to is None else names[to]: text(n) for to, n in transfers}

    def text(number: int) -> str:
        return fixed(number, seat.count.places)

    word = "elected" if result.final else "leading"

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
                "tally": {names[name]: text(votes) for name, votes in one.votes},
                **({} if one.transfer is None else {"threshold": text(one.transfer.quota)}),
                "inactiveBallots": {str(why): text(number) for why, number in one.inactive},
                "tallyResults": [
                    *({"eliminated": names[name]} for name in one.eliminated),
                    *([{"transfers": shown(one.transfers)}] if one.transfers else []),
                    *({word: names[name]} for name in (one.elected, *one.winners) if name),
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

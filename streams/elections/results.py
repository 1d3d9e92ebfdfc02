"""Computes an election's result from ballots: by region, by party and nationwide. Pure.

Nobody is elected before the result is final; until then a seat has somebody who leads.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final

import msgspec

from schemas.control import ContestMethod
from streams.core import ranking
from streams.core.conduct import reaches
from streams.core.ranking import Ranking
from streams.core.seats import seats_of
from streams.elections.counting import instant_runoff, plurality
from streams.elections.definitions import (
    METHODS,
    CandidateDefinition,
    Definitions,
    ElectionDefinition,
    Region,
    ids,
    lists_of,
)
from streams.elections.rounds import (
    ALONE,
    BY_HAND,
    BY_LIST,
    BY_LOT,
    DEFAULT_RULES,
    Count,
    Outcome,
    PartyList,
    Round,
)
from streams.elections.rules import shown
from streams.elections.seats.contest import count_seats
from streams.elections.standing import Standing

NATION: Final = 0
"""Instead of a region's id: the whole country."""
BROKEN_BY: Final = {BY_LOT: "lot", BY_LIST: "list order", BY_HAND: "lot by hand"}
"""What broke a tie, other than an earlier round."""

Ballots = Iterable[tuple[str, str | None, int]]
"""(choice, region stated in the vote, number of votes)."""


@dataclass(frozen=True)
class Seat:
    """One count, of a region or of the whole country."""

    region: Region | None
    candidates: tuple[CandidateDefinition, ...]
    """In ballot order."""
    ballots: int
    count: Count
    box: Mapping[Ranking, int] = field(default_factory=dict, repr=False)
    """The ballots: ranks as marked -> number."""

    @property
    def place(self) -> int:
        """The region's id, or :data:`NATION`."""
        return self.region.id if self.region else NATION

    @cached_property
    def first_choices(self) -> Mapping[int, int]:
        """Candidate id -> votes in the first round."""
        votes = dict(self.count.rounds[0].votes) if self.count.rounds else {}
        unit = 10**self.count.places
        return {c.id: votes.get(str(c.id), 0) // unit for c in self.candidates}


@dataclass(frozen=True)
class BallotPaper:
    """Who stands where; the same for every count of an election."""

    standing: Mapping[int | None, list[CandidateDefinition]]
    """By region; None: the whole country."""
    regions: Mapping[str, int | None]
    """Of each candidate, as votes name them."""
    places: Mapping[str | None, int]
    """Region by its id as votes state it."""

    @classmethod
    def of(cls, definitions: Definitions, election: ElectionDefinition) -> BallotPaper:
        """The paper of an election."""
        standing: dict[int | None, list[CandidateDefinition]] = {}
        for candidate in definitions.standing(election.id):
            standing.setdefault(candidate.region_id, []).append(candidate)
        return cls(
            standing,
            {str(c.id): region for region, stand in standing.items() for c in stand},
            {str(region): region for region in definitions.regions},
        )


@dataclass(frozen=True)
class ElectionResult:
    """The result of an election so far."""

    election: ElectionDefinition
    definitions: Definitions
    seats: tuple[Seat, ...]
    """One for each region, or one for the whole country if candidates have no region."""
    by_region: dict[int, dict[int, int]]
    """If candidates have no region: region -> candidate -> first choices of voters who stated that
    region."""
    uncountable: int
    """Ballots that mark candidates, but none of the election."""
    blank: int = 0
    """Ballots without a mark that belong to no seat, because they name no region."""
    final: bool = False
    """Whether the contest is closed and every vote cast in time is counted."""
    hidden: int | None = None
    """Number of all ballots, if that is all that may be known yet."""
    paper: BallotPaper | None = None

    @property
    def ballots(self) -> int:
        """Number of all ballots."""
        if self.hidden is not None:
            return self.hidden
        return sum(seat.ballots for seat in self.seats) + self.uncountable + self.blank

    @property
    def blanks(self) -> int:
        """Number of all ballots without a mark."""
        return sum(seat.count.blank for seat in self.seats) + self.blank

    @property
    def quorum_reached(self) -> bool | None:
        """Whether enough of the eligible voters cast a ballot; None: their number is not known."""
        conduct = self.election.conduct
        if conduct.turnout_quorum is None:
            return True
        if conduct.eligible is None:
            return None
        return reaches(self.ballots, conduct.turnout_quorum, conduct.eligible)

    @property
    def decided(self) -> bool:
        """Whether somebody is elected where a count says so."""
        return self.final and self.quorum_reached is True

    def outcome(self, seat: Seat) -> Outcome:
        """What the result says about a seat."""
        if self.hidden is not None:
            return Outcome.HIDDEN
        if self.final and not self.decided:
            return Outcome.ELIGIBLE_NEEDED if self.quorum_reached is None else Outcome.NO_QUORUM
        outcome = seat.count.outcome
        return outcome if self.final or outcome is not Outcome.ELECTED else Outcome.LEADING

    def withdrawn(self) -> dict[str, str]:
        """Reason why each candidate who withdrew or died does not stand any more."""
        return {each.choice: each.reason for each in self.election.conduct.withdrawn}

    def _turnout(self) -> dict[str, Any]:
        conduct = self.election.conduct
        known = self.hidden is None
        return {
            "ballots": self.ballots,
            "blank": self.blanks if known else None,
            "eligible": conduct.eligible,
            "abstentions": None if conduct.eligible is None else conduct.eligible - self.ballots,
            "quorum": conduct.turnout_quorum,
            "quorum_reached": None if conduct.turnout_quorum is None else self.quorum_reached,
        }

    def parties(self) -> list[tuple[str | None, int, int]]:
        """(party code, first choices, seats) nationwide, most seats first, then most votes.

        Before the result is final the seats are those in which the party leads.
        """
        codes = {party.id: party.code for party in self.definitions.parties.values()}
        votes: Counter[str | None] = Counter()
        seats: Counter[str | None] = Counter()
        for seat in self.seats:
            chosen, winners = seat.first_choices, seat.count.winners
            for candidate in seat.candidates:
                code = codes.get(candidate.party_id or 0)
                votes[code] += chosen[candidate.id]
                if winners and not seat.count.lists:
                    seats[code] += str(candidate.id) in winners
            # A list may have more seats than candidates.
            for each in seat.count.lists:
                seats[self.party_of(each)] += each.seats
        found = [(code, votes[code], seats[code]) for code in votes]
        return sorted(found, key=lambda one: (-one[2], -one[1], one[0] or ""))

    def party_of(self, each: PartyList) -> str | None:
        """Code of the party of a list; None for a candidate without a party."""
        if each.name.startswith(ALONE):
            return None
        party = self.definitions.parties.get(int(each.name))
        return party.code if party else None

    def _party(self, candidate: CandidateDefinition) -> str | None:
        party = self.definitions.parties.get(candidate.party_id or 0)
        return party.code if party else None

    def as_dict(self) -> dict[str, Any]:
        """The result as a JSON object."""
        return {
            "election_id": self.election.id,
            "contest_id": self.election.contest,
            "election_name": self.election.name,
            "voting_method": self.election.method,
            "final": self.final,
            "total_votes": self.ballots,
            "uncountable": self.uncountable,
            "blank": self.blanks,
            "turnout": self._turnout(),
            "hidden": self.hidden is not None,
            "rules": shown(self.election.rules, self.election.conduct),
            "seed_commitment": self.election.conduct.seed_commitment,
            "seed": self.election.conduct.seed,
            "parties": [
                {"party_code": code, "votes": votes, **self._won(seats, 0, "seats")}
                for code, votes, seats in self.parties()
            ],
            "seats": [self._seat(seat) for seat in self.seats],
            "by_region": [
                {
                    "region_id": region,
                    "region_name": self.definitions.regions[region].name,
                    "votes": {str(c): n for c, n in votes.items()},
                }
                for region, votes in sorted(self.by_region.items())
            ],
        }

    def _won(self, found: Any, nothing: Any, name: str = "elected") -> dict[str, Any]:
        """Something that is won once the result is final, and led by before."""
        return {
            name: found if self.decided else nothing,
            "leading": nothing if self.final else found,
        }

    def _seat(self, seat: Seat) -> dict[str, Any]:
        count = seat.count
        withdrawn = self.withdrawn()
        return {
            "region_id": seat.region.id if seat.region else None,
            "region_name": seat.region.name if seat.region else None,
            "ballots": seat.ballots,
            "blank": count.blank,
            **self._won(None if count.elected is None else int(count.elected), None),
            "seats": count.seats,
            **self._all_won(count.winners),
            "outcome": self.outcome(seat),
            "tied": [int(name) for name in count.tied],
            "lot_between": [int(name) for name in count.awaits],
            "missed": None if count.missed is None else int(count.missed),
            "candidates": [
                {
                    "candidate_id": c.id,
                    "name": c.name,
                    "party_code": self._party(c),
                    "votes": seat.first_choices[c.id],
                    "withdrawn": withdrawn.get(str(c.id)),
                }
                for c in seat.candidates
            ],
            "rounds": self.rounds(seat),
            "lists": self.lists(seat),
            "awards": self.awards(seat),
            "tied_seats": count.tied_seats,
        }

    def lists(self, seat: Seat) -> list[dict[str, Any]]:
        """The party lists of a seat as JSON objects."""
        return [self._list(each) for each in seat.count.lists]

    def awards(self, seat: Seat) -> list[dict[str, Any]]:
        """The award of each seat to a list as JSON objects."""
        return [
            {"seat": number, "list": award.name, "by": str(award.by)}
            for number, award in enumerate(seat.count.awards, 1)
        ]

    def _list(self, each: PartyList) -> dict[str, Any]:
        alone = each.name.removeprefix(ALONE)
        return {
            "list": each.name,
            "party_code": self.party_of(each),
            "candidate_id": None if alone == each.name else int(alone),
            "votes": each.votes,
            **self._won(each.seats, 0, "seats"),
            **self._all_won(each.elected),
            "below_threshold": each.below,
            "tied": each.tied,
        }

    def rounds(self, seat: Seat) -> list[dict[str, Any]]:
        """The rounds of a seat as JSON objects."""
        return [self._round(one, seat.count) for one in seat.count.rounds]

    def _round(self, one: Round, count: Count) -> dict[str, Any]:
        tie, number, transfer = one.tie, count.number, one.transfer
        several: dict[str, Any] = {}
        if transfer is not None:
            several = {
                "quota": number(transfer.quota),
                "surplus_of": None if transfer.surplus_of is None else int(transfer.surplus_of),
                "keep_factors": {name: number(kept) for name, kept in transfer.keep_factors},
            }
        return {
            "round": one.number,
            "votes": {name: number(votes) for name, votes in one.votes},
            "active": number(one.active),
            "exhausted": number(one.exhausted),
            "inactive": {str(reason): number(n) for reason, n in one.inactive if n},
            **self._won(None if one.elected is None else int(one.elected), None),
            **(self._all_won(one.winners) if count.seats > 1 or several else {}),
            **several,
            "eliminated": int(one.eliminated[0]) if len(one.eliminated) == 1 else None,
            "eliminations": [int(name) for name in one.eliminated],
            "transfers": {name or "exhausted": number(n) for name, n in one.transfers},
            "tie": None
            if tie is None
            else {
                "candidates": [int(name) for name in tie.candidates],
                "broken_by": BROKEN_BY.get(tie.round, f"round {tie.round}"),
            },
        }

    def _all_won(self, winners: Iterable[str]) -> dict[str, Any]:
        """Everybody who is elected once the result is final, or leads before."""
        found = [int(name) for name in winners]
        return {
            "all_elected": found if self.decided else [],
            "all_leading": [] if self.final else found,
        }


def result_of(
    definitions: Definitions,
    election: ElectionDefinition,
    ballots: Ballots,
    before: ElectionResult | None = None,
) -> ElectionResult:
    """Count an election.

    A ballot belongs to the region of the first candidate of the election that it marks, a blank
    one to the region that it states.

    Args:
        definitions: with the election's candidates, regions and parties.
        election: the election to count.
        ballots: accepted votes of its contest.
        before: an earlier count of it; seats whose ballots are the same are not counted again.
    """
    same = before is not None and before.definitions is definitions and before.election is election
    paper = before.paper if before is not None and same else None
    paper = paper or BallotPaper.of(definitions, election)
    standing, regions, places = paper.standing, paper.regions, paper.places
    nationwide = all(region is None for region in standing)
    boxes: dict[int | None, Counter[Ranking]] = {region: Counter() for region in standing}
    by_region: dict[int, dict[int, int]] = {}
    single = METHODS[election.method] == ContestMethod.SINGLE
    blank = uncountable = 0
    for choice, stated, number in ballots:
        ranked = (choice,) if choice in regions else ranking.from_text(choice)
        # Most ballots mark one candidate at their first rank.
        known = ranked[0] if ranked and ranked[0] in regions else _first_known(choice, regions)
        if known is None and (not ranked or ranking.OVERVOTE in ranked):
            seat = None if nationwide else places.get(stated, 0)
            if seat in boxes:
                boxes[seat][ranked] += number
            elif ranked:
                uncountable += number
            else:
                blank += number
            continue
        if known is None or (single and len(ranked) > 1):
            uncountable += number
            continue
        boxes[regions[known]][ranked] += number
        if nationwide and stated in places:
            votes = by_region.setdefault(places[stated], {})
            votes[int(known)] = votes.get(int(known), 0) + number
    counted = {seat.place: seat for seat in before.seats} if before is not None and same else {}
    seats = []
    for region, box in sorted(boxes.items(), key=lambda one: one[0] or 0):
        known_seat = counted.get(region or NATION)
        if known_seat is None or dict(known_seat.box) != dict(box):
            known_seat = _seat(definitions, election, region, standing[region], box)
        seats.append(known_seat)
    return ElectionResult(
        election, definitions, tuple(seats), by_region, uncountable, blank, paper=paper
    )


def _first_known(choice: str, regions: Mapping[str, int | None]) -> str | None:
    return next((name for name in ranking.marked_in(choice) if name in regions), None)


def _seat(
    definitions: Definitions,
    election: ElectionDefinition,
    region_id: int | None,
    candidates: Sequence[CandidateDefinition],
    box: Counter[Ranking],
) -> Seat:
    region = None if region_id is None else definitions.regions[region_id]
    conduct, rules = election.conduct, election.rules or DEFAULT_RULES
    seed = rules.lot_seed or election.contest
    if conduct.seed_commitment is not None:
        seed = conduct.seed or ""
    lot = f"{seed}|{region_id or ''}|" if seed else None
    if conduct.seats is not None:
        seats = conduct.seats
        if not seats.lists:
            seats = msgspec.structs.replace(seats, lists=lists_of(candidates))
        standing = Standing(ids(candidates), conduct, lot)
        number = seats_of(conduct, None if region_id is None else str(region_id))
        count = count_seats(standing, box, seats, number, marks=election.rules)
    elif METHODS[election.method] == ContestMethod.RANKED:
        count = instant_runoff(ids(candidates), box, rules=rules, lot=lot, conduct=conduct)
    else:
        count = plurality(ids(candidates), box, conduct=conduct)
    return Seat(region, tuple(candidates), box.total(), count, box)

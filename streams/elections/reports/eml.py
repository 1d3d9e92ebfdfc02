"""Results as EML 510 has them, the count message of OASIS Election Markup Language 5.0. Pure.

A selection's `ValidVotes` are first choices, since they are whole numbers there; the votes of each
round are its `CountMetric`. Who is elected is not part of this message.
"""

from __future__ import annotations

from typing import Final
from xml.etree import ElementTree

from schemas.control import ContestMethod
from streams.elections.definitions import METHODS, CandidateDefinition
from streams.elections.results import ElectionResult, Seat
from streams.elections.rounds import Inactive, fixed

NAMESPACE: Final = "urn:oasis:names:tc:evs:schema:eml"
MAX_NAME: Final = 70
"""Characters of a candidate's name there."""


def eml_510(result: ElectionResult) -> bytes:
    """The count of an election, a contest for each region."""
    election = result.election
    root = ElementTree.Element("EML", {"xmlns": NAMESPACE, "Id": "510", "SchemaVersion": "5.0"})
    _put(root, "TransactionId", election.contest)
    count = _put(root, "Count")
    _put(_put(count, "EventIdentifier"), "EventName", election.name)
    described = _put(count, "Election")
    identifier = _put(described, "ElectionIdentifier", Id=str(election.id))
    _put(identifier, "ElectionName", election.name)
    contests = _put(described, "Contests")
    for seat in result.seats:
        _contest(_put(contests, "Contest"), result, seat)
    ElementTree.indent(root)
    written: bytes = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    return written


def _contest(element: ElementTree.Element, result: ElectionResult, seat: Seat) -> None:
    count, rules = seat.count, result.election.conduct.seats
    ranked = METHODS[result.election.method] == ContestMethod.RANKED
    identifier = _put(element, "ContestIdentifier", Id=str(seat.place))
    _put(identifier, "ContestName", seat.region.name if seat.region else result.election.name)
    by = rules.method if rules else "instant_runoff" if ranked else "plurality"
    _put(element, "CountingAlgorithm", by)
    _put(element, "NumberOfPositions", str(count.seats))
    votes = _put(element, "TotalVotes")
    first = seat.first_choices
    for candidate in seat.candidates:
        _selection(_put(votes, "Selection"), result, seat, candidate, first[candidate.id])
    _put(votes, "Cast", str(seat.ballots))
    _put(votes, "TotalCounted", str(sum(first.values())))
    inactive = dict(count.rounds[0].inactive) if count.rounds else {Inactive.BLANK: count.blank}
    for reason, number in inactive.items():
        if whole := number // 10**count.places:
            _put(votes, "RejectedVotes", str(whole), ReasonCode=str(reason))


def _selection(
    element: ElementTree.Element,
    result: ElectionResult,
    seat: Seat,
    candidate: CandidateDefinition,
    first: int,
) -> None:
    described = _put(element, "Candidate")
    identifier = _put(described, "CandidateIdentifier", Id=str(candidate.id))
    _put(identifier, "CandidateName", candidate.name[:MAX_NAME])
    party = result.definitions.parties.get(candidate.party_id or 0)
    if party is not None:
        affiliation = _put(element, "AffiliationIdentifier", Id=str(party.id))
        _put(affiliation, "RegisteredName", party.name)
    _put(element, "ValidVotes", str(first))
    for one in seat.count.rounds:
        number = dict(one.votes).get(str(candidate.id))
        if number is not None:
            text = fixed(number, seat.count.places)
            _put(element, "CountMetric", text, Type="votes in round", Id=f"round-{one.number}")


def _put(
    parent: ElementTree.Element, name: str, text: str | None = None, **attributes: str
) -> ElementTree.Element:
    element = ElementTree.SubElement(parent, name, attributes)
    if text is not None:
        element.text = " ".join(text.split())
    return element

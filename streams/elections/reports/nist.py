"""Results as NIST SP 1500-100 version 2 has them, in JSON and in XML. Pure.

Both forms hold the same: an `@type` of the JSON is an element's type in XML, an `@id` its
`ObjectId`. XML has the fields in the order of the schema, :data:`ORDER`.
"""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any, Final
from xml.etree import ElementTree

from schemas.control import ContestMethod
from streams.elections.definitions import METHODS, CandidateDefinition
from streams.elections.results import ElectionResult, Seat

NAMESPACE: Final = "http://itl.nist.gov/ns/voting/1500-100/v2"
_XSI: Final = "http://www.w3.org/2001/XMLSchema-instance"
_PREFIX: Final = "ElectionResults."
_TYPES: Final = frozenset({"general", "primary", "runoff", "special"})
_NATION: Final = "gp-0"

ORDER: Final = {
    "ElectionReport": (
        *("Election", "Format", "GeneratedDate", "GpUnit", "Issuer", "IssuerAbbreviation"),
        *("Notes", "Party", "SequenceStart", "SequenceEnd", "Status", "VendorApplicationId"),
    ),
    "Election": (
        *("Candidate", "Contest", "ElectionScopeId", "Name", "StartDate", "EndDate", "Type"),
        "OtherType",
    ),
    "CandidateContest": (
        *("ContestSelection", "ElectionDistrictId", "Name", "OtherCounts", "VoteVariation"),
        *("NumberElected", "VotesAllowed"),
    ),
    "CandidateSelection": ("VoteCounts", "CandidateIds"),
    "Candidate": ("BallotName", "PartyId", "PostElectionStatus"),
    "Party": ("Abbreviation", "Name"),
    "ReportingUnit": ("Name", "Type", "OtherType"),
    "VoteCounts": ("GpUnitId", "Round", "Type", "Count"),
    "OtherCounts": ("GpUnitId", "Undervotes"),
    "InternationalizedText": ("Text",),
}
"""Fields of each type that a report uses, in the order of the XML schema."""

_ABSTRACT: Final = frozenset({"CandidateContest", "CandidateSelection", "ReportingUnit"})
"""Types that stand for a more general one, so XML must name them."""


def nist_report(
    result: ElectionResult, *, generated: datetime, issuer: str, abbreviation: str, language: str
) -> dict[str, Any]:
    """The report of an election as a JSON object.

    A final result is `unofficial-complete`: to certify it is the issuer's act.

    Args:
        result: of the election.
        generated: when, with an offset.
        issuer: the office.
        abbreviation: of its name.
        language: of all texts, such as `en`.
    """

    def text(content: str) -> dict[str, Any]:
        spoken = _typed("LanguageString", Content=content, Language=language)
        return _typed("InternationalizedText", Text=[spoken])

    election, definitions = result.election, result.definitions
    on = election.date or _day(election.starts_ms) or generated.date()
    parties = sorted({c.party_id for s in result.seats for c in s.candidates if c.party_id})
    known = election.type if election.type in _TYPES else None
    units = [_typed("ReportingUnit", _NATION, Name=text("All regions"), **_other("all regions"))]
    units += [
        _typed("ReportingUnit", _unit(seat), Name=text(seat.region.name), **_other("region"))
        for seat in result.seats
        if seat.region
    ]
    described = _typed(
        "Election",
        Candidate=[
            _typed(
                "Candidate",
                f"candidate-{one.id}",
                BallotName=text(one.name),
                **({} if one.party_id is None else {"PartyId": f"party-{one.party_id}"}),
                **_status(result, seat, one),
            )
            for seat in result.seats
            for one in seat.candidates
        ],
        Contest=[_contest(result, seat) for seat in result.seats],
        ElectionScopeId=_NATION,
        Name=text(election.name),
        StartDate=on.isoformat(),
        EndDate=(_day(election.ends_ms) or on).isoformat(),
        **({"Type": known} if known else _other(election.type or "not stated")),
    )
    report = _typed(
        "ElectionReport",
        Election=[described],
        Format="summary-contest",
        GeneratedDate=generated.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        GpUnit=units,
        Issuer=issuer,
        IssuerAbbreviation=abbreviation,
        SequenceStart=1,
        SequenceEnd=1,
        Status="unofficial-complete" if result.final else "unofficial-partial",
        VendorApplicationId="Scrutin",
    )
    if parties:
        report["Party"] = [
            _typed(
                "Party",
                f"party-{number}",
                Abbreviation=text(definitions.parties[number].code),
                Name=text(definitions.parties[number].name),
            )
            for number in parties
        ]
    return report


def _contest(result: ElectionResult, seat: Seat) -> dict[str, Any]:
    ranked = METHODS[result.election.method] == ContestMethod.RANKED
    unit = _unit(seat)
    places = seat.count.places

    def counts(candidate: CandidateDefinition) -> list[dict[str, Any]]:
        found = [
            (one.number, dict(one.votes).get(str(candidate.id))) for one in seat.count.rounds
        ] or [(1, 0)]
        return [
            _typed(
                "VoteCounts",
                GpUnitId=unit,
                Type="total",
                Count=votes / 10**places if places else votes,
            )
            | ({"Round": number} if ranked else {})
            for number, votes in found
            if votes is not None
        ]

    name = result.election.name
    return _typed(
        "CandidateContest",
        f"contest-{seat.place}",
        ContestSelection=[
            _typed(
                "CandidateSelection",
                f"selection-{one.id}",
                VoteCounts=counts(one),
                CandidateIds=[f"candidate-{one.id}"],
            )
            for one in seat.candidates
        ],
        ElectionDistrictId=unit,
        Name=f"{name} - {seat.region.name}" if seat.region else name,
        OtherCounts=[_typed("OtherCounts", GpUnitId=unit, Undervotes=seat.count.blank)],
        VoteVariation="rcv"
        if ranked
        else "plurality"
        if result.election.conduct.seats is None
        else "proportional",
        NumberElected=seat.count.seats,
        VotesAllowed=len(seat.candidates) if ranked else 1,
    )


def _status(result: ElectionResult, seat: Seat, one: CandidateDefinition) -> dict[str, str]:
    if not result.final or not seat.count.winners:
        return {}
    won = str(one.id) in seat.count.winners
    return {"PostElectionStatus": "winner" if won else "defeated"}


def _typed(kind: str, identity: str | None = None, /, **fields: Any) -> dict[str, Any]:
    head = {"@type": _PREFIX + kind} | ({} if identity is None else {"@id": identity})
    return head | fields


def _other(what: str) -> dict[str, str]:
    return {"Type": "other", "OtherType": what}


def _unit(seat: Seat) -> str:
    return f"gp-{seat.place}"


def _day(ms: int | None) -> date | None:
    return None if ms is None else datetime.fromtimestamp(ms / 1000, UTC).date()


def nist_xml(report: dict[str, Any]) -> bytes:
    """The same report in XML."""
    root = ElementTree.Element("ElectionReport", {"xmlns": NAMESPACE, "xmlns:xsi": _XSI})
    _fill(root, report)
    ElementTree.indent(root)
    written: bytes = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    return written


def _fill(element: ElementTree.Element, value: dict[str, Any]) -> None:
    kind = value["@type"].removeprefix(_PREFIX)
    if "@id" in value:
        element.set("ObjectId", value["@id"])
    if kind in _ABSTRACT:
        element.set("xsi:type", kind)
    if kind == "LanguageString":
        element.set("Language", value["Language"])
        element.text = value["Content"]
        return
    for name in ORDER[kind]:
        found = value.get(name)
        if isinstance(found, list) and not name.endswith("Ids"):
            for each in found:
                _fill(ElementTree.SubElement(element, name), each)
        elif isinstance(found, dict):
            _fill(ElementTree.SubElement(element, name), found)
        elif found is not None:
            plain = " ".join(found) if isinstance(found, list) else str(found)
            ElementTree.SubElement(element, name).text = plain

"""Examples of what each operation is asked and answers, made from the schemas themselves. Pure.

An example fits its schema by construction. Where a schema allows anything, or a document must make
sense as a whole, :data:`ANSWERS` has it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec

from streams.elections.contest_making import ContestFacts, Moment, result_of_election
from streams.elections.contest_result import LogPosition
from streams.elections.definitions import Definitions, merged, read
from streams.elections.results import result_of
from streams.gateway.handlers.elections import region_answer
from streams.gateway.handlers.tally_status import combine_status, decryption_status, tally_status

AT: Final = datetime(2026, 11, 29, 20, 0, tzinfo=UTC)
_TEXTS: Final = {
    "date-time": "2026-11-29T20:00:00Z",
    "date": "2026-11-29",
    "uuid": "6f1c3a52-3c0f-4c52-9a34-0d4e3c5b7a11",
    "byte": "AAEC",
}
NAMED: Final[dict[str, Any]] = {
    "contest": "L1",
    "contest_id": "L1",
    "id": "L1",
    "law_id": "L1",
    "title": "Law on libraries",
    "name": "oui",
    "phase": "voting",
    "state": "open",
    "kind": "law",
    "vote": "oui",
    "nas": "123 456 789",
    "code": "ABC123",
    "receipt": "c2VhbGVkIHJlY2VpcHQ",
    "status": "counted",
    "guardian": "guardian-1",
    "form": "csv",
    "choices": None,
    "lang": "fr",
    "job_id": _TEXTS["uuid"],
    "step_s": 60,
    "election_id": 7,
    "region_id": 5,
    "poll_id": 12,
    "candidate_id": 1,
    "voter_name": "Ann",
    "creator_name": "Ann",
    "full_name": "Ann",
    "since": _TEXTS["date-time"],
    "end_time": "2027-01-31T20:00:00Z",
    "opens_at": "2027-01-01T08:00:00Z",
    "page": 1,
    "page_size": 10,
}
"""Values by the name of their field, where the schema allows them."""
_DEEPEST: Final = 12


def _election() -> tuple[Any, Any, Any]:
    """One final election in three forms; no field is null, because a description drops those."""
    known = merged(
        Definitions(),
        read(
            {
                "political_parties": [
                    {"id": 1, "party_code": "A", "party_name": "Ahead", "party_color": "#3366aa"}
                ],
                "regions": [{"id": 5, "region_code": "N", "region_name": "North"}],
                "elections": [
                    {"id": 7, "election_name": "Assembly", "voting_method": "single_choice"}
                ],
                "candidates": [
                    {"id": 1, "election_id": 7, "region_id": 5, "last_name": "Roy", "party_id": 1},
                    {"id": 2, "election_id": 7, "region_id": 5, "last_name": "Cyr", "party_id": 1},
                ],
            }
        ),
    )
    found = result_of(known, known.elections[7], [("1", None, 30), ("2", None, 20)])
    found = replace(found, final=True)
    proof = {"closed_at": AT, "enforced": True, "final": True, "partitions": 1, "passed": 1}
    facts = ContestFacts(
        "election:7",
        kind="election",
        state="closed",
        opens_at=AT - timedelta(hours=12),
        closes_at=AT,
        updated_at=AT,
        proof=proof,
    )
    document = result_of_election(facts, found, Moment(AT, [LogPosition(0, 41)]))
    whole = {**found.as_dict(), "counted_at": AT}
    region = {**region_answer(found, 5), "region_name": "North", "updated_at": AT}
    return tuple(msgspec.to_builtins(one) for one in (document, whole, region))


_DOCUMENT, _WHOLE, _REGION = _election()
_DONE: Final = {"success": True, "message": "Work goes on, and what failed is tried again"}
_JOB: Final = {"jobId": _TEXTS["uuid"], "electionId": 7, "status": "in_progress"}
_RESULT: Final = {"success": True, "results": {"oui": 1500, "non": 500}}

ANSWERS: Final[Mapping[str, Any]] = {
    "GET /v2/contests/{contest}": _DOCUMENT,
    "GET /v2/contests/{contest}/timeline": {
        "contest": "L1",
        "step_s": 60,
        "points": [{"starts": _TEXTS["date-time"], "votes": {"oui": 12, "non": 4}}],
    },
    "GET /v2/contests/{contest}/map": {
        "width": 2000,
        "height": 1250,
        "regions": {"10": "M0 0l0 1250 1000 0 0-1250z"},
    },
    "GET /results/{contest}/timeline": {
        "contest": "L1",
        "step_s": 60,
        "points": [{"starts": _TEXTS["date-time"], "votes": {"oui": 12, "non": 4}}],
    },
    "GET /v2/contests/{contest}/events": "event: result\nid: 4f0c\ndata: {}\n\n",
    "GET /results/{contest}/events": 'event: snapshot\ndata: {"totals": {"oui": 1500}}\n\n',
    "GET /v2/feed": "<?xml version='1.0' encoding='utf-8'?>\n<feed …/>",
    "GET /v2/contests/{contest}/feed": "<?xml version='1.0' encoding='utf-8'?>\n<feed …/>",
    "GET /v2/checkpoints/latest": "votes.example\n…\n",
    "GET /v2/checkpoints/{size}": "votes.example\n…\n",
    "GET /schema/contest-result.json": {"$ref": "#/$defs/ContestResult", "$defs": {}},
    "GET /api/v1/elections": [
        {
            "id": 7,
            "election_code": "A-26",
            "election_name": "Assembly",
            "election_type": None,
            "election_date": "2026-11-29",
            "status": None,
        }
    ],
    "GET /api/v1/regions": [
        {"id": 5, "region_code": "N", "region_name": "North", "description": None}
    ],
    "GET /api/v1/elections/{election_id}/regions/{region_id}/candidates": [
        {
            "id": 1,
            "first_name": "Ada",
            "last_name": "Roy",
            "party_code": "A",
            "party_name": "Ahead",
            "party_color": "#3366aa",
            "bio": None,
            "photo_url": None,
        }
    ],
    "GET /api/v1/elections/{election_id}/results": _WHOLE,
    "GET /api/v1/elections/{election_id}/regions/{region_id}/results": _REGION,
    **dict.fromkeys(
        (
            *("POST /api/create-tally-queue", "POST /api/create-tally"),
            *("POST /api/initiate-tally", "POST /api/create-partial-decryption"),
            *("POST /api/guardian/initiate-decryption", "POST /api/combine-partial-decryption"),
            *("POST /api/initiate-combine", "POST /api/jobs/{job_id}/cancel"),
            "POST /api/jobs/{job_id}/resume",
        ),
        _DONE,
    ),
    "GET /api/jobs/{job_id}/status": _JOB,
    "GET /api/jobs/active": [_JOB],
    "GET /api/jobs/election/{election_id}": [_JOB],
    "GET /api/election/{election_id}/tally-status": tally_status(None),
    "GET /api/combine-status/{election_id}": combine_status(None),
    "GET /api/guardian/decryption-status/{election_id}": decryption_status([]),
    "GET /api/guardian/decryption-status/{election_id}/{guardian}": decryption_status([]),
    "GET /api/election/{election_id}/result": _RESULT,
    "GET /api/election/{election_id}/results": _RESULT,
    "GET /api/election/{election_id}/cached-results": _RESULT,
    "GET /api/tallies/{election_id}": {
        "type": "progress",
        "electionId": 7,
        "jobs": [_JOB],
        "ballotsHead": None,
        "published": False,
    },
    "GET /api/tallies/{election_id}/definition": {"electionId": 7, "styles": []},
}
"""By method and path."""


def example_of(
    schema: Mapping[str, Any], components: Mapping[str, Any], name: str = "", depth: int = 0
) -> Any:
    """A value that fits a JSON Schema of OpenAPI.

    Args:
        schema: of the value.
        components: schemas by name, for references.
        name: of the field or parameter.
        depth: of the value in the document.
    """
    if "$ref" in schema:
        return example_of(components[schema["$ref"].rpartition("/")[2]], components, name, depth)
    if "enum" in schema or "const" in schema:
        options = schema.get("enum") or [schema["const"]]
        return NAMED[name] if NAMED.get(name) in options else options[0]
    for several in ("oneOf", "anyOf", "allOf"):
        if several in schema:
            options = [one for one in schema[several] if one.get("type") != "null"]
            return example_of(options[0], components, name, depth) if options else None
    kinds = schema.get("type")
    kind = next((k for k in kinds if k != "null"), "null") if isinstance(kinds, list) else kinds
    if kind == "object" or "properties" in schema:
        return _object(schema, components, depth)
    if kind == "array":
        items = schema.get("items")
        return (
            [example_of(items, components, name, depth + 1)] if items and depth < _DEEPEST else []
        )
    return _plain(schema, kind, name)


def _object(schema: Mapping[str, Any], components: Mapping[str, Any], depth: int) -> dict[str, Any]:
    if depth > _DEEPEST:
        return {}
    fields = {
        name: example_of(one, components, name, depth + 1)
        for name, one in schema.get("properties", {}).items()
    }
    further = schema.get("additionalProperties")
    if not fields and isinstance(further, Mapping) and further:
        fields["oui"] = example_of(further, components, "votes", depth + 1)
    return fields


def _plain(schema: Mapping[str, Any], kind: str | None, name: str) -> Any:
    named = NAMED.get(name)
    if kind == "string":
        text = _TEXTS.get(schema.get("format", ""), named if isinstance(named, str) else "text")
        return text[: schema.get("maxLength", len(text))]
    if kind in {"integer", "number"}:
        least = schema.get("minimum", schema.get("exclusiveMinimum", 0) + 1)
        return named if isinstance(named, int) and named >= least else least
    return {"boolean": False}.get(kind or "")

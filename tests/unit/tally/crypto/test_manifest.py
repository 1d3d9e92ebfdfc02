"""Manifests as deployed services write them, with names as plain strings."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from streams.tally.crypto.ballots import EncryptedBallot
from streams.tally.crypto.documents import from_json, to_json
from streams.tally.crypto.group import to_hex
from streams.tally.crypto.manifest import Manifest
from streams.tally.crypto.verify_ballot import verify_ballot
from streams.tally.files import read_document
from streams.tally.refusals import Refused
from streams.tally.results import Result
from streams.tally.work import DescribedElection
from tests.small_election import begin_election

NAMES = ("Ann", "Bob")
PLAIN: dict[str, Any] = {
    "election_scope_id": "election-1",
    "spec_version": "1.0",
    "type": "general",
    "start_date": "2025-01-01T12:00:00.000005",
    "end_date": "2025-01-01T12:00:00",
    "geopolitical_units": [
        {"object_id": "county-1", "name": "County 1", "type": "county", "contact_information": None}
    ],
    "parties": [
        {"object_id": f"party-{n}", "name": name, "abbreviation": name, "color": None}
        for n, name in enumerate(("Red", "Blue"), 1)
    ],
    "candidates": [
        {"object_id": f"candidate-{n}", "name": name, "party_id": f"party-{n}"}
        for n, name in enumerate(NAMES, 1)
    ],
    "contests": [
        {
            "object_id": "contest-1",
            "sequence_order": 0,
            "electoral_district_id": "county-1",
            "vote_variation": "one_of_m",
            "number_elected": 1,
            "votes_allowed": 1,
            "name": "County Executive",
            "ballot_selections": [
                {"object_id": name, "sequence_order": n, "candidate_id": name}
                for n, name in enumerate(NAMES)
            ],
            "ballot_title": None,
            "ballot_subtitle": None,
        }
    ],
    "ballot_styles": [{"object_id": "ballot-style-1", "geopolitical_unit_ids": ["county-1"]}],
    "name": "Test Election",
    "contact_information": None,
}
HASH = "7A158C9505A7A1E3D15E60847162C40D495A60A9E55CCD8B5BCFD9957240D4F4"
"""Of this document, by the reference (electionguard 1.4.0)."""


def test_plain_names_are_hashed_as_they_are() -> None:
    manifest = from_json(Manifest, json.dumps(PLAIN))
    manifest.check()
    assert to_hex(manifest.crypto_hash()) == HASH
    # Stored and read again, it is the same.
    assert to_hex(from_json(Manifest, to_json(manifest)).crypto_hash()) == HASH


def test_ballots_of_such_a_manifest_verify_and_are_counted_by_name() -> None:
    manifest = from_json(Manifest, json.dumps(PLAIN))
    voting = begin_election(manifest, random.Random(7), guardians=2, quorum=2)
    for ballot in voting.ballots(cast=2):
        verify_ballot(from_json(EncryptedBallot, to_json(ballot)), voting.election)
    described = DescribedElection(
        "7", to_json(manifest).decode(), "", to_json(voting.keys).decode()
    )
    document = Result(2, 0, voting.counts, {}, ["guardian-1"]).document(described)
    shown = document["results"]["candidates"]
    assert {name: entry["votes"] for name, entry in shown.items()} == voting.counts
    assert set(shown) == set(NAMES)


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"parties": [{"object_id": "p", "name": 5}]}, "$.parties[0].name"),
        ({"name": {"en": "Election"}}, "$.name"),
    ],
)
def test_a_manifest_of_another_form_is_refused_with_its_place(
    tmp_path: Path, change: dict[str, Any], place: str
) -> None:
    file = tmp_path / "manifest.json"
    file.write_text(json.dumps(PLAIN | change))
    with pytest.raises(Refused) as caught:
        read_document(Manifest, file)
    assert place in str(caught.value)
    assert str(file) in str(caught.value)

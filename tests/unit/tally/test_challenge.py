"""Challenged ballots: an opening shows what a ballot holds, and a wrong one is refused."""

from __future__ import annotations

import json
import random
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
import typer
from gmpy2 import mpz
from typer.testing import CliRunner

from streams.cli import attach
from streams.tally.challenge import (
    Challenge,
    Definition,
    Opening,
    definition_of,
    verify_challenge,
)
from streams.tally.crypto.ballots import BallotState, encrypt_ballot
from streams.tally.crypto.documents import from_json, to_json
from streams.tally.crypto.election import CryptoElection
from streams.tally.crypto.group import Q
from streams.tally.crypto.hashing import hash_elements, nonce
from streams.tally.crypto.manifest import plain_manifest
from streams.tally.refusals import RefusalCheck, Refused
from tests.small_election import SmallElection, make_election
from tests.small_record import described, write_record

CHOSEN = "mayor-bob-selection"
MASTER = mpz(1234)


@pytest.fixture(scope="module")
def held() -> SmallElection:
    manifest = plain_manifest(
        "e", {"mayor": ["ann", "bob"]}, moment=datetime(2026, 1, 1, tzinfo=UTC)
    )
    return make_election(manifest, random.Random(3), guardians=2, quorum=1, cast=1, spoiled=0)


@pytest.fixture(scope="module")
def challenge(held: SmallElection) -> Challenge:
    """Of an honest device, which keeps the seed of its nonces."""
    election = held.election
    ballot = encrypt_ballot(
        election,
        "b",
        "ballot",
        {"mayor": [CHOSEN]},
        state=BallotState.SPOILED,
        master_nonce=MASTER,
    )
    seed = hash_elements(election.context.manifest_hash, "b", MASTER)
    contest = election.contests["mayor"]
    seed = nonce(seed, contest.order, contest.description_hash)
    openings = {
        line.object_id: Opening(
            int(line.object_id == CHOSEN), nonce(seed, line.order, line.description_hash)
        )
        for line in contest.lines
    }
    return Challenge(ballot, openings)


def test_an_opening_shows_what_was_chosen(held: SmallElection, challenge: Challenge) -> None:
    assert verify_challenge(challenge, held.election) == {"mayor": ["bob"]}
    assert str(challenge.openings[CHOSEN].nonce) not in repr(challenge.openings)


@pytest.mark.parametrize(
    "opening",
    [
        {"vote": 0},
        {"vote": 2},
        {"nonce": mpz(5)},
        {"nonce": -mpz(1)},
        {"nonce": Q},
    ],
)
def test_a_wrong_opening_is_refused(
    held: SmallElection, challenge: Challenge, opening: dict[str, Any]
) -> None:
    changed = msgspec.structs.replace(challenge.openings[CHOSEN], **opening)
    wrong = Challenge(challenge.ballot, {**challenge.openings, CHOSEN: changed})
    with pytest.raises(Refused) as refused:
        verify_challenge(wrong, held.election)
    assert refused.value.check == RefusalCheck.NONCE
    assert refused.value.where["selection"] == CHOSEN


def test_a_cast_ballot_and_missing_openings_are_refused(
    held: SmallElection, challenge: Challenge
) -> None:
    cast = msgspec.structs.replace(challenge.ballot, state=BallotState.CAST)
    for wrong, check in (
        (Challenge(cast, challenge.openings), RefusalCheck.STATE),
        (Challenge(challenge.ballot, {}), RefusalCheck.NONCE),
    ):
        with pytest.raises(Refused) as refused:
            verify_challenge(wrong, held.election)
        assert refused.value.check == check


def test_an_election_whose_key_is_not_its_guardians_is_refused(held: SmallElection) -> None:
    election = held.election
    definition = Definition(election.manifest, election.context, held.keys)
    assert isinstance(definition.checked(), CryptoElection)
    with pytest.raises(Refused) as refused:
        Definition(election.manifest, election.context, held.keys[:1]).checked()
    assert refused.value.check == RefusalCheck.KEY


def test_the_command_takes_a_definition_or_a_record(
    held: SmallElection, challenge: Challenge, tmp_path: Path
) -> None:
    app = typer.Typer()
    attach(app, "tally")
    file, definition = tmp_path / "challenge.json", tmp_path / "definition.json"
    file.write_bytes(to_json(challenge))
    shown = definition_of(described(held))
    definition.write_text(json.dumps({"electionId": "e", **shown}))
    assert [line["name"] for line in shown["styles"][0]["contests"][0]["lines"]][:2] == [
        "ann",
        "bob",
    ]
    write_record(held, tmp_path / "record", present=1)
    code = json.loads(file.read_text())["ballot"]["code"]

    def check(election: Path, code: str, *more: str, exit_code: int = 0) -> str:
        arguments = ["tally", "challenge", str(file), str(election), "--code", code, *more]
        done = CliRunner().invoke(app, arguments)
        assert done.exit_code == exit_code, done.output
        return done.stdout

    for election in (definition, tmp_path / "record"):
        assert "mayor: bob" in check(election, f"{code[:8]} {code[8:]}")
    refused = check(definition, "00", "--json", exit_code=3)
    assert json.loads(refused)["check"] == "code"
    assert from_json(Challenge, file.read_bytes()) == challenge

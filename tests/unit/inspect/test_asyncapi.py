"""`docs/asyncapi.json` says of every message what the types say, and the types what is sent."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import jsonschema_rs
import msgspec
import pytest

from schemas.codec import decode_input, decode_verdicts, decode_voted, encode
from schemas.notices import RollLoaded
from schemas.windows import WindowState
from streams.inspect.asyncapi import asyncapi
from streams.messages.fields import NotAVote
from streams.messages.incoming import read_body
from tests.strategies import (
    contests_changed,
    epoch_opened,
    make_batch,
    make_contest,
    make_malformed,
    make_vote,
    roll_changed,
    under,
)

ROOT = Path(__file__).parents[3]
DOCUMENT = asyncapi()
LOG_OF_VERSION_1 = json.loads((ROOT / "tests/fixtures/log_before_control_records.json").read_text())


def validator(message: str) -> jsonschema_rs.Validator:
    payload = DOCUMENT["components"]["messages"][message]["payload"]
    return jsonschema_rs.validator_for({**payload, "components": DOCUMENT["components"]})


def plain(value: Any) -> Any:
    """What a reader of MessagePack makes of it: binary as base64."""
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, list):
        return [plain(one) for one in value]
    return value


def sent(record: Any) -> Any:
    return plain(msgspec.msgpack.decode(encode(record)))


def test_the_file_is_what_the_types_say() -> None:
    text = (ROOT / "docs" / "asyncapi.json").read_text(encoding="utf-8")
    assert json.loads(text) == DOCUMENT, "run `scrutin schema > docs/asyncapi.json`"


def test_every_reference_leads_somewhere() -> None:
    def check(value: Any) -> int:
        if isinstance(value, list):
            return sum(map(check, value))
        if not isinstance(value, dict):
            return 0
        if "$ref" in value:
            at: Any = DOCUMENT
            for part in value["$ref"].removeprefix("#/").split("/"):
                at = at[part]
            return 1
        return sum(map(check, value.values()))

    assert check(DOCUMENT) > 40


@pytest.mark.parametrize(
    "record",
    [
        make_batch(make_vote("a"), malformed=(make_malformed("x"),)),
        under(make_batch(make_vote("a")), epoch=3),
        contests_changed(1, make_contest("C-1")),
        roll_changed(1),
        epoch_opened(2, 1),
    ],
    ids=lambda record: type(record).__name__,
)
def test_records_of_the_input_log_are_as_described(record: Any) -> None:
    check = validator("inputLog")
    check.validate(sent(record))
    assert not check.is_valid(sent(record)[:-1])


def test_other_records_are_as_described() -> None:
    validator("control").validate(sent(RollLoaded(*sample(RollLoaded))))
    validator("windows").validate(sent(WindowState(*sample(WindowState))))


def sample(kind: type) -> list[Any]:
    by_type: dict[Any, Any] = {bytes: b"x" * 16, int: 1, str: "x"}
    return [by_type[field.type] for field in msgspec.structs.fields(kind)]


@pytest.mark.parametrize("number", range(len(LOG_OF_VERSION_1)))
def test_a_log_of_version_1_is_still_read_and_still_described(number: int) -> None:
    stored = {name: bytes.fromhex(text) for name, text in LOG_OF_VERSION_1[number].items()}
    readers = {
        "inputLog": (stored["input"], decode_input),
        "voted": (stored["changelog"], decode_voted),
        "verdicts": (stored["verdicts"], decode_verdicts),
    }
    for message, (raw, decode) in readers.items():
        assert encode(decode(raw)) == raw
        validator(message).validate(plain(msgspec.msgpack.decode(raw)))


HASH = "ab" * 32


@pytest.mark.parametrize(
    ("body", "good"),
    [
        ({"vote_hash": HASH, "law_id": "L", "choice": "oui"}, True),
        ({"voter_hash": HASH, "law_id": "L", "vote": "Non", "timestamp": 1.5}, True),
        ({"hash": HASH, "candidate_id": 7, "election_id": 3, "more": [1]}, True),
        ({"law_id": "L", "choice": "oui"}, False),
        ({"vote_hash": HASH, "choice": "oui"}, False),
        ({"vote_hash": HASH, "law_id": "L"}, False),
        ({"vote_hash": ["x"], "law_id": "L", "choice": "oui"}, False),
        ({"vote_hash": "x" * 129, "law_id": "L", "choice": "oui"}, False),
    ],
)
def test_the_schema_of_votes_takes_what_the_bridge_takes(body: dict[str, Any], good: bool) -> None:
    assert validator("vote").is_valid(body) == good
    text = json.dumps(body).encode()
    if good:
        read_body(text, max_metadata_bytes=65536, poll_key=b"")
    else:
        with pytest.raises(NotAVote):
            read_body(text, max_metadata_bytes=65536, poll_key=b"")

"""Messages of older deployments' queues, as their backends write them."""

from __future__ import annotations

import json

import pytest

from schemas.tally import Combine, Create, Decrypt, Mode
from streams.settings.queues import TALLY_QUEUES
from streams.tally.messages import COMBINE, COMPENSATED, PARTIAL, QUEUES, TALLY, command_of
from streams.tally.refusals import RefusalCheck, Refused

CHUNK = {
    "chunkId": 1001,
    "electionId": 123,
    "chunkNumber": 4,
    "partyNames": ["P"],
    "candidateNames": ["A", "B"],
    "jointPublicKey": "123",
    "baseHash": "456",
    "quorum": 2,
    "numberOfGuardians": 3,
    "maxChoices": 1,
}


def body(**fields: object) -> bytes:
    return json.dumps({**CHUNK, **fields}).encode()


def test_every_chunk_s_message_asks_for_the_tally_of_its_election() -> None:
    assert command_of(TALLY, body(ballotIds=[1, 2])) == Create("123", [], 0, Mode.SINGLE, 50)
    asked = command_of(TALLY, body(mode="chunked", chunkSize=7))
    assert asked == Create("123", [], 0, Mode.CHUNKED, 7)


def test_a_guardian_is_named_or_numbered() -> None:
    assert command_of(PARTIAL, body(guardianId=2)) == Decrypt("123", "2")
    assert command_of(PARTIAL, body(guardianSequenceOrder="3")) == Decrypt("123", "3")
    assert command_of(PARTIAL, body(guardianId="ann", electionId="e")) == Decrypt("e", "ann")


def test_the_jobs_stand_in_for_the_missing_by_themselves() -> None:
    assert command_of(COMPENSATED, body(sourceGuardianId=1, targetGuardianId=2)) is None
    assert command_of(COMBINE, body()) == Combine("123")


@pytest.mark.parametrize("levels", [300, 1_500, 50_000])
def test_a_message_nested_too_deeply_is_refused_whatever_python_can_parse(levels: int) -> None:
    deep = b'{"electionId":"1","x":' + b"[" * levels + b"]" * levels + b"}"
    with pytest.raises(Refused) as refused:
        command_of(TALLY, deep)
    assert refused.value.check == RefusalCheck.FORMAT


@pytest.mark.parametrize(
    "field",
    [
        "decryptedPrivateKey",
        "decryptedPolynomial",
        "guardian_private_key",
        "secretKey",
        "coordinate",
    ],
)
def test_a_secret_in_plain_is_refused_and_not_quoted(field: str) -> None:
    secret = "8a1f-not-to-be-seen"
    for message in (body(guardianId=1, **{field: secret}), body(inner=[{field: secret}])):
        for queue in (TALLY, PARTIAL, COMPENSATED, COMBINE):
            with pytest.raises(Refused) as caught:
                command_of(queue, message)
            assert caught.value.check == RefusalCheck.SECRET
            assert secret not in str(caught.value)
            assert field in str(caught.value)
    assert command_of(PARTIAL, body(guardianId=1, **{field: None})) == Decrypt("123", "1")


@pytest.mark.parametrize(
    ("queue", "message"),
    [
        (TALLY, b""),
        (TALLY, b"[1]"),
        (TALLY, b"\xff"),
        (TALLY, b"[" * 100_000),
        (TALLY, b"{}"),
        (TALLY, b'{"electionId": true}'),
        (TALLY, b'{"electionId": ""}'),
        # PostgreSQL stores no NUL, so it must not come as far as the jobs.
        (TALLY, b'{"electionId": "nul\\u0000"}'),
        (TALLY, b'{"electionId": "\\ud800"}'),
        (TALLY, b'{"electionId": "%s"}' % (b"x" * 300)),
        (TALLY, b'{"electionId": 1, "mode": "other"}'),
        (TALLY, b'{"electionId": 1, "chunkSize": 0}'),
        (PARTIAL, b'{"electionId": 1}'),
    ],
)
def test_what_is_no_command_is_refused(queue: str, message: bytes) -> None:
    with pytest.raises(Refused) as caught:
        command_of(queue, message)
    assert caught.value.check == RefusalCheck.FORMAT


def test_the_settings_know_every_queue() -> None:
    assert set(TALLY_QUEUES) == set(QUEUES)


def test_a_decryption_for_all_guardians_is_only_taken_where_asked_for() -> None:
    unnamed = body(encrypted_data="opaque")
    with pytest.raises(Refused):
        command_of(PARTIAL, unnamed)
    assert command_of(PARTIAL, unnamed, all_guardians=True) == Decrypt("123", "")
    named = body(guardianId=2)
    assert command_of(PARTIAL, named, all_guardians=True) == Decrypt("123", "2")

"""Documents as deployed services keep them."""

from __future__ import annotations

import base64
import json

import msgspec
import pytest

from streams.tally.crypto.ballots import BallotState, submitted
from streams.tally.crypto.documents import plain_json

DOCUMENT = {"object_id": "b1", "contests": [{"nonce": None}]}
PACKED = base64.b64encode(msgspec.msgpack.encode(DOCUMENT))


@pytest.mark.parametrize("given", [PACKED, b'"' + PACKED + b'"\n', json.dumps(DOCUMENT).encode()])
def test_every_form_is_the_same_document(given: bytes) -> None:
    assert json.loads(plain_json(given)) == DOCUMENT


@pytest.mark.parametrize(
    "given",
    [
        b"",
        b'"\n',
        b"no document",
        b"{broken",
        base64.b64encode(b"\xc1"),
        base64.b64encode(msgspec.msgpack.encode([1])),
        base64.b64encode(msgspec.msgpack.encode({(): 1})),
        base64.b64encode(b"\x81\xa1a" * 100_000 + b"\xc0"),
        base64.b64encode(msgspec.msgpack.encode({"a": msgspec.msgpack.Ext(1, b"")})),
    ],
)
def test_anything_else_stays_as_it_is(given: bytes) -> None:
    assert plain_json(given) == given
    assert submitted(given, cast=True) == given


def test_only_a_ballot_without_a_state_is_taken_as_cast() -> None:
    assert "state" not in json.loads(submitted(PACKED))
    assert json.loads(submitted(PACKED, cast=True)) == {**DOCUMENT, "state": BallotState.CAST}
    spoiled = json.dumps({**DOCUMENT, "state": 2}).encode()
    assert json.loads(submitted(spoiled, cast=True))["state"] == BallotState.SPOILED

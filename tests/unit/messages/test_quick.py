"""Both ways of reading a body give the same vote, and usual shapes take the quick one."""

from __future__ import annotations

import json
import os
import random
import unicodedata
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from streams.core.kept_body import SECRETS, is_secret, names_secret
from streams.core.keys import normalise_hash
from streams.messages.fields import NotAVote
from streams.messages.incoming import ParsedVote, read_body
from streams.messages.quick import read_quickly

HASH = "9f" * 32
NOON = "2026-11-14T12:00:00Z"
LAW = {"vote_hash": HASH, "law_id": "L1", "choice": "oui", "timestamp": NOON}
CANDIDATE = {"voter_hash": HASH, "candidate_id": 42, "election_id": 7, "vote_timestamp": NOON}
MAX_BYTES = 4096
BODIES = int(os.environ.get("SCRUTIN_TEST_BODIES", "20000"))
"""A million take about two minutes."""


def encoded(message: dict[str, Any]) -> bytes:
    return json.dumps(message).encode()


@pytest.mark.parametrize(
    "message",
    [
        LAW,
        CANDIDATE,
        LAW | {"nas": "123456789", "code": "ABC123"},
        LAW | {"client": "kiosk 4", "weight": 1.5, "at": 1e-7, "n": 10**30},
        LAW | {"metadata": {"region": "QC-01", "client": {"tags": ["a", [1, None]], "ok": True}}},
        LAW | {"place": "Québec €", "quoted": 'a "b" \\ c\n', "\\": "\\\\"},
        LAW | {"citizen_id": None, "candidate_id": None, "extra": None},
        LAW | {"citizen_id": 12, "election_id": 3, "metadata": {}},
        {"hash": HASH, "law_id": 3, "vote": "NON", "timestamp": 1.5},
        CANDIDATE | {"ranked_choices": [], "voting_method": "single_choice"},
        {"vote_hash": "carte 7", "election_id": "e", "ranked_choices": [3, "a", 3, 1]},
        {"vote_hash": "é", "candidate_id": "7"},
    ],
)
def test_usual_votes_are_read_quickly(message: dict[str, Any]) -> None:
    body = encoded(message)
    if isinstance(message.get("vote_hash"), str) and not message["vote_hash"].isascii():
        assert read_quickly(body, MAX_BYTES, b"") is None
        return
    assert read_quickly(body, MAX_BYTES, b"") == read_body(body, max_metadata_bytes=MAX_BYTES)


NAMES = [*LAW, *CANDIDATE, "hash", "vote", "citizen_id", "nas", "code", "metadata", "poll_id"]
NAMES += ["submitted_at", "status", "ranked_choices", "voting_method", "N.A.S", "postal_code", "x"]
TEXTS = ["", "oui", "NON ", HASH, HASH.upper(), NOON, "L1", "7", "42", "election:1", "ranked", "0"]
TEXTS += ['a"b', "\\", "\\\\", '\\"', "\0", "\ud800", "é", "ñas=1", "code: 7", "%22", "a" * 70]
TEXTS += ["\uff4e\uff41\uff53", "n\u200bas", "\u00df", "\U0001f5f3", "\n\t", "7>42", "2026-11-14"]
NUMBERS = [0, 1, -1, 42, 10**9, 10**30, True, False, None, 1.5, 1e22, 1e-7, -0.0, 1e16, 1731585600]


def a_value(rng: random.Random, depth: int = 0) -> Any:
    kind = rng.random()
    if kind < 0.5:
        return rng.choice(TEXTS)
    if kind < 0.75 or depth > 3:
        return rng.choice(NUMBERS)
    inner = [a_value(rng, depth + 1) for _ in range(rng.randrange(4))]
    if kind < 0.87:
        return inner
    return {rng.choice(NAMES + TEXTS): each for each in inner}


def a_body(rng: random.Random) -> bytes:
    message: dict[str, Any] = dict(rng.choice([LAW, CANDIDATE]))
    for _ in range(rng.randrange(4)):
        message[rng.choice(NAMES)] = a_value(rng)
    for _ in range(rng.randrange(2)):
        message.pop(rng.choice(NAMES), None)
    pairs = list(message.items())
    rng.shuffle(pairs)
    if pairs and rng.random() < 0.2:
        # A field that occurs twice.
        pairs.append((rng.choice(pairs)[0], rng.choice(pairs)[1] if rng.random() < 0.5 else 1))
    ascii_only = rng.random() < 0.7
    parts = [
        f"{json.dumps(name, ensure_ascii=ascii_only)}: {json.dumps(value, ensure_ascii=ascii_only)}"
        for name, value in pairs
    ]
    body = ("{" + ", ".join(parts) + "}").encode("utf-8", "surrogatepass")
    if rng.random() < 0.2:
        return mutated(rng, body)
    return body


PIECES = [b"", b'"', b"\\", b"{", b"[", b"}", b",", b"e", b"0", b"\xff", b"\xc2", b" ", b"."]
PIECES += [b"\\u0061", b"\\u0022", b"\\u0000"]


def mutated(rng: random.Random, body: bytes) -> bytes:
    """A body with a few bytes removed, added or replaced."""
    changed = bytearray(body)
    for _ in range(rng.randrange(1, 4)):
        at = rng.randrange(len(changed) + 1)
        changed[at : at + rng.randrange(3)] = rng.choice(PIECES)
    return bytes(changed)


def test_both_ways_agree_on_generated_and_mutated_bodies() -> None:
    rng = random.Random(20261129)
    quick = 0
    for _ in range(BODIES):
        body = a_body(rng)
        found = read_quickly(body, MAX_BYTES, b"key")
        if found is not None:
            quick += 1
            plain = msgspec.structs.replace(found, hash=normalise_hash(found.hash))
            assert plain == thorough(body), body
    # Many of these bodies are junk on purpose.
    assert quick > BODIES // 5


def thorough(body: bytes) -> ParsedVote | str:
    try:
        return read_body(body, max_metadata_bytes=MAX_BYTES, poll_key=b"key")
    except NotAVote as fault:
        return fault.reason


def test_a_quotation_mark_by_its_number_hides_no_field_that_occurs_twice() -> None:
    twice = b', "x": 1, "x": "\\u0022\\u0022"}'
    body = encoded(LAW)[:-1] + twice
    assert thorough(body) == "conflicting_fields"
    assert read_quickly(body, MAX_BYTES, b"key") is None


def test_a_null_that_is_left_out_joins_no_letters_unseen() -> None:
    """The names around it may look like a credential only then."""
    body = encoded(LAW | {"n": [], "x": None, "as": 1})
    assert read_quickly(body, MAX_BYTES, b"key") is None
    assert '"n":[],"as":1' in str(thorough(body))


@pytest.mark.parametrize("length", [40, 300, 5000])
@pytest.mark.parametrize(
    "deep", [lambda n: "[" * n + "]" * n, lambda n: '{"a":' * n + "1" + "}" * n]
)
@pytest.mark.parametrize("name", ["nas", "metadata", "x", "ranked_choices"])
def test_deep_nesting_is_left_to_the_thorough_way(
    name: str, deep: Callable[[int], str], length: int
) -> None:
    body = encoded(CANDIDATE)[:-1] + f', "{name}": {deep(length)}}}'.encode()
    assert read_quickly(body, 10**6, b"") is None


def test_no_character_hides_a_credential_from_the_quick_way() -> None:
    """Each character of Unicode that another way of writing `nas`, `code` or `%` may use."""
    for point in range(0x110000):
        char = chr(point)
        if 0xD800 <= point < 0xE000 or unicodedata.normalize("NFKD", char) == char:
            continue
        for word in ("nas", "code"):
            for at in range(len(word)):
                name = word[:at] + char + word[at + 1 :]
                if is_secret(name) or names_secret(f"{name}="):
                    body = encoded(LAW | {"x": {name: 1}})
                    assert read_quickly(body, MAX_BYTES, b"") is None, name
    assert {"nas", "code"} == set(SECRETS)

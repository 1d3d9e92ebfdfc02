"""Decoding: every form of a vote, every fault by name, and no body that makes it raise."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from schemas.codec import decode_input, encode
from schemas.votes import Flag, Kind, Malformed, Vote, VoteBatch
from streams.core.keys import voter_key
from streams.messages.decode import Decoded, decode, identity_of
from streams.messages.fields import MalformedReason

HASH = "0123456789abcdef" * 4
NOON = "2025-11-14T12:00:00Z"
NOON_US = 1_763_121_600_000_000
INGEST_US = 1_800_000_000_000_000

DOCUMENTED = {
    "vote_hash": HASH,
    "citizen_id": "citizen-123",
    "law_id": "law-001",
    "choice": "oui",
    "timestamp": NOON,
}


def run(body: bytes | dict[str, Any], **options: Any) -> Decoded:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    settings: dict[str, Any] = {
        "redelivered": False,
        "prevalidated": False,
        "ingest_us": INGEST_US,
        "max_body_bytes": 65536,
    }
    return decode(raw, options.pop("message_id", None), **(settings | options))


def vote(body: bytes | dict[str, Any], **options: Any) -> Vote:
    item = run(body, **options).item
    assert isinstance(item, Vote), item.reason
    return item


def reason(body: bytes | dict[str, Any], **options: Any) -> str:
    item = run(body, **options).item
    assert isinstance(item, Malformed), item
    return item.reason


def without(*names: str, **more: Any) -> dict[str, Any]:
    return {k: v for k, v in DOCUMENTED.items() if k not in names} | more


def facts(found: Vote) -> tuple[object, ...]:
    return (found.hash, found.contest, found.kind, found.choice, found.timestamp_us)


def test_documented_vote_of_the_aggregation_service() -> None:
    decoded = run(DOCUMENTED)
    assert decoded.item == Vote(
        hash=HASH,
        contest="law-001",
        kind=Kind.LAW,
        choice="oui",
        flags=Flag.ON_ROLL,
        identity=identity_of(None, json.dumps(DOCUMENTED).encode()),
        timestamp_us=NOON_US,
        citizen_id="citizen-123",
        metadata=None,
    )
    assert decoded.key == bytes.fromhex(HASH)


def test_documented_vote_of_the_validation_service() -> None:
    found = vote({"voter_hash": HASH, "candidate_id": 42, "vote_timestamp": NOON})
    assert facts(found) == (HASH, "election:", Kind.CANDIDATE, "42", NOON_US)


def test_deployed_vote_keeps_no_secret() -> None:
    found = vote(
        {
            "hash": HASH,
            "nas": "123456789",
            "code": "ABC123",
            "law_id": "L1",
            "vote": "oui",
            "submitted_at": "2025-11-14T12:00:00.250000",
            "vote_timestamp": "2025-11-14T12:00:00.250000",
        }
    )
    assert facts(found) == (HASH, "L1", Kind.LAW, "oui", NOON_US + 250_000)
    assert json.loads(found.metadata or "") == {"submitted_at": "2025-11-14T12:00:00.250000"}


@pytest.mark.parametrize("name", ["submitted_at", "status", "channel"])
def test_a_text_of_the_sender_that_holds_a_secret_is_masked(name: str) -> None:
    found = vote(DOCUMENTED | {name: "nas=123456789", "processed_timestamp": NOON})
    assert json.loads(found.metadata or "") == {name: "nas=999999999", "processed_timestamp": NOON}


def test_deployed_message_of_the_aggregation_queue() -> None:
    found = vote(
        {
            "voter_hash": HASH,
            "law_id": "L1",
            "vote": "non",
            "vote_timestamp": NOON,
            "status": "valid",
            "processed_timestamp": NOON,
        },
        prevalidated=True,
    )
    assert facts(found) == (HASH, "L1", Kind.LAW, "non", NOON_US)
    assert found.flags == Flag.ON_ROLL | Flag.PREVALIDATED
    assert json.loads(found.metadata or "") == {"status": "valid", "processed_timestamp": NOON}


def test_documented_metadata_stands_beside_unknown_fields() -> None:
    found = vote(DOCUMENTED | {"metadata": {"ip_address": "192.0.2.1"}, "client": {"v": [1, 2.5]}})
    assert json.loads(found.metadata or "") == {
        "ip_address": "192.0.2.1",
        "client": {"v": [1, 2.5]},
    }
    clash = vote(DOCUMENTED | {"metadata": {"client": 1}, "client": 2})
    assert json.loads(clash.metadata or "") == {"metadata": {"client": 1}, "client": 2}


def test_secrets_go_wherever_they_stand() -> None:
    found = vote(DOCUMENTED | {"who": {"NAS": "123", "Code": "X", "name": "kept"}, "nas": 5})
    assert json.loads(found.metadata or "") == {"who": {"name": "kept"}}
    found = vote(
        DOCUMENTED
        | {" N.A.S. ": "123", "\uff23ode": "X", "n\u200bas": 1, "postal_code": "H0H"}
        | {"raw": '{"nas": "123", "code": "X"}', "url": "/vote?nas=123&code=X", "ip": "::1"}
    )
    kept = json.loads(found.metadata or "")
    assert kept.keys() == {"postal_code", "raw", "url", "ip"}
    assert (kept["ip"], kept["postal_code"]) == ("::1", "H0H")
    assert "123" not in kept["raw"] + kept["url"]
    assert "X" not in kept["raw"] + kept["url"]


@pytest.mark.parametrize("separators", [(",", ":"), (", ", ": ")])
def test_the_text_of_an_encrypted_ballot_stays_as_it_came(separators: tuple[str, str]) -> None:
    ballot = json.dumps(
        {"object_id": "b-1", "code_seed": "AB" * 32, "code": "0F" * 32}, separators=separators
    )
    found = vote(DOCUMENTED | {"encrypted_ballot": ballot})
    assert json.loads(found.metadata or "") == {"encrypted_ballot": ballot}
    # Longer or shorter than a digest: in another field it may be a credential.
    for code in ("0F" * 31, "0F" * 33, "0F" * 32 + "G"):
        kept = json.loads(vote(DOCUMENTED | {"raw": f'{{"code":"{code}"}}'}).metadata or "")
        assert code not in kept["raw"]


@pytest.mark.parametrize("zeros", [0, 1, 2, 4, 16])
@pytest.mark.parametrize("inside", [False, True])
def test_a_ballot_s_code_begins_with_any_number_of_zeros(zeros: int, inside: bool) -> None:
    """The JSON of a ballot writes numbers without them: of one ballot in 256 two digits less."""
    code = ("1F" * 32)[zeros:]
    ballot = json.dumps(
        {"object_id": "b-1", "code": code, "contests": [{"object_id": "postal-code", "n": "nas"}]}
    )
    more: dict[str, object] = {"encrypted_ballot": ballot}
    found = vote(DOCUMENTED | ({"metadata": more} if inside else more))
    assert json.loads(found.metadata or "") == {"encrypted_ballot": ballot}


@pytest.mark.parametrize(
    "ballot",
    [
        '{"code":"0F0F0F0F0F"}',
        f'{{"code":"{"0F" * 33}"}}',
        f'{{"code":"{"0F" * 31}","nas":"0F0F"}}',
        f'{{"code":"{"0F" * 31}","contests":[{{"Code":"0F0F"}}]}}',
        f'{{"code":"{"0F" * 31}","object_id":"nas=0F0F"}}',
        f'{{"code":"{"0F" * 31}","code: 0F0F":1}}',
        f'{{"code":["{"0F" * 31}"]}}',
        f'{{"code":"{"0F" * 31}"',
        f'["code:{"0F" * 31}"]',
        '{"code":"0F0F0F0F0F","a":' + "[" * 300 + "]" * 300 + "}",
        '{"code":"0F0F0F0F0F","a":' + "9" * 5000 + "}",
    ],
)
def test_a_ballot_that_holds_credentials_is_masked(ballot: str) -> None:
    kept = json.loads(vote(DOCUMENTED | {"encrypted_ballot": ballot}).metadata or "")
    assert "0F" not in kept["encrypted_ballot"]


@pytest.mark.parametrize("name", ["vote_hash", "voter_hash", "hash"])
@pytest.mark.parametrize("choice", ["choice", "vote"])
@pytest.mark.parametrize("time", ["timestamp", "vote_timestamp"])
def test_spellings_of_a_law_vote_agree(name: str, choice: str, time: str) -> None:
    found = vote({name: HASH, "law_id": "law-001", choice: "oui", time: NOON})
    assert facts(found) == (HASH, "law-001", Kind.LAW, "oui", NOON_US)


@pytest.mark.parametrize("law", ["7", 7])
def test_an_id_is_a_text_or_a_number(law: object) -> None:
    assert vote(without("law_id", law_id=law)).contest == "7"
    candidate = {"voter_hash": HASH, "candidate_id": law, "election_id": law}
    assert facts(vote(candidate))[1:4] == ("election:7", Kind.CANDIDATE, "7")


@pytest.mark.parametrize("word", ["OUI", "Oui", "oUi"])
def test_choices_of_any_case(word: str) -> None:
    assert vote(DOCUMENTED | {"choice": word}).choice == "oui"


@pytest.mark.parametrize("word", ["Peut-être", "O UI", "ouì"])
def test_other_words_pass_as_they_are(word: str) -> None:
    assert vote(DOCUMENTED | {"choice": word}).choice == word


@pytest.mark.parametrize(
    ("time", "micros"),
    [
        ("2025-11-14T12:00:00Z", NOON_US),
        ("2025-11-14T12:00:00z", NOON_US),
        ("2025-11-14T12:00:00", NOON_US),
        ("2025-11-14 12:00:00", NOON_US),
        ("2025-11-14T17:30:00+05:30", NOON_US),
        ("2025-11-14T07:00:00-0500", NOON_US),
        ("2025-11-14T12:00:00.123456789Z", NOON_US + 123_456),
        (1_763_121_600, NOON_US),
        (1_763_121_600.25, NOON_US + 250_000),
        (0, 0),
        ("1970-01-01", 0),
        ("1970-W01-4T00:00:24", 24_000_000),
        ("19700101T00:24", 1_440_000_000),
        ("1970W02", 345_600_000_000),
        ("1970-01-05T00:00:00.Z", 345_600_000_000),
        ("9999-12-31T23:59:59.999999Z", 253_402_300_799_999_999),
        (None, INGEST_US),
    ],
)
def test_timestamps(time: object, micros: int) -> None:
    assert vote(DOCUMENTED | {"timestamp": time}).timestamp_us == micros


@pytest.mark.parametrize(
    "time",
    [
        "yesterday",
        "",
        "12:00",
        "2025-13-01T00:00:00Z",
        "2025-11-14T12:00:61Z",
        # The next day, since Python 3.14.
        "2025-11-14T24:00:00Z",
        "20251114T24",
        "2025-W46-5T24:00",
        "2025-W46T24:00",
        "1969-12-31T23:59:59Z",
        "9999-12-31T23:59:59-10:00",
        "0001-01-01T00:00:00+10:00",
        "10000-01-01T00:00:00Z",
        -1,
        -0.5,
        1_763_121_600_000,
        253_402_300_800,
        10**400,
        1e300,
    ],
)
def test_absurd_timestamps(time: object) -> None:
    assert reason(DOCUMENTED | {"timestamp": time}) == MalformedReason.BAD_TIMESTAMP


@pytest.mark.parametrize(
    ("leap", "after"),
    [
        ("2016-12-31T23:59:60Z", "2017-01-01T00:00:00Z"),
        ("2016-12-31T23:59:60.25Z", "2017-01-01T00:00:00.25Z"),
        ("2016-12-31 18:59:60-05:00", "2017-01-01T00:00:00Z"),
    ],
)
def test_a_leap_second_is_the_next_second(leap: str, after: str) -> None:
    found, expected = (vote(DOCUMENTED | {"timestamp": at}) for at in (leap, after))
    assert found.timestamp_us == expected.timestamp_us
    assert reason(DOCUMENTED | {"timestamp": "2016-12-31T23:59:61Z"}) == (
        MalformedReason.BAD_TIMESTAMP
    )


def test_a_byte_order_mark_before_a_vote_changes_nothing() -> None:
    body = json.dumps(DOCUMENTED).encode()
    found, marked = vote(body), vote(b"\xef\xbb\xbf" + body)
    assert (marked.hash, marked.contest, marked.choice) == (found.hash, found.contest, found.choice)


def test_blanks_around_a_law_choice_change_nothing_as_over_http() -> None:
    assert vote(DOCUMENTED | {"choice": "oui "}).choice == "oui"
    assert vote(DOCUMENTED | {"choice": " NON"}).choice == "non"
    assert vote(DOCUMENTED | {"choice": "o ui"}).choice == "o ui"


def test_absent_timestamp_is_the_ingest_time() -> None:
    assert vote(without("timestamp")).timestamp_us == INGEST_US


def test_upper_case_hex_is_the_same_voter() -> None:
    upper = run(DOCUMENTED | {"vote_hash": HASH.upper()})
    assert isinstance(upper.item, Vote)
    assert upper.item.hash == HASH
    assert upper.key == run(DOCUMENTED).key


@pytest.mark.parametrize("text", ["Voter", "é" * 64, "x" * 128, "AB" * 31, "a " * 32])
def test_other_hashes_are_taken_exactly(text: str) -> None:
    decoded = run(DOCUMENTED | {"vote_hash": text})
    assert isinstance(decoded.item, Vote)
    assert decoded.item.hash == text
    assert decoded.key == voter_key(text, "law-001", Kind.LAW)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"", MalformedReason.NOT_JSON),
        (b"not json", MalformedReason.NOT_JSON),
        (b"{", MalformedReason.NOT_JSON),
        (json.dumps(DOCUMENTED).encode() + b"x", MalformedReason.NOT_JSON),
        (b"\xef\xbb\xbf{}", MalformedReason.MISSING_HASH),
        (b'{"vote_hash": NaN}', MalformedReason.NOT_JSON),
        (b'{"x": Infinity}', MalformedReason.NOT_JSON),
        (json.dumps(DOCUMENTED).encode("utf-16"), MalformedReason.NOT_UTF8),
        (b'{"vote_hash": "\xff"}', MalformedReason.NOT_UTF8),
        (b'{"vote_hash": "\xed\xa0\x80"}', MalformedReason.NOT_UTF8),
        (b"[]", MalformedReason.NOT_AN_OBJECT),
        (b"null", MalformedReason.NOT_AN_OBJECT),
        (b'"oui"', MalformedReason.NOT_AN_OBJECT),
        (b"{}", MalformedReason.MISSING_HASH),
        *(
            # The parsers of Python 3.11 to 3.14 stop at different depths.
            (deep, MalformedReason.BAD_METADATA)
            for levels in (300, 1_500, 10_000)
            for deep in (
                b"[" * levels,
                b"[" * levels + b"]" * levels,
                b'{"x":' * levels + b"1" + b"}" * levels,
            )
        ),
        (b'"' + b"[" * 300 + b'"', MalformedReason.NOT_AN_OBJECT),
        (b'{"x":"\\"' + b"[" * 300 + b'"}', MalformedReason.MISSING_HASH),
        (b'{"x":' * 40 + b"1" + b"}" * 40, MalformedReason.MISSING_HASH),
        (without("vote_hash"), MalformedReason.MISSING_HASH),
        (DOCUMENTED | {"vote_hash": None}, MalformedReason.MISSING_HASH),
        (without("law_id"), MalformedReason.MISSING_CONTEST),
        (DOCUMENTED | {"law_id": ""}, MalformedReason.MISSING_CONTEST),
        (without("law_id", election_id="e"), MalformedReason.MISSING_CONTEST),
        (without("choice"), MalformedReason.MISSING_CHOICE),
        (DOCUMENTED | {"choice": ""}, MalformedReason.MISSING_CHOICE),
        ({"voter_hash": HASH, "candidate_id": ""}, MalformedReason.MISSING_CHOICE),
        (DOCUMENTED | {"vote_hash": 5}, MalformedReason.WRONG_TYPE),
        (DOCUMENTED | {"law_id": ["law-001"]}, MalformedReason.WRONG_TYPE),
        (DOCUMENTED | {"law_id": True}, MalformedReason.WRONG_TYPE),
        (DOCUMENTED | {"law_id": 1.0}, MalformedReason.WRONG_TYPE),
        (DOCUMENTED | {"choice": 1}, MalformedReason.WRONG_TYPE),
        (DOCUMENTED | {"timestamp": True}, MalformedReason.WRONG_TYPE),
        (DOCUMENTED | {"timestamp": {}}, MalformedReason.WRONG_TYPE),
        (DOCUMENTED | {"citizen_id": {}}, MalformedReason.WRONG_TYPE),
        (DOCUMENTED | {"vote_hash": ""}, MalformedReason.BAD_HASH),
        (DOCUMENTED | {"vote_hash": "x" * 129}, MalformedReason.BAD_HASH),
        (DOCUMENTED | {"vote_hash": "é" * 65}, MalformedReason.BAD_HASH),
        (DOCUMENTED | {"law_id": "x" * 256}, MalformedReason.TOO_LONG),
        (DOCUMENTED | {"law_id": int("9" * 256)}, MalformedReason.TOO_LONG),
        (DOCUMENTED | {"choice": "é" * 128}, MalformedReason.TOO_LONG),
        (DOCUMENTED | {"citizen_id": "x" * 256}, MalformedReason.TOO_LONG),
        (
            {"voter_hash": HASH, "candidate_id": 1, "election_id": "x" * 256},
            MalformedReason.TOO_LONG,
        ),
        (DOCUMENTED | {"vote_hash": "a\0"}, MalformedReason.NUL_IN_STRING),
        (DOCUMENTED | {"citizen_id": "\0"}, MalformedReason.NUL_IN_STRING),
        (DOCUMENTED | {"note": "a\0"}, MalformedReason.NUL_IN_STRING),
        (DOCUMENTED | {"deep": [{"\0": 1}]}, MalformedReason.NUL_IN_STRING),
        (DOCUMENTED | {"law_id": "\ud800"}, MalformedReason.LONE_SURROGATE),
        (DOCUMENTED | {"note": ["\udfff"]}, MalformedReason.LONE_SURROGATE),
        (DOCUMENTED | {"candidate_id": 1}, MalformedReason.CONFLICTING_FIELDS),
        (DOCUMENTED | {"vote": "non"}, MalformedReason.CONFLICTING_FIELDS),
        (DOCUMENTED | {"hash": "f" * 64}, MalformedReason.CONFLICTING_FIELDS),
        (DOCUMENTED | {"vote_timestamp": 0}, MalformedReason.CONFLICTING_FIELDS),
        ({"voter_hash": HASH, "candidate_id": 1, "vote": "2"}, MalformedReason.CONFLICTING_FIELDS),
        (
            json.dumps(DOCUMENTED)[:-1].encode() + b',"choice":"non"}',
            MalformedReason.CONFLICTING_FIELDS,
        ),
        (DOCUMENTED | {"law_id": "election:1"}, MalformedReason.RESERVED_LAW_ID),
        (DOCUMENTED | {"law_id": "poll:1"}, MalformedReason.RESERVED_LAW_ID),
        (json.dumps(DOCUMENTED)[:-1].encode() + b',"x":1e999}', MalformedReason.BAD_METADATA),
        (
            json.dumps(DOCUMENTED)[:-1].encode() + b',"x":%b}' % (b"9" * 5000),
            MalformedReason.BAD_METADATA,
        ),
        (
            json.dumps(DOCUMENTED)[:-1].encode() + b',"x":' + b"[" * 33 + b"]" * 33 + b"}",
            MalformedReason.BAD_METADATA,
        ),
        (
            json.dumps(DOCUMENTED)[:-1].encode() + b',"x":[' + b"1e15," * 9000 + b"1]}",
            MalformedReason.BAD_METADATA,
        ),
        (json.dumps(DOCUMENTED).encode() + b" " * 65536, MalformedReason.TOO_LARGE),
    ],
    ids=lambda value: value if isinstance(value, MalformedReason) else "",
)
def test_faults_by_name(body: bytes | dict[str, Any], expected: MalformedReason) -> None:
    assert reason(body) == expected


def test_equal_spellings_are_no_conflict() -> None:
    found = vote(
        DOCUMENTED
        | {"hash": HASH.upper(), "voter_hash": HASH, "vote": "OUI", "vote_timestamp": NOON_US / 1e6}
    )
    assert facts(found) == facts(vote(DOCUMENTED))
    twice = json.dumps(DOCUMENTED)[:-1].encode() + b',"choice":"oui"}'
    assert facts(vote(twice)) == facts(vote(DOCUMENTED))


def test_null_is_absent() -> None:
    found = vote(DOCUMENTED | {"candidate_id": None, "vote": None, "metadata": None, "x": None})
    assert found.metadata is None
    assert facts(found) == facts(vote(DOCUMENTED))


def test_our_own_candidate_message_is_read_back() -> None:
    found = vote({"vote_hash": HASH, "candidate_id": "42", "vote": "42", "choice": "42"})
    assert facts(found)[:4] == (HASH, "election:", Kind.CANDIDATE, "42")


def test_malformed_keeps_what_a_reviewer_needs() -> None:
    body = b"\xff" * 5000
    decoded = run(body, redelivered=True, message_id=b"m")
    item = decoded.item
    assert isinstance(item, Malformed)
    assert (item.length, item.head) == (5000, b"?" * 4096)
    assert item.flags == Flag.REDELIVERED | Flag.MESSAGE_ID
    assert decoded.key == item.identity


def test_malformed_keeps_no_credentials() -> None:
    body = json.dumps(without("vote_hash", nas="123456789", code="XK7Q2P")).encode()
    for sent in (body, body[:-1], body + b"\xff", body.replace(b"nas", b"n\\u0061s")):
        item = run(sent).item
        assert isinstance(item, Malformed)
        assert b"law_id" in item.head
        assert b"123456789" not in item.head
        assert b"XK7Q2P" not in item.head


def test_limit_counts_whole_bodies() -> None:
    body = json.dumps(DOCUMENTED).encode()
    assert isinstance(run(body, max_body_bytes=len(body)).item, Vote)
    assert reason(body, max_body_bytes=len(body) - 1) == MalformedReason.TOO_LARGE


def test_flags_say_what_was_seen() -> None:
    found = vote(DOCUMENTED, redelivered=True, prevalidated=True, message_id=b"m")
    assert found.flags == (Flag.ON_ROLL | Flag.REDELIVERED | Flag.PREVALIDATED | Flag.MESSAGE_ID)


def test_identity_tells_the_message_id_from_the_body() -> None:
    assert identity_of(b"ab", b"c") != identity_of(b"a", b"bc")
    assert identity_of(None, b"c") == identity_of(b"", b"c") != identity_of(b"c", b"")
    assert len(identity_of(b"x" * 255, b"")) == 16


# Properties ------------------------------------------------------------------------------------

names = st.sampled_from(
    [
        "vote_hash",
        "voter_hash",
        "hash",
        "law_id",
        "candidate_id",
        "election_id",
        "choice",
        "vote",
        "timestamp",
        "vote_timestamp",
        "citizen_id",
        "nas",
        "code",
        "status",
        "metadata",
        "submitted_at",
        "processed_timestamp",
        "x",
    ]
)
texts = st.text() | st.text(alphabet='oui\0\ud800"\\é', max_size=8) | st.just(HASH)
scalars = st.none() | st.booleans() | st.integers() | st.floats() | texts | st.just(NOON)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3)
)
objects = st.dictionaries(names | texts, values, max_size=12)
mutations = st.builds(lambda base, more: base | more, st.just(DOCUMENTED), objects)
bodies = (
    st.binary(max_size=300)
    | objects.map(lambda o: json.dumps(o).encode())
    | mutations.map(lambda o: json.dumps(o, ensure_ascii=True).encode())
    | mutations.map(lambda o: json.dumps(o, ensure_ascii=False).encode("utf-8", "surrogatepass"))
)


def postgresql_takes(text: str | None) -> bool:
    return text is None or ("\0" not in text and text.encode("utf-8").decode("utf-8") == text)


@given(bodies, st.none() | st.binary(max_size=40), st.booleans())
@example(b'{"vote_hash":"a\\u0000"}', None, False)
@example(b"[" * 5000, None, True)
def test_every_body_decodes_to_something_storable(
    body: bytes, message_id: bytes | None, redelivered: bool
) -> None:
    item = run(body, message_id=message_id, redelivered=redelivered).item
    batch = VoteBatch(0, "b", *([[item], []] if isinstance(item, Vote) else [[], [item]]))
    assert decode_input(encode(batch)) == batch
    if isinstance(item, Malformed):
        assert item.reason in set(MalformedReason)
        return
    assert 1 <= len(item.hash.encode()) <= 128
    assert 0 <= item.timestamp_us <= 253_402_300_799_999_999
    assert datetime.fromtimestamp(item.timestamp_us / 1e6, tz=UTC).year <= 10_000
    for text in (item.hash, item.contest, item.choice, item.citizen_id, item.metadata):
        assert postgresql_takes(text)
    if item.metadata is not None:
        kept = json.loads(item.metadata, parse_constant=pytest.fail)
        assert isinstance(kept, dict)
        assert_storable(kept)


def assert_storable(value: Any) -> None:
    if isinstance(value, dict):
        for name, inner in value.items():
            assert postgresql_takes(name)
            assert name.lower() not in {"nas", "code"}
            assert_storable(inner)
    elif isinstance(value, list):
        for inner in value:
            assert_storable(inner)
    elif isinstance(value, str):
        assert postgresql_takes(value)
    elif isinstance(value, float):
        assert math.isfinite(value)


@given(mutations)
def test_both_ways_of_reading_agree(message: dict[str, Any]) -> None:
    """An unknown field that is null changes nothing but sends the body the thorough way."""
    quick = run(message).item
    thorough = run(message | {"another": None}).item
    assert type(quick) is type(thorough)
    if isinstance(quick, Vote) and isinstance(thorough, Vote):
        plain = msgspec.structs.replace
        assert json.loads(quick.metadata or "{}") == json.loads(thorough.metadata or "{}")
        assert plain(quick, identity=b"", metadata=None) == plain(
            thorough, identity=b"", metadata=None
        )
    elif isinstance(quick, Malformed) and isinstance(thorough, Malformed):
        assert quick.reason == thorough.reason


@given(
    st.sampled_from(["vote_hash", "voter_hash", "hash"]),
    st.sampled_from(["choice", "vote"]),
    st.sampled_from(["timestamp", "vote_timestamp"]),
    st.text(
        alphabet=st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1
    ).filter(lambda t: len(t.encode()) <= 128),
    st.datetimes(min_value=datetime(1970, 1, 1), max_value=datetime(9999, 1, 1)),  # noqa: DTZ001
)
def test_spellings_agree(name: str, choice: str, time: str, voter: str, moment: datetime) -> None:
    one = vote({name: voter, "law_id": "law", choice: "Non", time: moment.isoformat()})
    two = vote(
        {"vote_hash": voter, "law_id": "law", "vote": "non", "timestamp": f"{moment.isoformat()}Z"}
    )
    assert facts(one) == facts(two)

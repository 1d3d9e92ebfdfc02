"""The format of what is in Kafka. It is read again years later: it must not change unnoticed."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.codec import (
    DecodeError,
    KafkaRecord,
    decode_input,
    decode_notice,
    decode_verdicts,
    decode_voted,
    decode_window_key,
    decode_window_state,
    encode,
)
from schemas.control import (
    MAX_WEIGHT,
    Conduct,
    ConductChanged,
    ConductedContest,
    Contest,
    ContestsChanged,
    ContestsEnforced,
    ElectionContest,
    ElectionsChanged,
    EpochOpened,
    Lot,
    RankedChanged,
    RankedContest,
    RankedRules,
    RollChanged,
    WeighedRollChanged,
    Withdrawal,
)
from schemas.genesis import Genesis, RehearsalGenesis
from schemas.notices import AdoptionBegun, AdoptionEnded, IntakePaused, IntakeResumed, RollLoaded
from schemas.verdicts import (
    Acceptance,
    Reason,
    Rejection,
    Status,
    VerdictBatch,
    WeighedVerdictBatch,
)
from schemas.voted import (
    CHANGELOG_KEY,
    FIRST_VOTE,
    ControlRecord,
    Repeat,
    VotedRecord,
    WeighedVotedRecord,
)
from schemas.votes import Flag, Kind, Malformed, Rule, RuledVoteBatch, Vote, VoteBatch
from schemas.windows import WindowKey, WindowState
from tests.strategies import batches

GENESIS = Genesis(bytes(range(16)), 1_760_000_000_000)
VOTES = VoteBatch(
    1_760_000_000_123,
    "bridge-1",
    [
        Vote("ab" * 32, "L1", Kind.LAW, "oui", Flag.ON_ROLL, b"i" * 16, 1_760_000_000_000_001),
        Vote(
            "é",
            "election:1",
            Kind.CANDIDATE,
            "42",
            Flag.ON_ROLL | Flag.MESSAGE_ID,
            b"j" * 16,
            -5,
            "citizen",
            '{"ip":"::1"}',
        ),
    ],
    [Malformed("not_json", Flag.REDELIVERED, b"k" * 16, 3, b"s" * 32, b"{{{")],
)
VOTED = VotedRecord(
    bytes(range(16)),
    FIRST_VOTE.pack(b"k" * 32, 1, 0, b"i" * 8),
    ["L1"],
    [Repeat(b"r" * 32, 2**33, 65_535, b"i" * 8, 2, [b"x" * 8, b"y" * 8])],
    [Rejection(0, "duplicate", "already_voted", 2)],
)
VERDICTS = VerdictBatch(
    bytes(range(16)),
    3,
    2**33,
    2**33 - 1,
    [Rejection(1, "invalid", "not_on_roll"), Rejection(2, "malformed", "not_json")],
    msgspec.Raw(encode(GENESIS)),
)
WINDOW_KEY = WindowKey("L1", "oui", 1_760_000_000_000)
WINDOW = WindowState(2**33)

# Version 1, as the first release wrote it. Never change these: add a version and read both.
VERSION_1: list[tuple[str, KafkaRecord, Callable[[Any], Any], str]] = [
    (
        "genesis",
        GENESIS,
        decode_input,
        "93a967656e657369732f31c410000102030405060708090a0b0c0d0e0fcf00000199c82cc000",
    ),
    (
        "votes",
        VOTES,
        decode_input,
        "95a7766f7465732f31cf00000199c82cc07ba86272696467652d319299d940616261626162616261"
        "62616261626162616261626162616261626162616261626162616261626162616261626162616261"
        "626162616261626162616261626162a24c3100a36f756908c4106969696969696969696969696969"
        "6969cf000640b5eece0001c0c099a2c3a9aa656c656374696f6e3a3101a234320cc4106a6a6a6a6a"
        "6a6a6a6a6a6a6a6a6a6a6afba7636974697a656eac7b226970223a223a3a31227d9196a86e6f745f"
        "6a736f6e01c4106b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b03c4207373737373737373737373737373"
        "737373737373737373737373737373737373c4037b7b7b",
    ),
    (
        "voted",
        VOTED,
        decode_voted,
        "96a7766f7465642f31c410000102030405060708090a0b0c0d0e0fc42c6b6b6b6b6b6b6b6b6b6b6b"
        "6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b00010000696969696969696991a24c319196c4"
        "207272727272727272727272727272727272727272727272727272727272727272cf000000020000"
        "0000cdffffc40869696969696969690292c4087878787878787878c4087979797979797979919400"
        "a96475706c6963617465ad616c72656164795f766f74656402",
    ),
    (
        "verdicts",
        VERDICTS,
        decode_verdicts,
        "97aa76657264696374732f31c410000102030405060708090a0b0c0d0e0f03cf0000000200000000"
        "cf00000001ffffffff929401a7696e76616c6964ab6e6f745f6f6e5f726f6c6c009402a96d616c66"
        "6f726d6564a86e6f745f6a736f6e0093a967656e657369732f31c410000102030405060708090a0b"
        "0c0d0e0fcf00000199c82cc000",
    ),
    (
        "window-key",
        WINDOW_KEY,
        decode_window_key,
        "94ac77696e646f772d6b65792f31a24c31a36f7569cf00000199c82cc000",
    ),
    (
        "window",
        WINDOW,
        decode_window_state,
        "92a877696e646f772f31cf0000000200000000",
    ),
]

CONTEST = Contest("election:1", "election", "Mairie", "open", ["7"], "default", 1, None)
CONTROL = ContestsChanged(2**41, b"c" * 16, 1_760_000_000_000, True, [CONTEST])
RULED = RuledVoteBatch(
    VOTES.ingest_ms, VOTES.bridge, VOTES.votes[:1], [], 3, Rule.CONTESTS | Rule.ROLL_TABLE
)
# What the release after it added.
VERSION_1 += [
    (
        "ruled-votes",
        RULED,
        decode_input,
        "97a7766f7465732f32cf00000199c82cc07ba86272696467652d319199d940616261626162616261"
        "62616261626162616261626162616261626162616261626162616261626162616261626162616261"
        "626162616261626162616261626162a24c3100a36f756908c4106969696969696969696969696969"
        "6969cf000640b5eece0001c0c0900303",
    ),
    (
        "contests",
        CONTROL,
        decode_input,
        "96aa636f6e74657374732f31cf0000020000000000c41063636363636363636363636363636363cf"
        "00000199c82cc000c39198aa656c656374696f6e3a31a8656c656374696f6ea64d6169726965a46f"
        "70656e91a137a764656661756c7401c0",
    ),
    (
        "roll",
        RollChanged(5, b"c" * 16, 3, False, 7, b"k" * 32, b""),
        decode_input,
        "98a6726f6c6c2f3105c4106363636363636363636363636363636303c207c4206b6b6b6b6b6b6b6b"
        "6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6bc400",
    ),
    (
        "epoch",
        EpochOpened(6, b"c" * 16, 7, 1),
        decode_input,
        "95a765706f63682f3106c410636363636363636363636363636363630701",
    ),
    (
        "voted-control",
        ControlRecord(bytes(range(16)), CONTROL),
        decode_voted,
        "93af766f7465642d636f6e74726f6c2f31c410000102030405060708090a0b0c0d0e0f96aa636f6e"
        "74657374732f31cf0000020000000000c41063636363636363636363636363636363cf00000199c8"
        "2cc000c39198aa656c656374696f6e3a31a8656c656374696f6ea64d6169726965a46f70656e91a1"
        "37a764656661756c7401c0",
    ),
    (
        "roll-loaded",
        RollLoaded(b"l" * 16, 7),
        decode_notice,
        "93ad726f6c6c2d6c6f616465642f31c4106c6c6c6c6c6c6c6c6c6c6c6c6c6c6c6c07",
    ),
    (
        "intake-paused",
        IntakePaused(b"l" * 16, 1, 7),
        decode_notice,
        "94af696e74616b652d7061757365642f31c4106c6c6c6c6c6c6c6c6c6c6c6c6c6c6c6c0107",
    ),
    (
        "intake-resumed",
        IntakeResumed(b"l" * 16, 1),
        decode_notice,
        "93b0696e74616b652d726573756d65642f31c4106c6c6c6c6c6c6c6c6c6c6c6c6c6c6c6c01",
    ),
]
ELECTION = ElectionContest(
    *msgspec.structs.astuple(CONTEST)[:4], ["7", "8"], "default", 1, None, "ranked", ["5", "5"]
)
# What elections and adoptions added.
VERSION_1 += [
    (
        "elections",
        ElectionsChanged(2**41, b"c" * 16, 1_760_000_000_000, True, [ELECTION]),
        decode_input,
        "96aa636f6e74657374732f32cf0000020000000000c41063636363636363636363636363636363cf"
        "00000199c82cc000c3919aaa656c656374696f6e3a31a8656c656374696f6ea64d6169726965a46f"
        "70656e92a137a138a764656661756c7401c0a672616e6b656492a135a135",
    ),
    (
        "adoption-begun",
        AdoptionBegun(b"l" * 16, 7),
        decode_notice,
        "93b061646f7074696f6e2d626567756e2f31c4106c6c6c6c6c6c6c6c6c6c6c6c6c6c6c6c07",
    ),
    (
        "adoption-ended",
        AdoptionEnded(b"l" * 16, 7),
        decode_notice,
        "93b061646f7074696f6e2d656e6465642f31c4106c6c6c6c6c6c6c6c6c6c6c6c6c6c6c6c07",
    ),
]
REHEARSAL = RehearsalGenesis(bytes(range(16)), 1_760_000_000_000, "dry-run")
# What contests that are enforced and rehearsals added.
VERSION_1 += [
    (
        "rehearsal-genesis",
        REHEARSAL,
        decode_input,
        "94a967656e657369732f32c410000102030405060708090a0b0c0d0e0fcf00000199c82cc000a764"
        "72792d72756e",
    ),
    (
        "contests-enforced",
        ContestsEnforced(2**41, b"c" * 16, 1_760_000_000_000, True, [ELECTION]),
        decode_input,
        "96aa636f6e74657374732f33cf0000020000000000c41063636363636363636363636363636363cf"
        "00000199c82cc000c3919aaa656c656374696f6e3a31a8656c656374696f6ea64d6169726965a46f"
        "70656e92a137a138a764656661756c7401c0a672616e6b656492a135a135",
    ),
    (
        "voted-rehearsal",
        ControlRecord(bytes(range(16)), REHEARSAL),
        decode_voted,
        "93af766f7465642d636f6e74726f6c2f31c410000102030405060708090a0b0c0d0e0f94a967656e"
        "657369732f32c410000102030405060708090a0b0c0d0e0fcf00000199c82cc000a76472792d7275"
        "6e",
    ),
]
RANKED = RankedContest(
    *msgspec.structs.astuple(ELECTION),
    RankedRules(overvote="exhaust_immediately", max_skipped_ranks=1, lot_seed="s"),
)
# What rules for ranked ballots added.
VERSION_1 += [
    (
        "ranked-contests",
        RankedChanged(2**41, b"c" * 16, 1_760_000_000_000, True, [RANKED]),
        decode_input,
        "96aa636f6e74657374732f34cf0000020000000000c41063636363636363636363636363636363cf"
        "00000199c82cc000c3919baa656c656374696f6e3a31a8656c656374696f6ea64d6169726965a46f"
        "70656e92a137a138a764656661756c7401c0a672616e6b656492a135a1358da86f766572766f7465"
        "b3657868617573745f696d6d6564696174656c79b16d61785f736b69707065645f72616e6b7301b4"
        "657868617573745f6f6e5f6475706c6963617465c2a96d61785f72616e6b73c0ac66756c6c5f7261"
        "6e6b696e67c2b0756e74696c5f74776f5f72656d61696ec2aa6d61785f726f756e6473c0b1626174"
        "63685f656c696d696e6174696f6ec2a96d696e5f766f74657300ab6d616a6f726974795f6f66aa63"
        "6f6e74696e75696e67a97469655f627265616bb870726576696f75735f726f756e64735f7468656e"
        "5f6c6f74a86c6f745f73656564a173b3756e6465636c617265645f77726974655f696ec0",
    ),
]
# What facts about an election under way added.
VERSION_1 += [
    (
        "conducted-contests",
        ConductChanged(
            2**41,
            b"c" * 16,
            1_760_000_000_000,
            True,
            [
                ConductedContest(
                    *msgspec.structs.astuple(ELECTION),
                    None,
                    Conduct(
                        hidden=True,
                        turnout_quorum="1/4",
                        withdrawn=(Withdrawal("7", "dead"),),
                        lots=(Lot(("7", "8"), "8"),),
                    ),
                )
            ],
        ),
        decode_input,
        "96aa636f6e74657374732f35cf0000020000000000c41063636363636363636363636363636363cf"
        "00000199c82cc000c3919caa656c656374696f6e3a31a8656c656374696f6ea64d6169726965a46f"
        "70656e92a137a138a764656661756c7401c0a672616e6b656492a135a135c084a668696464656ec3"
        "ae7475726e6f75745f71756f72756da3312f34a977697468647261776e9182a663686f696365a137"
        "a6726561736f6ea464656164a46c6f74739183a47469656492a137a138a5647261776ea138a6656c"
        "65637473c2",
    ),
]
# What weights and revotes added.
VERSION_1 += [
    (
        "weighed-roll",
        WeighedRollChanged(
            2**41, b"c" * 16, 3, True, 1_760_000_000_000, b"k" * 64, b"", [1, MAX_WEIGHT]
        ),
        decode_input,
        "99a6726f6c6c2f32cf0000020000000000c4106363636363636363636363636363636303c3cf0000"
        "0199c82cc000c4406b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b"
        "6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6bc4009201ce3b9aca"
        "00",
    ),
    (
        "weighed-voted",
        WeighedVotedRecord(
            *(getattr(VOTED, name) for name in VOTED.__struct_fields__),
            [Acceptance(1, MAX_WEIGHT, 3)],
        ),
        decode_voted,
        "97a7766f7465642f32c410000102030405060708090a0b0c0d0e0fc42c6b6b6b6b6b6b6b6b6b6b6b"
        "6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b00010000696969696969696991a24c319196c4"
        "207272727272727272727272727272727272727272727272727272727272727272cf000000020000"
        "0000cdffffc40869696969696969690292c4087878787878787878c4087979797979797979919400"
        "a96475706c6963617465ad616c72656164795f766f74656402919301ce3b9aca0003",
    ),
    (
        "weighed-verdicts",
        WeighedVerdictBatch(
            *(getattr(VERDICTS, name) for name in VERDICTS.__struct_fields__), [Acceptance(0, 2)]
        ),
        decode_verdicts,
        "98aa76657264696374732f32c410000102030405060708090a0b0c0d0e0f03cf0000000200000000"
        "cf00000001ffffffff929401a7696e76616c6964ab6e6f745f6f6e5f726f6c6c009402a96d616c66"
        "6f726d6564a86e6f745f6a736f6e0093a967656e657369732f31c410000102030405060708090a0b"
        "0c0d0e0fcf00000199c82cc0009193000200",
    ),
]
by_type = pytest.mark.parametrize(
    ("record", "decode", "stored"),
    [case[1:] for case in VERSION_1],
    ids=[case[0] for case in VERSION_1],
)


def comparable(record: Any) -> Any:
    """`Raw` compares by identity."""
    return encode(record)


@by_type
def test_stored_bytes_of_version_1_are_written_as_ever(
    record: KafkaRecord, decode: Callable[[Any], Any], stored: str
) -> None:
    assert encode(record).hex() == stored


@by_type
def test_stored_bytes_of_version_1_are_read_as_ever(
    record: KafkaRecord, decode: Callable[[Any], Any], stored: str
) -> None:
    decoded = decode(bytes.fromhex(stored))
    assert type(decoded) is type(record)
    assert comparable(decoded) == comparable(record)


@by_type
def test_every_truncation_is_an_error(
    record: KafkaRecord, decode: Callable[[Any], Any], stored: str
) -> None:
    whole = encode(record)
    for length in range(len(whole)):
        with pytest.raises(DecodeError):
            decode(whole[:length])


@by_type
def test_bytes_after_the_end_are_an_error(
    record: KafkaRecord, decode: Callable[[Any], Any], stored: str
) -> None:
    with pytest.raises(DecodeError):
        decode(encode(record) + b"\x00")


@by_type
def test_another_version_is_an_error(
    record: KafkaRecord, decode: Callable[[Any], Any], stored: str
) -> None:
    whole = encode(record)
    version = re.search(rb"/[1-5]", whole[:20])
    assert version is not None
    with pytest.raises(DecodeError):
        decode(whole.replace(version[0], b"/9", 1))


@by_type
def test_a_record_of_another_type_is_an_error(
    record: KafkaRecord, decode: Callable[[Any], Any], stored: str
) -> None:
    for _, other, other_decode, _ in VERSION_1:
        if other_decode is not decode:
            with pytest.raises(DecodeError):
                decode(encode(other))


@by_type
@given(junk=st.binary(max_size=64))
def test_junk_is_an_error_or_a_record(
    record: KafkaRecord, decode: Callable[[Any], Any], stored: str, junk: bytes
) -> None:
    """No other exception gets out."""
    try:
        decoded = decode(junk)
    except DecodeError:
        return
    assert isinstance(decoded, msgspec.Struct)


@by_type
@pytest.mark.parametrize("junk", [b"\x94\xa3\x00\x00\x80", b"\x91" * 100_000])
def test_bad_text_and_bottomless_nesting_are_errors(
    record: KafkaRecord, decode: Callable[[Any], Any], stored: str, junk: bytes
) -> None:
    name = encode(record)[1:]
    tag = name[: 1 + (name[0] & 0x1F)]
    for data in (junk, b"\x9f" + tag + junk):
        with pytest.raises(DecodeError):
            decode(data)


@by_type
def test_no_value_is_an_error(
    record: KafkaRecord, decode: Callable[[Any], Any], stored: str
) -> None:
    with pytest.raises(DecodeError):
        decode(None)


@given(batches)
def test_batches_survive(batch: VoteBatch) -> None:
    assert decode_input(encode(batch)) == batch


@given(batches)
def test_the_record_inside_a_verdict_batch_is_the_record_as_it_was_read(batch: VoteBatch) -> None:
    raw = encode(batch)
    rejection = Rejection(0, Status.INVALID, Reason.NOT_ON_ROLL)
    sent = VerdictBatch(bytes(16), 0, 1, 0, [rejection], msgspec.Raw(raw))
    verdicts = decode_verdicts(encode(sent))
    assert bytes(verdicts.record) == raw
    assert decode_input(verdicts.record) == batch
    assert verdicts.rejections == [rejection]


def test_changelog_keys_sort_by_offset() -> None:
    offsets = [0, 1, 255, 256, 2**33, 2**63]
    keys = [CHANGELOG_KEY.pack(offset) for offset in offsets]
    assert keys == sorted(keys)
    assert {len(key) for key in keys} == {8}

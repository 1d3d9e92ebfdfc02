"""The voted table folded from its changelog, without Kafka."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.codec import encode
from schemas.verdicts import Rejection
from schemas.voted import CHANGELOG_KEY, FIRST_VOTE, Repeat, VotedRecord
from streams.errors import PoisonRecord
from streams.inspect.voted import Applied, OffsetSet, Survey, VoterRow, VoterRows, decode, find

LOG = b"l" * 16


def key(number: int) -> bytes:
    return hashlib.sha256(str(number).encode()).digest()


def record(
    offset: int, *numbers: int, repeats: dict[int, tuple[int, int, int]] | None = None
) -> Applied:
    """Accepts the numbered voters; `repeats` maps a voter to (offset, index, attempts)."""
    packed = b"".join(FIRST_VOTE.pack(key(n), i, 0, b"i" * 8) for i, n in enumerate(numbers))
    again = [Repeat(key(n), o, i, b"i" * 8, a, []) for n, (o, i, a) in (repeats or {}).items()]
    refused = [Rejection(99, "duplicate", "already_voted", r.attempts) for r in again]
    return Applied(offset, VotedRecord(LOG, packed, ["C-1"] if numbers else [], again, refused))


def fold(*records: Applied) -> tuple[Survey, dict[bytes, VoterRow]]:
    """Both readings, as over a partition."""
    survey = Survey()
    for applied in records:
        survey.add(applied, 100)
    entries = VoterRows(3, survey)
    found = [e for applied in records for e in entries.add(applied)] + list(entries.rest())
    by_key = {entry.key: entry for entry in found}
    assert len(by_key) == len(found), "a voter appears twice"
    return survey, by_key


def test_positions_and_attempts_are_told() -> None:
    _, found = fold(record(1, 10, 11), record(4, 12, repeats={11: (1, 1, 1)}))
    assert found[key(11)] == VoterRow(key(11), 3, 1, 1, "C-1", 1)
    assert found[key(12)] == VoterRow(key(12), 3, 4, 0, "C-1", 0)


def test_a_record_that_is_there_twice_counts_once() -> None:
    twice = record(4, 12, repeats={11: (1, 1, 2)})
    survey, found = fold(record(1, 10, 11), twice, twice)
    assert len(found) == 3
    assert found[key(11)].attempts == 2
    assert survey.records == 3
    assert survey.repeated_records == 1
    assert survey.rejections.total() == 1


def test_late_records_set_nothing_back() -> None:
    """First position: minimum; attempts: maximum; in whatever order the records stand."""
    _, found = fold(
        record(9, 10, repeats={11: (2, 0, 5)}),
        record(2, 11),
        record(5, 10, repeats={11: (2, 0, 3)}),
    )
    assert found[key(10)].offset == 5
    assert found[key(11)].attempts == 5


def test_a_repeat_without_its_first_vote_is_an_entry_of_unknown_contest() -> None:
    _, found = fold(record(9, repeats={11: (2, 7, 1)}))
    assert found[key(11)] == VoterRow(key(11), 3, 2, 7, None, 1)


def test_keys_that_share_their_first_bytes_are_kept_apart() -> None:
    near = b"12345678" + b"a" * 24
    other = b"12345678" + b"b" * 24
    packed = FIRST_VOTE.pack(near, 0, 0, b"i" * 8) + FIRST_VOTE.pack(other, 1, 0, b"i" * 8)
    applied = Applied(1, VotedRecord(LOG, packed, ["C-1"], [], []))
    survey, found = fold(applied)
    assert survey.suspects() == {b"12345678"}
    assert {near, other} == set(found)


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 30),
            st.lists(st.integers(0, 12), max_size=4, unique=True),
            st.dictionaries(
                st.integers(0, 12),
                st.tuples(st.integers(0, 30), st.integers(0, 3), st.integers(1, 9)),
                max_size=3,
            ),
        ),
        max_size=12,
        unique_by=lambda one: one[0],
    )
)
def test_folding_equals_the_plain_rule(
    script: list[tuple[int, list[int], dict[int, tuple[int, int, int]]]],
) -> None:
    places: dict[bytes, tuple[int, int]] = {}
    attempts: dict[bytes, int] = {}
    for offset, numbers, repeats in script:
        for index, number in enumerate(numbers):
            place = (offset, index)
            places[key(number)] = min(places.get(key(number), place), place)
        for number, (first, index, count) in repeats.items():
            place = (first, index)
            places[key(number)] = min(places.get(key(number), place), place)
            attempts[key(number)] = max(attempts.get(key(number), 0), count)
    records = [record(offset, *numbers, repeats=repeats) for offset, numbers, repeats in script]
    _, found = fold(*records)
    assert {k: (e.offset, e.item) for k, e in found.items()} == places
    assert {k: e.attempts for k, e in found.items() if e.attempts} == attempts
    for wanted in places:
        alone = find(wanted, 3, records)
        assert alone is not None
        assert alone[:4] == found[wanted][:4]
        assert alone.attempts == found[wanted].attempts


def test_find_knows_nothing_of_strangers() -> None:
    assert find(key(99), 3, [record(1, 10)]) is None


@dataclass
class Raw:
    key: bytes | None
    value: bytes | None
    partition: int = 2
    offset: int = 17
    timestamp: int = 0


@pytest.mark.parametrize(
    ("record_key", "value"),
    [
        (CHANGELOG_KEY.pack(1), b"\x93garbage"),
        (CHANGELOG_KEY.pack(1), None),
        (None, encode(VotedRecord(LOG, b"", [], [], []))),
        (b"short", encode(VotedRecord(LOG, b"", [], [], []))),
        (CHANGELOG_KEY.pack(1), encode(VotedRecord(LOG, b"123", ["C-1"], [], []))),
    ],
    ids=["garbage", "no value", "no key", "wrong key", "cut off"],
)
def test_what_cannot_be_decoded_is_named(record_key: bytes | None, value: bytes | None) -> None:
    with pytest.raises(PoisonRecord, match="topic t, partition 2, offset 17"):
        decode("t", Raw(record_key, value))


def test_offset_set() -> None:
    offsets = OffsetSet()
    assert [offsets.add(n) for n in (0, 7, 8, 1_000_000, 7, 0, 1_000_000, 9)] == [
        *(True,) * 4,
        *(False,) * 3,
        True,
    ]

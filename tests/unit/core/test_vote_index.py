"""The packed table of first votes against a plain dictionary."""

from __future__ import annotations

import random
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.voted import FIRST_VOTE
from streams.core.decide import VoterEntry
from streams.core.vote_index import VoteIndex
from streams.core.voter_stores import BulkVoterStore

keys = st.binary(min_size=1, max_size=2).map(lambda name: name.rjust(32, b"?"))
records = st.lists(st.lists(st.tuples(keys, st.binary(min_size=8, max_size=8)), max_size=12))


def packed(votes: list[tuple[bytes, bytes]]) -> bytes:
    return b"".join(FIRST_VOTE.pack(key, n, 0, name) for n, (key, name) in enumerate(votes))


@given(records)
def test_it_says_what_a_dictionary_says(log: list[list[tuple[bytes, bytes]]]) -> None:
    table, model = VoteIndex(), {}
    for offset, votes in enumerate(log):
        table.add(2 * offset, packed(votes))
        for n, (key, name) in enumerate(votes):
            model.setdefault(key, VoterEntry(2 * offset, n, name))
    assert {key: table.get(key) for key in table} == model
    assert len(table) == len(model)
    assert table.get(b"!" * 32) is None


def test_it_grows_and_loses_nobody() -> None:
    table, random_ = VoteIndex(), random.Random(1)
    everybody = [random_.randbytes(32) for _ in range(60_000)]
    for offset in range(0, len(everybody), 4000):
        part = everybody[offset : offset + 4000]
        table.add(offset, packed([(key, key[:8]) for key in part]))
    assert len(table) == len(everybody)
    assert set(table) == set(everybody)
    for place in random_.sample(range(len(everybody)), 2000):
        key = everybody[place]
        assert table.get(key) == VoterEntry(place // 4000 * 4000, place % 4000, key[:8])
    assert not any(table.get(random_.randbytes(32)) for _ in range(2000))


def test_keys_with_the_same_beginning_are_told_apart() -> None:
    table = VoteIndex()
    everybody = [bytes(30) + n.to_bytes(2, "big") for n in range(2000)]
    table.add(0, packed([(key, bytes(8)) for key in everybody]))
    for number, key in enumerate(everybody):
        entry = table.get(key)
        assert entry is not None
        assert entry.index == number


def test_extremes_of_offset_index_and_identity_keep_to_themselves() -> None:
    table = VoteIndex()
    table.add(0, FIRST_VOTE.pack(b"a" * 32, 65_535, 0, b"\xff" * 8))
    table.add(2**63, FIRST_VOTE.pack(b"b" * 32, 0, 65_535, bytes(8)))
    assert table.get(b"a" * 32) == VoterEntry(0, 65_535, b"\xff" * 8)
    assert table.get(b"b" * 32) == VoterEntry(2**63, 0, bytes(8))


def test_votes_that_are_cut_off_are_refused() -> None:
    table = VoteIndex()
    with pytest.raises(ValueError, match="no multiple"):
        table.add(0, bytes(FIRST_VOTE.size + 1))
    assert len(table) == 0


def test_a_voter_takes_less_than_100_bytes() -> None:
    """At every size: the index doubles in parts."""
    tracemalloc.start()
    try:
        table, random_ = VoteIndex(), random.Random(2)
        used = []
        for offset in range(300):
            part = [random_.randbytes(32) for _ in range(500)]
            table.add(offset, packed([(key, key[:8]) for key in part]))
            del part
            used.append(tracemalloc.get_traced_memory()[0] / len(table))
    finally:
        tracemalloc.stop()
    # Below 30,000 voters the smallest index weighs.
    assert max(used[60:]) < 100


@given(records)
def test_many_at_once_are_the_same_table(log: list[list[tuple[bytes, bytes]]]) -> None:
    one_by_one, bulk = VoteIndex(), BulkVoterStore()
    for offset, votes in enumerate(log):
        one_by_one.add(offset, packed(votes))
        bulk.add(offset, packed(votes))
    at_once = bulk.done()
    assert len(at_once) == len(one_by_one)
    assert {key: at_once.get(key) for key in at_once} == {k: one_by_one.get(k) for k in one_by_one}


@pytest.mark.parametrize("count", [0, 4_915, 4_916, 5_300, 12_000])
def test_many_at_once_take_the_room_of_one_by_one(count: int) -> None:
    one_by_one, bulk, random_ = VoteIndex(), BulkVoterStore(), random.Random(5)
    rows = packed([(random_.randbytes(32), bytes(8)) for _ in range(count)])
    one_by_one.add(0, rows)
    bulk.add(0, rows)
    sizes = [[len(slots) for slots, _ in t._shards] for t in (one_by_one, bulk.done()._first)]
    assert sizes[0] == sizes[1]


def test_many_at_once_are_found_and_can_grow() -> None:
    random_ = random.Random(3)
    everybody = [random_.randbytes(32) for _ in range(60_000)]
    bulk = BulkVoterStore()
    for offset in range(0, len(everybody), 4000):
        part = everybody[offset : offset + 4000]
        bulk.add(offset, packed([(key, key[:8]) for key in part]))
    table = bulk.done()
    later = [random_.randbytes(32) for _ in range(60_000)]
    for offset in range(0, len(later), 4000):
        part = later[offset : offset + 4000]
        table.add(100_000 + offset, packed([(key, key[:8]) for key in part]))
    assert len(table) == 120_000
    for place, key in enumerate(everybody):
        assert table.get(key) == VoterEntry(place // 4000 * 4000, place % 4000, key[:8])
    for place, key in enumerate(later):
        assert table.get(key) == VoterEntry(100_000 + place // 4000 * 4000, place % 4000, key[:8])
    assert not any(table.get(random_.randbytes(32)) for _ in range(2000))


def test_a_key_that_comes_twice_keeps_its_first_place() -> None:
    bulk = BulkVoterStore()
    for offset in range(3):
        bulk.add(offset, packed([(bytes(32), b"%08d" % offset), (b"%032d" % offset, bytes(8))]))
    table = bulk.done()
    assert len(table) == 4
    assert table.get(bytes(32)) == VoterEntry(0, 0, b"00000000")


def test_nobody_asks_what_is_being_read() -> None:
    bulk = BulkVoterStore()
    with pytest.raises(RuntimeError, match="being read"):
        bulk.get(bytes(32))
    with pytest.raises(RuntimeError, match="being read"):
        next(iter(bulk))
    with pytest.raises(ValueError, match="no multiple"):
        bulk.add(0, b"cut off")

"""Who counts as one voter, and where their votes meet."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.votes import Kind
from streams.core.keys import normalise_hash, partition_of, stored_hash, voter_key

HEX = hashlib.sha256(b"voter").hexdigest()
hashes = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=128)


def test_a_hash_in_upper_case_is_the_same_voter() -> None:
    assert normalise_hash(HEX.upper()) == HEX
    assert voter_key(HEX.upper(), "L", Kind.LAW) == voter_key(HEX, "L", Kind.LAW)


@pytest.mark.parametrize(
    "text",
    [
        "ABC",
        HEX[:-1].upper(),
        HEX.upper() + "0",
        "G" * 64,
        # Two blanks: 64 characters, 62 digits, which bytes.fromhex would take.
        HEX[:31].upper() + "  " + HEX[33:].upper(),
        " " * 64,
        # Full-width digits and letters are no hexadecimal digits.
        "\uff21" * 64,
        "é" * 64,
    ],
)
def test_anything_but_64_hexadecimal_digits_is_taken_exactly(text: str) -> None:
    assert normalise_hash(text) == text
    assert voter_key(text, "L", Kind.LAW) == hashlib.sha256(b"hash\0" + text.encode()).digest()


def test_a_law_key_of_a_hexadecimal_hash_is_the_hash() -> None:
    assert voter_key(HEX, "L1", Kind.LAW) == bytes.fromhex(HEX)
    assert voter_key(HEX, "L1", Kind.LAW) == voter_key(HEX, "L2", Kind.LAW)


def test_an_election_key_depends_on_contest_and_hash() -> None:
    keys = {
        voter_key(voter, contest, Kind.CANDIDATE)
        for voter in (HEX, "nas1CODE")
        for contest in ("election:1", "election:2", "election:")
    }
    assert len(keys) == 6
    assert voter_key(HEX, "L", Kind.LAW) not in keys


def test_contest_and_hash_do_not_run_into_each_other() -> None:
    one = voter_key("2x", "election:1", Kind.CANDIDATE)
    assert one != voter_key("x", "election:12", Kind.CANDIDATE)


@given(hashes, hashes)
def test_different_hashes_of_a_law_have_different_keys(one: str, other: str) -> None:
    same = normalise_hash(one) == normalise_hash(other)
    keys = [voter_key(normalise_hash(text), "L", Kind.LAW) for text in (one, other)]
    assert (keys[0] == keys[1]) == same
    assert len(keys[0]) == 32


@given(hashes)
def test_normalising_is_idempotent(text: str) -> None:
    assert normalise_hash(normalise_hash(text)) == normalise_hash(text)


def test_the_stored_hash_of_a_law_is_the_hash_itself() -> None:
    assert stored_hash(HEX, "L", Kind.LAW) == HEX
    assert stored_hash("nas1CODE", "L", Kind.LAW) == "nas1CODE"


def test_the_stored_hash_of_an_election_is_the_key() -> None:
    key = voter_key(HEX, "election:1", Kind.CANDIDATE)
    assert stored_hash(HEX, "election:1", Kind.CANDIDATE) == key.hex()


@pytest.mark.parametrize(
    ("key", "of_4", "of_7", "of_1000"),
    [
        (bytes(32), 1, 5, 693),
        (bytes(range(32)), 2, 2, 82),
        (bytes.fromhex(HEX), 0, 4, 196),
        (b"\xff" * 32, 3, 4, 755),
    ],
)
def test_partitions_never_change(key: bytes, of_4: int, of_7: int, of_1000: int) -> None:
    """A running count depends on them: these values are for ever."""
    got = (partition_of(key, 4), partition_of(key, 7), partition_of(key, 1000))
    assert got == (of_4, of_7, of_1000)


@pytest.mark.parametrize(
    ("vote_hash", "contest", "kind", "key"),
    [
        (
            "nas1CODE",
            "L1",
            Kind.LAW,
            "1a57ef0ec7c6a5f8489bdf523bdeb499362e7b92cf40aeceadf8ccfee16a8b39",
        ),
        (
            "nas1CODE",
            "election:1",
            Kind.CANDIDATE,
            "23f662437805915ae3a60890b806ae785ada5381059240af0ffd8f7828ccc258",
        ),
    ],
)
def test_keys_never_change(vote_hash: str, contest: str, kind: Kind, key: str) -> None:
    assert voter_key(vote_hash, contest, kind).hex() == key


@given(st.binary(min_size=32, max_size=32), st.integers(1, 1000))
def test_a_partition_is_one_of_them(key: bytes, partitions: int) -> None:
    assert 0 <= partition_of(key, partitions) < partitions


def test_keys_spread_evenly() -> None:
    counts = [0] * 4
    for number in range(4000):
        counts[partition_of(hashlib.sha256(str(number).encode()).digest(), 4)] += 1
    assert min(counts) > 850

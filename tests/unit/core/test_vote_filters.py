"""Filters of counted votes: none is missed, few are asked in vain."""

from __future__ import annotations

import hashlib
import random

import numpy as np

from streams.core.vote_filters import CAPACITY, FilterBuilder, VoteFilters, key_of

STRETCHES = 11


def keys(first: int, number: int) -> list[bytes]:
    return [hashlib.sha256(n.to_bytes(8, "big")).digest() for n in range(first, first + number)]


def built(votes: list[bytes]) -> bytes:
    builder = FilterBuilder()
    for first in range(0, len(votes), 1000):
        builder.add(b"".join(votes[first : first + 1000]))
    assert builder.votes == len(votes)
    return builder.bits()


def test_every_vote_is_found_in_its_stretch() -> None:
    filters = VoteFilters()
    assert filters.candidates(keys(0, 3)) == {}
    for stretch in range(STRETCHES):
        filters.add(stretch, built(keys(stretch * 100, 100)))
    assert len(filters) == STRETCHES
    asked = keys(0, STRETCHES * 100 + 50)
    random.Random(1).shuffle(asked)
    found = filters.candidates(asked)
    for stretch in range(STRETCHES):
        there = {asked[n] for n in found[stretch]}
        assert there == set(keys(stretch * 100, 100))
    filters.clear()
    assert filters.candidates(asked) == {}


def test_two_filters_of_one_stretch_name_a_vote_once() -> None:
    filters = VoteFilters()
    for _ in range(2):
        filters.add(7, built(keys(0, 10)))
    assert filters.candidates(keys(5, 2)) == {7: [0, 1]}


def numbered(first: int, number: int) -> bytes:
    """Keys that differ in few bits, as those of tests do."""
    words = np.zeros((number, 4), "<u8")
    words[:, 1] = np.arange(first, first + number)
    return words.tobytes()


def test_a_full_filter_holds_others_rarely() -> None:
    builder, filters = FilterBuilder(), VoteFilters()
    builder.add(numbered(0, CAPACITY))
    filters.add(1, builder.bits())
    others, same = numbered(CAPACITY, 200_000), numbered(CAPACITY - 500, 500)
    found = filters.candidates([others[n : n + 32] for n in range(0, len(others), 32)])
    # 8 are expected.
    assert len(found.get(1, [])) < 30
    known = [same[n : n + 32] for n in range(0, len(same), 32)]
    assert filters.candidates(known) == {1: list(range(500))}


def test_texts_have_a_key() -> None:
    assert key_of(b"k" * 32, None) == b"k" * 32
    assert key_of(None, "Élise") == hashlib.sha256("Élise".encode()).digest()

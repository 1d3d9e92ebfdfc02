"""Trees of RFC 9162: published vectors and every small tree."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.core.merkle import (
    EMPTY_ROOT,
    KEPT_LEVELS,
    Node,
    consistency_ranges,
    continues,
    extend,
    includes,
    inclusion_ranges,
    join,
    leaf_hash,
    node_hash,
    perfect,
    root_of,
)

PUBLISHED_LEAVES = [
    bytes.fromhex(text)
    for text in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
PUBLISHED_ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
"""Of the reference tests of Certificate Transparency."""

HASHES = [leaf_hash(bytes([n // 256, n % 256])) for n in range(1000)]


def root(hashes: list[bytes]) -> bytes:
    return root_of(extend(0, b"", hashes)[0])


def inclusion(index: int, size: int, hashes: list[bytes] = HASHES) -> list[bytes]:
    return [root(hashes[a:b]) for a, b in inclusion_ranges(index, size)]


def consistency(first: int, second: int) -> list[bytes]:
    return [root(HASHES[a:b]) for a, b in consistency_ranges(first, second)]


def test_roots_are_the_published_ones() -> None:
    hashes = [leaf_hash(data) for data in PUBLISHED_LEAVES]
    assert [root(hashes[:n]).hex() for n in range(1, 9)] == PUBLISHED_ROOTS
    assert root([]) == EMPTY_ROOT


def test_the_rfc_s_example_proofs() -> None:
    """Section 2.1.5: a tree of seven leaves."""
    a, b, c, d, e, f, j = (leaf_hash(data) for data in PUBLISHED_LEAVES[:7])
    g, h, i = node_hash(a, b), node_hash(c, d), node_hash(e, f)
    k, m = node_hash(g, h), node_hash(i, j)
    hashes = [a, b, c, d, e, f, j]
    assert inclusion(0, 7, hashes) == [b, h, m]
    assert inclusion(3, 7, hashes) == [c, g, m]
    assert inclusion(4, 7, hashes) == [f, j, k]
    assert inclusion(6, 7, hashes) == [i, k]
    ranges = {n: [root(hashes[x:y]) for x, y in consistency_ranges(n, 7)] for n in (3, 4, 6)}
    assert ranges == {3: [c, d, g, m], 4: [m], 6: [i, j, k]}


def test_every_small_proof_holds_and_no_other() -> None:
    wrong = leaf_hash(b"another")
    for size in range(1, 34):
        whole = root(HASHES[:size])
        for index in range(size):
            path = inclusion(index, size)
            assert includes(HASHES[index], index, size, path, whole)
            assert not includes(wrong, index, size, path, whole)
            assert not includes(HASHES[index], (index + 1) % (size + 1), size, path, whole)
            assert not includes(HASHES[index], index, size, [*path, wrong], whole)
            assert not path or not includes(HASHES[index], index, size, path[:-1], whole)
        for first in range(size + 1):
            path = consistency(first, size)
            old = root(HASHES[:first])
            assert continues(first, old, size, whole, path)
            assert first in {0, size} or not continues(first, wrong, size, whole, path)
            assert not continues(first, old, size, wrong, path) or first == 0
            assert not continues(first, old, size, whole, [*path, wrong])


@given(st.lists(st.integers(0, 300), min_size=1, max_size=6))
def test_a_tree_is_the_same_however_it_grew(steps: list[int]) -> None:
    size, peaks, kept = 0, b"", []
    for step in steps:
        leaves = (HASHES * 2)[size : size + step]
        peaks, nodes = extend(size, peaks, leaves)
        kept += nodes
        size += step
    at_once, nodes = extend(0, b"", (HASHES * 2)[:size])
    assert peaks == at_once
    assert sorted(kept, key=lambda n: (n.level, n.number)) == nodes
    assert nodes == [
        Node(KEPT_LEVELS, n, root((HASHES * 2)[256 * n : 256 * n + 256]))
        for n in range(size // 256)
    ]


@given(st.data())
def test_ranges_of_proofs_consist_of_perfect_subtrees(data: st.DataObject) -> None:
    size = data.draw(st.integers(1, 1000))
    ranges = inclusion_ranges(data.draw(st.integers(0, size - 1)), size)
    ranges += consistency_ranges(data.draw(st.integers(0, size)), size)
    for start, end in ranges:
        parts = [
            root(HASHES[number << level : (number + 1) << level])
            for level, number in perfect((start, end))
        ]
        assert join(parts) == root(HASHES[start:end])


@pytest.mark.parametrize("index", [-1, 5])
def test_a_leaf_beyond_the_tree_has_no_proof(index: int) -> None:
    with pytest.raises(ValueError, match="no leaf"):
        inclusion_ranges(index, 5)
    assert not includes(HASHES[0], index, 5, [], root(HASHES[:5]))


def test_sizes_out_of_order_have_no_proof() -> None:
    with pytest.raises(ValueError, match="does not continue"):
        consistency_ranges(6, 5)
    assert not continues(6, HASHES[0], 5, HASHES[1], [])


def test_peaks_of_another_tree_are_refused() -> None:
    with pytest.raises(ValueError, match="peaks"):
        extend(3, bytes(32), [])


def test_the_prefixes_are_those_of_the_rfc() -> None:
    assert leaf_hash(b"x") == hashlib.sha256(b"\0x").digest()
    assert node_hash(b"l", b"r") == hashlib.sha256(b"\x01lr").digest()

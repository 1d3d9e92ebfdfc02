"""How a partition's tree grows by a flush."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from streams.core.leaves import id_of_secret, leaf_hashes, leaves_of, secret_of
from streams.core.tree_growth import Tree, grow, hashes_of, records_of
from tests.proof_vectors import SECRET, records

OURS = [(verdicts, batch) for verdicts, batch in records() if verdicts.partition == 0]


@given(st.integers(0, len(OURS)))
def test_flushes_may_be_of_any_size(cut: int) -> None:
    whole = grow(SECRET, Tree(), OURS)
    first = grow(SECRET, Tree(), OURS[:cut])
    second = grow(SECRET, first.tree if first else Tree(), OURS[cut:])
    assert whole is not None
    parts = [part for part in (first, second) if part is not None]
    assert parts[-1].tree == whole.tree
    assert b"".join(part.segment.hashes for part in parts) == whole.segment.hashes


def test_a_segment_names_the_leaves_of_each_record() -> None:
    growth = grow(SECRET, Tree(), OURS)
    assert growth is not None
    assert list(records_of(growth.segment.first, growth.segment.records)) == [(1, 0, 4), (2, 4, 2)]
    expected = [h for verdicts, batch in OURS for h in leaf_hashes(SECRET, verdicts, batch)]
    assert hashes_of(growth.segment.hashes) == expected


def test_nothing_grows_without_verdicts() -> None:
    assert grow(SECRET, Tree(), []) is None
    assert grow(SECRET, Tree(start=3), OURS) is None


def test_secrets_change_every_commitment_and_are_told_apart() -> None:
    verdicts, batch = OURS[0]
    other = secret_of("another")
    ours = [leaf.commitment for _, leaf in leaves_of(SECRET, verdicts, batch)]
    theirs = [leaf.commitment for _, leaf in leaves_of(other, verdicts, batch)]
    assert not set(ours) & set(theirs)
    assert id_of_secret(SECRET) != id_of_secret(other)


def test_a_forged_record_with_long_names_and_short_identities_stops_nothing() -> None:
    verdicts, batch = OURS[0]
    vote = replace(batch.votes[0], contest="c" * 70_000, identity=b"short")
    forged, clean = replace(batch, votes=[vote], malformed=[]), replace(verdicts, rejections=[])
    [(_, leaf)] = leaves_of(SECRET, clean, forged)
    assert leaf_hashes(SECRET, clean, forged) == [leaf.hash()]
    assert len(leaf.encoded()) == 6 + 2 + 0xFFFF + 2 + 32

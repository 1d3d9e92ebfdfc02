"""Sampling of papers: the published vectors of the sampler, and the manifest."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.elections.audits.sampling import Batch, PaperManifest, drawn_paper, read_manifest


@pytest.mark.parametrize(
    ("seed", "papers", "expected"),
    [
        # Rivest's own example, in his reference implementation of November 14, 2011.
        ("3546311556112163624615351222", 876, [740, 180, 264, 789, 238]),
        # Vectors of github.com/cjerdonek/rivest-sampler-tests, 0.2.0-alpha.
        ("1", 1000, [97, 89, 163]),
        ("0", 2, [1, 1, 2]),
        ("0", 1000, [905, 573, 160]),
        ("0000000000", 1000, [978, 359, 132]),
        ("999999999999999999999999", 1000, [544, 800, 654]),
        ("abcde", 1000, [247, 427, 157]),
    ],
)
def test_draws_are_those_of_the_published_sampler(
    seed: str, papers: int, expected: list[int]
) -> None:
    manifest = PaperManifest([Batch("all", papers)])
    assert [draw.paper for draw in manifest.draws(seed, len(expected))] == expected
    assert [d.paper for d in manifest.draws(seed, len(expected) - 1, skip=1)] == expected[1:]


batches = st.lists(st.integers(0, 9), min_size=1, max_size=8).filter(any)


@given(batches)
def test_every_paper_has_one_place(sizes: list[int]) -> None:
    manifest = PaperManifest(Batch(f"b{n}", size) for n, size in enumerate(sizes))
    places = [manifest.locate(paper) for paper in range(1, manifest.papers + 1)]
    assert places == [
        (f"b{n}", position) for n, size in enumerate(sizes) for position in range(1, size + 1)
    ]
    for paper in (0, manifest.papers + 1):
        with pytest.raises(ValueError, match="no paper"):
            manifest.locate(paper)


def test_draws_are_spread_evenly() -> None:
    drawn = Counter(drawn_paper("35463115561121636246", n, 10) for n in range(1, 10_001))
    # 1,000 each; six standard deviations are 180.
    assert all(abs(drawn[paper] - 1000) < 180 for paper in range(1, 11))


def test_a_manifest_names_containers_and_refuses_what_is_unclear() -> None:
    manifest = read_manifest(
        [{"Container": "A", "Batch": "1", "Ballots": "3"}, {"batch": "2", "ballots": "4"}]
    )
    assert (manifest.batches, manifest.papers) == ((Batch("A / 1", 3), Batch("2", 4)), 7)
    for rows, why in (
        ([{"batch": "1", "ballots": "x"}], "row 1"),
        ([{"batch": "", "ballots": "1"}], "row 1"),
        ([{"batch": "1", "ballots": "1"}, {"batch": "1", "ballots": "2"}], "of another one"),
        ([{"batch": "1", "ballots": "0"}], "no papers"),
        ([], "no papers"),
    ):
        with pytest.raises(ValueError, match=why):
            read_manifest(rows)

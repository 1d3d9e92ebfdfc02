"""Rejections of the last input records come back as they were, and a flood of them stays small."""

from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.verdicts import Rejection, Status
from streams.core.recent_verdicts import RECENT_RECORDS, RecentVerdicts

rejections = st.lists(
    st.builds(
        Rejection,
        index=st.integers(0, 4000),
        status=st.sampled_from(sorted(Status)),
        reason=st.text(max_size=20),
        attempt=st.integers(0, 2**31),
    ),
    max_size=80,
)


@given(st.lists(rejections, max_size=10))
def test_what_is_kept_comes_back(records: list[list[Rejection]]) -> None:
    kept = RecentVerdicts()
    for offset, found in enumerate(records):
        kept.put(offset, found)
    assert [kept.get(offset) for offset in range(len(records))] == records


@pytest.mark.parametrize(
    ("kept", "records"), [(RecentVerdicts(), RECENT_RECORDS), (RecentVerdicts(records=1), 1)]
)
def test_only_the_last_are_kept(kept: RecentVerdicts, records: int) -> None:
    for offset in range(records + 1):
        kept.put(offset, [])
    assert len(kept) == records
    assert kept.get(1) == []
    with pytest.raises(KeyError):
        kept.get(0)


def test_a_flood_of_junk_takes_little_memory() -> None:
    records, items = 400, 500
    kept = RecentVerdicts()
    tracemalloc.start()
    try:
        for offset in range(records):
            found = [
                Rejection(index, str(Status.DUPLICATE), "already_voted", offset * items + index)
                for index in range(items)
            ]
            kept.put(offset, found)
        size_bytes, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert size_bytes < records * items * 8

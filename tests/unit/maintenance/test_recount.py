"""Partitions are counted again side by side, from one reading of the rows."""

from __future__ import annotations

import pytest

from tests.bench.recount_memory import RECORD, recount_made


@pytest.mark.parametrize("on_disk", [False, True])
async def test_rows_of_all_partitions_are_read_once(on_disk: bool) -> None:
    read: list[int] = []
    found = await recount_made(3, 20, lambda: read.append(1), on_disk=on_disk)
    assert len(read) == 19
    for part in found:
        assert part.records == 20
        # The last vote of each record is a voter's second; the first is a genesis.
        assert (part.votes, part.leaves) == (19 * (RECORD - 1), 19 * RECORD)
        assert (part.audit_rows, part.rejected_rows) == (part.votes, 19)

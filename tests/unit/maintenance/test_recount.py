"""Partitions are counted again side by side, from one reading of the rows, in a fixed memory."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.voted import VotedRecord
from streams.maintenance.recount.findings import PartitionRecount, add_windows, digest_of
from streams.maintenance.recount.group import voted_tables
from tests.bench.recount_memory import LAWS, PER_S, RECORD, recount_made
from tests.strategies import LOG_ID

_VOTED_TABLE = """
import ctypes, sys
from streams.maintenance.recount.group import voted_tables

with voted_tables(1, on_disk=True) as voted:
    voted(0)
    libc = ctypes.CDLL(None)
    libc.fopen.restype = ctypes.c_void_p
    file = ctypes.c_void_p(libc.fopen(sys.argv[1].encode(), b"w"))
    libc.malloc_info(0, file)
    libc.fclose(file)
"""


@pytest.mark.parametrize("on_disk", [False, True])
async def test_rows_of_all_partitions_are_read_once(on_disk: bool) -> None:
    read: list[int] = []
    end = PER_S // (3 * RECORD) + 2
    found = await recount_made(3, end, lambda: read.append(1), on_disk=on_disk)
    assert len(read) == end - 1
    for part in found:
        assert part.records == end
        # The last vote of each record is a voter's second; the first is a genesis.
        assert (part.votes, part.leaves) == ((end - 1) * (RECORD - 1), (end - 1) * RECORD)
        assert (part.audit_rows, part.rejected_rows) == (part.votes, end - 1)
        # Of two windows no more is kept than of one.
        assert len(part.windows) == LAWS


@pytest.mark.parametrize("on_disk", [False, True])
def test_only_the_verdicts_of_the_last_record_are_kept(on_disk: bool) -> None:
    with voted_tables(1, on_disk=on_disk) as voted:
        state, save = voted(0)
        for offset in range(3):
            state.apply(offset, VotedRecord(LOG_ID, b"", [], [], []))
            save()
        assert len(state.recent) == 1


def test_threads_of_the_voted_table_share_one_arena(tmp_path: Path) -> None:
    info = tmp_path / "malloc.xml"
    subprocess.run([sys.executable, "-c", _VOTED_TABLE, str(info)], check=True)
    assert info.read_text().count("<heap ") == 1


def test_sums_of_windows_are_equal_only_for_the_same_votes_under_the_same_key() -> None:
    votes = {("a", "yes", 0): 2, ("a", "no", 0): 5, ("a", "yes", 1000): 7, ("b", "yes", 0): 1}
    mine: dict[str, int] = {}
    add_windows(mine, b"key", votes)
    for window, counted in votes.items():
        add_windows(mine, b"key", {window: 3})
        add_windows(mine, b"key", {window: -3 - counted})
    assert mine == {"a": 0, "b": 0}
    add_windows(mine, b"key", {("a", "yes", 0): 1, ("a", "yes", 1000): -1})
    assert mine["a"] != 0
    assert mine["b"] == 0
    assert digest_of(b"key", "yes", 0) != digest_of(b"another", "yes", 0)


@given(st.lists(st.lists(st.tuples(st.sampled_from("abcde"), st.integers(1, 2**40)))))
def test_steps_add_up_to_the_totals_of_each_checkpoint(steps: list[list[tuple[str, int]]]) -> None:
    part = PartitionRecount(0)
    before: list[int] = []
    expected = []
    for number, votes in enumerate(steps):
        for contest, n in votes:
            part.contests[contest, "yes"] += n
        now = list(part.contests.values())
        part.note_step(number, before, now)
        before = now
        expected.append(part.contests.copy())
    so_far: Counter[tuple[str, str]] = Counter()
    for number, totals in enumerate(expected):
        so_far.update(part.step(number))
        assert so_far == totals
    assert not part.step(len(steps))

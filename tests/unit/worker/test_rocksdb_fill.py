"""The first filling of a folder, against the fold of the same records one by one."""

from __future__ import annotations

import random
import subprocess
import sys
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.codec import ChangelogRecord
from schemas.voted import FIRST_VOTE, VotedRecord
from streams.core.decide import VoterEntry
from streams.core.recent_verdicts import RECENT_RECORDS
from streams.core.voted_partition import VotedPartition
from streams.errors import RecoveryFailed
from streams.worker import rocksdb_fill
from streams.worker.rocksdb_store import Position, RocksDbVotedStore
from tests.strategies import LOG_ID
from tests.unit.worker.voted_changelog import changelog, content


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[RocksDbVotedStore]:
    disk = RocksDbVotedStore(tmp_path)
    yield disk
    disk.close_all()


def fill(disk: RocksDbVotedStore, records: Sequence[ChangelogRecord]) -> VotedPartition:
    state = disk.empty(0)
    with disk.filling(0) as voters:
        state.voters = voters
        for offset, record in enumerate(records):
            state.apply(offset, record)
        state.voters = voters.done(lambda: None)
    disk.save(state, Position(len(records) - 1, b"last"))
    return state


def test_a_filled_folder_is_the_fold_of_the_changelog(tmp_path: Path) -> None:
    records, expected = changelog(120)
    assert any(entry.attempts > 1 for entry in expected.values())
    disk = RocksDbVotedStore(tmp_path)
    rules = fill(disk, records).rules
    disk.close_all()
    again = RocksDbVotedStore(tmp_path)
    state = again.open(0, LOG_ID)
    assert content(state) == expected
    assert again.position(0) == Position(119, b"last")
    assert state.applied == 119
    assert state.rules.epoch == rules.epoch == 1
    assert state.rules.contests == rules.contests != {}
    assert [state.rejections(n) for n in range(120)] == [r.rejections for r in records]
    assert list((tmp_path / "0").glob("fill-*")) == []
    again.close_all()


keys = st.binary(min_size=1, max_size=2).map(lambda name: name.rjust(32, b"?"))
votes = st.lists(st.tuples(keys, st.binary(min_size=8, max_size=8)), max_size=12)


def packed(votes: Sequence[tuple[bytes, bytes]]) -> bytes:
    return b"".join(FIRST_VOTE.pack(key, n, 0, name) for n, (key, name) in enumerate(votes))


@settings(max_examples=15)
@given(st.lists(votes, max_size=6))
def test_of_several_first_votes_the_first_stays(
    tmp_path_factory: pytest.TempPathFactory, log: list[list[tuple[bytes, bytes]]]
) -> None:
    model: dict[bytes, VoterEntry] = {}
    for offset, some in enumerate(log):
        for n, (key, name) in enumerate(some):
            model.setdefault(key, VoterEntry(offset, n, name))
    disk = RocksDbVotedStore(tmp_path_factory.mktemp("disk"))
    records = [VotedRecord(LOG_ID, packed(some), [], [], []) for some in log or [[]]]
    assert content(fill(disk, records)) == model
    disk.close_all()


def test_many_voters_in_several_files(
    disk: RocksDbVotedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rocksdb_fill, "_CHUNK_ROWS", 700)
    monkeypatch.setattr(rocksdb_fill, "_FILE_BYTES", 1 << 15)
    random_ = random.Random(4)
    everybody = [random_.randbytes(32) for _ in range(20_000)]
    records = [
        VotedRecord(LOG_ID, packed([(k, k[:8]) for k in everybody[at : at + 50]]), [], [], [])
        for at in range(0, len(everybody), 50)
    ]
    state = fill(disk, records)
    assert len(state) == len(everybody)
    assert sorted(state) == sorted(everybody)
    for place, key in enumerate(everybody):
        assert state.get(key) == VoterEntry(place // 50, place % 50, key[:8])
    assert state.get(random_.randbytes(32)) is None
    more = random_.randbytes(32)
    state.apply(len(records), VotedRecord(LOG_ID, packed([(more, more[:8])]), [], [], []))
    disk.save(state, None)
    assert len(state) == len(everybody) + 1


def test_verdicts_are_kept_as_long_as_in_memory(disk: RocksDbVotedStore) -> None:
    records = changelog(RECENT_RECORDS + 30)[0]
    fill(disk, records)
    disk.close_all()
    state = disk.open(0, LOG_ID)
    assert len(state.recent) == RECENT_RECORDS
    assert [state.rejections(n) for n in range(30, len(records))] == [
        r.rejections for r in records[30:]
    ]


def test_nobody_asks_what_is_being_read(disk: RocksDbVotedStore) -> None:
    disk.empty(0)
    with disk.filling(0) as voters:
        with pytest.raises(RuntimeError, match="being read"):
            voters.get(bytes(32))
        with pytest.raises(RuntimeError, match="being read"):
            next(iter(voters))
        with pytest.raises(ValueError, match="no multiple"):
            voters.add(0, b"cut off")


def test_a_disk_that_fails_is_named(disk: RocksDbVotedStore) -> None:
    disk.empty(0)
    with disk.filling(0) as voters:
        voters.add(0, packed([(bytes(32), bytes(8))]))
        disk._open[0].close()
        with pytest.raises(RecoveryFailed, match=r"cannot be saved \(folder .*SCRUTIN_DATA_DIR"):
            voters.done(lambda: None)
    del disk._open[0]


@pytest.mark.parametrize("buckets", [1, 40, 64])
def test_a_filling_that_is_killed_begins_again(tmp_path: Path, buckets: int) -> None:
    """After the last bucket everything is in the folder, and its place is not."""
    script = f"""
    import os, signal
    from pathlib import Path
    from streams.worker.rocksdb_store import RocksDbVotedStore
    from tests.unit.worker.voted_changelog import changelog

    disk = RocksDbVotedStore(Path({str(tmp_path)!r}))
    state, done = disk.empty(0), 0

    def moved():
        global done
        done += 1
        if done == {buckets} < 64:
            os.kill(os.getpid(), signal.SIGKILL)

    with disk.filling(0) as voters:
        state.voters = voters
        for offset, record in enumerate(changelog(120)[0]):
            state.apply(offset, record)
        voters.done(moved)
        assert done == 64
        os.kill(os.getpid(), signal.SIGKILL)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], timeout=120, check=False)
    assert done.returncode == -9
    assert len(list((tmp_path / "0").glob("fill-*"))) == 1
    disk = RocksDbVotedStore(tmp_path)
    state = disk.open(0, LOG_ID)
    assert (len(state), list(state), state.applied, disk.position(0)) == (0, [], -1, None)
    assert list((tmp_path / "0").glob("fill-*")) == []
    records, expected = changelog(120)
    assert content(fill(disk, records)) == expected
    disk.close_all()

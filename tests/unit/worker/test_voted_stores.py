"""Both stores of the voted table do the same; the one on disk is what the changelog was."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from faust.types import TP

from schemas.codec import ChangelogRecord, decode_voted, encode
from schemas.verdicts import Status
from schemas.voted import CHANGELOG_KEY, ControlRecord
from streams.core.decide import decide
from streams.core.recent_verdicts import RECENT_RECORDS
from streams.core.records import OutRecord
from streams.core.voted_partition import VotedPartition
from streams.errors import RecoveryFailed, SettingsError
from streams.worker.rocksdb_store import Position, RocksDbVotedStore, digest
from streams.worker.voted_table import Persistence, VotedStore
from tests.strategies import LOG_ID, epoch_opened, make_batch, make_vote
from tests.unit.worker.voted_changelog import changelog, content

TOPIC = "app-voted-changelog"
CHANGELOG = TP(TOPIC, 0)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[RocksDbVotedStore]:
    disk = RocksDbVotedStore(tmp_path)
    yield disk
    disk.close_all()


@pytest.fixture(params=["memory", "rocksdb"])
def new(request: pytest.FixtureRequest, disk: RocksDbVotedStore) -> Callable[[], VotedPartition]:
    """Makes a partition; on disk, one that saves every few records."""
    if request.param == "memory":
        return lambda: VotedPartition(0)
    return lambda: Saving(disk)


class Saving(VotedPartition):
    """Saves as the store would after each third record."""

    def __init__(self, disk: RocksDbVotedStore) -> None:
        empty = disk.open(0, LOG_ID)
        super().__init__(0, voters=empty.voters)
        self._disk = disk

    def apply(self, offset: int, record: ChangelogRecord) -> None:
        super().apply(offset, record)
        if offset % 3 == 0 and self.complete:
            self._disk.save(self, Position(offset, b"?"))


def test_every_voter_is_found_again(new: Callable[[], VotedPartition]) -> None:
    records, expected = changelog(120)
    assert any(entry.attempts > 1 for entry in expected.values())
    table = new()
    for offset, record in enumerate(records):
        table.apply(offset, record)
    assert content(table) == expected
    assert table.get(b"?" * 32) is None
    assert [table.rejections(n) for n in range(120)] == [r.rejections for r in records]


def test_early_and_repeated_records_change_nothing(new: Callable[[], VotedPartition]) -> None:
    records, expected = changelog(60)
    table = new()
    order = list(range(60)) * 2
    chance = random.Random(3)
    chance.shuffle(order)
    for offset in order:
        # Looking voters up changes nothing either, whether they are there or not yet.
        for key in chance.sample(list(expected), 20):
            table.get(key)
        table.apply(offset, records[offset])
    assert content(table) == expected
    assert len(table) == len(expected)
    assert table.complete


def test_a_reset_forgets_the_voters(new: Callable[[], VotedPartition]) -> None:
    table = new()
    records, expected = changelog(3)
    del expected
    for offset, record in enumerate(
        [decide(make_batch(make_vote("a"), make_vote("b")), 0, LOG_ID, table.get), *records]
    ):
        table.apply(offset, record)
    table.apply(4, ControlRecord(LOG_ID, epoch_opened(9, 9)))
    assert content(table) == {}
    table.apply(5, decide(make_batch(make_vote("a")), 5, LOG_ID, table.get))
    assert [entry.offset for entry in content(table).values()] == [5]


def test_a_folder_gives_back_what_was_saved(tmp_path: Path) -> None:
    records, expected = changelog(90)
    disk = RocksDbVotedStore(tmp_path)
    table = disk.open(0, LOG_ID)
    for offset, record in enumerate(records):
        table.apply(offset, record)
    disk.save(table, Position(92, b"last"))
    rules = table.rules
    disk.close_all()

    again = RocksDbVotedStore(tmp_path)
    table = again.open(0, LOG_ID)
    assert again.position(0) == Position(92, b"last")
    assert content(table) == expected
    assert table.applied == 89
    assert table.rules.epoch == rules.epoch == 1
    assert table.rules.contests == rules.contests != {}
    assert [table.rejections(n) for n in range(90)] == [r.rejections for r in records]
    again.close_all()


def test_what_was_not_saved_is_not_there(tmp_path: Path) -> None:
    records, _ = changelog(30)
    disk = RocksDbVotedStore(tmp_path)
    table = disk.open(0, LOG_ID)
    for offset, record in enumerate(records[:20]):
        table.apply(offset, record)
    before = content(table)
    disk.save(table, Position(19, b"x"))
    for offset, record in enumerate(records[20:], 20):
        table.apply(offset, record)
    disk.close_all()
    again = RocksDbVotedStore(tmp_path)
    table = again.open(0, LOG_ID)
    assert (table.applied, content(table)) == (19, before)
    again.close_all()


def test_verdicts_are_kept_as_long_as_in_memory(disk: RocksDbVotedStore) -> None:
    table = disk.open(0, LOG_ID)
    unknown = make_batch(make_vote("a", flags=0))
    for offset in range(RECENT_RECORDS + 10):
        table.apply(offset, decide(unknown, offset, LOG_ID, table.get))
    disk.save(table, Position(1, b"x"))
    disk.close_all()
    table = disk.open(0, LOG_ID)
    assert len(table.recent) == RECENT_RECORDS
    with pytest.raises(KeyError):
        table.recent.get(9)
    for offset in range(10, RECENT_RECORDS + 10):
        assert table.recent.get(offset)[0].status == Status.INVALID


def test_a_folder_of_another_log_is_emptied(disk: RocksDbVotedStore) -> None:
    table = disk.open(0, LOG_ID)
    table.apply(0, decide(make_batch(make_vote("a")), 0, LOG_ID, table.get))
    disk.save(table, Position(0, b"x"))
    disk.close(0)
    other = disk.open(0, b"!" * 16)
    assert (len(other), other.applied, disk.position(0)) == (0, -1, None)


def test_a_folder_that_cannot_be_read_is_emptied(disk: RocksDbVotedStore, tmp_path: Path) -> None:
    table = disk.open(0, LOG_ID)
    table.apply(0, decide(make_batch(make_vote("a")), 0, LOG_ID, table.get))
    disk.save(table, Position(0, b"x"))
    disk.close(0)
    (tmp_path / "0" / "CURRENT").write_text("MANIFEST-999999\n")
    assert len(disk.open(0, LOG_ID)) == 0
    assert disk.position(0) is None


def test_a_folder_in_use_is_refused(disk: RocksDbVotedStore, tmp_path: Path) -> None:
    disk.open(0, LOG_ID)
    with pytest.raises(SettingsError, match="SCRUTIN_DATA_DIR of its own"):
        RocksDbVotedStore(tmp_path).open(0, LOG_ID)


def test_a_folder_that_cannot_be_written_is_named(disk: RocksDbVotedStore) -> None:
    table = disk.open(0, LOG_ID)
    table.apply(0, decide(make_batch(make_vote("a")), 0, LOG_ID, table.get))
    disk._open[0].close()
    with pytest.raises(RecoveryFailed, match=r"cannot be saved \(folder .*SCRUTIN_DATA_DIR"):
        disk.save(table, Position(0, b"x"))
    del disk._open[0]


class Faust:
    """The store as Faust and the stage use it, over a changelog of our own."""

    def __init__(self, directory: Path) -> None:
        self.changelog: list[tuple[bytes, bytes]] = []
        self.disk = RocksDbVotedStore(directory)

    def store(self) -> VotedStore:
        app = SimpleNamespace(conf=SimpleNamespace())
        table = SimpleNamespace(changelog_topic_name=TOPIC)
        store = VotedStore(
            "memory://", app, table, table_name="voted", key_type=bytes, value_type=bytes
        )
        store.persist(Persistence(self.disk, lambda _: LOG_ID, self._holds))
        return store

    async def _holds(self, _partition: int, position: Position) -> bool:
        known = self.changelog[position.offset : position.offset + 1]
        return bool(known) and digest(*known[0]) == position.digest

    def decide(self, store: VotedStore, name: str) -> OutRecord:
        """Decide on a vote; not in the changelog yet."""
        state = store.partitions[0]
        offset = state.applied + 1
        change = decide(make_batch(make_vote(name)), offset, LOG_ID, state.get)
        state.apply(offset, change)
        return OutRecord(TOPIC, 0, encode(change), CHANGELOG_KEY.pack(offset))

    def write(self, store: VotedStore | None, *records: OutRecord) -> None:
        start = len(self.changelog)
        for record in records:
            assert record.key is not None
            self.changelog.append((record.key, record.value))
        if store is not None:
            store.confirmed(records, range(start, len(self.changelog)))

    async def assigned(self, store: VotedStore) -> int:
        """Assign the partition and restore it; returns how many records were read for it."""
        await store.on_rebalance({CHANGELOG}, set(), set())
        persisted = store.persisted_offset(CHANGELOG)
        start = 0 if persisted is None else persisted + 1
        store.apply_changelog_batch(
            [
                SimpleNamespace(
                    message=SimpleNamespace(
                        topic=TOPIC, partition=0, offset=offset, key=key, value=value
                    )
                )
                for offset, (key, value) in enumerate(self.changelog)
                if offset >= start
            ],
            lambda key: key,
            lambda value: value,
        )
        return len(self.changelog) - start


@pytest.fixture
def faust(tmp_path: Path) -> Iterator[Faust]:
    faust = Faust(tmp_path)
    yield faust
    faust.disk.close_all()


async def voted(faust: Faust, *names: str) -> VotedStore:
    store = faust.store()
    await faust.assigned(store)
    for name in names:
        faust.write(store, faust.decide(store, name))
    return store


async def test_after_a_stop_nothing_is_read_again(faust: Faust) -> None:
    store = await voted(faust, "a", "b", "a")
    store.close()
    again = faust.store()
    assert await faust.assigned(again) == 0
    assert content(again.partitions[0]) == content(folded(faust))


async def test_what_is_decided_but_not_written_is_forgotten(faust: Faust) -> None:
    store = await voted(faust, "a")
    faust.decide(store, "b")
    store.close()
    again = faust.store()
    assert await faust.assigned(again) == 0
    assert again.partitions[0].applied == 0
    assert len(again) == 1


async def test_a_restore_does_not_save_what_is_decided_but_not_written(faust: Faust) -> None:
    """A partition that stays ours through a rebalance still has a group under way."""
    store = await voted(faust, "a")
    pending = faust.decide(store, "b")
    await store.on_rebalance({CHANGELOG}, set(), set())
    late: Any = SimpleNamespace(
        message=SimpleNamespace(
            topic=TOPIC,
            partition=0,
            offset=1,
            key=faust.changelog[0][0],
            value=faust.changelog[0][1],
        )
    )
    store.apply_changelog_batch([late], lambda key: key, lambda value: value)
    store.close()
    again = faust.store()
    await faust.assigned(again)
    assert again.partitions[0].applied == 0
    faust.write(again, pending)


async def test_what_another_owner_wrote_meanwhile_is_read(faust: Faust, tmp_path: Path) -> None:
    mine = await voted(faust, "a", "b")
    mine.close()
    other = Faust(tmp_path / "other")
    other.changelog = faust.changelog
    theirs = await voted(other, "a", "c")
    theirs.close()
    again = faust.store()
    assert await faust.assigned(again) == 2
    assert content(again.partitions[0]) == content(folded(faust))


async def test_a_record_of_another_owner_between_ours_is_read_again(faust: Faust) -> None:
    store = await voted(faust, "a")
    zombie = OutRecord(TOPIC, 0, faust.changelog[0][1], faust.changelog[0][0])
    faust.write(None, zombie)
    faust.write(store, faust.decide(store, "b"))
    store.close()
    again = faust.store()
    assert await faust.assigned(again) == 2
    assert content(again.partitions[0]) == content(folded(faust))


async def test_a_changelog_that_was_made_anew_is_read_from_its_beginning(faust: Faust) -> None:
    store = await voted(faust, "a", "b")
    store.close()
    faust.changelog.clear()
    state = VotedPartition(0)
    for name in ("c", "d", "e"):
        offset = state.applied + 1
        change = decide(make_batch(make_vote(name)), offset, LOG_ID, state.get)
        state.apply(offset, change)
        faust.write(None, OutRecord(TOPIC, 0, encode(change), CHANGELOG_KEY.pack(offset)))
    again = faust.store()
    assert await faust.assigned(again) == 3
    assert content(again.partitions[0]) == content(state)


async def test_a_lost_partition_is_closed_and_can_be_opened_by_another(faust: Faust) -> None:
    store = await voted(faust, "a")
    await store.on_rebalance(set(), {CHANGELOG}, set())
    other = faust.store()
    other.persist(
        Persistence(RocksDbVotedStore(faust.disk._directory), lambda _: LOG_ID, faust._holds)
    )
    assert await faust.assigned(other) == 0
    assert len(other) == 1
    other.close()


def folded(faust: Faust) -> VotedPartition:
    """The changelog, folded."""
    state = VotedPartition(0)
    for key, value in faust.changelog:
        state.apply(CHANGELOG_KEY.unpack(key)[0], decode_voted(value))
    return state

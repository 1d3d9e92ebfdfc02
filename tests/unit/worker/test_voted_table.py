"""The voted table's store as Faust calls it."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator, Awaitable, Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest
from faust.types import TP

from schemas.codec import encode
from schemas.voted import CHANGELOG_KEY, VotedRecord
from streams.adapters.kafka.reader import LogReader
from streams.core.decide import decide
from streams.core.keys import voter_key
from streams.core.voted_partition import VotedPartition
from streams.errors import ExitCode
from streams.runtime.outages import Retry
from streams.worker.voted_table import VotedStore
from tests.strategies import LOG_ID, make_batch, make_vote

TOPIC = "app-voted-changelog"


def key_of(name: str) -> bytes:
    vote = make_vote(name)
    return voter_key(vote.hash, vote.contest, vote.kind)


@pytest.fixture
def store() -> VotedStore:
    table = SimpleNamespace(changelog_topic_name=TOPIC)
    app = SimpleNamespace(conf=SimpleNamespace())
    return VotedStore("memory://", app, table, table_name="voted", key_type=bytes, value_type=bytes)


async def assign(store: VotedStore, *partitions: int) -> None:
    everything = {TP(topic, p) for topic in (TOPIC, "votes.validation") for p in partitions}
    await store.on_rebalance(everything, set(), set())


def event(offset: int, name: str | None, *, partition: int = 0, place: int | None = None) -> Any:
    """A changelog record; `place` is its own offset where it differs from the input's."""
    table = VotedPartition(partition)
    record = (
        VotedRecord(LOG_ID, b"", [], [], [])
        if name is None
        else decide(make_batch(make_vote(name)), offset, LOG_ID, table.get)
    )
    message = SimpleNamespace(
        topic=TOPIC,
        partition=partition,
        offset=offset if place is None else place,
        key=CHANGELOG_KEY.pack(offset),
        value=encode(record),
    )
    return SimpleNamespace(message=message)


def restore(store: VotedStore, *events: Any) -> None:
    store.apply_changelog_batch(events, lambda key: key, lambda value: value)


async def test_a_restore_fills_the_partitions_that_are_ours(store: VotedStore) -> None:
    await assign(store, 0, 2)
    restore(store, event(0, None), event(1, "a"), event(0, "b", partition=2))
    assert store.partitions[0].applied == 1
    assert key_of("a") in store
    assert store[key_of("b")].offset == 0
    assert len(store) == 2
    assert set(store) == {key_of("a"), key_of("b")}
    assert key_of("c") not in store
    assert "a" not in store


async def test_a_partition_that_is_not_ours_is_not_taken_in(store: VotedStore) -> None:
    await assign(store, 0)
    restore(store, event(0, "b", partition=1))
    assert list(store.partitions) == [0]
    assert store.persisted_offset(TP(TOPIC, 1)) is None


async def test_lost_partitions_are_dropped_and_kept_ones_stay(store: VotedStore) -> None:
    await assign(store, 0, 1)
    restore(store, event(0, "a"), event(0, "b", partition=1))
    await assign(store, 1, 2)
    assert sorted(store.partitions) == [1, 2]
    assert key_of("a") not in store
    assert key_of("b") in store
    assert store.persisted_offset(TP(TOPIC, 0)) is None
    assert store.persisted_offset(TP(TOPIC, 1)) == 0
    await assign(store, 0, 1, 2)
    assert store.partitions[0].applied == -1


async def test_a_restore_goes_on_where_memory_ends(store: VotedStore) -> None:
    await assign(store, 0)
    assert store.persisted_offset(TP(TOPIC, 0)) is None
    restore(store, event(0, None), event(1, "a"))
    assert store.persisted_offset(TP(TOPIC, 0)) == 1
    store.written(0, 2)
    store.written(0, 3)
    assert store.persisted_offset(TP(TOPIC, 0)) == 3


async def test_a_record_of_somebody_else_between_ours_is_read(store: VotedStore) -> None:
    await assign(store, 0)
    store.written(0, 0)
    store.written(0, 2)
    store.written(0, 3)
    assert store.persisted_offset(TP(TOPIC, 0)) == 0
    restore(store, *(event(n, None) for n in (1, 2, 3)))
    assert store.persisted_offset(TP(TOPIC, 0)) == 3


async def test_a_write_after_the_partition_was_lost_is_not_noted(store: VotedStore) -> None:
    """Else the next restore would skip the first record."""
    await assign(store, 0)
    await assign(store)
    store.written(0, 0)
    assert store.persisted_offset(TP(TOPIC, 0)) is None


@pytest.mark.parametrize("lost", [(), (0,)], ids=["lost", "lost and assigned again"])
async def test_a_rebalance_in_the_middle_of_a_bulk_read_ends_it(
    store: VotedStore, lost: tuple[int, ...]
) -> None:
    class Reader:
        """The changelog of a partition that is revoked after its first record."""

        async def read(self, *_: object, **__: object) -> AsyncIterator[Any]:
            yield event(0, "a").message
            await assign(store)
            await assign(store, *lost)
            yield event(1, "b").message
            yield event(2, "c").message

    async def once(_: object, read: Callable[[], Awaitable[None]]) -> None:
        await read()

    store.read_ahead(cast(LogReader, Reader()), cast(Retry, once))
    await assign(store, 0)
    await store.preload({0: 2})
    assert sorted(store.partitions) == [*lost]
    assert len(store) == 0
    assert store.persisted_offset(TP(TOPIC, 0)) is None


async def test_records_written_twice_change_nothing(store: VotedStore) -> None:
    await assign(store, 0)
    once = [event(0, None), event(1, "a")]
    again = [event(0, None, place=2), event(1, "a", place=3)]
    restore(store, *once, *again)
    assert len(store) == 1
    assert store.partitions[0].applied == 1
    assert store.persisted_offset(TP(TOPIC, 0)) == 3
    store.partitions[0].check_complete()


def test_only_validation_changes_it(store: VotedStore) -> None:
    with pytest.raises(TypeError, match="by its stage only"):
        store[b"key"] = None  # type: ignore[assignment]
    with pytest.raises(TypeError, match="by its stage only"):
        del store[b"key"]
    with pytest.raises(KeyError):
        store[b"key"]


@pytest.mark.parametrize(
    ("key", "value", "code"),
    [
        ("b'short'", "VALID", ExitCode.RECOVERY_FAILED),
        ("None", "VALID", ExitCode.RECOVERY_FAILED),
        ("bytes(8)", "b'junk'", ExitCode.RECOVERY_FAILED),
        ("bytes(8)", "None", ExitCode.RECOVERY_FAILED),
        ("bytes(8)", "OTHER_LOG", ExitCode.LOG_MISMATCH),
    ],
)
def test_a_bad_record_ends_the_process_with_its_place(key: str, value: str, code: int) -> None:
    """Faust would log the error and restore for ever."""
    script = f"""
    import asyncio
    from types import SimpleNamespace as Some
    from faust.types import TP
    from schemas.codec import encode
    from schemas.voted import VotedRecord
    from streams.worker.voted_table import VotedStore

    VALID = encode(VotedRecord(bytes(16), b"", [], [], []))
    OTHER_LOG = encode(VotedRecord(b"?" * 16, b"", [], [], []))
    store = VotedStore("memory://", Some(conf=Some()), Some(changelog_topic_name="{TOPIC}"),
                       table_name="voted", key_type=bytes, value_type=bytes)
    asyncio.run(store.on_rebalance({{TP("{TOPIC}", 3)}}, set(), set()))
    good = Some(topic="{TOPIC}", partition=3, offset=0, key=bytes(8), value=VALID)
    bad = Some(topic="{TOPIC}", partition=3, offset=1, key={key}, value={value})
    store.apply_changelog_batch([Some(message=good), Some(message=bad)], None, None)
    print("went on")
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == code, done.stderr
    assert "went on" not in done.stdout
    said = done.stdout + done.stderr
    assert "partition 3" in said

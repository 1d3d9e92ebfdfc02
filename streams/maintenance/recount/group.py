"""Counts some partitions again, side by side, while the rows of `vote_audit` are read once."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from streams.adapters.kafka.reader import LogReader
from streams.adapters.kafka.view import LogView, Span
from streams.adapters.postgres.connection import connected
from streams.control.skips import Skips
from streams.core.recent_verdicts import RecentVerdicts
from streams.core.topics import VALIDATION_TOPIC
from streams.core.voted_partition import VotedPartition
from streams.maintenance.recount.findings import PartitionRecount
from streams.maintenance.recount.partition import (
    PartitionRecounter,
    PartitionSources,
    PartitionTask,
)
from streams.maintenance.recount.row_streams import AUDIT, ROWS, STREAMED
from streams.maintenance.recount.side_streams import ChangelogBeside
from streams.runtime.memory import share_one_arena
from streams.settings.configs import DeploymentConfig

_EMPTY: Final = Span(0, 0)
_FETCH_BYTES: Final = 1 << 20
_CACHE_BYTES: Final = 32 << 20
"""For what was read of all voted tables on disk, with their indexes and filters."""
_BUFFER_BYTES: Final = 16 << 20
"""For what all of them have not yet written."""

VotedTables = Callable[[int], tuple[VotedPartition, Callable[[], None]]]
"""Makes the empty voted table of a partition, and what moves its latest changes to disk."""


async def recount_group(
    config: DeploymentConfig,
    snapshot: str,
    tasks: Sequence[PartitionTask],
    advance: Callable[[int], None],
    *,
    on_disk: bool,
) -> list[PartitionRecount]:
    """Count partitions again.

    Args:
        config: of the deployment.
        snapshot: of the database, from a transaction that lasts.
        tasks: the partitions.
        advance: is told how many records were read.
        on_disk: whether they have too many voters for the memory.

    Raises:
        ServiceUnavailable: a service does not answer.
    """
    servers = config.kafka.servers
    async with (
        connected(config.postgres) as connection,
        LogView(servers, fetch_bytes=_FETCH_BYTES) as view,
        LogView(servers, fetch_bytes=_FETCH_BYTES) as second,
        connection.transaction(isolation="repeatable_read", readonly=True),
    ):
        await connection.execute(f"SET TRANSACTION SNAPSHOT '{snapshot}'")
        await connection.execute(STREAMED)
        topic = tasks[0].changelog_topic
        spans = await view.spans(VALIDATION_TOPIC)
        changes = await second.spans(topic) if topic in second.topics else {}
        # Of a truncated log nothing is read.
        read = {
            task.partition: Span(0, task.end)
            for task in tasks
            if not task.lacks(spans.get(task.partition, _EMPTY))
        }
        own = [task.partition for task in tasks]
        logs = view.read_each(VALIDATION_TOPIC, {p: read.get(p, _EMPTY) for p in own})
        changelogs = second.read_each(topic, {p: changes.get(p, _EMPTY) for p in own})
        counting = {}
        with voted_tables(len(own), on_disk=on_disk) as voted:
            for task in tasks:
                p = task.partition
                changelog, skips = (
                    ChangelogBeside(changelogs[p], task.end),
                    Skips(LogReader(servers)),
                )
                sources = PartitionSources(logs[p], skips, changelog, connection)
                state, save = voted(p)
                counting[p] = PartitionRecounter(task, state, sources, advance, save)
                counting[p].begins(spans.get(p, _EMPTY))
            await side_by_side(connection, counting)
    return [each.found for each in counting.values()]


async def side_by_side(connection: Any, counting: Mapping[int, PartitionRecounter]) -> None:
    """Read the rows of all partitions once, and count each as far as its rows have come."""
    cursor = await connection.cursor(AUDIT, list(counting))
    while rows := await cursor.fetch(ROWS):
        by_partition: dict[int, list[Any]] = {}
        for row in rows:
            by_partition.setdefault(row[0], []).append(row)
        for partition, own in by_partition.items():
            await counting[partition].give(own)
    for each in counting.values():
        await each.end()


@contextmanager
def voted_tables(partitions: int, *, on_disk: bool) -> Iterator[VotedTables]:
    """Empty voted tables, in memory or in a folder that is removed."""
    if not on_disk:
        yield lambda partition: (
            VotedPartition(partition, recent=RecentVerdicts(records=1)),
            lambda: None,
        )
        return
    from streams.worker.rocksdb_store import RocksDbVotedStore  # noqa: PLC0415 - slow to load

    def voted(partition: int) -> tuple[VotedPartition, Callable[[], None]]:
        state = store.empty(partition)
        state.recent = RecentVerdicts(records=1)
        return state, lambda: store.save(state, None)

    share_one_arena()
    with tempfile.TemporaryDirectory(prefix="scrutin-recount-") as folder:
        store = RocksDbVotedStore(
            Path(folder),
            cache_bytes=_CACHE_BYTES,
            buffer_bytes=max(_BUFFER_BYTES // partitions, 1 << 20),
            bounded=True,
        )
        try:
            yield voted
        finally:
            store.close_all()

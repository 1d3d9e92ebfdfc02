"""What the tests of the core share: a database of one's own, and a log to count."""

from __future__ import annotations

import asyncio
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import msgspec
from prometheus_client import CollectorRegistry

from schemas.codec import ChangelogRecord, decode_input, encode
from schemas.control import Control
from schemas.genesis import Genesis
from schemas.verdicts import UNREPORTED, Status, VerdictBatch
from schemas.voted import ControlRecord, VotedRecord
from schemas.votes import REPLAYABLE, VoteBatch
from streams.adapters.postgres.migrations import migrate
from streams.adapters.postgres.stretches import STRETCH_VOTES
from streams.core.decide import decide
from streams.core.records import VerdictEvent
from streams.core.rows import item_at
from streams.core.transition import verdicts_on
from streams.core.voted_partition import VotedPartition
from streams.core.windows import Windows
from streams.devstack import Stack
from streams.runtime.metrics import WorkerMetrics
from streams.settings.load import load_settings
from streams.settings.model import Settings
from streams.worker.aggregation import event_of
from streams.worker.postgres_sink import PostgresSink
from tests.harness import database
from tests.strategies import LOG_ID


@asynccontextmanager
async def own_database(
    stack: Stack, *, migrated: bool = True, **more: str
) -> AsyncIterator[Settings]:
    """Settings of a new database, which is dropped afterwards."""
    name = f"core_{uuid.uuid4().hex[:12]}"
    admin = await database(load_settings(stack.env()))
    settings = load_settings({**stack.env(), "POSTGRES_DB": name, **more})
    try:
        await admin.execute(f"CREATE DATABASE {name}")
        try:
            if migrated:
                connection = await database(settings)
                try:
                    await migrate(connection)
                finally:
                    await connection.close()
            yield settings
        finally:
            await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
    finally:
        await admin.close()


class OneSink:
    """A sink with its metrics, as a worker would hold it."""

    def __init__(
        self,
        settings: Settings,
        secret: str = "",
        kind: type[PostgresSink] = PostgresSink,
        *,
        schema: str = "",
        stretch_votes: int = STRETCH_VOTES,
    ) -> None:
        self.metrics = WorkerMetrics(CollectorRegistry())
        self.windows = Windows(settings.window_ms)
        self.sink = kind(
            settings.postgres,
            self.windows,
            self.metrics,
            name=settings.worker_id,
            partitions=settings.partitions,
            secret=secret,
            schema=schema,
            stretch_votes=stretch_votes,
        )

    def metric(self, name: str, labels: Mapping[str, str] | None = None) -> float:
        return self.metrics.registry.get_sample_value(name, dict(labels or {})) or 0.0


class Log:
    """One partition of the input log and the verdicts on it."""

    def __init__(self, partition: int = 0, log_id: bytes = LOG_ID) -> None:
        self.partition = partition
        self.log_id = log_id
        self.table = VotedPartition(partition)
        self.verdicts: list[VerdictBatch] = []
        """What is in `votes.validated`, by offset."""

    def begin(self, genesis: Genesis) -> None:
        """Let the log begin with a genesis, as it does in Kafka."""
        change = VotedRecord(self.log_id, b"", [], [], [])
        self.table.apply(0, change)
        self.verdicts.append(
            VerdictBatch(self.log_id, self.partition, 0, -1, [], msgspec.Raw(encode(genesis)))
        )

    def decide(self, *records: VoteBatch | Control) -> list[VerdictEvent]:
        """Append records; returns their verdicts as the sink gets them."""
        first = len(self.verdicts)
        for record in records:
            offset = self.table.applied + 1
            change: ChangelogRecord
            if isinstance(record, VoteBatch):
                change = decide(record, offset, self.log_id, self.table.get, self.table.rules)
            else:
                change = ControlRecord(self.log_id, record)
            self.table.apply(offset, change)
            self.verdicts.append(self._batch(offset, record, change))
        return self.events(first)

    def _batch(
        self, offset: int, batch: VoteBatch | Control, change: ChangelogRecord
    ) -> VerdictBatch:
        return verdicts_on(
            self.log_id,
            self.partition,
            offset,
            rejections=change.rejections,
            acceptances=self.table.acceptances(offset),
            raw=encode(batch),
        )

    def events(self, start: int = 0, end: int | None = None) -> list[VerdictEvent]:
        """Records of `votes.validated` by offset."""
        return [
            event_of(self.partition, offset, verdicts, size_bytes=1)
            for offset, verdicts in list(enumerate(self.verdicts))[start:end]
        ]

    def counted(self) -> Counter[tuple[str, str]]:
        """What must be counted, by (contest, choice)."""
        total: Counter[tuple[str, str]] = Counter()
        for verdicts in {v.offset: v for v in self.verdicts}.values():
            batch = decode_input(verdicts.record)
            if not isinstance(batch, VoteBatch):
                continue
            refused = {r.index for r in verdicts.rejections}
            total.update(
                (vote.contest, vote.choice)
                for index, vote in enumerate(batch.votes)
                if index not in refused
            )
        return total

    def rejected(self) -> Counter[str]:
        """Rows of rejections there must be, by status."""
        total: Counter[str] = Counter()
        known: set[bytes] = set()
        for verdicts in {v.offset: v for v in self.verdicts}.values():
            batch = decode_input(verdicts.record)
            if not isinstance(batch, VoteBatch):
                continue
            for rejection in verdicts.rejections:
                item = item_at(batch, rejection.index)
                judged = rejection.status in {Status.DUPLICATE, Status.REPLAY}
                if rejection.status in UNREPORTED:
                    continue
                if not judged and item.flags & REPLAYABLE and item.identity in known:
                    continue
                if not judged:
                    known.add(item.identity)
                total[str(rejection.status)] += 1
        return total


async def check_sums(
    connection: asyncpg.Connection, expected: Mapping[tuple[str, str], int]
) -> None:
    """Fail unless results, windows and audit rows all say the same."""
    queries = {
        "contest_results": "SELECT contest_id, choice, votes FROM contest_results",
        "vote_windows": "SELECT contest, choice, sum(votes)::bigint FROM vote_windows"
        " GROUP BY 1, 2",
        "vote_audit": "SELECT contest, choice, sum(weight)::bigint FROM vote_audit GROUP BY 1, 2",
    }
    for table, query in queries.items():
        rows = await connection.fetch(query)
        # Where later votes replaced all of a choice, its row stays.
        found = {(row[0], row[1]): row[2] for row in rows if row[2]}
        assert found == {name: votes for name, votes in expected.items() if votes}, table
    laws = await connection.fetch(
        "SELECT law_id, oui_count, non_count, total_votes FROM vote_results"
    )
    by_law = {
        row["law_id"]: (row["oui_count"], row["non_count"], row["total_votes"]) for row in laws
    }
    names = {contest for contest, _ in expected if not contest.startswith("election:")}
    assert by_law == {
        law: (
            expected.get((law, "oui"), 0),
            expected.get((law, "non"), 0),
            expected.get((law, "oui"), 0) + expected.get((law, "non"), 0),
        )
        for law in names
    }


async def rows(connection: asyncpg.Connection, query: str) -> list[tuple[Any, ...]]:
    """Rows as plain tuples."""
    return [tuple(row) for row in await connection.fetch(query)]


NOT_SUMMED_UP = """
SELECT sum(brin_summarize_new_values(c.oid))::int
FROM pg_class AS c JOIN pg_am AS a ON a.oid = c.relam
WHERE a.amname = 'brin' AND c.relkind = 'i' AND c.relname LIKE 'counted%'
"""
"""Ranges of counted votes that the index of the time does not know; it knows them afterwards."""
TWO_RANGES = """
INSERT INTO counted_votes (law, vote_text, contest, choice, timestamp, processed_timestamp,
    source_partition, source_offset, source_index)
SELECT true, $1 || n, 'L', 'oui', now() + n * interval '1 ms', now(), 9, n, 0
FROM generate_series(1, 8000) AS n
"""
"""Adds votes of a law to the open stretch, so many that the last range is not the first one."""
KNOWN_BY_TIME = """
SELECT DISTINCT replace(tablename::text, '_timezone_idx', '') FROM pg_stats
WHERE tablename LIKE 'counted_law%timezone%' ORDER BY 1
"""
"""Tables of laws of which the planner knows how times and pages go together."""


async def severed(settings: Settings, condition: str) -> int:
    """End the backends of a database that a condition on `pg_stat_activity` names."""
    admin = await database(settings)
    try:
        ended = await admin.fetch(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            f" WHERE datname = current_database() AND pid <> pg_backend_pid() AND {condition}"
        )
        return len(ended)
    finally:
        await admin.close()


@asynccontextmanager
async def commit_swallower(settings: Settings) -> AsyncIterator[tuple[int, asyncio.Event]]:
    """A TCP proxy before PostgreSQL; gives its port and an event.

    Once the event is set, the next COMMIT reaches the server but its answer does not come back:
    the connection ends instead.
    """
    swallow = asyncio.Event()
    relays: set[asyncio.Task[None]] = set()

    async def relay(client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        server, to_server = await asyncio.open_connection(
            settings.postgres_host, settings.postgres_port
        )

        async def answers() -> None:
            while data := await server.read(65536):
                to_client.write(data)
                await to_client.drain()

        answering = asyncio.create_task(answers())
        try:
            while data := await client.read(65536):
                last = swallow.is_set() and b"COMMIT;" in data
                if last:
                    answering.cancel()
                    await asyncio.wait([answering])
                to_server.write(data)
                await to_server.drain()
                if last:
                    await server.read(1)
                    swallow.clear()
                    return
        finally:
            answering.cancel()
            await asyncio.wait([answering])
            to_client.transport.abort()
            to_server.transport.abort()

    def connected(client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(relay(client, to_client))
        relays.add(task)

    listener = await asyncio.start_server(connected, "127.0.0.1", 0)
    try:
        yield listener.sockets[0].getsockname()[1], swallow
    finally:
        listener.close()
        for task in relays:
            task.cancel()
        if relays:
            await asyncio.wait(relays)


async def fence(db: asyncpg.Connection) -> list[tuple[Any, ...]]:
    """What the sink has applied: partition, source offset, validated offset."""
    return await rows(
        db, "SELECT partition, source_offset, validated_offset FROM sink_offsets ORDER BY 1"
    )

"""Rebuild the result database from `votes.validated`, through the same sink as the workers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import asyncpg
from prometheus_client import CollectorRegistry

from schemas.codec import decode_verdicts
from schemas.genesis import Genesis
from streams.adapters.kafka.admin import delete_topic, ensure_topics
from streams.adapters.kafka.reader import LogReader
from streams.adapters.kafka.view import LogView, Record, Span
from streams.adapters.kafka.writer import writing
from streams.adapters.postgres import statements
from streams.adapters.postgres.connection import connected, require_owner, translated
from streams.adapters.postgres.migrations import migrate
from streams.core.fence import MissingRange
from streams.core.records import VerdictEvent, poisoning
from streams.core.topics import VALIDATED_TOPIC, WINDOWS_TOPIC
from streams.core.windows import Windows
from streams.errors import REBUILD_VALIDATED, LogMismatch, ScrutinError
from streams.inspect.windows import LatestWindows
from streams.maintenance import shadow
from streams.maintenance.guard import Bars
from streams.runtime.metrics import WorkerMetrics
from streams.settings.configs import DeploymentConfig
from streams.worker.aggregation import BACKFILL_VOTES, broken_chain, event_of
from streams.worker.log_check import check_database, check_epochs
from streams.worker.postgres_sink import PostgresSink
from streams.worker.window_publisher import WindowPublisher


@dataclass
class PostgresRebuildReport:
    """Outcome of rebuilding the database."""

    resumed: bool = False
    """Whether it continued an interrupted run."""
    differences: list[shadow.ShadowDifference] = field(default_factory=list)
    """How the tables compared before."""
    surplus_votes: int = 0
    """Accepted votes of the log that the new tables already held; should be 0."""
    replaced: bool = False
    windows_written: int = 0
    """Windows written to their topic."""

    @property
    def equal(self) -> bool:
        """Whether the tables agreed with the log."""
        return all(difference.equal for difference in self.differences)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "resumed": self.resumed,
            "equal": self.equal,
            "tables": [difference.as_dict() for difference in self.differences],
            "surplus_votes": self.surplus_votes,
            "replaced": self.replaced,
            "windows_written": self.windows_written,
        }


@dataclass
class PostgresRebuild:
    """Counts `votes.validated` again and replaces what differs."""

    config: DeploymentConfig
    """Of this deployment."""
    bars: Bars
    """Shows progress."""

    def __post_init__(self) -> None:
        self._servers = self.config.kafka.servers
        self._windows = Windows(self.config.window_ms)
        self._metrics = WorkerMetrics(CollectorRegistry())
        self._surplus = 0

    async def run(
        self,
        *,
        dry_run: bool = False,
        restart: bool = False,
        drop_unknown: bool = False,
        moved: bool = False,
    ) -> PostgresRebuildReport:
        """Rebuild; no worker may run.

        Args:
            dry_run: only compare.
            restart: discard the work of an interrupted run.
            drop_unknown: replace the tables although they hold votes that the log lacks.
            moved: the tables belong to the log from which this one was written: offsets differ.

        Raises:
            LogMismatch: the database holds results of another log, or votes.validated lacks
                records.
            PoisonRecord: votes.validated holds a record that cannot be decoded.
            ScrutinError: the database holds votes that the log lacks.
            ServiceUnavailable: a service does not answer.
        """
        genesis = await ensure_topics(self.config.kafka)
        async with connected(self.config.postgres) as connection:
            await require_owner(connection, self.config.postgres, "scrutin rebuild postgres")
            await migrate(connection)
            await check_epochs(connection, genesis)
            if not moved and await connection.fetchval(statements.HAS_OFFSETS):
                await check_database(connection, genesis, LogReader(self._servers))
            outcome = PostgresRebuildReport()
            if restart:
                await shadow.drop(connection)
            outcome.resumed = await self._count(connection, genesis, moved=moved)
            outcome.surplus_votes = self._surplus
            outcome.differences = await shadow.compare(connection, with_places=not moved)
            await _check(connection, outcome, needed=not dry_run and not drop_unknown)
            if dry_run or (outcome.equal and not moved):
                await shadow.drop(connection)
            else:
                await shadow.replace(connection)
                outcome.replaced = True
        if not dry_run:
            outcome.windows_written = await self._publish_windows()
        return outcome

    async def _count(
        self, connection: asyncpg.Connection, genesis: dict[int, Genesis], *, moved: bool
    ) -> bool:
        """Count into the schema; returns whether an interrupted run was continued."""
        resumed = await shadow.begin(connection, moved=moved)
        try:
            await self._apply(genesis)
        except (MissingRange, LogMismatch):
            if not resumed:
                raise
            # The schema belongs to another log, or the topic was recreated since.
            await shadow.drop(connection)
            await shadow.begin(connection, moved=moved)
            await self._apply(genesis)
            return False
        return resumed

    async def _apply(self, genesis: dict[int, Genesis]) -> None:
        sink = self._sink(shadow.SCHEMA)
        async with sink, LogView(self._servers) as view:
            spans = await view.spans(VALIDATED_TOPIC)
            for partition, span in spans.items():
                if span.begin:
                    raise LogMismatch(
                        f"The topic begins at offset {span.begin}; earlier records are gone",
                        where={"topic": VALIDATED_TOPIC, "partition": partition},
                        todo=REBUILD_VALIDATED,
                    )
            done = await sink.positions()
            todo = {p: Span(done.get(p, 0), s.end) for p, s in spans.items()}
            total = sum(s.end - s.begin for s in todo.values())
            with self.bars(f"counting {VALIDATED_TOPIC}", total) as advance:
                async for records in view.read(VALIDATED_TOPIC, todo, advance):
                    for events in _groups([_event(record, genesis) for record in records]):
                        await self._flush(sink, events)

    async def _flush(self, sink: PostgresSink, events: list[VerdictEvent]) -> None:
        try:
            self._surplus += (await sink.flush(events)).already_counted
        except MissingRange as missing:
            raise broken_chain(missing) from missing

    def _sink(self, schema: str = "") -> PostgresSink:
        return PostgresSink(
            self.config.postgres,
            self._windows,
            self._metrics,
            name=self.config.name,
            partitions=self.config.kafka.partitions,
            secret=self.config.proof_secret,
            schema=schema,
        )

    async def _publish_windows(self) -> int:
        """Make `votes.windows` agree with the database."""
        sink = self._sink()
        async with (
            writing(self.config.kafka, self.config.retry) as writer,
            sink,
            translated(self.config.postgres.where()),
        ):
            if await self._has_unknown_windows(sink):
                await delete_topic(self._servers, WINDOWS_TOPIC)
                await ensure_topics(self.config.kafka)
                await sink.connections.execute(statements.REWIND_WINDOWS)
            return await WindowPublisher(sink, writer).publish()

    async def _has_unknown_windows(self, sink: PostgresSink) -> bool:
        """Whether the topic holds windows that the database lacks: compaction would keep them."""
        latest = LatestWindows()
        async with LogView(self._servers) as view:
            async for records in view.read(WINDOWS_TOPIC, await view.spans(WINDOWS_TOPIC)):
                latest.add(records)
        try:
            published = {(w.contest, w.choice, w.start) for w in latest.rows()}
        except ScrutinError:
            return True
        rows = await sink.connections.fetch(
            "SELECT contest, choice, window_start FROM vote_windows"
        )
        return bool(published - {tuple(row) for row in rows})


async def _check(
    connection: asyncpg.Connection, outcome: PostgresRebuildReport, *, needed: bool
) -> None:
    """Refuse to replace the tables by inconsistent ones, or to drop votes that only they hold."""
    if not await shadow.consistent(connection):
        raise ScrutinError(
            "The new totals do not add up to the votes they were counted from",
            where={"schema": shadow.SCHEMA},
            todo="Nothing was replaced; examine the schema, then use --restart",
        )
    unknown = next(d.surplus for d in outcome.differences if d.table == "vote_audit")
    if unknown and needed:
        raise ScrutinError(
            f"The database holds {unknown} votes that the log lacks or records differently",
            where={"table": "vote_audit"},
            todo="Nothing was replaced. `scrutin rebuild postgres --dry-run` shows the differences,"
            " `--drop-unknown` replaces them with the log's votes",
        )


def _event(record: Record, genesis: dict[int, Genesis]) -> VerdictEvent:
    value = record.value or b""
    with poisoning(VALIDATED_TOPIC, record.partition, record.offset):
        verdicts = decode_verdicts(value)
    if verdicts.log_id != genesis[record.partition].log_id:
        raise LogMismatch(
            "The verdicts belong to another input log",
            where={
                "topic": VALIDATED_TOPIC,
                "partition": record.partition,
                "offset": record.offset,
            },
            todo=REBUILD_VALIDATED,
        )
    return event_of(record.partition, record.offset, verdicts, size_bytes=len(value))


def _groups(events: list[VerdictEvent]) -> Iterator[list[VerdictEvent]]:
    """Groups of events, each for one transaction."""
    group: list[VerdictEvent] = []
    votes = 0
    for event in events:
        group.append(event)
        votes += event.weight
        if votes >= BACKFILL_VOTES:
            yield group
            group, votes = [], 0
    if group:
        yield group

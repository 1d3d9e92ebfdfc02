"""The worker process: builds the stages and connects them to Faust's agents."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Final, TypeVar

import structlog
from faust._cython.streams import StreamIterator  # noqa: F401 - its absence changes acknowledgement
from faust.types import TP, EventT

from schemas.genesis import Genesis
from streams.adapters.kafka.admin import ensure_topics
from streams.adapters.kafka.reader import LogReader
from streams.adapters.postgres.connection import connected
from streams.adapters.postgres.migrations import migrate
from streams.adapters.redis.client import redis_client
from streams.core.live_totals import totals_key
from streams.core.records import InputEvent, VerdictEvent
from streams.core.topics import VALIDATED_TOPIC, VALIDATION_TOPIC, changelog_topic
from streams.core.windows import Windows
from streams.engine.batching import BatchProcessor
from streams.engine.codecs import decoded, register_codecs, value_of
from streams.engine.host import WorkerHost
from streams.errors import ScrutinError, ServiceUnavailable
from streams.runtime import failpoints
from streams.runtime.failstop import fail
from streams.runtime.metrics import WorkerMetrics, process_registry
from streams.runtime.outages import Service
from streams.settings.processes import WorkerConfig
from streams.worker.aggregation import Aggregation, event_of
from streams.worker.contest_scheduler import ContestScheduler
from streams.worker.log_check import check_database
from streams.worker.monitor import Monitor
from streams.worker.poll_vote_feed import PollVoteFeed
from streams.worker.postgres_sink import PostgresSink
from streams.worker.rocksdb_store import Position, RocksDbVotedStore, digest
from streams.worker.totals_publisher import TotalsPublisher
from streams.worker.validation import VALIDATION_GROUP_RECORDS, Validation
from streams.worker.voted_table import Persistence, VotedTable
from streams.worker.window_publisher import WindowPublisher

log = structlog.get_logger(__name__)

POSITIONS_TIMEOUT_S: Final = 15.0
RECOVERY_RECORDS: Final = 200
VALIDATION_GROUP_VOTES: Final = 8000
FLUSH_PAUSE_S: Final = 0.02
"""Time between the starts of two flushes while fewer than `BATCH_SIZE` votes wait. Votes become
visible soon, and a light load costs no more than 50 transactions a second."""
GATHER_S: Final = 0.002
"""Faust delivers the records of a fetch one partition after another, with turns of the event loop
in between."""

T = TypeVar("T")


class Worker(WorkerHost):
    """Builds the stages and connects them to Faust's agents.

    Args:
        config: of this process.
    """

    def __init__(self, config: WorkerConfig) -> None:
        self.config = config
        kafka = config.host.kafka
        self.metrics = WorkerMetrics(process_registry())
        self.windows = Windows(config.window_ms)
        super().__init__(config.host, kafka.app_id, self.metrics.registry, lambda: self.voted.state)
        register_codecs()
        self._reader = LogReader(kafka.servers)
        self._writer = self.kafka_writer()
        self._sink = PostgresSink(
            config.host.postgres,
            self.windows,
            self.metrics,
            name=config.host.name,
            partitions=kafka.partitions,
            secret=config.proof_secret,
        )
        self._window_topic = WindowPublisher(self._sink, self.kafka_writer())
        self._contest_scheduler = ContestScheduler(
            self._sink,
            self.kafka_writer(),
            partitions=kafka.partitions,
            name=config.host.name,
            enforced=config.enforce_contests,
            metrics=self.metrics,
        )
        self._redis = redis_client(config.redis)
        self._resources.push_async_callback(self._redis.aclose)
        self._live = TotalsPublisher(
            self._redis,
            self.metrics,
            PollVoteFeed(self._redis, self._sink).announce if config.global_votes else None,
            key=totals_key(config.secret),
        )
        self._voted: VotedTable | None = None
        self.validation = Validation(
            store=lambda: self.voted.state,
            changelog_topic=changelog_topic(kafka.app_id),
            writer=self._writer,
            reader=self._reader,
            retry=self.retry,
            metrics=self.metrics,
            assignment=self._assignment,
        )
        self.aggregation = Aggregation(
            sink=self._sink,
            reader=self._reader,
            retry=self.retry,
            metrics=self.metrics,
            flushed=self._window_topic.flushed,
            committed=self._live.offer if config.live else lambda *_: None,
        )
        self._validating: BatchProcessor[InputEvent] = BatchProcessor(
            "validation",
            self.validation.process,
            start_weight=1,
            gather_s=GATHER_S,
            max_weight=VALIDATION_GROUP_VOTES,
            max_events=VALIDATION_GROUP_RECORDS,
            assignment=self._assignment,
        )
        self._aggregating: BatchProcessor[VerdictEvent] = BatchProcessor(
            "aggregation",
            self.aggregation.process,
            start_weight=config.batch_size,
            pause_s=min(FLUSH_PAUSE_S, config.batch_timeout_s),
            gather_s=GATHER_S,
            max_weight=config.max_flush_votes,
            assignment=self._assignment,
        )
        self.processors = (self._validating, self._aggregating)
        self._monitor = Monitor(self.metrics, self._sink, self.owned)

    @property
    def sinks(self) -> bool:
        """Whether this deployment counts into PostgreSQL."""
        return self.config.sinks

    @property
    def voted(self) -> VotedTable:
        """The voted table."""
        assert self._voted is not None
        return self._voted

    def voted_table(self, name: str) -> VotedTable:
        """Declare the voted table; its changelog has the input log's partitions."""
        table = VotedTable(
            self.app,
            name=name,
            partitions=self.config.host.kafka.partitions,
            key_type=bytes,
            value_type=bytes,
            on_recover=self.restored,
            # Records hold up to 4,000 votes, and records read ahead of the store take memory.
            recovery_buffer_size=RECOVERY_RECORDS,
            help="Voters, and the position of their first vote in the log",
        )
        self._voted = self.app.tables.add(table)
        table.state.read_ahead(self._reader, self.retry)
        if self.config.on_disk:
            persistence = Persistence(
                RocksDbVotedStore(self.config.host.data_dir / name),
                self.validation.log_id,
                self._holds,
            )
            table.state.persist(persistence)
        self.app.on_partitions_revoked.connect(self.revoked)
        return table

    # Called by the agents.

    async def validate(self, event: EventT) -> None:
        """Queue a record of `votes.validation`."""
        message = event.message
        await self._validating.put(
            InputEvent(
                partition=message.partition,
                offset=message.offset,
                record=value_of(event),
                raw=message.value or b"",
                generation=message.generation_id or 0,
                ack=event.ack,
            )
        )

    async def aggregate(self, event: EventT) -> None:
        """Queue a record of `votes.validated`."""
        message = event.message
        await self._aggregating.put(
            self._or_fail(
                lambda: event_of(
                    message.partition,
                    message.offset,
                    decoded(event),
                    size_bytes=len(message.value),
                    generation=message.generation_id or 0,
                    ack=event.ack,
                )
            )
        )

    @staticmethod
    def _or_fail(decode: Callable[[], T]) -> T:
        try:
            return decode()
        except Exception as error:  # noqa: BLE001 - Faust would acknowledge the record and go on
            fail(error)

    # Lifecycle.

    async def prepare(self) -> list[Coroutine[Any, Any, None]]:
        """Update topics and schema, and connect the stages to their services."""
        failpoints.arm(failpoints.parse(self.config.failpoints))
        genesis: Mapping[int, Genesis] = await self.retry(
            Service.KAFKA,
            lambda: ensure_topics(self.config.host.kafka),
        )
        self.validation.open(genesis)
        written = [self.validation.changelog_topic, VALIDATED_TOPIC]
        await self.retry(Service.KAFKA, lambda: self._writer.open(written))
        runners: list[Coroutine[Any, Any, None]] = [self._validating.run()]
        if self.sinks:
            await self.retry(Service.POSTGRESQL, lambda: self._prepare_database(genesis))
            await self._resources.enter_async_context(self._sink)
            await self.retry(Service.POSTGRESQL, self._sink.prepare)
            runners += [
                self._aggregating.run(),
                self._window_topic.run(),
                self._contest_scheduler.run(),
                self._monitor.run(),
            ]
            if self.config.live:
                runners.append(self._live.run())
        return runners

    async def _prepare_database(self, genesis: Mapping[int, Genesis]) -> None:
        async with connected(self.config.host.postgres) as connection:
            for migration in await migrate(connection):
                log.info("migration applied", version=migration.version, name=migration.name)
            await check_database(connection, genesis, self._reader)

    async def drain(self) -> None:
        """Process the records that the agents hold, then publish the final windows."""
        await super().drain()
        if self._opened and self.sinks:
            await self._window_topic.publish_final()

    async def close(self) -> None:
        """Stop the stages and close connections to services."""
        await super().close()
        self.voted.state.close()

    async def _holds(self, partition: int, position: Position) -> bool:
        """Whether the voted table's changelog has a record."""
        record = await self.retry(
            Service.KAFKA,
            lambda: self._reader.at(
                changelog_topic(self.config.host.kafka.app_id), partition, position.offset
            ),
        )
        return record is not None and digest(record.key, record.value) == position.digest

    # Rebalances.

    def on_revoked(self) -> None:
        """Forget what was emitted for revoked partitions."""
        self.validation.revoked()

    def on_restored(self, took_s: float) -> None:
        """Check the restored partitions."""
        self.metrics.recovery_duration.set(took_s)
        self.validation.restored()

    async def stage_positions(self, tps: set[TP]) -> Mapping[TP, int]:
        """Next offset to read, as the stages know it; empty while a service does not answer."""
        positions: dict[TP, int] = {}
        try:
            async with asyncio.timeout(POSITIONS_TIMEOUT_S):
                if self.sinks:
                    validated = await self._sink.positions()
                    for tp in tps:
                        if tp.topic == VALIDATED_TOPIC:
                            positions[tp] = validated.get(tp.partition, 0)
                read = [tp for tp in tps if tp.topic == VALIDATION_TOPIC]
                found = await asyncio.gather(
                    *(self.validation.position(tp.partition) for tp in read)
                )
                for tp, position in zip(read, found, strict=True):
                    if position is not None:
                        positions[tp] = position
        except (ServiceUnavailable, TimeoutError) as error:
            # Committed offsets are used; a range that they skip is backfilled later.
            log.warning("reading from committed offsets", error=str(error) or "timeout")
        except ScrutinError as error:
            fail(error)
        return positions

    async def positions(self) -> Mapping[TP, int]:
        """Next offset of every owned partition, as the stages know it."""
        voted = self.voted.state.partitions
        found = {TP(VALIDATION_TOPIC, p): state.applied + 1 for p, state in voted.items()}
        if self.sinks:
            validated = await self._sink.positions()
            for p in self.owned(VALIDATED_TOPIC):
                found[TP(VALIDATED_TOPIC, p)] = validated.get(p, 0)
        return found

    def on_lag(self, lag: Mapping[TP, int]) -> None:
        """Export the lag."""
        self._monitor.export_partitions(lag, self.voted.state.partitions)

    def on_outage(self, service: str) -> None:
        """Count the failed try."""
        if service == Service.POSTGRESQL:
            self.metrics.aggregation_errors.labels(error_type="database_unavailable").inc()
            self.metrics.database_operations.labels("flush", "error").inc()
        else:
            self.metrics.validation_errors.labels(error_type="kafka_unavailable").inc()

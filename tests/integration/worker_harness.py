"""Workers on the real stack, fed with records written straight into Kafka."""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import asyncpg
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError

from schemas.codec import decode_window_key, decode_window_state, encode
from schemas.genesis import Genesis
from schemas.skip import Skip
from schemas.votes import Flag, Vote, VoteBatch
from streams.adapters.kafka.admin import ensure_topics
from streams.adapters.kafka.reader import LogReader
from streams.control.skips import read_input, replacement_batch
from streams.core.topics import VALIDATED_TOPIC, VALIDATION_TOPIC, WINDOWS_TOPIC, worker_group
from streams.devstack import Stack
from streams.load.programs import Program, child_environment, worker
from streams.settings.configs import KafkaConfig
from streams.settings.load import load_settings
from tests.harness import database, until, until_reached, wipe
from tests.integration.sink_harness import Log, check_sums
from tests.strategies import LAWS, make_batch, make_malformed, make_vote

APP_ID = "worker-test"
PARTITIONS = 2
VOTES_A_BATCH = 20


def ending(log: str) -> dict[str, Any]:
    """The line that says why a process ended."""
    lines = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    last = [line for line in lines if line.get("event") == "the process ends"][-1]
    assert isinstance(last, dict)
    return last


class WorkerHarness:
    """A wiped stack, an input log, and workers to run on it.

    Args:
        stack: is up.
        directory: for logs.
        settings: environment variables of the workers, beside the stack's addresses.
    """

    def __init__(self, stack: Stack, directory: Path, **settings: str) -> None:
        self.stack = stack
        self.directory = directory
        self.env = child_environment(
            stack.env(),
            SCRUTIN_APP_ID=APP_ID,
            SCRUTIN_PARTITIONS=str(PARTITIONS),
            RETRY_DELAY_SECONDS="0.2",
            SCRUTIN_LOG_FORMAT="json",
            **settings,
        )
        self.servers = stack.env()["KAFKA_BOOTSTRAP_SERVERS"].split(",")
        self.genesis: dict[int, Genesis] = {}
        self.logs: dict[int, Log] = {}
        self.programs: list[Program] = []
        self._producer: AIOKafkaProducer | None = None
        self._db: asyncpg.Connection | None = None
        self._random = random.Random(20260101)

    @property
    def producer(self) -> AIOKafkaProducer:
        assert self._producer is not None
        return self._producer

    @property
    def db(self) -> asyncpg.Connection:
        assert self._db is not None
        return self._db

    async def __aenter__(self) -> Self:
        await wipe(self.stack.env())
        await self.new_producer()
        self._db = await database(load_settings(self.stack.env()))
        await self.new_log()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for program in self.programs:
            if error is not None:
                print(f"--- {program.name}: exit code {program.returncode}")
                print("\n".join(program.tail()))
            await program.kill()
        if self._db is not None:
            await self._db.close()
        if self._producer is not None:
            await self._producer.stop()

    # The input log.

    async def new_producer(self) -> None:
        """Another producer: one that knew a topic does not write to its successor."""
        if self._producer is not None:
            await self._producer.stop()
        self._producer = AIOKafkaProducer(
            bootstrap_servers=self.servers, acks="all", enable_idempotence=True
        )
        await self._producer.start()

    async def new_log(self) -> None:
        """Create the topics, with a genesis in each partition."""
        self.genesis = await ensure_topics(KafkaConfig(tuple(self.servers), APP_ID, PARTITIONS, 1))
        for partition, genesis in self.genesis.items():
            log = self.logs[partition] = Log(partition, genesis.log_id)
            log.begin(genesis)

    def _votes(self, partition: int) -> list[Vote]:
        """Votes of this partition's voters: second attempts, replays and absent ones among them."""
        rng, log = self._random, self.logs[partition]
        size = log.table.applied * VOTES_A_BATCH // 2 + 50
        drawn = []
        for _ in range(VOTES_A_BATCH):
            voter = rng.randrange(size)
            message = f"{partition}/{voter}/{rng.randrange(2)}"
            flags = Flag.ON_ROLL if rng.random() < 0.97 else Flag(0)
            if rng.random() < 0.3:
                flags |= Flag.REDELIVERED
            drawn.append(
                make_vote(
                    f"voter {partition} {voter}",
                    contest=LAWS[voter % 2],
                    choice=rng.choice(["oui", "oui", "non"]),
                    flags=flags if flags & Flag.ON_ROLL else Flag(0),
                    message=message,
                )
            )
        return drawn

    def batch(self, partition: int) -> VoteBatch:
        """A record as a bridge would write it."""
        malformed = (make_malformed(self._random.random()),) if self._random.random() < 0.1 else ()
        ingest_ms = 1_760_000_000_000 + self.logs[partition].table.applied * 20
        return make_batch(*self._votes(partition), malformed=malformed, ingest_ms=ingest_ms)

    async def write(self, count: int) -> None:
        """Append records to every partition."""
        for _ in range(count):
            for partition, log in self.logs.items():
                batch = self.batch(partition)
                log.decide(batch)
                await self.producer.send(VALIDATION_TOPIC, encode(batch), partition=partition)
        await self.producer.flush()

    async def passed(self, partition: int, offset: int, raw: bytes) -> None:
        """Expect what stands in the place of a record that an operator let pass."""
        log = self.logs[partition]
        [skip] = [s for s in await self._skips(partition) if s.offset == offset]
        assert log.table.applied == offset - 1
        log.decide(replacement_batch(skip, partition, raw))

    async def skip_is_logged(self, partition: int) -> None:
        """Expect the verdict on the decision itself, which changes nothing."""
        self.logs[partition].decide(make_batch())

    async def _skips(self, partition: int) -> list[Skip]:
        reader = LogReader(self.servers)
        end = await reader.end_offset(VALIDATION_TOPIC, partition)
        found = [
            read_input(r.value) async for r in reader.read(VALIDATION_TOPIC, partition, 0, end)
        ]
        return [record for record in found if isinstance(record, Skip)]

    @asynccontextmanager
    async def load(self) -> AsyncIterator[None]:
        """Records go on arriving, about 4,000 votes a second."""
        enough = asyncio.Event()

        async def write_on() -> None:
            while not enough.is_set():
                await self.write(5)
                await asyncio.sleep(0.05)

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(write_on())
            try:
                yield
            finally:
                enough.set()

    # Workers.

    def worker(self, name: str = "worker", **more: str) -> Program:
        """A worker, not started."""
        program = worker({**self.env, **more}, self.directory, name)
        self.programs.append(program)
        return program

    async def started(self, name: str = "worker", **more: str) -> Program:
        """A worker that is ready."""
        program = self.worker(name, **more).start()
        await program.ready()
        return program

    async def refused(self, name: str = "worker", **more: str) -> tuple[int, str]:
        """Exit code and log of a worker that does not start."""
        program = self.worker(name, **more).start()
        async with asyncio.timeout(120):
            code = await program.ended()
        return code, program.log.read_text()

    # What came of it.

    async def applied(self) -> int:
        """Input records in PostgreSQL."""
        if await self.db.fetchval("SELECT to_regclass('sink_offsets')") is None:
            return 0
        query = "SELECT coalesce(sum(source_offset + 1), 0)::bigint FROM sink_offsets"
        return int(await self.db.fetchval(query))

    async def moving(self, records: int = 40) -> None:
        """Wait until so many more records are counted."""
        goal = await self.applied() + records
        await until_reached(self.applied, goal, "records counted")

    async def moving_everywhere(self, records: int = 20) -> None:
        """Wait until so many more records of every partition are counted."""

        async def positions() -> dict[int, int]:
            found = await self.db.fetch("SELECT partition, source_offset FROM sink_offsets")
            return {row[0]: row[1] for row in found}

        before = await positions()

        async def moved() -> int:
            now = await positions()
            return min(now.get(p, -1) - before.get(p, -1) for p in self.logs)

        await until_reached(moved, records, "more records of every partition counted")

    async def counted(self) -> None:
        """Wait until every record is in PostgreSQL, and fail unless all is exact."""
        total = sum(log.table.applied + 1 for log in self.logs.values())
        await until_reached(self.applied, total, "records counted")
        assert await self.applied() == total
        await self.check()

    async def check(self) -> None:
        """Fail unless every table of PostgreSQL is what a plain fold of the log says."""
        expected: Counter[tuple[str, str]] = Counter()
        rejected: Counter[str] = Counter()
        attempts: dict[bytes, int] = {}
        for log in self.logs.values():
            expected += log.counted()
            rejected += log.rejected()
            for key in log.table:
                entry = log.table.get(key)
                assert entry is not None
                if entry.attempts:
                    attempts[key] = entry.attempts
        await check_sums(self.db, expected)
        rows = await self.db.fetch("SELECT status, count(*) FROM rejected_votes GROUP BY 1")
        # Replays of invalid votes are told from the first by identity.
        found = {row[0]: row[1] for row in rows}
        assert {k: found.get(k, 0) for k in rejected} == dict(rejected)
        query = "SELECT count(*), coalesce(sum(attempt_count - 1), 0) FROM duplicate_attempts"
        row = await self.db.fetchrow(query)
        assert row is not None
        assert (row[0], row[1]) == (len(attempts), sum(attempts.values()))

    async def windows_agree(self) -> None:
        """Wait until `votes.windows` equals PostgreSQL."""

        async def agree() -> bool:
            reader = LogReader(self.servers)
            end = await reader.end_offset(WINDOWS_TOPIC, 0)
            kafka = {}
            async for record in reader.read(WINDOWS_TOPIC, 0, 0, end):
                key = decode_window_key(record.key)
                state = decode_window_state(record.value)
                kafka[key.contest, key.choice, key.window_start_ms] = state.votes
            rows = await self.db.fetch(
                "SELECT contest, choice, (extract(epoch FROM window_start) * 1000)::bigint, votes"
                " FROM vote_windows"
            )
            return bool(rows) and kafka == {(r[0], r[1], r[2]): r[3] for r in rows}

        await until(agree, "votes.windows equals PostgreSQL")

    async def committed(self) -> dict[tuple[str, int], int | None]:
        """Committed offsets of the workers' group."""
        async with self._group() as consumer:
            return {
                (topic, partition): await consumer.committed(TopicPartition(topic, partition))
                for topic in (VALIDATION_TOPIC, VALIDATED_TOPIC)
                for partition in range(PARTITIONS)
            }

    async def commit(self, offsets: dict[tuple[str, int], int]) -> None:
        """Set the group's offsets as an administrator would; no worker may be running."""
        async with self._group() as consumer:

            async def done() -> bool:
                try:
                    await consumer.commit({TopicPartition(*tp): o for tp, o in offsets.items()})
                except KafkaError:
                    # The broker still waits for a member that is gone.
                    return False
                return True

            await until(done, "offsets set")

    @asynccontextmanager
    async def _group(self) -> AsyncIterator[AIOKafkaConsumer]:
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self.servers,
            group_id=worker_group(APP_ID),
            enable_auto_commit=False,
        )
        await consumer.start()
        try:
            consumer.assign(
                [
                    TopicPartition(topic, partition)
                    for topic in (VALIDATION_TOPIC, VALIDATED_TOPIC)
                    for partition in range(PARTITIONS)
                ]
            )
            yield consumer
        finally:
            await consumer.stop()

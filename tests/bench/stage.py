"""The validation stage alone, beside the same stage in Kafka Streams and in Quix Streams.

All three read the same votes from topics of the same broker, one after the other, the topics full
before they start. Ours gets them as the bridge writes them, in batches of one record, small ones
and large ones; theirs one a record, keyed by voter, and writes one verdict a vote. That is how each
is built, and most of the difference. Ours decides on more, too: rolls, choices, redeliveries,
attempt numbers.

Progress is what each has safely out: for ours the records in `votes.validated`, for the others the
input offsets that their transactions have committed. The first tenth does not count: programs
start, compilers warm up.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from hashlib import sha256

import msgspec
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError

from schemas.codec import encode
from schemas.votes import Flag, Kind, Vote, VoteBatch
from streams.adapters.kafka.admin import ensure_topics
from streams.adapters.kafka.reader import LogReader
from streams.core.keys import partition_of, voter_key
from streams.core.topics import VALIDATED_TOPIC, VALIDATION_TOPIC
from streams.errors import StackError
from streams.load.programs import Program, child_environment, worker
from streams.settings.load import load_settings
from streams.settings.model import Settings
from tests.bench.cpu import tree_seconds
from tests.bench.figure import Figure, Found, Row, Run
from tests.bench.peers import programs
from tests.harness import wipe

SIZES = {"scrutin": 320, "scrutin_small_batches": 60}
"""Votes a record: fewer than a bridge makes of a full queue (`throughput` tells how many there
were), and what it makes of 5,000 votes a second."""
PEER_VOTES = "bench.votes"
PEER_VERDICTS = "bench.verdicts"
GOAL_TIMES_STREAMS = 2
PLAIN = (
    "Scrutin's stage gets its votes in batches, a record of Kafka each; the others get one vote a"
    " record and write one verdict a record. A large part of the difference is that."
)
_WITHIN_S = 240.0
_POLL_S = 0.1
_DUPLICATES_EVERY = 100

Progress = Callable[[], Awaitable[int]]


async def measure(run: Run) -> Found:
    """Votes a second and CPU a vote of each."""
    count = 50_000 if run.quick else 500_000
    env = child_environment(run.stack.env(), SCRUTIN_SINK="off")
    settings = load_settings(env)
    found: Found = {"votes": count, "note": PLAIN, "votes_a_record": SIZES, "stages": {}}
    for name, size in SIZES.items():
        await wipe(run.stack.env())
        run.say(f"writing {count:,} votes, {size} a record")
        total = await _fill(settings, count, size)
        run.say(name.replace("_", " "))
        ours = worker(env, run.directory, f"stage-{name}")
        found["stages"][name] = await _watch(run, ours, total, _ours(settings, size))
    run.say(f"writing {count:,} votes, one a record")
    await _fill_peers(settings, count)
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.kafka.servers)
    await admin.start()
    try:
        for name, command in (("kafka_streams", programs.streams), ("quix_streams", programs.quix)):
            run.say(name.replace("_", " "))
            group, verdicts = f"bench-{name}", f"{PEER_VERDICTS}.{name}"
            servers = ",".join(settings.kafka.servers)
            try:
                argv = command(servers, group, PEER_VOTES, verdicts, run.directory / name)
            except StackError as error:
                run.say(f"left out: {error}")
                continue
            peer = Program(name, argv, env=child_environment({}), directory=run.directory, port=0)
            found["stages"][name] = await _watch(run, peer, count, _committed(admin, group))
    finally:
        await admin.close()
    return found


async def _watch(run: Run, program: Program, total: int, progress: Progress) -> Found:
    """Start it, and end it when all is out."""
    kafka = next(status for status in run.stack.status() if status.name == "kafka").pids
    started = time.perf_counter()
    program.start()
    try:
        first: tuple[float, int, float, float] | None = None
        done = 0
        while done < total:
            if time.perf_counter() - started > _WITHIN_S:
                raise AssertionError(f"{program.name}: {done:,} of {total:,} votes")
            program.check()
            done = await progress()
            now = time.perf_counter()
            if first is None and done >= total // 10:
                first = now, done, tree_seconds([program.pid]), tree_seconds(kafka)
            await asyncio.sleep(_POLL_S)
        used = tree_seconds([program.pid]), tree_seconds(kafka)
    finally:
        await program.kill()
    assert first is not None
    at, before, cpu_s, kafka_s = first
    # What was out in one step from the first tenth to the end says nothing of a rate.
    votes, seconds = (total - before, now - at) if before < total else (total, now - started)
    return {
        "votes_per_s": round(votes / seconds),
        "cpu_us_per_vote": round((used[0] - cpu_s) * 1e6 / max(votes, 1), 1),
        "kafka_cpu_us_per_vote": round((used[1] - kafka_s) * 1e6 / max(votes, 1), 1),
        "from_start_s": round(now - started, 2),
    }


def _ours(settings: Settings, size: int) -> Progress:
    reader = LogReader(settings.kafka.servers)

    async def progress() -> int:
        ends = await reader.end_offsets(VALIDATED_TOPIC, range(settings.partitions))
        # The genesis has a verdict batch, too.
        return sum(max(0, end - 1) for end in ends.values()) * size

    return progress


def _committed(admin: AIOKafkaAdminClient, group: str) -> Progress:
    async def progress() -> int:
        with suppress(KafkaError):
            offsets = await admin.list_consumer_group_offsets(group)
            return sum(max(0, o.offset) for tp, o in offsets.items() if tp.topic == PEER_VOTES)
        return 0

    return progress


async def _fill(settings: Settings, count: int, size: int) -> int:
    """Write votes as a bridge does; returns how many the whole batches hold."""
    genesis = await ensure_topics(settings.kafka)
    batches: dict[int, list[Vote]] = {partition: [] for partition in genesis}
    written = 0
    async with producer(settings) as kafka:
        for number in range(count):
            key, vote = vote_of(number)
            batch = batches[partition := partition_of(key, settings.partitions)]
            batch.append(vote)
            if len(batch) == size:
                record = VoteBatch(time.time_ns() // 1_000_000, "bench", batch, [])
                await kafka.send(VALIDATION_TOPIC, encode(record), partition=partition)
                written += len(batch)
                batch.clear()
    return written


async def _fill_peers(settings: Settings, count: int) -> None:
    """Write the same votes for the others, one a record."""
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.kafka.servers)
    await admin.start()
    names = (PEER_VOTES, f"{PEER_VERDICTS}.kafka_streams", f"{PEER_VERDICTS}.quix_streams")
    await admin.create_topics([NewTopic(name, settings.partitions, 1) for name in names])
    await admin.close()
    async with producer(settings) as kafka:
        for number in range(count):
            key, vote = vote_of(number)
            value, partition = msgspec.msgpack.encode(vote), partition_of(key, settings.partitions)
            await kafka.send(PEER_VOTES, value, key=key, partition=partition)


@asynccontextmanager
async def producer(settings: Settings) -> AsyncIterator[AIOKafkaProducer]:
    """A producer that has written everything at the end."""
    producer = AIOKafkaProducer(
        bootstrap_servers=settings.kafka.servers,
        acks="all",
        linger_ms=20,
        max_batch_size=1 << 19,
    )
    await producer.start()
    try:
        yield producer
        await producer.flush()
    finally:
        await producer.stop()


def vote_of(number: int) -> tuple[bytes, Vote]:
    """A vote; every hundredth is of the voter before."""
    again = number % _DUPLICATES_EVERY == _DUPLICATES_EVERY - 1
    voter = number - 1 if again else number
    name = sha256(f"voter {voter}".encode()).hexdigest()
    vote = Vote(
        name,
        f"law-{voter % 5}",
        int(Kind.LAW),
        "oui" if number % 3 else "non",
        int(Flag.ON_ROLL),
        sha256(f"message {number}".encode()).digest()[:16],
        1_760_000_000_000_000 + number,
        f"citizen-{voter}",
    )
    return voter_key(name, vote.contest, Kind.LAW), vote


def rows(found: Found) -> list[Row]:
    """Lines for people."""
    stages = found["stages"]
    peer = stages.get("kafka_streams")
    goal = f"{GOAL_TIMES_STREAMS * peer['votes_per_s']:,}" if peer else ""
    return [
        Row(
            f"validation stage alone, {name.replace('_', ' ')}",
            f"{one['votes_per_s']:,} votes/s, {one['cpu_us_per_vote']:.1f} µs CPU a vote",
            goal if name in SIZES else "",
        )
        for name, one in stages.items()
    ]


FIGURE = Figure("stage", measure, rows, usual=False)

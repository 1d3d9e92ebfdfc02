"""The whole job beside a peer: votes in Kafka to committed rows and totals, exactly once.

Ours is a worker that reads records as the bridge writes them. The peer is Kafka Streams with
exactly_once_v2, which reads a vote a record and passes the accepted ones to a JDBC sink of batched
upserts, whose offsets are in the same transaction. Both start with full topics; the first tenth
does not count. A second, smaller run of each is killed when four tenths are counted, and must be
exact too. The peer has no rolls, rejections by reason, windows or trees.
"""

from __future__ import annotations

import asyncio
import struct
import time
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import asyncpg
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from schemas.codec import encode
from schemas.votes import Vote, VoteBatch
from streams.adapters.kafka.admin import ensure_topics
from streams.core.keys import partition_of
from streams.core.topics import VALIDATION_TOPIC
from streams.load.programs import Program, child_environment, worker
from streams.settings.load import load_settings
from tests.bench.cpu import tree_seconds
from tests.bench.figure import Figure, Found, Row, Run
from tests.bench.peers import programs
from tests.bench.stage import SIZES, producer, vote_of
from tests.harness import database, wipe

GOAL_TIMES = 1.5
VOTES, ACCEPTED, VERDICTS = "bench.votes", "bench.accepted", "bench.verdicts"
_WITHIN_S = 300.0
_POLL_S = 0.1
_PEER_TABLES = """
CREATE TABLE peer_votes (
    vote_key bytea PRIMARY KEY, contest text NOT NULL, choice text NOT NULL, citizen_id text,
    "timestamp" timestamptz NOT NULL, processed_timestamp timestamptz NOT NULL,
    source_partition integer NOT NULL, source_offset bigint NOT NULL
);
CREATE TABLE peer_results (contest text, choice text, votes bigint, PRIMARY KEY (contest, choice));
CREATE TABLE peer_offsets (partition integer PRIMARY KEY, next bigint NOT NULL)
"""


class Tables(NamedTuple):
    """Where what was counted is."""

    results: str
    contest: str
    """Column of `results`."""
    rows: str


OURS = Tables("contest_results", "contest_id", "vote_audit")
PEERS = Tables("peer_results", "contest", "peer_votes")


async def measure(run: Run) -> Found:
    """Votes a second and CPU a vote of both; whether both are exact after a kill."""
    count = 50_000 if run.quick else 400_000
    found: Found = {"votes": count}
    for name, job in (("scrutin", _ours), ("kafka_streams_jdbc", _peer)):
        run.say(name.replace("_", " "))
        found[name] = await job(run, count, kill=False)
        run.say("the same, killed")
        found[name]["killed"] = await job(run, count // 4, kill=True)
    return found


async def _ours(run: Run, count: int, *, kill: bool) -> Found:
    await wipe(run.stack.env())
    env = child_environment(run.stack.env())
    settings = load_settings(env)
    genesis = await ensure_topics(settings.kafka)
    batches: dict[int, list[Vote]] = {partition: [] for partition in genesis}
    async with producer(settings) as kafka:

        async def send(partition: int) -> None:
            record = VoteBatch(time.time_ns() // 1_000_000, "bench", batches[partition], [])
            await kafka.send(VALIDATION_TOPIC, encode(record), partition=partition)
            batches[partition] = []

        for number in range(count):
            key, vote = vote_of(number)
            partition = partition_of(key, settings.partitions)
            batches[partition].append(vote)
            if len(batches[partition]) == SIZES["scrutin"]:
                await send(partition)
        for partition, rest in batches.items():
            if rest:
                await send(partition)

    program = worker(env, run.directory, f"job-{count}")
    return await _watch(run, [program], count, OURS, kill=kill)


async def _peer(run: Run, count: int, *, kill: bool) -> Found:
    await wipe(run.stack.env())
    settings = load_settings(child_environment(run.stack.env()))
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.kafka.servers)
    await admin.start()
    names = (VOTES, ACCEPTED, VERDICTS)
    await admin.create_topics([NewTopic(name, settings.partitions, 1) for name in names])
    await admin.close()
    async with producer(settings) as kafka:
        for number in range(count):
            key, vote = vote_of(number)
            partition = partition_of(key, settings.partitions)
            await kafka.send(VOTES, _packed(vote), key=key, partition=partition)
    connection = await database(settings)
    await connection.execute(_PEER_TABLES)
    await connection.close()

    servers, folder = ",".join(settings.kafka.servers), run.directory / f"job-streams-{count}"
    postgres = settings.postgres
    address = f"jdbc:postgresql://{postgres.host}:{postgres.port}/{postgres.database}"
    secret = postgres.password
    commands = {
        "streams": programs.streams(servers, f"job-{count}", VOTES, VERDICTS, folder, ACCEPTED),
        "jdbc": programs.jdbc_sink(servers, ACCEPTED, address, postgres.user, secret),
    }
    peers = [
        Program(
            f"job-{name}-{count}", argv, env=child_environment({}), directory=run.directory, port=0
        )
        for name, argv in commands.items()
    ]
    return await _watch(run, peers, count, PEERS, kill=kill)


def _packed(vote: Vote) -> bytes:
    """A vote for the peer, cheaper to read than a message: the time, then short strings."""
    texts = [text.encode() for text in (vote.contest, vote.choice, vote.citizen_id or "")]
    return struct.pack(">q", vote.timestamp_us) + b"".join(
        bytes([len(text)]) + text for text in texts
    )


def _expected(count: int) -> Counter[tuple[str, str]]:
    """Of each voter the first vote counts."""
    first = {key: (vote.contest, vote.choice) for key, vote in map(vote_of, reversed(range(count)))}
    return Counter(first.values())


async def _watch(
    run: Run, jobs: Sequence[Program], count: int, tables: Tables, *, kill: bool
) -> Found:
    """Start the programs, end them when everything is counted, and compare every total."""
    expected = _expected(count)
    total = expected.total()
    services = {s.name: s.pids for s in run.stack.status() if s.name in {"kafka", "postgres"}}

    def used() -> dict[str, float]:
        own = tree_seconds([program.pid for program in jobs])
        return {"job": own, **{name: tree_seconds(pids) for name, pids in services.items()}}

    started = time.perf_counter()
    first: tuple[float, int, dict[str, float]] | None = None
    done, now, killed = 0, started, False
    counted = f"SELECT coalesce(sum(votes), 0)::bigint FROM {tables.results}"
    connection = await database(load_settings(run.stack.env()))
    for program in jobs:
        program.start()
    try:
        while done < total:
            for program in jobs:
                program.check()
            if time.perf_counter() - started > _WITHIN_S:
                raise AssertionError(f"{done:,} of {total:,} votes")
            try:
                done = await connection.fetchval(counted)
            except asyncpg.UndefinedTableError:
                done = 0
            now = time.perf_counter()
            if first is None and done >= total // 10:
                first = now, done, used()
            if kill and not killed and done >= total * 4 // 10:
                killed = True
                for program in jobs:
                    await program.kill()
                for program in jobs:
                    program.start()
                run.say(f"killed when {done:,} were counted")
            await asyncio.sleep(_POLL_S)
        assert killed == kill, "all was counted at once: nothing was killed"
        spent = used()
        assert await _totals(connection, tables) == (total, expected), "not exact"
    finally:
        await connection.close()
        for program in jobs:
            await program.kill()
    assert first is not None
    at, before, earlier = first
    votes = max(total - before, 1)
    cpu = {name: round((spent[name] - earlier[name]) * 1e6 / votes, 1) for name in spent}
    if kill:
        return {"votes": count, "seconds": round(now - started, 1)}
    return {
        "votes_per_s": round(votes / (now - at)),
        "cpu_us_per_vote": cpu,
        "from_start_s": round(now - started, 1),
    }


async def _totals(
    connection: asyncpg.Connection, tables: Tables
) -> tuple[int, dict[tuple[str, str], int]]:
    """Number of rows, and votes by contest and choice."""
    votes = await connection.fetchval(f"SELECT count(*) FROM {tables.rows}")
    results = await connection.fetch(
        f"SELECT {tables.contest}, choice, votes FROM {tables.results} WHERE votes > 0"
    )
    return votes, {(contest, choice): found for contest, choice, found in results}


def rows(found: Found) -> list[Row]:
    """Lines for people."""
    lines = []
    names = [name for name in ("scrutin", "kafka_streams_jdbc") if name in found]
    for name in names:
        one = found[name]
        parts = ", ".join(f"{part} {us:.1f}" for part, us in one["cpu_us_per_vote"].items())
        told = f"{one['votes_per_s']:,} votes/s, {sum(one['cpu_us_per_vote'].values()):.1f} µs CPU"
        lines.append(Row(f"whole job, {name.replace('_', ' ')}", f"{told} a vote ({parts})"))
    ours, peer = (found[name] for name in names)
    times = ours["votes_per_s"] / peer["votes_per_s"]
    lines.append(Row("as fast as the peer", f"{times:.2f} times", f"{GOAL_TIMES}"))
    cpu = sum(peer["cpu_us_per_vote"].values()) / sum(ours["cpu_us_per_vote"].values())
    lines.append(Row("votes for the same CPU", f"{cpu:.2f} times"))
    lines.append(Row("both after a kill", "exact"))
    return lines


FIGURE = Figure("job", measure, rows, usual=False)

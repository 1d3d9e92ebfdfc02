"""A full queue to committed rows, beside the raw drain of the same queue and a bare COPY."""

from __future__ import annotations

import asyncio
import io
import time
from statistics import median_low
from typing import Any

from streams.adapters.kafka.reader import LogReader
from streams.adapters.rabbitmq.client import connected
from streams.core.counted_rows import VOTE_COLUMNS
from streams.core.topics import VALIDATION_TOPIC
from streams.devstack import Stack
from streams.load.election import LoadPlan, SyntheticElection
from streams.load.expected import ExpectedTotals
from streams.load.publisher import LoadPublisher, Schedule
from streams.load.script import messages
from streams.settings.configs import RabbitConfig
from streams.settings.model import Settings
from tests.bench.cpu import by_process, per_vote_us
from tests.bench.figure import Figure, Found, Row, Run
from tests.harness import Chain, database, metrics, until

PREFETCH = 4000
WARM_UP_VOTES = 50_000
"""Through the whole chain: a JVM that has just started is half as fast."""
RAW_QUEUE = "bench.raw"
_POLL_S = 0.02
_DEADLINE_S = 600.0
ROUNDS = 3
GOAL_PER_S = 15_000
GOAL_OF_RAW_DRAIN = 0.75
_PER_S = ("publish_per_s", "raw_drain_per_s", "chain_per_s", "copy_per_s")


async def measure(run: Run) -> Found:
    """Run all three, by turns; figures a second."""
    plan = _plan(run.votes)
    run.say(f"warming up with {WARM_UP_VOTES:,} votes")
    async with Chain(run.stack, run.directory) as chain:
        warm_up = _plan(WARM_UP_VOTES)
        await chain.load_roll(warm_up)
        await chain.start()
        await chain.verify(await chain.publish(warm_up))
    rounds = [await _round(run, plan) for _ in range(1 if run.quick else ROUNDS)]
    middle = sorted(rounds, key=lambda one: one["chain_per_s"])[(len(rounds) - 1) // 2]
    return {
        "votes": plan.votes,
        "messages": plan.messages,
        "workers": run.workers,
        # The middle of each: the cost of RabbitMQ varies, with any consumer.
        **{name: median_low(one[name] for one in rounds) for name in _PER_S},
        "chain_of_raw_drain": median_low(one["chain_of_raw_drain"] for one in rounds),
        "votes_a_record": median_low(one["votes_a_record"] for one in rounds),
        "cpu_us_per_vote": middle["cpu_us_per_vote"],
        "rounds": rounds,
    }


def _plan(votes: int) -> LoadPlan:
    return LoadPlan(
        votes=votes,
        duplicates=0.01,
        repeats=0,
        unknown=0,
        bad_choice=0,
        malformed=0,
        mixture=True,
    )


async def _round(run: Run, plan: LoadPlan) -> Found:
    say = run.say
    async with Chain(run.stack, run.directory, workers=run.workers) as chain:
        say(f"filling a queue with {plan.messages:,} messages for the raw drain")
        await fill(chain.settings.rabbit, plan)
        say("draining it")
        drained_s = await drain(chain.settings.rabbit, plan.messages)

        say("filling the queue of the chain")
        await chain.load_roll(plan)
        started = time.perf_counter()
        expected = await chain.publish(plan)
        published_s = time.perf_counter() - started

        say("starting the workers, then the bridge")
        await chain.start_workers()
        counted_s, cpu_us = await count(run.stack, chain, plan)
        say("comparing every line")
        await chain.verify(expected)
        votes_a_record = await _votes_a_record(chain.settings, plan.votes)
        say("copying the same rows into a like table")
        copied_s = await _copy(chain.settings)
    return {
        "publish_per_s": round(plan.messages / published_s),
        "raw_drain_per_s": round(plan.messages / drained_s),
        "chain_per_s": round(plan.votes / counted_s),
        "chain_of_raw_drain": round(plan.votes / counted_s * drained_s / plan.messages, 3),
        "copy_per_s": round(plan.votes / copied_s),
        "votes_a_record": votes_a_record,
        "cpu_us_per_vote": cpu_us,
    }


async def fill(rabbit: RabbitConfig, plan: LoadPlan) -> None:
    """Publish to :data:`RAW_QUEUE`, with confirms."""
    schedule = Schedule(time.time_ns() // 1000, None)
    publisher = LoadPublisher(
        rabbit=rabbit,
        queue=RAW_QUEUE,
        schedule=schedule,
        tally=ExpectedTotals(plan),
    )
    await publisher.publish(messages(SyntheticElection(plan), schedule.time_us))


async def drain(rabbit: RabbitConfig, count: int, arguments: dict[str, str] | None = None) -> float:
    """Seconds to take all messages off the queue: no decoding, acks for many at once.

    Args:
        rabbit: where RabbitMQ is.
        count: number of messages in :data:`RAW_QUEUE`, which is deleted.
        arguments: of the consumer.
    """
    async with connected(rabbit, "scrutin bench") as connection:
        channel = await connection.channel()
        done = asyncio.Event()
        arrived = 0

        def on_message(_: object, method: Any, __: object, ___: bytes) -> None:
            nonlocal arrived
            arrived += 1
            if arrived % (PREFETCH // 4) == 0 or arrived == count:
                channel.raw.basic_ack(method.delivery_tag, multiple=True)
                if arrived == count:
                    done.set()

        await channel.prefetch(PREFETCH)
        started = time.perf_counter()
        channel.raw.basic_consume(RAW_QUEUE, on_message, arguments=arguments)
        async with asyncio.timeout(_DEADLINE_S):
            await done.wait()
        seconds = time.perf_counter() - started
        channel.raw.queue_delete(RAW_QUEUE)
    return seconds


async def count(stack: Stack, chain: Chain, plan: LoadPlan) -> tuple[float, dict[str, float]]:
    """Seconds and CPU from the bridge's first delivery to all votes seen committed."""
    connection = await database(chain.settings)
    counted = "SELECT coalesce(sum(votes), 0)::bigint FROM contest_results"

    async def all_committed() -> bool:
        return int(await connection.fetchval(counted)) >= earlier + plan.votes

    try:
        earlier = int(await connection.fetchval(counted))
        for program in chain.bridges:
            program.start()
        await until(lambda: _received(chain), "a first delivery", _DEADLINE_S, _POLL_S)
        started = time.perf_counter()
        before = by_process(stack, chain)
        await until(all_committed, "all votes committed", _DEADLINE_S, _POLL_S)
        seconds = time.perf_counter() - started
        return seconds, per_vote_us(before, by_process(stack, chain), plan.votes)
    finally:
        await connection.close()


async def _received(chain: Chain) -> bool:
    """Whether a bridge has taken a message in."""
    for program in chain.bridges:
        program.check()
        try:
            samples = await metrics(program)
        except OSError:
            continue
        received = (v for n, v in samples.items() if n.startswith("scrutin_bridge_received_total"))
        if sum(received) > 0:
            return True
    return False


async def _votes_a_record(settings: Settings, votes: int) -> int:
    """How many the bridge put into a record of the input log, on average."""
    reader = LogReader(settings.kafka.servers)
    ends = await reader.end_offsets(VALIDATION_TOPIC, range(settings.partitions))
    return round(votes / sum(end - 1 for end in ends.values()))


async def _copy(settings: Settings) -> float:
    """Seconds to COPY the counted rows into a table with the same indexes."""
    connection = await database(settings)
    try:
        rows = io.BytesIO()
        columns = ", ".join(f'"{column}"' for column in VOTE_COLUMNS)
        await connection.copy_from_query(
            f"SELECT {columns} FROM counted_law_votes",
            output=rows,
            format="binary",
        )
        rows.seek(0)
        await connection.execute(
            "CREATE TABLE bench_copy (LIKE counted_law_votes_0 INCLUDING ALL EXCLUDING STATISTICS)"
        )
        started = time.perf_counter()
        await connection.copy_to_table(
            "bench_copy", source=rows, columns=VOTE_COLUMNS, format="binary"
        )
        return time.perf_counter() - started
    finally:
        await connection.close()


def rows(found: Found) -> list[Row]:
    """Lines for people."""
    shares = [one["chain_of_raw_drain"] for one in found["rounds"]]
    least_and_most = min(shares), max(shares)
    return [
        Row(
            f"chain: full queue of {found['messages']:,} to committed rows",
            f"{found['chain_per_s']:,} votes/s",
            f"{GOAL_PER_S:,}",
        ),
        Row("  votes a record of the input log, on average", f"{found['votes_a_record']:,}"),
        Row("raw drain of the same queue", f"{found['raw_drain_per_s']:,}/s"),
        Row(
            "chain beside the raw drain of its round, median, least and most",
            ", ".join(f"{share:.0%}" for share in (found["chain_of_raw_drain"], *least_and_most)),
            f"{GOAL_OF_RAW_DRAIN:.0%}",
        ),
        Row("bare COPY of the same rows", f"{found['copy_per_s']:,}/s"),
        Row("publish with confirms, flat out", f"{found['publish_per_s']:,}/s", "20,000"),
    ]


FIGURE = Figure("throughput", measure, rows)

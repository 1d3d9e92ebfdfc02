"""What a vote costs RabbitMQ by the type of its queue.

The same messages are published with confirms and drained raw, and go through the whole chain. A
stream is only drained raw: the bridge refuses it, because it keeps messages after their
acknowledgement.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from statistics import median
from typing import NamedTuple

from streams.devstack import Stack
from streams.settings.load import load_settings
from tests.bench.cpu import tree_seconds
from tests.bench.figure import Figure, Found, Row, Run
from tests.bench.spread import full_queue, plan_of
from tests.bench.throughput import RAW_QUEUE, drain, fill
from tests.harness import wipe

STREAM = "stream"
ROUNDS = 3


class Kind(NamedTuple):
    """How a queue is declared and read."""

    arguments: Mapping[str, str | int]
    consumer: dict[str, str] | None = None


KINDS = {
    "classic": Kind({"x-queue-type": "classic"}),
    "classic, version 2": Kind({"x-queue-type": "classic", "x-queue-version": 2}),
    "quorum": Kind({"x-queue-type": "quorum"}),
    STREAM: Kind({"x-queue-type": "stream"}, {"x-stream-offset": "first"}),
}


async def measure(run: Run) -> Found:
    """µs of CPU a vote by type of queue, by turns."""
    plan = plan_of(run.votes // 4)
    rounds: dict[str, list[Found]] = {name: [] for name in KINDS}
    await full_queue(run, plan)
    for number in range(1 if run.quick else ROUNDS):
        for name in sorted(KINDS, reverse=number % 2 == 1):
            arguments, consumer = KINDS[name]
            run.say(f"{name}, round {number + 1}")
            await wipe(run.stack.env())
            rabbit = load_settings(run.stack.env()).rabbit
            rabbit = replace(rabbit, queue_arguments={RAW_QUEUE: arguments})
            start_s = _rabbit_s(run.stack)
            await fill(rabbit, plan)
            filled_s = _rabbit_s(run.stack)
            await drain(rabbit, plan.messages, consumer)
            one: Found = {
                "publish_us": round((filled_s - start_s) * 1e6 / plan.messages, 1),
                "drain_us": round((_rabbit_s(run.stack) - filled_s) * 1e6 / plan.messages, 1),
            }
            if name != STREAM:
                one["chain"] = await full_queue(replace(run, queue=arguments), plan)
            rounds[name].append(one)
    return {"votes": plan.votes, "rounds": rounds}


def _rabbit_s(stack: Stack) -> float:
    return tree_seconds([pid for s in stack.status() if s.name == "rabbitmq" for pid in s.pids])


def rows(found: Found) -> list[Row]:
    """Lines for people: medians."""
    lines = []
    for name, rounds in found["rounds"].items():
        told = f"{median(one['publish_us'] for one in rounds):.1f} µs of RabbitMQ to publish"
        told += f", {median(one['drain_us'] for one in rounds):.1f} to drain raw"
        if name != STREAM:
            cpu = [one["chain"]["cpu_us_per_vote"] for one in rounds]
            told += f", {median(one['rabbitmq'] for one in cpu):.1f} in the chain"
            told += f" of {median(sum(one.values()) for one in cpu):.1f}"
        lines.append(Row(f"queue, {name}", told))
    return lines


FIGURE = Figure("queues", measure, rows, usual=False)

"""Simulate an election: publish its messages and write the expected outcome."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable
from pathlib import Path

from streams.load.election import SyntheticElection
from streams.load.expected import Expected, ExpectedTotals
from streams.load.publisher import LoadPublisher, Schedule
from streams.load.script import messages
from streams.settings.configs import DeploymentConfig


async def play(
    config: DeploymentConfig,
    election: SyntheticElection,
    *,
    expected: Path,
    rate: float | None = None,
    advance: Callable[[int], None] = lambda _: None,
    stop_on_interrupt: bool = False,
) -> Expected:
    """Publish an election and write the expected outcome, also if it ends early.

    Args:
        config: address of RabbitMQ and names of its queues.
        election: what to publish.
        expected: file to write.
        rate: messages a second; None for as fast as possible.
        advance: called with the number of messages confirmed since the last call.
        stop_on_interrupt: on SIGINT send no more messages, and write the outcome of those sent.

    Raises:
        ServiceUnavailable: RabbitMQ does not answer for too long.
        TopologyMismatch: the queue was deleted.
    """
    plan = election.plan
    tally = ExpectedTotals(plan)
    started = time.perf_counter()
    schedule = Schedule(time.time_ns() // 1000, rate)
    publisher = LoadPublisher(
        rabbit=config.rabbit,
        queue=config.queues.name(plan.queue),
        schedule=schedule,
        tally=tally,
        advance=advance,
    )
    loop = asyncio.get_running_loop()
    if stop_on_interrupt:
        loop.add_signal_handler(signal.SIGINT, publisher.stop)
    try:
        await publisher.publish(messages(election, schedule.time_us))
    finally:
        if stop_on_interrupt:
            loop.remove_signal_handler(signal.SIGINT)
        outcome = tally.write(
            expected,
            unconfirmed=publisher.unconfirmed,
            started_us=schedule.start_us,
            seconds=time.perf_counter() - started,
        )
    return outcome

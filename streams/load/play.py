"""Simulate an election: publish its messages and write the expected outcome."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from streams.load.election import SyntheticElection
from streams.load.expected import Expected, ExpectedTotals
from streams.load.publisher import LoadPublisher, Schedule
from streams.load.script import messages
from streams.runtime.memory import freeze_startup_objects
from streams.settings.configs import DeploymentConfig

_MADE_US: Final = 30
"""In which a message is made, with room: 6 on the reference machine."""
_CONNECTED_US: Final = 1_000_000


async def play(
    config: DeploymentConfig,
    election: SyntheticElection,
    *,
    expected: Path,
    rate: float | None = None,
    advance: Callable[[int], None] = lambda _: None,
    ahead: bool = False,
    stop_on_interrupt: bool = False,
) -> Expected:
    """Publish an election and write the expected outcome, also if it ends early.

    Args:
        config: address of RabbitMQ and names of its queues.
        election: what to publish.
        expected: file to write.
        rate: messages a second; None for as fast as possible.
        advance: called with the number of messages confirmed since the last call.
        ahead: make all messages before the first is due, about 500 bytes of memory each. Needs a
            rate.
        stop_on_interrupt: on SIGINT send no more messages, and write the outcome of those sent.

    Raises:
        ServiceUnavailable: RabbitMQ does not answer for too long.
        TopologyMismatch: the queue was deleted.
    """
    plan = election.plan
    tally = ExpectedTotals(plan)
    wait_us = _CONNECTED_US + plan.messages * _MADE_US if ahead else 0
    schedule = Schedule(time.time_ns() // 1000 + wait_us, rate)
    source = messages(election, schedule.time_us)
    if ahead:
        source = iter(list(source))
        # A full collection looks at all of them, and messages would be late meanwhile.
        freeze_startup_objects()
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
        await publisher.publish(source)
    finally:
        if stop_on_interrupt:
            loop.remove_signal_handler(signal.SIGINT)
        outcome = tally.write(
            expected,
            unconfirmed=publisher.unconfirmed,
            started_us=schedule.start_us,
            seconds=max(0.0, time.time() - schedule.start_us / 1e6),
        )
    return outcome

"""Ending an aiokafka producer for good."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from itertools import chain
from typing import Final

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

STOP_TIMEOUT_S: Final = 1.0


async def abandon(producer: AIOKafkaProducer) -> None:
    """Close a producer with whatever it still holds.

    `stop` alone waits until everything is delivered, for ever if Kafka is away, and cancelled
    leaves a sender behind that would write later. The callers know what is unconfirmed.
    """
    accumulator = producer._message_accumulator
    batches = {*accumulator._pending_batches, *chain.from_iterable(accumulator._batches.values())}
    accumulator.fail_all(KafkaError("the producer was given up"))
    for batch in batches:
        # Nobody waits for it any more; asyncio would log each as an error that was lost.
        batch._drain_waiter.exception()
    # What the sender still does fails with its connections.
    with suppress(Exception):
        await producer.client.close()
    with suppress(Exception):
        async with asyncio.timeout(STOP_TIMEOUT_S):
            await producer.stop()

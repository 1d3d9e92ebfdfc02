"""Closes an aiokafka producer without waiting for delivery."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from itertools import chain
from typing import Final

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

STOP_TIMEOUT_S: Final = 1.0


async def abandon(producer: AIOKafkaProducer) -> None:
    """Close a producer and discard the records it still holds.

    `stop` alone waits until everything is delivered, for ever if Kafka is unavailable. If `stop`
    is cancelled, the sender task survives and may write later. Callers keep unconfirmed records.
    """
    accumulator = producer._message_accumulator
    batches = {*accumulator._pending_batches, *chain.from_iterable(accumulator._batches.values())}
    accumulator.fail_all(KafkaError("the producer was abandoned"))
    for batch in batches:
        # Nothing awaits it any more; asyncio would log an exception that was never retrieved.
        batch._drain_waiter.exception()
    # Closing the connections makes the sender's remaining requests fail.
    with suppress(Exception):
        await producer.client.close()
    with suppress(Exception):
        async with asyncio.timeout(STOP_TIMEOUT_S):
            await producer.stop()

"""The worker's Kafka consumer without Faust's thread and app around it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

from aiokafka import AIOKafkaConsumer

from streams.engine.consumer import Consumer, ConsumerThread


class Here(ConsumerThread):
    """The consumer's thread, in ours.

    Args:
        reading: what it reads with.
        consumer: whose thread it is; None where nobody needs the partitions.
    """

    def __init__(self, reading: AIOKafkaConsumer, consumer: Consumer | None = None) -> None:
        self._consumer = reading
        self._committing = None
        self._notifying = asyncio.Lock()
        self.thread_loop = asyncio.get_running_loop()
        self.beacon = None
        self.log = SimpleNamespace(dev=lambda *_: None)
        if consumer is not None:
            self.consumer, self.app = consumer, consumer.app

    async def call_thread(
        self, call: Callable[..., Awaitable[Any]], *given: Any, **more: Any
    ) -> Any:
        return await call(*given, **more)

"""Readers of verdicts: what is dealt with is committed, and done once when a reader joins."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress

import msgspec
import pytest

from schemas.codec import encode
from schemas.verdicts import VerdictBatch
from schemas.votes import VoteBatch
from streams.bridge import verdict_reader
from streams.bridge.verdict_reader import VerdictReader
from streams.core.records import Verdicts
from streams.devstack import Stack
from streams.runtime.outages import OutageTracker, Retry
from tests.harness import until
from tests.integration.kafka_names import admin, own_topic, producer, servers, unused

PARTITIONS = 2


def record(partition: int, offset: int) -> bytes:
    batch = VoteBatch(0, "bridge", [], [])
    return encode(
        VerdictBatch(bytes(16), partition, offset, offset - 1, [], msgspec.Raw(encode(batch)))
    )


class Readers:
    """A group of readers, and how often each record was handed on."""

    def __init__(self, stack: Stack) -> None:
        self.handed: Counter[tuple[int, int]] = Counter()
        self.group = unused("readers")
        self._servers = servers(stack)

    async def handle(self, verdicts: Sequence[Verdicts]) -> None:
        """Note them."""
        self.handed.update((one.batch.partition, one.batch.offset) for one in verdicts)

    @asynccontextmanager
    async def reader(self) -> AsyncIterator[VerdictReader]:
        """One that runs; it is stopped at the end."""
        one = VerdictReader(
            self._servers,
            group=self.group,
            handle=self.handle,
            behind=lambda _: None,
            retry=Retry(OutageTracker(5), 0.1),
        )
        running = asyncio.create_task(one.run())
        try:
            yield one
            one.stop()
            await running
        finally:
            running.cancel()
            with suppress(asyncio.CancelledError):
                await running


async def test_each_record_is_handed_on_once_and_all_are_committed_at_the_end(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    readers = Readers(stack)
    async with AsyncExitStack() as resources:
        topic = await resources.enter_async_context(own_topic(stack, partitions=PARTITIONS))
        monkeypatch.setattr(verdict_reader, "VALIDATED_TOPIC", topic)
        # Only a pause, a rebalance and a stop commit again.
        monkeypatch.setattr(verdict_reader, "_COMMIT_PERIOD_S", 3600.0)
        client = await resources.enter_async_context(admin(stack))
        writing = await resources.enter_async_context(producer(stack))
        sent = 0

        async def send(records: int) -> None:
            nonlocal sent
            for _ in range(records):
                for partition in range(PARTITIONS):
                    await writing.send_and_wait(topic, record(partition, sent), partition=partition)
                sent += 1

        async def handed() -> bool:
            return len(readers.handed) == PARTITIONS * sent

        await send(3)
        async with readers.reader():
            await until(handed, "the first records")
            await send(3)
            await until(handed, "more records")
            async with readers.reader():

                async def both() -> bool:
                    (answer,) = await client.describe_consumer_groups([readers.group])
                    (group,) = answer.groups
                    return group[2] == "Stable" and len(group[5]) == 2

                await until(both, "two readers share the partitions")
                await send(3)
                await until(handed, "what came after the rebalance")
        committed = await client.list_consumer_group_offsets(readers.group)
        assert {tp.partition: found.offset for tp, found in committed.items()} == {0: sent, 1: sent}
        assert set(readers.handed.values()) == {1}

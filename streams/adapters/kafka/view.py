"""Reads Kafka without a consumer group: partitions are assigned, nothing is committed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from typing import Any, Final, NamedTuple, Protocol, Self

from aiokafka import AIOKafkaConsumer, TopicPartition

from streams.adapters.kafka.clients import kafka_admin
from streams.adapters.kafka.errors import kafka_answers
from streams.errors import TopologyMismatch
from streams.settings.kafka_security import client

DEADLINE_S: Final = 10.0
"""Longest wait for an answer, and longest time without progress while reading."""

_FETCH_BYTES: Final = 4 << 20

Advance = Callable[[int], None]
"""Called with the number of records just read."""


class Record(Protocol):
    """The fields of aiokafka's record that Scrutin reads."""

    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None


class Span(NamedTuple):
    """Offsets of a partition: from `begin` up to but not including `end`."""

    begin: int
    end: int


async def _partition_counts(bootstrap_servers: list[str]) -> dict[str, int]:
    async with kafka_admin(bootstrap_servers) as admin:
        # Describe all topics: describing one by name may create it.
        described = await admin.describe_topics()
    return {t["topic"]: len(t["partitions"]) for t in described}


class LogView:
    """Reads topics from their beginning to their current end.

    Args:
        bootstrap_servers: brokers, `host:port`.
        deadline_s: longest wait for an answer in seconds.
        fetch_bytes: of a partition, twice in memory: one is read while the next arrives.
    """

    def __init__(
        self,
        bootstrap_servers: list[str],
        *,
        deadline_s: float = DEADLINE_S,
        fetch_bytes: int = _FETCH_BYTES,
    ) -> None:
        self._servers = bootstrap_servers
        self._deadline_s = deadline_s
        self._fetch_bytes = fetch_bytes
        self._consumer: Any = None
        self._partitions: dict[str, int] = {}

    async def __aenter__(self) -> Self:
        """Connect.

        Raises:
            ServiceUnavailable: no broker answers within the deadline.
        """
        options = {"enable_auto_commit": False, **range_options(self._fetch_bytes)}
        self._consumer = AIOKafkaConsumer(**client(self._servers), **options)
        try:
            with kafka_answers(self._servers):
                async with asyncio.timeout(self._deadline_s):
                    self._partitions = await _partition_counts(self._servers)
                    await self._consumer.start()
                    # Let aiokafka's helper task start: stopping a consumer before that cancels
                    # the task that stops it.
                    await asyncio.sleep(0)
        except BaseException:
            await self._consumer.stop()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        """Disconnect."""
        await self._consumer.stop()

    @property
    def topics(self) -> Mapping[str, int]:
        """Partition counts by topic, as found when connecting."""
        return self._partitions

    def partitions(self, topic: str) -> int:
        """Number of partitions.

        Raises:
            TopologyMismatch: there is no such topic.
        """
        if topic not in self._partitions:
            raise TopologyMismatch(
                "The topic does not exist",
                where={"topic": topic, "KAFKA_BOOTSTRAP_SERVERS": ",".join(self._servers)},
                todo="The first bridge or worker creates it; check SCRUTIN_APP_ID and the address",
            )
        return self._partitions[topic]

    async def spans(self, topic: str) -> dict[int, Span]:
        """First offset and end of each partition, as they are now."""
        tps = [TopicPartition(topic, p) for p in range(self.partitions(topic))]
        with kafka_answers(self._servers):
            async with asyncio.timeout(self._deadline_s):
                begins = await self._consumer.beginning_offsets(tps)
                ends = await self._consumer.end_offsets(tps)
        return {tp.partition: Span(begins[tp], ends[tp]) for tp in tps}

    async def read(
        self, topic: str, spans: Mapping[int, Span], advance: Advance | None = None
    ) -> AsyncIterator[list[Record]]:
        """Yield the records of the spans, a list per fetched partition, in order per partition.

        A view can run one read at a time. The values passed to `advance` add up to the widths of
        the spans, including offsets that compaction removed.

        Raises:
            ServiceUnavailable: Kafka makes no progress for longer than the deadline.
        """
        with kafka_answers(self._servers):
            async for records in read_spans(
                self._consumer, topic, spans, deadline_s=self._deadline_s, advance=advance
            ):
                yield records

    def read_each(
        self, topic: str, spans: Mapping[int, Span]
    ) -> dict[int, AsyncGenerator[list[Record], None]]:
        """Yield the records of each span on its own, for a caller who decides which is next.

        They are instead of :meth:`read`, and raise the same.
        """
        _seek(self._consumer, _places(topic, spans))
        return {p: self._read_one(topic, {p: span}) for p, span in spans.items()}

    async def _read_one(
        self, topic: str, spans: Mapping[int, Span]
    ) -> AsyncGenerator[list[Record], None]:
        with kafka_answers(self._servers):
            at = _places(topic, spans)
            async for records in _fetched(self._consumer, at, spans, self._deadline_s):
                yield records

    async def record_at(self, topic: str, partition: int, offset: int) -> Record | None:
        """The record at an offset; None if it is not, or no longer, in the log."""
        span = (await self.spans(topic)).get(partition)
        if span is None or not span.begin <= offset < span.end:
            return None
        async for records in self.read(topic, {partition: Span(offset, offset + 1)}):
            return records[0]
        return None


def range_options(fetch_bytes: int) -> dict[str, Any]:
    """Options of a consumer without a group, to be assigned by hand."""
    return {
        "auto_offset_reset": "none",
        "request_timeout_ms": 10_000,
        "max_partition_fetch_bytes": fetch_bytes,
    }


async def read_spans(
    consumer: AIOKafkaConsumer,
    topic: str,
    spans: Mapping[int, Span],
    *,
    deadline_s: float,
    advance: Advance | None = None,
) -> AsyncGenerator[list[Any], None]:
    """The records of the spans, a list per fetched partition; see :meth:`LogView.read`.

    Raises:
        TimeoutError: nothing arrives for longer than `deadline_s`.
    """
    at = _places(topic, spans)
    _seek(consumer, at)
    async for records in _fetched(consumer, at, spans, deadline_s, advance):
        yield records


def _places(topic: str, spans: Mapping[int, Span]) -> dict[TopicPartition, int]:
    return {
        TopicPartition(topic, p): span.begin for p, span in spans.items() if span.begin < span.end
    }


def _seek(consumer: AIOKafkaConsumer, at: Mapping[TopicPartition, int]) -> None:
    if at:
        consumer.assign(list(at))
    for tp, begin in at.items():
        consumer.seek(tp, begin)


async def _fetched(
    consumer: AIOKafkaConsumer,
    at: dict[TopicPartition, int],
    spans: Mapping[int, Span],
    deadline_s: float,
    advance: Advance | None = None,
) -> AsyncGenerator[list[Any], None]:
    """Records of assigned partitions up to the ends of their spans."""
    waiting = set(at)
    while waiting:
        async with asyncio.timeout(deadline_s):
            fetched = await _some(consumer, waiting, at)
        for tp, records in fetched.items():
            end = spans[tp.partition].end
            if inside := [r for r in records if r.offset < end]:
                yield inside
        for tp in list(waiting):
            end = spans[tp.partition].end
            position = min(await consumer.position(tp), end)
            if advance is not None and position > at[tp]:
                advance(position - at[tp])
            at[tp] = position
            if position >= end:
                waiting.discard(tp)
                # Do not fetch records after the span.
                consumer.pause(tp)


async def _some(
    consumer: AIOKafkaConsumer, waiting: set[TopicPartition], at: Mapping[TopicPartition, int]
) -> dict[TopicPartition, list[Any]]:
    """The next fetched records; also returns when a position passed compacted offsets."""
    while True:
        fetched: dict[TopicPartition, list[Any]] = await consumer.getmany(*waiting, timeout_ms=200)
        if fetched or any([await consumer.position(tp) > at[tp] for tp in waiting]):
            return fetched

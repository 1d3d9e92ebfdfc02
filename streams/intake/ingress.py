"""Ingress: deliveries from RabbitMQ into the input log, acknowledged once Kafka has them."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final, Protocol

import structlog

from schemas.votes import Malformed
from streams.core.keys import partition_of
from streams.errors import StageFailed
from streams.intake.buffers import Buffers, Pending, VotingRules, hashes_to_ask, seal, weight
from streams.intake.input_log import InputLog
from streams.intake.lag_gate import LagGate
from streams.intake.roll import Roll
from streams.messages.decode import decode
from streams.messages.incoming import MalformedReason
from streams.runtime import failpoints
from streams.runtime.failpoints import Point
from streams.runtime.metrics import BridgeMetrics
from streams.runtime.outages import Retry, Service

log = structlog.get_logger(__name__)

ROLL_PERIOD_S: Final = 1.0
"""How often the roll is looked at while no vote asks it."""

GATHER_S: Final = 0.005
"""A vote that comes after a pause waits this long, for those that were sent with it."""

BACKLOG_FLUSHES: Final = 3
"""While more votes wait in the queue than the bridge may hold, the time between flushes is so many
times as long: large records cost less a vote, and the queue is what a vote waits for."""


@dataclass(frozen=True)
class Limits:
    """Bounds of the intake."""

    partitions: int
    """Of the input topic."""
    max_body_bytes: int
    flush_ms: int
    """Longest wait of a vote in the buffers; longer where more wait in the queue."""
    poll_key: bytes = b""
    """What poll votes are signed with; without it there are none."""
    default_election: str = ""
    """Election of candidate votes that name none."""


class Tags(Protocol):
    """Which deliveries are settled; see :class:`streams.bridge.delivery_tags.DeliveryTags`."""

    delivered: int

    @property
    def outstanding(self) -> int:
        """Deliveries that are not settled."""

    def confirm(self, tags: Iterable[int]) -> None:
        """Kafka has these deliveries."""


class DeliveryOrigin(Protocol):
    """What delivers; see :class:`streams.bridge.consumer.ConsumerSession`."""

    @property
    def queue(self) -> str:
        """Its name."""

    @property
    def prevalidated(self) -> bool:
        """Somebody else asked the roll."""

    @property
    def poll_updates(self) -> bool:
        """Its messages are votes in polls by name."""

    @property
    def prefetch(self) -> int:
        """Most deliveries that are not settled."""

    @property
    def backlog(self) -> bool:
        """More wait where they come from than may be here."""

    @property
    def tags(self) -> Tags:
        """Which deliveries are settled."""

    def reject(self, tag: int) -> None:
        """Kafka has this malformed one."""

    def acknowledge(self) -> None:
        """Tell whoever sent them, as far as everything is settled."""


class DeliverySource(Protocol):
    """A queue that is read; see :class:`streams.bridge.consumer.QueueConsumer`."""

    @property
    def consuming(self) -> bool:
        """Whether its deliveries arrive."""

    @property
    def prevalidated(self) -> bool:
        """Its votes need no answer of the roll."""

    async def run(self) -> None:
        """Read until closed or cancelled."""

    async def pause(self) -> None:
        """Let no more deliveries come until :meth:`resume`."""

    async def resume(self) -> None:
        """Let deliveries come again."""

    async def stop_deliveries(self) -> None:
        """Let no more deliveries come; those that came can still be acknowledged."""

    async def close(self) -> None:
        """End once every acknowledgement is passed on."""


class Ingress:
    """Takes deliveries in, batches them by voter key, asks the roll, writes and acknowledges.

    Args:
        limits: bounds.
        bridge: name of the process, for the records.
        regime: what the votes are judged by, for the records.
        input_log: where records go.
        roll: asked once per flush.
        gate: closed while the workers are behind.
        retry: waits while the roll does not answer.
        metrics: of the bridge.
    """

    def __init__(
        self,
        *,
        limits: Limits,
        bridge: str,
        regime: VotingRules,
        input_log: InputLog,
        roll: Roll,
        gate: LagGate,
        retry: Retry,
        metrics: BridgeMetrics,
    ) -> None:
        self._limits = limits
        self._bridge = bridge
        self._regime = regime
        self._input_log = input_log
        self._roll = roll
        self._gate = gate
        self._retry = retry
        self._metrics = metrics
        self._buffers: Buffers[DeliveryOrigin] = Buffers(limits.partitions)
        self._consumers: list[DeliverySource] = []
        self._wake = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._sealing = False
        self._flushed_s = -math.inf
        self._fatal: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def attach(self, consumer: DeliverySource) -> None:
        """Add a queue to read from; before `run`."""
        self._consumers.append(consumer)

    @property
    def consuming(self) -> bool:
        """Whether deliveries arrive from every queue."""
        return all(consumer.consuming for consumer in self._consumers)

    # Taking in ---------------------------------------------------------------------------------

    def receive(
        self,
        session: DeliveryOrigin,
        tag: int,
        redelivered: bool,
        message_id: bytes | None,
        body: bytes,
    ) -> None:
        """Take one delivery. Runs in pika's reader, so an error is kept for `run` to raise."""
        try:
            tags = session.tags
            tags.delivered = tag
            decoded = decode(
                body,
                message_id,
                redelivered=redelivered,
                prevalidated=session.prevalidated,
                poll_updates=session.poll_updates,
                ingest_us=time.time_ns() // 1000,
                max_body_bytes=self._limits.max_body_bytes,
                poll_key=self._limits.poll_key,
                default_election=self._limits.default_election,
            )
            item = decoded.item
            if type(item) is Malformed:
                self._metrics.malformed.labels(item.reason).inc()
                if item.reason == MalformedReason.TOO_LARGE:
                    self._metrics.oversized.inc()
            buffers = self._buffers
            if not buffers.waiting:
                loop = asyncio.get_running_loop()
                since_s = loop.time() - self._flushed_s
                wait_s = first_wait_s(self._limits.flush_ms, since_s, backlog=session.backlog)
                self._timer = loop.call_later(wait_s, self._wake.set)
            partition = partition_of(decoded.key, self._limits.partitions)
            buffers.add(partition, item, weight(item, len(body)), session, tag)
            # With the whole prefetch here nothing more comes before a flush.
            if buffers.has_full or tags.outstanding >= session.prefetch:
                self._wake.set()
        except Exception as error:  # noqa: BLE001 - raised by run
            if not self._fatal.done():
                self._fatal.set_exception(error)

    def forget(self, session: DeliveryOrigin) -> None:
        """Drop what waits of a session whose messages are back in their queue."""
        dropped = self._buffers.forget(session)
        if dropped:
            log.info("deliveries return to their queue", queue=session.queue, messages=dropped)

    # Passing on --------------------------------------------------------------------------------

    async def run(self) -> None:
        """Read and flush, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._raise_fatal())
            tasks.create_task(self._flush_always())
            tasks.create_task(self._watch_roll())
            for consumer in self._consumers:
                tasks.create_task(consumer.run())

    async def _raise_fatal(self) -> None:
        try:
            await asyncio.shield(self._fatal)
        except Exception as error:
            raise StageFailed(
                f"The intake met an error it does not expect: {type(error).__name__}",
                where={"stage": "bridge ingress"},
                todo="Nothing of it was acknowledged; please report it",
            ) from error

    async def _flush_always(self) -> None:
        while True:
            await self._wake.wait()
            await self._gate.wait_open()
            await self._flush()

    async def _flush(self) -> None:
        self._wake.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._sealing = True
        self._flushed_s = asyncio.get_running_loop().time()
        try:
            taken = self._buffers.take()
            # The epoch may change while the roll is asked.
            regime = self._regime
            if taken:
                self._submit(taken, await self._ask(hashes_to_ask(taken)), regime)
        finally:
            self._sealing = False

    def _submit(
        self, taken: Sequence[Pending[DeliveryOrigin]], answers: Sequence[bool], regime: VotingRules
    ) -> None:
        ingest_ms = time.time_ns() // 1_000_000
        position = 0
        for pending in taken:
            count = len(hashes_to_ask([pending]))
            value = seal(
                pending,
                answers[position : position + count],
                ingest_ms=ingest_ms,
                bridge=self._bridge,
                regime=regime,
            )
            position += count
            self._input_log.submit(pending.partition, value, _Settle(pending, self._metrics))

    async def _ask(self, hashes: Sequence[str]) -> Sequence[bool]:
        if not hashes:
            return []
        return await self._retry(Service.ROLL, lambda: self._roll.ask(hashes))

    async def _watch_roll(self) -> None:
        """Keep readiness and the size metric right while no vote asks."""
        if all(consumer.prevalidated for consumer in self._consumers):
            return
        while True:
            await self._retry(Service.ROLL, lambda: self._roll.ask([]))
            await asyncio.sleep(ROLL_PERIOD_S)

    # Resets ------------------------------------------------------------------------------------

    async def pause(self) -> None:
        """Let no more deliveries come."""
        for consumer in self._consumers:
            await consumer.pause()

    async def resume(self, epoch: int) -> None:
        """Begin an epoch, and let deliveries come again.

        What was taken in before is written as of the epoch before, and is void there; nobody needs
        the roll's answer to it.
        """
        if epoch != self._regime.epoch:
            taken = self._buffers.take()
            self._submit(taken, [True] * len(hashes_to_ask(taken)), self._regime)
            self._regime = replace(self._regime, epoch=epoch)
        for consumer in self._consumers:
            await consumer.resume()

    # Draining ----------------------------------------------------------------------------------

    async def drain(self) -> None:
        """Stop deliveries, flush the rest, wait for Kafka. `run` has to go on meanwhile.

        What cannot be passed on stays unacknowledged and is delivered again later.
        """
        for consumer in self._consumers:
            await consumer.stop_deliveries()
        while self._buffers.waiting or self._sealing:
            self._wake.set()
            await asyncio.sleep(0.01)
        await self._input_log.settled()
        for consumer in self._consumers:
            await consumer.close()


def first_wait_s(flush_ms: int, since_flush_s: float, *, backlog: bool) -> float:
    """How long the first vote in the buffers waits for others: not long where votes are rare.

    Args:
        flush_ms: longest wait, and shortest time from one flush to the next; without a backlog.
        since_flush_s: since the last flush began.
        backlog: more votes wait in the queue than may be here.
    """
    flush_s = flush_ms / 1000 * (BACKLOG_FLUSHES if backlog else 1)
    return max(min(GATHER_S, flush_s), flush_s - since_flush_s)


class _Settle:
    """What happens when Kafka has a record: its deliveries are rejected or acknowledged."""

    __slots__ = ("_metrics", "_pending")

    def __init__(self, pending: Pending[DeliveryOrigin], metrics: BridgeMetrics) -> None:
        self._pending = pending
        self._metrics = metrics

    def __call__(self) -> None:
        failpoints.at(Point.AFTER_KAFKA_ACK)
        # Rejections go first: an acknowledgement of `multiple` would cover them.
        touched: set[DeliveryOrigin] = set()
        for session, tag in self._pending.rejects:
            session.reject(tag)
            touched.add(session)
        by_session: dict[DeliveryOrigin, list[int]] = {}
        for session, tag in self._pending.tags:
            found = by_session.get(session)
            if found is None:
                by_session[session] = [tag]
            else:
                found.append(tag)
        for session, tags in by_session.items():
            session.tags.confirm(tags)
            touched.add(session)
        for session in touched:
            session.acknowledge()

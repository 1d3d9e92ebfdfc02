"""Ingress: writes deliveries from RabbitMQ to the input log and acknowledges those Kafka has."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final, Protocol

import structlog

from schemas.votes import Malformed
from streams.core.citizens import CitizenIds, CitizenRule
from streams.core.keys import partition_of
from streams.errors import StageFailed
from streams.intake.buffers import Buffers, Pending, VotingRules, hashes_to_ask, seal, weight
from streams.intake.input_log import InputLog
from streams.intake.lag_gate import LagGate
from streams.intake.roll import Roll
from streams.messages.decode import Delivery, decode
from streams.messages.fields import MalformedReason
from streams.runtime import failpoints
from streams.runtime.failpoints import Point
from streams.runtime.metrics import BridgeMetrics
from streams.runtime.outages import Retry, Service

log = structlog.get_logger(__name__)

ROLL_PERIOD_S: Final = 1.0
"""Period of roll checks while no vote queries the roll."""

OBSTACLE_PERIOD_S: Final = 0.05
"""Period of checks whether votes can be passed on."""

GATHER_S: Final = 0.005
"""A vote that arrives after a pause waits this long for others sent at the same time."""

BACKLOG_FLUSHES: Final = 3
"""Factor of the time between flushes while the queue holds more votes than the prefetch. Large
records cost less per vote, and a vote waits in the queue anyway."""

FREQUENT_PER_S: Final = 6000
"""Votes a second from which on flushes are further apart. Where CPU is short, a vote would wait
longer for it than for a larger record."""


_KEEP_CITIZENS: Final = CitizenIds(CitizenRule.PLAIN)


@dataclass(frozen=True)
class Limits:
    """Limits of the intake."""

    partitions: int
    """Of the input topic."""
    max_body_bytes: int
    flush_ms: int
    """Longest wait of a vote in the buffers; longer with a backlog in the queue."""
    poll_key: bytes = b""
    """Key that signs poll votes; without it, poll votes are malformed."""
    default_election: str = ""
    """Election of candidate votes that name none."""
    citizens: CitizenIds = _KEEP_CITIZENS
    """What is kept of `citizen_id`."""


class Tags(Protocol):
    """Tracks settled deliveries; see :class:`streams.bridge.delivery_tags.DeliveryTags`."""

    delivered: int

    def skip_to(self, tag: int) -> None:
        """Note a delivery that does not follow the last one."""

    @property
    def outstanding(self) -> int:
        """Deliveries that are not settled."""

    def confirm(self, tags: Iterable[int]) -> None:
        """Settle deliveries that Kafka has."""


class DeliveryOrigin(Protocol):
    """The source of deliveries; see :class:`streams.bridge.consumer.ConsumerSession`."""

    @property
    def queue(self) -> str:
        """Name of the queue."""

    @property
    def prevalidated(self) -> bool:
        """Whether another system has checked the roll."""

    @property
    def poll_updates(self) -> bool:
        """Whether its messages are votes in polls by name."""

    @property
    def prefetch(self) -> int:
        """Limit of deliveries that are not settled."""

    @property
    def backlog(self) -> bool:
        """Whether the queue holds more messages than the prefetch."""

    @property
    def tags(self) -> Tags:
        """Tracks which deliveries are settled."""

    def reject(self, tag: int) -> None:
        """Reject a malformed delivery that Kafka has."""

    def acknowledge(self) -> None:
        """Acknowledge all deliveries up to the first that is not settled."""


class DeliverySource(Protocol):
    """A queue that is read; see :class:`streams.bridge.consumer.QueueConsumer`."""

    @property
    def consuming(self) -> bool:
        """Whether deliveries arrive."""

    @property
    def prevalidated(self) -> bool:
        """Whether its votes skip the roll check."""

    async def run(self) -> None:
        """Read until closed or cancelled."""

    async def pause(self) -> None:
        """Stop deliveries until :meth:`resume`."""

    async def resume(self) -> None:
        """Start deliveries again."""

    async def stop_deliveries(self) -> None:
        """Stop deliveries; those received before can still be acknowledged."""

    async def close(self) -> None:
        """End once every acknowledgement is passed on."""

    async def give_back(self) -> None:
        """Return all deliveries without an answer to the queue, and end."""


@dataclass(kw_only=True)
class Ingress:
    """Receives deliveries, batches them by voter key, asks the roll, writes and acknowledges.

    While votes cannot be passed on, it consumes from no queue: a delivery that is not acknowledged
    costs the message one of its deliveries, and RabbitMQ may remove it after some of them. What
    was received before is held, because a return costs a delivery too.
    """

    limits: Limits
    """Of sizes and times."""
    bridge: str
    """Name of the process, for the records."""
    voting_rules: VotingRules
    """Rules for the votes, for the records."""
    input_log: InputLog
    """Receives the records."""
    roll: Roll
    """Queried once per flush."""
    gate: LagGate
    """Closed while the workers are behind."""
    retry: Retry
    """Waits while the roll does not answer."""
    metrics: BridgeMetrics
    """Of the bridge."""

    def __post_init__(self) -> None:
        citizens = self.limits.citizens
        # Decided once, not for each vote.
        self._hide = None if citizens.rule == CitizenRule.PLAIN else citizens.hide
        self._buffers: Buffers[DeliveryOrigin] = Buffers(self.limits.partitions)
        self._consumers: list[DeliverySource] = []
        self._wake = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._sealing = False
        self._flushed_s = -math.inf
        self._votes_per_s = 0.0
        self._paused = False
        self._obstacle = "starting"
        self._roll_answered = False
        self._applying = asyncio.Lock()
        self._fatal: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def attach(self, consumer: DeliverySource) -> None:
        """Add a queue to read from; before `run`."""
        self._consumers.append(consumer)

    @property
    def consuming(self) -> bool:
        """Whether deliveries arrive from every queue."""
        return all(consumer.consuming for consumer in self._consumers)

    # Receiving ---------------------------------------------------------------------------------

    def receive(self, session: DeliveryOrigin, deliveries: Sequence[Delivery]) -> None:
        """Receive deliveries, in order. Runs in pika's reader, so `run` raises any error."""
        buffers, tags = self._buffers, session.tags
        if not buffers.waiting:
            loop = asyncio.get_running_loop()
            since_s = loop.time() - self._flushed_s
            wait_s = first_wait_s(
                self.limits.flush_ms, since_s, self._votes_per_s, backlog=session.backlog
            )
            self._timer = loop.call_later(wait_s, self._wake.set)
        try:
            self._take_in(session, tags, deliveries)
        except Exception as error:  # noqa: BLE001 - raised by run
            if not self._fatal.done():
                self._fatal.set_exception(error)
        # If the whole prefetch is buffered, no delivery arrives before a flush.
        if buffers.has_full or tags.outstanding >= session.prefetch:
            self._wake.set()

    def _take_in(self, session: DeliveryOrigin, tags: Tags, deliveries: Sequence[Delivery]) -> None:
        # What they have in common is looked up once.
        limits, hide, add = self.limits, self._hide, self._buffers.add
        partitions, max_body_bytes = limits.partitions, limits.max_body_bytes
        poll_key, default_election = limits.poll_key, limits.default_election
        prevalidated, poll_updates = session.prevalidated, session.poll_updates
        ingest_us = time.time_ns() // 1000
        # In a pass of its own: two short loops take less than one long one.
        decoded = [
            decode(
                body,
                message_id,
                redelivered=redelivered,
                prevalidated=prevalidated,
                poll_updates=poll_updates,
                ingest_us=ingest_us,
                max_body_bytes=max_body_bytes,
                poll_key=poll_key,
                default_election=default_election,
            )
            for _, redelivered, message_id, body in deliveries
        ]
        for (tag, _, _, body), one in zip(deliveries, decoded, strict=True):
            if tag == tags.delivered + 1:
                tags.delivered = tag
            else:
                tags.skip_to(tag)
            item = one.item if hide is None else hide(one.item)
            if type(item) is Malformed:
                self.metrics.malformed.labels(item.reason).inc()
                if item.reason == MalformedReason.TOO_LARGE:
                    self.metrics.oversized.inc()
            partition = partition_of(one.key, partitions)
            add(partition, item, weight(item, len(body)), session, tag)

    def forget(self, session: DeliveryOrigin) -> None:
        """Drop the buffered deliveries of a session whose messages are back in their queue."""
        dropped = self._buffers.forget(session)
        if dropped:
            log.info("deliveries are back in their queue", queue=session.queue, messages=dropped)

    # Flushing ----------------------------------------------------------------------------------

    async def run(self) -> None:
        """Read and flush until cancelled."""
        await self._apply()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._raise_fatal())
            tasks.create_task(self._watch_obstacles())
            tasks.create_task(self._flush_always())
            tasks.create_task(self._watch_roll())
            for consumer in self._consumers:
                tasks.create_task(consumer.run())

    async def _raise_fatal(self) -> None:
        try:
            await asyncio.shield(self._fatal)
        except Exception as error:
            raise StageFailed(
                f"The intake met an unexpected error: {type(error).__name__}",
                where={"stage": "bridge ingress"},
                todo="The delivery was not acknowledged; please report the error",
            ) from error

    async def _flush_always(self) -> None:
        while True:
            await self._wake.wait()
            await self.gate.wait_open()
            await self._flush()

    async def _flush(self) -> None:
        self._wake.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._sealing = True
        now_s = asyncio.get_running_loop().time()
        self._votes_per_s = self._buffers.waiting / max(GATHER_S, now_s - self._flushed_s)
        self._flushed_s = now_s
        try:
            taken = self._buffers.take()
            # The epoch may change during the roll query.
            voting_rules = self.voting_rules
            if taken:
                self._submit(taken, await self._ask(hashes_to_ask(taken)), voting_rules)
        finally:
            self._sealing = False

    def _submit(
        self,
        taken: Sequence[Pending[DeliveryOrigin]],
        answers: Sequence[bool],
        voting_rules: VotingRules,
    ) -> None:
        ingest_ms = time.time_ns() // 1_000_000
        position = 0
        for pending in taken:
            count = len(hashes_to_ask([pending]))
            value = seal(
                pending,
                answers[position : position + count],
                ingest_ms=ingest_ms,
                bridge=self.bridge,
                voting_rules=voting_rules,
            )
            position += count
            self.input_log.submit(pending.partition, value, _Settle(pending, self.metrics))

    async def _ask(self, hashes: Sequence[str]) -> Sequence[bool]:
        if not hashes:
            return []
        return await self.retry(Service.ROLL, lambda: self.roll.ask(hashes))

    async def _watch_roll(self) -> None:
        """Keep readiness and the size metric current while no vote queries the roll."""
        if not self._needs_roll:
            return
        while True:
            await self.retry(Service.ROLL, lambda: self.roll.ask([]))
            self._roll_answered = True
            await asyncio.sleep(ROLL_PERIOD_S)

    @property
    def _needs_roll(self) -> bool:
        return not all(consumer.prevalidated for consumer in self._consumers)

    # Obstacles ---------------------------------------------------------------------------------

    async def _watch_obstacles(self) -> None:
        if not self._consumers:
            return
        while True:
            obstacle = self._find_obstacle()
            if obstacle != self._obstacle:
                if obstacle:
                    log.warning("taking no votes from RabbitMQ", reason=obstacle)
                else:
                    log.info("taking votes from RabbitMQ")
                self._obstacle = obstacle
                await self._apply()
            await asyncio.sleep(OBSTACLE_PERIOD_S)

    def _find_obstacle(self) -> str:
        """Why votes cannot be passed on; empty if they can."""
        failures = self.retry.outages.failures()
        for service in (Service.KAFKA, Service.ROLL):
            if service in failures:
                return f"{service} is unavailable"
        if not self.gate.known or (self._needs_roll and not self._roll_answered):
            return "starting"
        if self._obstacle and not self.gate.is_open:
            # A running intake stops by itself, when the prefetch is full.
            return "the workers are behind"
        return ""

    async def _apply(self) -> None:
        """Consume if no reset and no obstacle forbids it."""
        async with self._applying:
            for consumer in self._consumers:
                if self._paused or self._obstacle:
                    await consumer.pause()
                else:
                    await consumer.resume()

    # Resets ------------------------------------------------------------------------------------

    async def pause(self) -> None:
        """Stop deliveries until :meth:`resume`."""
        self._paused = True
        await self._apply()

    async def resume(self, epoch: int) -> None:
        """Begin an epoch and start deliveries again.

        Votes received before are written with the previous epoch, where they are void; they need no
        answer from the roll.
        """
        if epoch != self.voting_rules.epoch:
            taken = self._buffers.take()
            self._submit(taken, [True] * len(hashes_to_ask(taken)), self.voting_rules)
            self.voting_rules = replace(self.voting_rules, epoch=epoch)
        self._paused = False
        await self._apply()

    # Draining ----------------------------------------------------------------------------------

    async def drain(self) -> None:
        """Stop deliveries, flush the rest, wait for Kafka. `run` must keep running meanwhile.

        Votes that cannot be written stay unacknowledged; RabbitMQ delivers them again later.
        """
        for consumer in self._consumers:
            await consumer.stop_deliveries()
        while self._buffers.waiting or self._sealing:
            self._wake.set()
            await asyncio.sleep(0.01)
        await self.input_log.settled()
        for consumer in self._consumers:
            await consumer.close()

    async def give_back(self) -> None:
        """Return what :meth:`drain` could not pass on; RabbitMQ 4.3 counts no delivery then."""
        for consumer in self._consumers:
            await consumer.give_back()


def first_wait_s(
    flush_ms: int, since_flush_s: float, votes_per_s: float, *, backlog: bool
) -> float:
    """How long the first vote in the buffers waits for others; short if votes are rare.

    Args:
        flush_ms: longest wait, and shortest time between two flushes, up to
            :data:`FREQUENT_PER_S`; :data:`BACKLOG_FLUSHES` times as long at most.
        since_flush_s: time since the last flush began.
        votes_per_s: between the last two flushes.
        backlog: whether the queue holds more votes than the prefetch.
    """
    times = BACKLOG_FLUSHES if backlog else min(BACKLOG_FLUSHES, votes_per_s / FREQUENT_PER_S)
    flush_s = flush_ms / 1000 * max(1, times)
    return max(min(GATHER_S, flush_s), flush_s - since_flush_s)


class _Settle:
    """Rejects or acknowledges the deliveries of a record that Kafka has."""

    __slots__ = ("_metrics", "_pending")

    def __init__(self, pending: Pending[DeliveryOrigin], metrics: BridgeMetrics) -> None:
        self._pending = pending
        self._metrics = metrics

    def __call__(self) -> None:
        failpoints.at(Point.AFTER_KAFKA_ACK)
        # Reject first: an acknowledgement with `multiple` would cover the rejected deliveries.
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

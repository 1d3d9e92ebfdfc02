"""Publish messages to RabbitMQ with confirms, as fast as possible or at a fixed rate.

A message whose confirm was lost is published again with the same `message_id`. At a fixed rate the
load is an open loop: each message has a scheduled time, and is sent late rather than left out.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

import structlog

from streams.adapters.rabbitmq.client import Channel, connected
from streams.adapters.rabbitmq.confirms import Confirms
from streams.adapters.rabbitmq.queues import ensure_queue
from streams.errors import ServiceUnavailable, TopologyMismatch
from streams.load.expected import ExpectedTotals
from streams.load.script import ScriptedMessage
from streams.settings.configs import RabbitConfig

log = structlog.get_logger(__name__)

_Publish = Callable[[str, bytes], None]

_BURST: Final = 250
_TICK_S: Final = 0.005
_RETRY_S: Final = 0.5
_FIRST_PATIENCE_S: Final = 5.0


@dataclass(frozen=True)
class Schedule:
    """Due times of messages."""

    start_us: int
    """Unix time in microseconds of message 0."""
    rate: float | None
    """Messages a second; None for as fast as possible."""

    def time_us(self, number: int) -> int:
        """Due time of a message in Unix microseconds; without a rate 20 µs apart, to differ."""
        return self.start_us + int(number * 1e6 / (self.rate or 50_000))

    def due(self, now_us: int) -> int:
        """Number of messages due by a time, at the rate."""
        return max(0, math.floor((now_us - self.start_us) * (self.rate or 0) / 1e6) + 1)


@dataclass(kw_only=True)
class LoadPublisher:
    """Publishes one stream of messages to one queue through the default exchange."""

    rabbit: RabbitConfig
    """Where RabbitMQ is."""
    queue: str
    """Name of the queue; used unchanged, or declared durable if missing."""
    schedule: Schedule
    """Due times."""
    tally: ExpectedTotals
    """Records every message sent."""
    max_in_flight: int = 4000
    """Limit of messages that wait for their confirm."""
    patience_s: float = 60.0
    """Longest outage of RabbitMQ; five seconds until it first answers."""
    advance: Callable[[int], None] = lambda _: None
    """Called with the number of messages confirmed since the last call."""

    def __post_init__(self) -> None:
        self._changed = asyncio.Event()
        self._connected = False
        self._stopping = False
        self._exhausted = False
        self._returned = False
        # With the number of the message in the schedule.
        self._in_flight: Confirms[tuple[int, ScriptedMessage]] = Confirms()
        self._to_resend: deque[tuple[int, ScriptedMessage]] = deque()
        self._taken = 0
        self.nacked = 0
        self.reconnects = 0

    @property
    def unconfirmed(self) -> int:
        """Number of messages that may or may not be in the queue."""
        return len(self._in_flight) + len(self._to_resend)

    def stop(self) -> None:
        """Send no more messages; :meth:`publish` returns once those sent are confirmed."""
        self._stopping = True
        self._changed.set()

    async def publish(self, source: Iterator[ScriptedMessage]) -> None:
        """Publish all messages and wait for their confirms.

        Raises:
            ServiceUnavailable: RabbitMQ did not answer for longer than `patience_s`.
            SettingsError: it refuses the user or the password.
            TopologyMismatch: the queue was deleted.
        """
        outage_start_s: float | None = None
        while True:
            try:
                async with connected(
                    self.rabbit,
                    f"scrutin publish {self.queue}",
                    on_blocked=_warn_blocked,
                    retried=self._connected,
                ) as connection:
                    channel, _ = await ensure_queue(connection, self.queue)
                    channel.closed.add_done_callback(lambda _: self._changed.set())
                    await channel.confirm(self._on_confirm, self._on_return)
                    outage_start_s = None
                    self._connected = True
                    await self._pump(channel, source)
                return
            except ServiceUnavailable as error:
                now = time.monotonic()
                outage_start_s = outage_start_s or now
                self._keep_for_later()
                patience_s = self.patience_s if self._connected else _FIRST_PATIENCE_S
                stopped = self._stopping and outage_start_s < now
                if stopped or now - outage_start_s > patience_s:
                    raise
                log.warning(
                    "RabbitMQ does not answer", error=error.what, unconfirmed=self.unconfirmed
                )
                self.reconnects += 1
                await asyncio.sleep(_RETRY_S)

    async def _pump(self, channel: Channel, source: Iterator[ScriptedMessage]) -> None:
        publish = channel.publisher(self.queue)
        while True:
            if channel.closed.done():
                raise channel.closed.result()
            if self._returned:
                raise TopologyMismatch(
                    "RabbitMQ could not route a message: the queue was deleted",
                    where={"queue": self.queue},
                    todo="Find out what deleted the queue while votes were published to it",
                )
            if (self._exhausted or self._stopping) and not self.unconfirmed:
                return
            self._changed.clear()
            room = min(self.max_in_flight - len(self._in_flight), _BURST)
            sent = self._send_some(publish, source, room)
            if sent and sent == room:
                # Give the event loop time to write the socket and read confirms.
                await asyncio.sleep(0)
            elif self.schedule.rate is not None and not self._exhausted and not self._stopping:
                await asyncio.sleep(_TICK_S)
            elif self.unconfirmed:
                # Without unconfirmed messages no confirm would set the event.
                await self._changed.wait()

    def _send_some(self, publish: _Publish, source: Iterator[ScriptedMessage], room: int) -> int:
        sent = 0
        while sent < room and self._to_resend:
            self._send(publish, *self._to_resend.popleft())
            sent += 1
        if self._exhausted or self._stopping:
            return sent
        limit = room - sent
        if self.schedule.rate is not None:
            limit = min(limit, self.schedule.due(time.time_ns() // 1000) - self._taken)
        for _ in range(limit):
            message = next(source, None)
            if message is None:
                self._exhausted = True
                break
            self.tally.add(message)
            self._send(publish, self._taken, message)
            self._taken += 1
            sent += 1
        return sent

    def _send(self, publish: _Publish, number: int, message: ScriptedMessage) -> None:
        self._in_flight.expect(message.message_id, (number, message))
        publish(message.message_id, message.body)

    def _on_confirm(self, tag: int, multiple: bool, taken: bool) -> None:
        settled = self._in_flight.answered(tag, multiple, taken)
        refused = [message for message, has_it in settled if not has_it]
        self.nacked += len(refused)
        self._send_later(refused)
        self.advance(len(settled) - len(refused))
        self._changed.set()

    def _on_return(self, *_: object) -> None:
        self._returned = True
        self._changed.set()

    def _keep_for_later(self) -> None:
        """Queue unconfirmed messages for resending, in their order, before new ones."""
        unsettled, self._in_flight = self._in_flight.waiting, Confirms()
        again, self._to_resend = self._to_resend, deque()
        self._send_later(unsettled)
        self._to_resend.extend(again)

    def _send_later(self, messages: list[tuple[int, ScriptedMessage]]) -> None:
        for number, message in messages:
            self.tally.resent(message)
            self._to_resend.append((number, message))


def _warn_blocked(blocked: bool) -> None:
    if blocked:
        log.warning("RabbitMQ accepts no messages: it has a memory or disk alarm")

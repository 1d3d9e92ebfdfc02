"""Publishes messages to RabbitMQ with confirms, as fast as it takes them or at a fixed rate.

A message whose confirm was lost is published again, with the same `message_id`. At a rate the loop
is open: a message has its scheduled time whatever happens, and is sent late rather than left out.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, Final

import pika
import structlog
from pika import spec
from pika.frame import Method

from streams.errors import TopologyMismatch
from streams.load.amqp import Link, LinkLost, refuses, unavailable
from streams.load.expected import ExpectedTotals
from streams.load.script import ScriptedMessage

log = structlog.get_logger(__name__)

_Publish = Callable[[str, bytes], None]

_BURST: Final = 250
_TICK_S: Final = 0.005
_RETRY_S: Final = 0.5
_FIRST_PATIENCE_S: Final = 5.0


class Schedule:
    """When the n-th message is due.

    Args:
        start_us: Unix time in microseconds of message 0.
        rate: messages a second; None for flat out, where a message is due when it is sent.
    """

    def __init__(self, start_us: int, rate: float | None) -> None:
        self.start_us = start_us
        self.rate = rate

    def time_us(self, number: int) -> int:
        """Due time of a message, Unix microseconds; flat out 20 µs apart, to tell them by."""
        return self.start_us + int(number * 1e6 / (self.rate or 50_000))

    def due(self, now_us: int) -> int:
        """How many messages are due at a time, at a rate."""
        return max(0, int((now_us - self.start_us) * (self.rate or 0) / 1e6) + 1)


class LoadPublisher:
    """Publishes one stream of messages to one queue through the default exchange.

    Args:
        parameters: where RabbitMQ is.
        queue: name of the queue; used as it is, or declared durable if missing.
        schedule: flat out or at a rate.
        tally: told of every message sent.
        max_in_flight: most messages that wait for their confirm.
        patience_s: how long RabbitMQ may be away; five seconds until it first answers.
        advance: called with the number of messages confirmed since the last call.
    """

    def __init__(
        self,
        *,
        parameters: pika.ConnectionParameters,
        queue: str,
        schedule: Schedule,
        tally: ExpectedTotals,
        max_in_flight: int = 4000,
        patience_s: float = 60.0,
        advance: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._parameters = parameters
        self._queue = queue
        self._schedule = schedule
        self._tally = tally
        self._max_in_flight = max_in_flight
        self._patience_s = patience_s
        self._advance = advance
        self._changed = asyncio.Event()
        self._connected = False
        self._stopping = False
        self._exhausted = False
        self._returned = False
        self._tag = 0
        self._lowest = 1
        # By delivery tag, with the number of the message in the schedule.
        self._in_flight: dict[int, tuple[int, ScriptedMessage]] = {}
        self._again: deque[tuple[int, ScriptedMessage]] = deque()
        self._taken = 0
        self.nacked = 0
        self.reconnects = 0

    @property
    def unconfirmed(self) -> int:
        """Messages that may or may not be in the queue."""
        return len(self._in_flight) + len(self._again)

    def stop(self) -> None:
        """Take no more messages; :meth:`publish` returns once those sent are confirmed."""
        self._stopping = True
        self._changed.set()

    async def publish(self, source: Iterator[ScriptedMessage]) -> None:
        """Publish all messages and wait for their confirms.

        Raises:
            ServiceUnavailable: RabbitMQ was away for longer than `patience_s`.
            SettingsError: it refuses the user or the password.
            TopologyMismatch: the queue vanished.
        """
        away_since: float | None = None
        while True:
            try:
                async with Link(
                    self._parameters, on_lost=self._changed.set, on_blocked=_warn_blocked
                ) as link:
                    await self._start(link)
                    away_since = None
                    self._connected = True
                    await self._pump(link, source)
                return
            except LinkLost as error:
                now = time.monotonic()
                away_since = away_since or now
                self._keep_for_later()
                patience_s = self._patience_s if self._connected else _FIRST_PATIENCE_S
                refused = refuses(error) and not self._connected
                stopped = self._stopping and away_since < now
                if refused or stopped or now - away_since > patience_s:
                    raise unavailable(self._parameters, error) from error
                log.warning("RabbitMQ is away", error=str(error), unconfirmed=self.unconfirmed)
                self.reconnects += 1
                await asyncio.sleep(_RETRY_S)

    async def _start(self, link: Link) -> None:
        await link.declare(self._queue)
        self._tag, self._lowest = 0, 1
        channel = link.channel
        channel.add_on_return_callback(self._on_return)
        await link.call(lambda done: channel.confirm_delivery(self._on_confirm, callback=done))

    async def _pump(self, link: Link, source: Iterator[ScriptedMessage]) -> None:
        publish = link.publisher(self._queue)
        while True:
            link.check()
            if self._returned:
                raise TopologyMismatch(
                    "RabbitMQ could not route a message: the queue is gone",
                    where={"queue": self._queue},
                    todo="Find out who deleted the queue while votes were published to it",
                )
            if (self._exhausted or self._stopping) and not self.unconfirmed:
                return
            self._changed.clear()
            room = min(self._max_in_flight - len(self._in_flight), _BURST)
            sent = self._send_some(publish, source, room)
            if sent and sent == room:
                # Let the socket be written and confirms be read.
                await asyncio.sleep(0)
            elif self._schedule.rate is not None and not self._exhausted and not self._stopping:
                await asyncio.sleep(_TICK_S)
            elif self.unconfirmed:
                # Without any, nobody would wake us: the end was found with all confirmed already.
                await self._changed.wait()

    def _send_some(self, publish: _Publish, source: Iterator[ScriptedMessage], room: int) -> int:
        sent = 0
        while sent < room and self._again:
            self._send(publish, *self._again.popleft())
            sent += 1
        if self._exhausted or self._stopping:
            return sent
        limit = room - sent
        if self._schedule.rate is not None:
            limit = min(limit, self._schedule.due(time.time_ns() // 1000) - self._taken)
        for _ in range(limit):
            message = next(source, None)
            if message is None:
                self._exhausted = True
                break
            self._tally.add(message)
            self._send(publish, self._taken, message)
            self._taken += 1
            sent += 1
        return sent

    def _send(self, publish: _Publish, number: int, message: ScriptedMessage) -> None:
        self._tag += 1
        self._in_flight[self._tag] = (number, message)
        publish(message.message_id, message.body)

    def _on_confirm(self, frame: Method[Any]) -> None:
        method = frame.method
        tag = method.delivery_tag
        tags = range(self._lowest if method.multiple else tag, tag + 1)
        if method.multiple:
            self._lowest = tag + 1
        settled = [m for t in tags if (m := self._in_flight.pop(t, None)) is not None]
        if isinstance(method, spec.Basic.Nack):
            self.nacked += len(settled)
            self._send_later(settled)
        else:
            self._advance(len(settled))
        self._changed.set()

    def _on_return(self, *_: object) -> None:
        self._returned = True
        self._changed.set()

    def _keep_for_later(self) -> None:
        """What was not confirmed goes out again before anything new, in its old order."""
        unsettled = [self._in_flight[tag] for tag in sorted(self._in_flight)]
        self._in_flight.clear()
        again, self._again = self._again, deque()
        self._send_later(unsettled)
        self._again.extend(again)

    def _send_later(self, messages: list[tuple[int, ScriptedMessage]]) -> None:
        for number, message in messages:
            self._tally.sent_again(message)
            self._again.append((number, message))


def _warn_blocked() -> None:
    log.warning("RabbitMQ takes no messages now: it has a memory or disk alarm")

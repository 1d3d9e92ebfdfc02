"""Publishes votes with confirms, through every outage, directly with pika.

A message counts as confirmed only if the broker said so. One whose confirm was lost is published
again with the same `message_id`, which the count must recognise; without a `message_id` it is never
published again and counts as uncertain: it may be in the queue or not.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pika
from pika import spec
from pika.adapters.asyncio_connection import AsyncioConnection
from pika.channel import Channel
from pika.exceptions import AMQPError
from pika.frame import Method

from tests.faults.votes import Message, Votes

_BURST = 200
_TICK_S = 0.005
_RETRY_S = 0.3
_ANSWER_S = 15.0


class Lost(Exception):
    """The connection or its channel is gone."""


class Publisher:
    """Publishes votes in their order at a steady rate; late rather than never.

    Args:
        parameters: where RabbitMQ is.
        votes: what to publish.
        rate: messages a second.
        queue: where to; it must exist or come to exist.
        priorities: whether messages have priorities, from 0 to 9.
        max_in_flight: most messages that wait for their confirm.
    """

    def __init__(
        self,
        parameters: pika.ConnectionParameters,
        votes: Votes,
        *,
        rate: float,
        queue: str = "votes.validation",
        priorities: bool = False,
        max_in_flight: int = 4000,
    ) -> None:
        self._parameters = parameters
        self._votes = votes
        self._rate = rate
        self._queue = queue
        self._priorities = priorities
        self._max_in_flight = max_in_flight
        self._next = 0
        self._held = False
        self._started_s = 0.0
        self._again: deque[int] = deque()
        self._in_flight: dict[int, int] = {}
        self._returned: set[int] = set()
        self._tag = 0
        self._lowest = 1
        self._changed = asyncio.Event()
        self._failure: BaseException | None = None
        self.confirmed: set[int] = set()
        """Messages that the broker has confirmed at least once."""
        self.uncertain: set[int] = set()
        """Messages without an id whose confirm was lost."""
        self.reconnects = 0
        self.finished_s: float | None = None
        """When the last message was confirmed, on the monotonic clock."""

    @property
    def latest(self) -> Message | None:
        """The last message sent that must be counted unless its voter was quicker elsewhere."""
        messages = self._votes.messages
        for place in range(self._next - 1, -1, -1):
            message = messages[self._votes.order[place]]
            if message.message_id is not None and message.refusal is None:
                return message
        return None

    @property
    def sent(self) -> int:
        """Publications begun, second sendings included."""
        return self._next

    @asynccontextmanager
    async def held(self) -> AsyncIterator[None]:
        """Nothing new is published meanwhile, and the broker has all that was.

        The rate is the same afterwards: what was not published meanwhile is not caught up with.
        """
        self._held = True
        began_s = time.monotonic()
        try:
            while self._in_flight or self._again:  # noqa: ASYNC110 - also changes while it connects
                await asyncio.sleep(_TICK_S)
            yield
        finally:
            self._held = False
            self._started_s += time.monotonic() - began_s

    async def run(self) -> None:
        """Publish everything and wait for the confirms; lasts as long as it takes."""
        self._started_s = time.monotonic()
        while True:
            try:
                await self._session()
                self.finished_s = time.monotonic()
                return
            except (Lost, AMQPError, OSError, TimeoutError):
                self.reconnects += 1
                self._settle_lost()
                await asyncio.sleep(_RETRY_S)

    def _settle_lost(self) -> None:
        lost = [self._in_flight[tag] for tag in sorted(self._in_flight)]
        self._in_flight.clear()
        self._returned.clear()
        for number in reversed(lost):
            if self._votes.messages[number].message_id is not None:
                self._again.appendleft(number)
            elif number not in self.confirmed:
                self.uncertain.add(number)

    async def _session(self) -> None:
        self._failure = None
        self._tag, self._lowest = 0, 1
        connection, channel = await self._open()
        try:
            await self._pump(channel)
        finally:
            if not (connection.is_closed or connection.is_closing):
                connection.close()

    async def _open(self) -> tuple[AsyncioConnection, Channel]:
        loop = asyncio.get_running_loop()
        opened: asyncio.Future[AsyncioConnection] = loop.create_future()

        def gone(_: object, reason: BaseException | str) -> None:
            self._fail(reason if isinstance(reason, BaseException) else Lost(reason))
            if not opened.done():
                opened.set_exception(Lost(str(reason)))

        connection = AsyncioConnection(
            self._parameters,
            on_open_callback=lambda c: opened.done() or opened.set_result(c),
            on_open_error_callback=gone,
            on_close_callback=gone,
            custom_ioloop=loop,
        )
        try:
            await asyncio.wait_for(opened, _ANSWER_S)
            channel: Channel = await self._answer(
                lambda done: connection.channel(on_open_callback=done)
            )
            channel.add_on_close_callback(lambda _, reason: self._fail(reason))
            channel.add_on_return_callback(self._on_return)
            await self._answer(lambda done: channel.confirm_delivery(self._on_confirm, done))
        except BaseException:
            if not (connection.is_closed or connection.is_closing):
                connection.close()
            raise
        return connection, channel

    async def _answer(self, start: Callable[[Callable[..., None]], object]) -> Any:
        """Start something that calls back, and await it or the end of the connection."""
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        start(lambda *given: answer.done() or answer.set_result(given[0] if given else None))
        deadline_s = time.monotonic() + _ANSWER_S
        while not answer.done():
            self._check()
            if time.monotonic() > deadline_s:
                raise Lost("no answer")
            await asyncio.wait([answer], timeout=0.1)
        return answer.result()

    def _fail(self, reason: BaseException) -> None:
        if self._failure is None:
            self._failure = reason
        self._changed.set()

    def _check(self) -> None:
        if self._failure is not None:
            raise Lost(str(self._failure)) from self._failure

    async def _pump(self, channel: Channel) -> None:
        order = self._votes.order
        while self._next < len(order) or self._again or self._in_flight:
            self._check()
            self._changed.clear()
            room = min(_BURST, self._max_in_flight - len(self._in_flight))
            while room > 0 and self._again:
                self._send(channel, self._again.popleft())
                room -= 1
            due = int((time.monotonic() - self._started_s) * self._rate) + 1
            upto = min(len(order), due, self._next + room)
            while self._next < upto and not self._held:
                self._send(channel, order[self._next])
                self._next += 1
            if self._next < len(order):
                await asyncio.sleep(_TICK_S)
            else:
                await self._changed.wait()

    def _send(self, channel: Channel, number: int) -> None:
        message = self._votes.messages[number]
        self._tag += 1
        self._in_flight[self._tag] = number
        properties = spec.BasicProperties(
            content_type="application/json",
            delivery_mode=2,
            message_id=message.message_id,
            priority=number * 7 % 10 if self._priorities else None,
            headers={"number": number},
        )
        channel.basic_publish("", self._queue, message.body, properties, mandatory=True)

    def _on_return(self, *returned: Any) -> None:
        # The broker confirms what it could not route, right after it has returned it.
        [properties] = [one for one in returned if isinstance(one, spec.BasicProperties)]
        assert properties.headers is not None
        self._returned.add(properties.headers["number"])

    def _on_confirm(self, frame: Method[Any]) -> None:
        method = frame.method
        tag = method.delivery_tag
        tags = range(self._lowest, tag + 1) if method.multiple else range(tag, tag + 1)
        if method.multiple:
            self._lowest = tag + 1
        for settled in tags:
            number = self._in_flight.pop(settled, None)
            if number is None:
                continue
            if isinstance(method, spec.Basic.Nack) or number in self._returned:
                # In no queue, so that it may be sent again whether it has an id or not.
                self._returned.discard(number)
                self._again.append(number)
            else:
                self.confirmed.add(number)
        self._changed.set()

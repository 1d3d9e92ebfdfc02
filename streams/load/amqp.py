"""RabbitMQ connection with awaitable calls, for publisher and verifier."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Any, Final, Self, TypeVar

import pika
from pika.channel import Channel
from pika.exceptions import (
    ChannelClosedByBroker,
    ProbableAccessDeniedError,
    ProbableAuthenticationError,
)

from streams.adapters.rabbitmq import client, frames
from streams.adapters.rabbitmq.client import login_refused, tls_options
from streams.errors import ScrutinError, ServiceUnavailable
from streams.settings.configs import RabbitConfig
from streams.settings.tls import refusal

T = TypeVar("T")

_NOT_FOUND: Final = 404
_DEADLINE_S: Final = 10.0


def connection_parameters(config: RabbitConfig) -> pika.ConnectionParameters:
    """Connection parameters of RabbitMQ."""
    return pika.ConnectionParameters(
        host=config.host,
        port=config.port,
        virtual_host=config.vhost,
        credentials=pika.PlainCredentials(config.user, config.password),
        ssl_options=tls_options(config),
        heartbeat=60,
        socket_timeout=5,
        stack_timeout=10,
    )


def refuses(error: BaseException) -> bool:
    """Whether RabbitMQ refuses the login, so that a retry cannot help."""
    return isinstance(error.__cause__, ProbableAuthenticationError | ProbableAccessDeniedError)


def unavailable(parameters: pika.ConnectionParameters, error: BaseException) -> ScrutinError:
    """The error to raise when RabbitMQ stays unavailable or refuses the login."""
    if refuses(error):
        return login_refused(parameters)
    return ServiceUnavailable(
        f"RabbitMQ does not answer: {refusal(error) or error}",
        where={"RABBITMQ_HOST": parameters.host, "RABBITMQ_PORT": parameters.port},
        todo="Check the address and that RabbitMQ is up",
    )


class LinkLost(Exception):
    """The connection or its channel was closed."""


class Link:
    """One connection with one channel at a time.

    Args:
        parameters: of the connection to RabbitMQ.
        on_lost: called when the connection or the channel closes unexpectedly.
        on_blocked: called when the broker stops accepting messages (memory or disk alarm).
    """

    def __init__(
        self,
        parameters: pika.ConnectionParameters,
        *,
        on_lost: Callable[[], None] = lambda: None,
        on_blocked: Callable[[], None] = lambda: None,
    ) -> None:
        self._parameters = parameters
        self._on_lost = on_lost
        self._on_blocked = on_blocked
        self._connection: frames.FrameConnection | None = None
        self._channel: Channel | None = None
        self._failure: BaseException | None = None
        self._waiting: set[asyncio.Future[Any]] = set()
        self._closed = asyncio.Event()

    async def __aenter__(self) -> Self:
        try:
            async with asyncio.timeout(_DEADLINE_S):
                await self._answer(self._connect)
                await self.reopen()
        except TimeoutError as error:
            await self._close()
            raise LinkLost(f"no answer within {_DEADLINE_S:.0f} s") from error
        except BaseException:
            await self._close()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._close()

    @property
    def channel(self) -> Channel:
        """The open channel.

        Raises:
            LinkLost: no channel is open.
        """
        self.check()
        assert self._channel is not None
        return self._channel

    def check(self) -> None:
        """Raise LinkLost if the connection or the channel was lost."""
        if self._failure is not None:
            raise self._lost()

    async def reopen(self) -> None:
        """Open a new channel; the previous one must be closed."""
        self._failure = None
        connection = self._connection
        assert connection is not None
        self._channel = await self._answer(lambda done: connection.channel(on_open_callback=done))
        self._channel.add_on_close_callback(self._channel_gone)

    async def call(self, start: Callable[[Callable[..., None]], object]) -> Any:
        """Call a channel method that takes a callback, and await its answer."""
        try:
            async with asyncio.timeout(_DEADLINE_S):
                return await self._answer(start)
        except TimeoutError as error:
            raise LinkLost(f"no answer within {_DEADLINE_S:.0f} s") from error

    async def depth(self, queue: str) -> int | None:
        """Waiting messages of a queue; None if it does not exist."""
        channel = self.channel
        try:
            answer = await self.call(
                lambda done: channel.queue_declare(queue, passive=True, callback=done)
            )
        except LinkLost as error:
            cause = error.__cause__
            if isinstance(cause, ChannelClosedByBroker) and cause.reply_code == _NOT_FOUND:
                await self.reopen()
                return None
            raise
        return int(answer.method.message_count)

    async def declare(self, queue: str) -> None:
        """Use an existing queue unchanged, or declare it durable."""
        if await self.depth(queue) is None:
            channel = self.channel
            await self.call(lambda done: channel.queue_declare(queue, durable=True, callback=done))

    def publisher(self, queue: str) -> Callable[[str, bytes], None]:
        """Function that publishes JSON to a queue: see `Channel.publisher` of the adapter."""
        return client.Channel(self.channel, {}).publisher(queue)

    def _connect(self, done: Callable[..., None]) -> None:
        self._connection = frames.FrameConnection(
            self._parameters,
            on_open_callback=done,
            on_open_error_callback=self._connection_gone,
            on_close_callback=self._connection_gone,
            custom_ioloop=asyncio.get_running_loop(),
        )
        self._connection.add_on_connection_blocked_callback(lambda *_: self._on_blocked())

    async def _answer(self, start: Callable[[Callable[..., None]], object]) -> Any:
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

        def done(answer: object) -> None:
            if not future.done():
                future.set_result(answer)

        self._waiting.add(future)
        try:
            start(done)
            return await future
        finally:
            self._waiting.discard(future)

    def _connection_gone(self, _: object, reason: BaseException | str) -> None:
        self._closed.set()
        self._fail(reason)

    def _channel_gone(self, channel: Channel, reason: BaseException) -> None:
        if channel is self._channel:
            self._fail(reason)

    def _fail(self, reason: BaseException | str) -> None:
        if self._failure is None:
            self._failure = reason if isinstance(reason, BaseException) else LinkLost(reason)
        for future in self._waiting:
            if not future.done():
                future.set_exception(self._lost())
        self._on_lost()

    def _lost(self) -> LinkLost:
        failure = self._failure
        lost = LinkLost(str(failure) or type(failure).__name__)
        lost.__cause__ = failure
        return lost

    async def _close(self) -> None:
        """Close gracefully, so that the broker receives all that was sent; waits at most 5 s."""
        connection = self._connection
        if connection is None:
            return
        if connection.is_open:
            connection.close()
        if not connection.is_closed:
            try:
                async with asyncio.timeout(5):
                    await self._closed.wait()
            except TimeoutError:
                return

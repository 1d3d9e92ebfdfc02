"""Adapter: pika's asyncio connection with futures instead of callbacks.

Each use has its own connection: when RabbitMQ is short of memory it stops reading from connections
that publish, and acknowledgements queued behind a publication would wait too.
"""

from __future__ import annotations

import asyncio
import re
import struct
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, TypeVar

import pika
from pika import data
from pika.adapters.utils.connection_workflow import AMQPConnectorException
from pika.channel import Channel as PikaChannel
from pika.exceptions import (
    AMQPError,
    ChannelClosedByBroker,
    ProbableAccessDeniedError,
    ProbableAuthenticationError,
)
from pika.spec import Basic, BasicProperties

from streams.adapters.rabbitmq import frames
from streams.adapters.rabbitmq.frames import Deliveries, OnDeliveries
from streams.errors import ServiceUnavailable, SettingsError
from streams.settings.configs import RabbitConfig
from streams.settings.queues import QueueArguments
from streams.settings.tls import refusal

T = TypeVar("T")

OnConfirm = Callable[[int, bool, bool], None]
"""Called with (tag, multiple, whether RabbitMQ has the message)."""
OnReturn = Callable[[str | None], None]
"""Called with the `message_id` of a message that reached no queue."""

HEARTBEAT_S: Final = 20
CONNECT_S: Final = 20.0
"""Longest wait for a connection. pika has its own limits, but if the process cannot open more files
its attempt never reports an error."""
_CLOSE_S: Final = 3.0
_NOT_FOUND: Final = 404
_NOT_EQUIVALENT: Final = 406
_CURRENT_KIND: Final = re.compile(r"'x-queue-type'.*current is (?:the value )?'(\w+)'")
_ONE_FRAME_BYTES: Final = 4096 - 8
"""A body of this size fits the smallest frame size that a broker may negotiate."""


@dataclass(frozen=True)
class QueueDepth:
    """Facts from a passive declaration of a queue."""

    ready: int
    """Waiting messages, without those delivered but not acknowledged."""
    consumers: int


class QueueMissing(Exception):
    """A queue or exchange does not exist. RabbitMQ closes the channel in that case."""


def parameters(config: RabbitConfig, name: str) -> pika.ConnectionParameters:
    """Connection parameters; `name` appears in RabbitMQ's management pages."""
    return pika.ConnectionParameters(
        host=config.host,
        port=config.port,
        virtual_host=config.vhost,
        credentials=pika.PlainCredentials(config.user, config.password),
        ssl_options=(
            None if config.tls is None else pika.SSLOptions(config.tls.context(), config.host)
        ),
        heartbeat=HEARTBEAT_S,
        connection_attempts=1,
        socket_timeout=5,
        stack_timeout=10,
        client_properties={"connection_name": name},
    )


async def first_of(*futures: asyncio.Future[Any], timeout_s: float | None = None) -> None:
    """Wait until one of the futures is done; cancels none."""
    await asyncio.wait(futures, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)


def resolve(future: asyncio.Future[T], value: T) -> None:
    """Set a future's result unless it is already done."""
    if not future.done():
        future.set_result(value)


class Channel:
    """One channel. Pending calls fail when the channel closes."""

    def __init__(self, raw: PikaChannel, deliveries: Deliveries) -> None:
        self.raw = raw
        self._deliveries = deliveries
        loop = asyncio.get_running_loop()
        self.closed: asyncio.Future[BaseException] = loop.create_future()
        """The reason, once the channel is closed by this process, RabbitMQ or the network."""
        raw.add_on_close_callback(self._on_close)

    def _on_close(self, _: PikaChannel, reason: BaseException) -> None:
        resolve(self.closed, reason)

    async def _call(self, method: Callable[..., object], **arguments: Any) -> Any:
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        if self.closed.done():
            raise self.closed.result()
        method(**arguments, callback=partial(resolve, answer))
        await first_of(answer, self.closed)
        if answer.done():
            return answer.result()
        raise self.closed.result()

    async def depth(self, queue: str) -> QueueDepth:
        """Messages and consumers of a queue.

        Raises:
            QueueMissing: there is no such queue.
        """
        with _missing():
            frame = await self._call(self.raw.queue_declare, queue=queue, passive=True)
        return QueueDepth(int(frame.method.message_count), int(frame.method.consumer_count))

    async def purge(self, queue: str) -> int:
        """Remove the messages that are ready; returns their number.

        Raises:
            QueueMissing: there is no such queue.
        """
        with _missing():
            frame = await self._call(self.raw.queue_purge, queue=queue)
        return int(frame.method.message_count)

    async def declare(self, queue: str, arguments: Mapping[str, object] | None = None) -> None:
        """Declare a durable queue, of the virtual host's default type unless an argument says."""
        given = dict(arguments or {}) or None
        await self._call(self.raw.queue_declare, queue=queue, durable=True, arguments=given)

    async def find_exchange(self, exchange: str) -> None:
        """Check that an exchange exists.

        Raises:
            QueueMissing: it does not.
        """
        with _missing():
            await self._call(self.raw.exchange_declare, exchange=exchange, passive=True)

    async def declare_exchange(self, exchange: str) -> None:
        """Declare a durable direct exchange."""
        await self._call(
            self.raw.exchange_declare, exchange=exchange, exchange_type="direct", durable=True
        )

    async def bind(self, queue: str, exchange: str, key: str) -> None:
        """Bind a queue to an exchange."""
        await self._call(self.raw.queue_bind, queue=queue, exchange=exchange, routing_key=key)

    async def prefetch(self, count: int) -> None:
        """Limit the number of unacknowledged deliveries."""
        await self._call(self.raw.basic_qos, prefetch_count=count)

    async def consume(
        self, queue: str, on_deliveries: OnDeliveries, on_cancelled: Callable[[], None]
    ) -> str:
        """Start deliveries; returns the consumer's tag.

        Args:
            queue: name of the queue.
            on_deliveries: called with deliveries, in order; must not raise.
            on_cancelled: called when RabbitMQ cancels the consumer (the queue is gone).
        """
        self.raw.add_on_cancel_callback(lambda _: on_cancelled())

        def on_message(
            _: PikaChannel, method: Basic.Deliver, properties: BasicProperties, body: bytes
        ) -> None:
            message_id = properties.message_id
            # pika leaves an id that is not UTF-8 as bytes.
            given = message_id.encode() if isinstance(message_id, str) else message_id
            tag: Any = method.delivery_tag
            on_deliveries([(tag, bool(method.redelivered), given, body)])

        frame = await self._call(
            self.raw.basic_consume, queue=queue, on_message_callback=on_message
        )
        consumer_tag = str(frame.method.consumer_tag)
        self._deliveries.begin(self.raw.channel_number, consumer_tag, on_deliveries)
        return consumer_tag

    async def cancel(self, consumer_tag: str) -> None:
        """Cancel a consumer. Deliveries may arrive until this returns.

        pika returns those that its own parser reads to the queue, one by one.
        """
        # A message returned to the queue may cost it a delivery, so the fast path still receives.
        try:
            await self._call(self.raw.basic_cancel, consumer_tag=consumer_tag)
        finally:
            self._deliveries.end(self.raw.channel_number, consumer_tag)

    async def confirm(self, on_confirm: OnConfirm, on_return: OnReturn) -> None:
        """Put the channel into confirm mode."""

        def on_frame(frame: Any) -> None:
            method = frame.method
            on_confirm(method.delivery_tag, method.multiple, isinstance(method, Basic.Ack))

        def on_returned(
            _: PikaChannel, __: Basic.Return, properties: BasicProperties, ___: bytes
        ) -> None:
            on_return(properties.message_id)

        self.raw.add_on_return_callback(on_returned)
        await self._call(self.raw.confirm_delivery, ack_nack_callback=on_frame)

    def publisher(self, queue: str) -> Callable[[str, bytes], None]:
        """Make a function that publishes JSON to a queue, persistent and mandatory.

        Returns:
            A function of `message_id` and body. It raises AMQPError if the channel is closed.
        """
        publications = frames.Publications(self.raw.channel_number, queue)
        connection: Any = self.raw.connection
        properties = partial(BasicProperties, content_type="application/json", delivery_mode=2)

        def publish(message_id: str, body: bytes) -> None:
            if self.raw.is_open and 0 < len(body) <= _ONE_FRAME_BYTES:
                connection.send_soon(publications.frames(message_id, body))
                return
            self.raw.basic_publish("", queue, body, properties(message_id=message_id), True)

        return publish

    async def close(self) -> None:
        """Close, and wait until RabbitMQ has received everything that was sent before."""
        if self.raw.is_open:
            self.raw.close()
        await first_of(self.closed, timeout_s=_CLOSE_S)


@dataclass(frozen=True)
class Connection:
    """One connection, opened by :func:`connected`."""

    raw: frames.FrameConnection
    closed: asyncio.Future[BaseException]
    queue_arguments: QueueArguments
    """With which missing queues are declared."""

    async def channel(self) -> Channel:
        """Open a channel."""
        opened: asyncio.Future[PikaChannel] = asyncio.get_running_loop().create_future()
        if self.closed.done():
            raise self.closed.result()
        self.raw.channel(on_open_callback=partial(resolve, opened))
        await first_of(opened, self.closed)
        if not opened.done():
            raise self.closed.result()
        return Channel(opened.result(), self.raw.deliveries)

    @property
    def version(self) -> str:
        """Of RabbitMQ."""
        return str((self.raw.server_properties or {}).get("version", "?"))

    async def kind(self, queue: str) -> str:
        """The type of an existing queue: `classic`, `quorum`, `stream`; `?` if it stays unknown.

        AMQP tells it only by refusing a declaration as another type.
        """
        channel = await self.channel()
        try:
            await channel.declare(queue, {"x-queue-type": "classic"})
        except ChannelClosedByBroker as error:
            if error.reply_code != _NOT_EQUIVALENT:
                return "?"
            found = _CURRENT_KIND.search(error.reply_text)
            return found[1] if found else "classic"
        await channel.close()
        return "classic"

    async def depth(self, queue: str) -> QueueDepth | None:
        """As :meth:`Channel.depth`, on a channel of its own; None if there is no such queue."""
        channel = await self.channel()
        try:
            found = await channel.depth(queue)
        except QueueMissing:
            return None
        await channel.close()
        return found

    async def has_exchange(self, exchange: str) -> bool:
        """Whether an exchange exists."""
        channel = await self.channel()
        try:
            await channel.find_exchange(exchange)
        except QueueMissing:
            return False
        await channel.close()
        return True

    def abort(self) -> None:
        """Begin to close without waiting."""
        with suppress(AMQPError):
            if not (self.raw.is_closed or self.raw.is_closing):
                self.raw.close()

    async def close(self) -> None:
        """Close and wait up to 3 s for RabbitMQ's answer."""
        self.abort()
        await first_of(self.closed, timeout_s=_CLOSE_S)


@asynccontextmanager
async def connected(
    config: RabbitConfig,
    name: str,
    *,
    on_blocked: Callable[[bool], None] = lambda _: None,
    retried: bool = True,
) -> AsyncIterator[Connection]:
    """Connect; close when the context ends.

    Args:
        config: where RabbitMQ is.
        name: of the connection.
        on_blocked: called with True when RabbitMQ stops reading (memory or disk alarm), with
            False when it reads again.
        retried: whether the caller tries again, so that a refused login is an outage like others.

    Raises:
        SettingsError: RabbitMQ refuses the login, and the caller does not try again.
        ServiceUnavailable: no connection. AMQP errors raised inside the context, by a channel
            too, are translated to this as well.
    """
    _tolerate_headers()
    loop = asyncio.get_running_loop()
    opened: asyncio.Future[None] = loop.create_future()
    closed: asyncio.Future[BaseException] = loop.create_future()

    def on_end(_: Any, reason: BaseException) -> None:
        resolve(closed, reason)

    try:
        raw = frames.FrameConnection(
            parameters(config, name),
            on_open_callback=lambda _: resolve(opened, None),
            on_open_error_callback=on_end,
            on_close_callback=on_end,
            custom_ioloop=loop,
        )
        raw.add_on_connection_blocked_callback(lambda *_: on_blocked(True))
        raw.add_on_connection_unblocked_callback(lambda *_: on_blocked(False))
        connection = Connection(raw, closed, config.queue_arguments)
        try:
            await first_of(opened, closed, timeout_s=CONNECT_S)
            if closed.done():
                raise closed.result()
            if not opened.done():
                raise TimeoutError(f"no connection within {CONNECT_S:.0f} s")
            yield connection
        finally:
            await asyncio.shield(connection.close())
    except (ProbableAuthenticationError, ProbableAccessDeniedError) as error:
        if retried:
            raise unavailable(error, config) from error
        raise login_refused(config) from error
    except (AMQPError, AMQPConnectorException, OSError) as error:
        raise unavailable(error, config) from error


def unavailable(reason: BaseException, config: RabbitConfig) -> ServiceUnavailable:
    """Translate the reason why a connection or channel closed."""
    by_broker = isinstance(reason, ChannelClosedByBroker)
    what = "RabbitMQ closed the channel" if by_broker else "RabbitMQ does not answer"
    return ServiceUnavailable(
        f"{what}: {refusal(reason) or _innermost(reason)}",
        where=config.where(),
        todo="Check RABBITMQ_HOST, RABBITMQ_PORT, RABBITMQ_VHOST, user and password, and that "
        "it is up",
    )


def _innermost(error: BaseException) -> str:
    """Text of the error that pika met, without those that it puts around it."""
    inside = (*getattr(error, "exceptions", ()), getattr(error, "exception", None), *error.args)
    nested = [one for one in inside if isinstance(one, BaseException)]
    return _innermost(nested[0]) if nested else str(error) or type(error).__name__


def login_refused(config: RabbitConfig) -> SettingsError:
    """The error for a refused login, which no retry can fix."""
    return SettingsError(
        "RabbitMQ refuses the user, the password or the virtual host",
        where=config.where(),
        todo="Check RABBITMQ_USER, RABBITMQ_PASSWORD and RABBITMQ_VHOST",
    )


@contextmanager
def _missing() -> Iterator[None]:
    try:
        yield
    except ChannelClosedByBroker as error:
        if error.reply_code == _NOT_FOUND:
            raise QueueMissing(error.reply_text) from error
        raise


_decode_table = data.decode_table


def _decode_or_skip(encoded: bytes, offset: int) -> tuple[dict[Any, Any], int]:
    try:
        return _decode_table(encoded, offset)
    except Exception:  # noqa: BLE001 - a publisher can send any bytes
        return {}, offset + 4 + int(struct.unpack_from(">I", encoded, offset)[0])


def _tolerate_headers() -> None:
    """Keep a header that pika cannot decode from ending the connection at every redelivery.

    pika raises on a table it cannot decode, e.g. a timestamp in milliseconds, while it reads from
    the socket. Scrutin uses no headers, so such a table is skipped.
    """
    data.decode_table = _decode_or_skip

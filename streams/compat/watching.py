"""What a recording listens to: sockets, streams of events, channels of Redis; and queues, read."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from typing import Any, Final

import aiohttp
import msgspec

from streams.adapters.rabbitmq.client import Channel, QueueMissing
from streams.adapters.rabbitmq.client import connected as rabbit_connection
from streams.adapters.redis.client import redis_connection, redis_errors
from streams.compat.recordings import Watch
from streams.messages.decode import Delivery
from streams.settings.configs import DeploymentConfig, RabbitConfig

MAX_PEEKED: Final = 1000
"""Messages of a queue that are looked at."""
_PEEK_S: Final = 3.0
_MAX_LATEST: Final = 1000


class Watcher:
    """Collects what one source sends.

    Args:
        messages: of the source.
    """

    def __init__(self, messages: AsyncIterator[bytes | str]) -> None:
        self._messages: asyncio.Queue[Any] = asyncio.Queue(_MAX_LATEST)
        self._task = asyncio.create_task(self._read(messages))

    async def _read(self, messages: AsyncIterator[bytes | str]) -> None:
        async for message in messages:
            await self._messages.put(decoded(message))

    async def next(self, within_s: float) -> Any:
        """The next message; None if none comes within so many seconds."""
        try:
            async with asyncio.timeout(max(within_s, 0)):
                return await self._messages.get()
        except TimeoutError:
            return None

    async def close(self) -> None:
        """End the reading."""
        self._task.cancel()
        await asyncio.wait([self._task])


async def begin(
    stack: AsyncExitStack,
    session: aiohttp.ClientSession,
    url: str,
    watch: Watch,
    services: DeploymentConfig | None,
) -> Watcher:
    """Listen until the stack is closed.

    Args:
        stack: closes the source.
        session: for HTTP.
        url: of the API, without a path.
        watch: the source, with its variables filled in.
        services: where Redis is.

    Raises:
        aiohttp.ClientError: the API does not answer.
        ServiceUnavailable: Redis does not answer.
    """
    if watch.socket is not None:
        socket = await stack.enter_async_context(session.ws_connect(url + watch.socket))
        watcher = Watcher(_of_socket(socket))
    elif watch.events is not None:
        # Its answer has no end.
        endless = aiohttp.ClientTimeout(total=None)
        answer = await stack.enter_async_context(session.get(url + watch.events, timeout=endless))
        watcher = Watcher(_of_events(answer))
    else:
        assert watch.channel is not None
        assert services is not None
        redis = await stack.enter_async_context(redis_connection(services.redis))
        subscription = redis.pubsub(ignore_subscribe_messages=True)
        stack.push_async_callback(subscription.aclose)
        async with redis_errors("listen to a channel"):
            await subscription.subscribe(watch.channel)
        watcher = Watcher(_of_channel(subscription))
    stack.push_async_callback(watcher.close)
    return watcher


async def _of_socket(socket: aiohttp.ClientWebSocketResponse) -> AsyncIterator[str]:
    async for message in socket:
        if message.type is aiohttp.WSMsgType.TEXT:
            yield message.data


async def _of_events(answer: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    async for line in answer.content:
        if line.startswith(b"data:"):
            yield line.removeprefix(b"data:").strip()


async def _of_channel(subscription: Any) -> AsyncIterator[bytes]:
    async for message in subscription.listen():
        yield message["data"]


async def peek(config: RabbitConfig, queue: str) -> list[Any]:
    """The bodies of the messages that wait in a queue. They stay there, marked as redelivered.

    Raises:
        ServiceUnavailable: RabbitMQ does not answer.
    """
    bodies: list[Any] = []
    async with rabbit_connection(config, "scrutin compat") as connection:
        channel = await connection.channel()
        try:
            waiting = min((await channel.depth(queue)).ready, MAX_PEEKED)
        except QueueMissing:
            return []
        if waiting:
            await _read(channel, queue, waiting, bodies)
        # What was delivered and not acknowledged goes back.
        await channel.close()
    return bodies


async def _read(channel: Channel, queue: str, count: int, bodies: list[Any]) -> None:
    enough = asyncio.Event()

    def take(deliveries: Sequence[Delivery]) -> None:
        bodies.extend(decoded(body) for *_, body in deliveries)
        if len(bodies) >= count:
            enough.set()

    await channel.prefetch(count)
    await channel.consume(queue, take, enough.set)
    try:
        # Another reader may have been faster.
        async with asyncio.timeout(_PEEK_S):
            await enough.wait()
    except TimeoutError:
        pass


def decoded(raw: bytes | str) -> Any:
    """A body as JSON, or as text where it is not JSON; None if it is empty."""
    try:
        return msgspec.json.decode(raw) if raw else None
    except msgspec.DecodeError:
        return raw if isinstance(raw, str) else raw.decode(errors="replace")

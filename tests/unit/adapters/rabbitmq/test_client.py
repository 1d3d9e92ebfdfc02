"""Connections to RabbitMQ that do not come about."""

from __future__ import annotations

import asyncio
import resource
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from streams.adapters.rabbitmq import client
from streams.errors import ServiceUnavailable
from streams.settings.configs import RabbitConfig


@contextmanager
def no_files_left() -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


async def test_an_attempt_that_may_open_no_socket_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """pika meets the error in a callback, and tells nobody."""
    monkeypatch.setattr(client, "CONNECT_S", 0.3)
    loop = asyncio.get_running_loop()
    unhandled: list[object] = []
    loop.set_exception_handler(lambda _, context: unhandled.append(context.get("exception")))
    # What it imports is imported before.
    await loop.getaddrinfo("127.0.0.1", 1)
    config = RabbitConfig(host="127.0.0.1", port=1, user="u", password="p", vhost="/")
    with no_files_left(), pytest.raises(ServiceUnavailable, match="RabbitMQ"):
        async with client.connected(config, "test"):
            pass
    assert [type(error) for error in unhandled] == [OSError]


async def test_an_answer_for_somebody_who_left_disturbs_nobody() -> None:
    gone: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
    gone.cancel()
    client.resolve(gone, True)
    assert gone.cancelled()

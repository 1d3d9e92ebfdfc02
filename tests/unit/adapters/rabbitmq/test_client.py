"""Connections to RabbitMQ that do not come about."""

from __future__ import annotations

import asyncio
import resource
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from streams.adapters.rabbitmq import client
from streams.errors import ServiceUnavailable
from streams.settings.configs import RabbitConfig, TlsConfig


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


async def _unavailable(port: int, tls: TlsConfig | None) -> str:
    config = RabbitConfig("127.0.0.1", port, "guest", "guest", "/", tls)
    with pytest.raises(ServiceUnavailable) as failure:
        async with client.connected(config, "test", retried=False):
            pass
    return failure.value.what


async def test_the_reason_is_named() -> None:
    assert "Connection refused" in await _unavailable(9, None)


async def test_a_server_that_speaks_no_tls_is_an_outage() -> None:
    """pika reports it by an exception that is none of AMQP."""

    def plain(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"AMQP" * 16)
        writer.close()

    async with await asyncio.start_server(plain, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        assert "TLS fails" in await _unavailable(port, TlsConfig())

"""The management API gets the password of RabbitMQ only where it may."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from streams.adapters.rabbitmq.management import Management
from streams.errors import ServiceUnavailable
from streams.settings.configs import RabbitConfig, TlsConfig

CONFIG = RabbitConfig("broker", 5672, "user", "password", "/")


@pytest.fixture
async def received() -> AsyncIterator[tuple[str, list[str]]]:
    """A server in the clear: its address, and the passwords that it has received."""
    seen: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        seen.append(request.headers.get("Authorization", ""))
        if request.path.endswith("/bindings/source"):
            raise web.HTTPFound("/elsewhere")
        return web.json_response([])

    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    async with TestServer(app) as server:
        yield str(server.make_url("")), seen


async def test_no_password_goes_in_clear_where_tls_is_on(received: tuple[str, list[str]]) -> None:
    url, seen = received
    config = replace(CONFIG, management_url=url)
    assert await Management(config).queues([]) == {}
    assert len(seen) == 1
    with pytest.raises(ServiceUnavailable, match="no password is sent"):
        await Management(replace(config, tls=TlsConfig())).queues([])
    assert len(seen) == 1


async def test_a_redirection_gets_no_password(received: tuple[str, list[str]]) -> None:
    url, seen = received
    with pytest.raises(ServiceUnavailable):
        await Management(replace(CONFIG, management_url=url)).bound_queues("e")
    assert len(seen) == 1


def test_the_default_address_is_encrypted_where_the_broker_is() -> None:
    assert Management(CONFIG).url == "http://broker:15672"
    assert Management(replace(CONFIG, tls=TlsConfig())).url == "https://broker:15671"

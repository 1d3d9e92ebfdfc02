"""Gateways on the real stack, as processes, and a client for them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pika
from pika.adapters.blocking_connection import BlockingChannel

from streams.devstack import Stack
from streams.gateway.submissions import law_hashes
from streams.load.programs import Program, gateway
from streams.settings.model import Settings
from tests.harness import Chain, until

SECRET = "not a secret, since all of it is a test"
NO_LIMITS = {"SCRUTIN_THROTTLE_ADDRESS": "off", "SCRUTIN_THROTTLE_VOTER": "off"}


class Client:
    """Calls one gateway."""

    def __init__(self, session: aiohttp.ClientSession, port: int) -> None:
        self.session = session
        self.base = f"http://127.0.0.1:{port}"

    async def get(self, path: str, **options: Any) -> tuple[int, Any]:
        """Status and JSON of a `GET`."""
        async with self.session.get(self.base + path, **options) as answer:
            return answer.status, await answer.json(content_type=None)

    async def post(self, path: str, body: object, **options: Any) -> tuple[int, Any]:
        """Status and JSON of a `POST`."""
        async with self.session.post(self.base + path, json=body, **options) as answer:
            return answer.status, await answer.json(content_type=None)

    async def fate(self, receipt: str) -> dict[str, Any]:
        """What a receipt says once it is not pending any more."""

        async def decided() -> dict[str, Any] | None:
            status, fate = await self.get(f"/votes/{receipt}")
            assert status == 200
            return fate if fate["status"] != "pending" else None

        await until(decided, "the vote's fate")
        found = await decided()
        assert found is not None
        return found


@asynccontextmanager
async def client_of(program: Program) -> AsyncIterator[Client]:
    """A client with a cookie jar of its own."""
    jar = aiohttp.CookieJar(unsafe=True)
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(cookie_jar=jar, connector=connector) as session:
        yield Client(session, program.port)


class GatewayChain(Chain):
    """A chain with gateways before it.

    Args:
        stack: is up; its data is removed.
        directory: for logs.
        gateways: how many.
        settings: environment variables of all processes.
    """

    def __init__(
        self,
        stack: Stack,
        directory: Path,
        *,
        gateways: int = 1,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(
            stack,
            directory,
            settings={"SCRUTIN_SECRET": SECRET, "RETRY_DELAY_SECONDS": "0.2", **(settings or {})},
        )
        self.gateways = [gateway(self.env, directory, f"gateway-{n}") for n in range(gateways)]

    @property
    def programs(self) -> list[Program]:
        """All processes."""
        return [*super().programs, *self.gateways]


def ballot(voter: int, law: str = "L-1", vote: str = "oui") -> dict[str, str]:
    """A vote of one of many voters, who all have the same code."""
    return {"nas": f"{voter:09}", "code": "ABC123", "law_id": law, "vote": vote}


def hash_of(voter: int, law: str = "L-1") -> str:
    """The voter's hash, for the roll."""
    return law_hashes(f"{voter:09}", "ABC123", law)[0]


def poll(seconds: float = 3600, **more: object) -> dict[str, object]:
    """A poll that closes in so many seconds."""
    end = datetime.now(UTC) + timedelta(seconds=seconds)
    return {
        "title": "Best fruit?",
        "creator_name": "Ann",
        "end_time": end.isoformat(),
        "options": [{"text": "Apple"}, {"text": "Pear"}, {"text": "<b>Plum</b>"}],
        **more,
    }


@contextmanager
def amqp(settings: Settings) -> Iterator[BlockingChannel]:
    """A channel of a client that has a password of the queues."""
    credentials = pika.PlainCredentials(
        settings.rabbitmq_user, settings.rabbitmq_password.get_secret_value()
    )
    parameters = pika.ConnectionParameters(
        settings.rabbitmq_host, settings.rabbitmq_port, credentials=credentials
    )
    with pika.BlockingConnection(parameters) as connection:
        yield connection.channel()

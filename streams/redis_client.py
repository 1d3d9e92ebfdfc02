"""One way to make a Redis client, and one translation of its errors."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import hiredis
from redis.asyncio import Connection, ConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from streams.errors import ServiceUnavailable

TIMEOUT_S = 5.0

_LONG_COMMAND: Final = 64
"""Arguments."""


class _Connection(Connection):
    """Packs long commands in C, as redis-py does in its blocking client only.

    Measured: 0.2 µs an argument instead of 1.7.
    """

    def pack_command(self, *args: Any) -> list[bytes]:
        if len(args) < _LONG_COMMAND:
            return super().pack_command(*args)
        return [hiredis.pack_command(args)]


def redis_client(*, host: str, port: int, db: int, password: str) -> Redis:
    """A client that connects when it is used, and does not try again by itself."""
    pool = ConnectionPool(
        connection_class=_Connection,
        host=host,
        port=port,
        db=db,
        password=password or None,
        socket_timeout=TIMEOUT_S,
        socket_connect_timeout=TIMEOUT_S,
        retry=Retry(NoBackoff(), 0),
        health_check_interval=0,
    )
    return Redis.from_pool(pool)


@asynccontextmanager
async def redis_errors(what: str) -> AsyncIterator[None]:
    """Translate the driver's errors into :class:`ServiceUnavailable`.

    Args:
        what: was being done, e.g. ``"ask the roll"``.
    """
    try:
        yield
    except (RedisError, OSError, TimeoutError) as error:
        raise ServiceUnavailable(
            f"Redis could not {what}: {error or type(error).__name__}",
            todo="Check REDIS_HOST, REDIS_PORT, REDIS_DB and REDIS_PASSWORD, and that it is up",
        ) from error

"""One way to make a Redis client, and one translation of its errors."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from streams.errors import ServiceUnavailable

TIMEOUT_S = 5.0


def redis_client(*, host: str, port: int, db: int, password: str) -> Redis:
    """A client that connects when it is used, and does not try again by itself."""
    return Redis(
        host=host,
        port=port,
        db=db,
        password=password or None,
        socket_timeout=TIMEOUT_S,
        socket_connect_timeout=TIMEOUT_S,
        retry=Retry(NoBackoff(), 0),
        health_check_interval=0,
    )


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

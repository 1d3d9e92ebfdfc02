"""The roll in the Redis set `valid_hashes`, used if the roll is not in the log."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from itertools import islice
from typing import Final

from streams.adapters.redis.client import redis_connection
from streams.settings.configs import RedisConfig

VALID_HASHES: Final = "valid_hashes"
_MEMBERS_PER_COMMAND: Final = 1000
_COMMANDS_PER_ROUND: Final = 10


async def load_roll(
    config: RedisConfig, hashes: Iterable[str], advance: Callable[[int], None] = lambda _: None
) -> int:
    """Add hashes to the roll and return its size.

    Args:
        config: of Redis.
        hashes: read lazily.
        advance: called with the number of hashes written since the last call.

    Raises:
        ServiceUnavailable: Redis does not answer.
    """
    source = iter(hashes)
    async with redis_connection(config) as redis:
        while True:
            pipe = redis.pipeline(transaction=False)
            written = 0
            for _ in range(_COMMANDS_PER_ROUND):
                if members := list(islice(source, _MEMBERS_PER_COMMAND)):
                    pipe.sadd(VALID_HASHES, *members)
                    written += len(members)
            if not written:
                size: int = await redis.scard(VALID_HASHES)
                return size
            await pipe.execute()
            advance(written)


async def roll_size(config: RedisConfig) -> int:
    """Number of hashes on the roll.

    Raises:
        ServiceUnavailable: Redis does not answer.
    """
    async with redis_connection(config) as redis:
        size: int = await redis.scard(VALID_HASHES)
        return size


async def on_roll(config: RedisConfig, entry: str) -> bool:
    """Whether a hash is on the roll.

    Raises:
        ServiceUnavailable: Redis does not answer.
    """
    async with redis_connection(config) as redis:
        return bool(await redis.sismember(VALID_HASHES, entry))


async def withdraw(config: RedisConfig, hashes: Iterable[str]) -> int:
    """Remove hashes from the roll; returns how many were on it.

    Raises:
        ServiceUnavailable: Redis does not answer.
    """
    source, removed = iter(hashes), 0
    async with redis_connection(config) as redis:
        while members := list(islice(source, _MEMBERS_PER_COMMAND)):
            removed += await redis.srem(VALID_HASHES, *members)
    return removed


async def members(config: RedisConfig) -> AsyncIterator[str]:
    """All hashes on the roll, unordered; complete for those that stay during the scan.

    Raises:
        ServiceUnavailable: Redis does not answer.
    """
    async with redis_connection(config) as redis:
        async for member in redis.sscan_iter(VALID_HASHES, count=_MEMBERS_PER_COMMAND):
            yield member

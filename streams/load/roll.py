"""Puts a roll into the Redis set `valid_hashes`, from an election or from a file."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager
from itertools import islice
from pathlib import Path
from typing import Any, Final

from redis.asyncio import Redis
from redis.exceptions import RedisError

from streams.errors import ServiceUnavailable, SettingsError
from streams.settings import Settings

VALID_HASHES: Final = "valid_hashes"
_MEMBERS_PER_COMMAND: Final = 1000
_COMMANDS_PER_ROUND: Final = 10


@asynccontextmanager
async def redis_client(settings: Settings) -> AsyncIterator[Redis]:
    """A client whose errors come out as :class:`ServiceUnavailable`."""
    client = Redis(
        host=settings.redis_host,
        port=settings.redis_port,
        db=settings.redis_db,
        password=settings.redis_password.get_secret_value() or None,
        socket_connect_timeout=5,
        socket_timeout=30,
        decode_responses=True,
    )
    try:
        yield client
    except (RedisError, OSError) as error:
        raise ServiceUnavailable(
            f"Redis does not answer: {error}",
            where={"REDIS_HOST": settings.redis_host, "REDIS_PORT": settings.redis_port},
            todo="Check the address and that Redis is up",
        ) from error
    finally:
        await client.aclose()


async def load_roll(
    settings: Settings, hashes: Iterable[str], advance: Callable[[int], None] = lambda _: None
) -> int:
    """Add hashes to the roll and return its size.

    Args:
        settings: where Redis is.
        hashes: taken lazily.
        advance: called with the number of hashes written since the last call.

    Raises:
        ServiceUnavailable: Redis does not answer.
    """
    source = iter(hashes)
    async with redis_client(settings) as redis:
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


def read_roll(path: Path) -> Iterator[str]:
    """Hashes of a roll file.

    `*.json`: a list, or an object with a list `hashes`, of strings or of objects with `hash`.
    Anything else: one hash a line; `#` begins a comment.

    Raises:
        SettingsError: the file cannot be read, or is not one of these.
    """

    def refuse(what: str) -> SettingsError:
        return SettingsError(
            what,
            where={"file": path},
            todo="A roll is one hash a line, or JSON: a list of hashes or of objects with `hash`",
        )

    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise refuse(f"The roll cannot be read: {error}") from error
    if path.suffix.lower() != ".json":
        for line in text.splitlines():
            if entry := line.partition("#")[0].strip():
                yield _normalised(entry)
        return
    try:
        data: Any = json.loads(text)
    except ValueError as error:
        raise refuse(f"The roll is not JSON: {error}") from error
    entries = data.get("hashes") if isinstance(data, dict) else data
    if not isinstance(entries, list):
        raise refuse("The roll holds no list of hashes")
    for number, entry in enumerate(entries, 1):
        value = entry.get("hash") if isinstance(entry, dict) else entry
        if not isinstance(value, str) or not value:
            raise refuse(f"Entry {number} of the roll holds no hash")
        yield _normalised(value)


def _normalised(entry: str) -> str:
    """Hexadecimal hashes in lower case, as the bridge asks for them."""
    digits = entry.lower()
    return digits if len(digits) == 64 and set(digits) <= set("0123456789abcdef") else entry

"""`scrutin roll` for the Redis set `valid_hashes`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import redis

from streams.adapters.redis import roll
from streams.adapters.redis.client import address
from streams.adapters.redis.roll import VALID_HASHES
from streams.cli.roll.log_roll import RollSource, write_hashes
from streams.cli.show import counting
from streams.errors import ServiceUnavailable
from streams.inspect.export import Format
from streams.settings.model import Settings
from streams.settings.tls import refusal


def source(settings: Settings) -> RollSource:
    """The set as a source for the log. It has no order, so a load cannot be resumed."""
    client = redis.Redis(
        **address(settings.redis),
        socket_timeout=30,
        decode_responses=True,
    )

    def hashes() -> Iterator[str]:
        try:
            yield from client.sscan_iter(VALID_HASHES, count=10_000)
        except (redis.RedisError, OSError) as error:
            raise ServiceUnavailable(
                f"Redis does not answer: {refusal(error) or error}",
                where={"REDIS_HOST": settings.redis_host, "REDIS_PORT": settings.redis_port},
                todo="Check the address and that Redis is up, then load again",
            ) from error
        finally:
            client.close()

    return RollSource(name=VALID_HASHES, hashes=hashes(), total=0)


async def load(settings: Settings, given: RollSource) -> dict[str, Any]:
    """Load a roll into the set."""
    with counting("loading the roll", given.total) as advance:
        read = 0

        def count() -> Iterator[str]:
            nonlocal read
            for entry in given.hashes:
                read += 1
                yield entry

        size = await roll.load_roll(settings.redis, count(), advance)
    return {"set": VALID_HASHES, "read": read, "size": size}


async def add(settings: Settings, entries: list[str]) -> dict[str, int]:
    """Add voters."""
    size = await roll.load_roll(settings.redis, entries)
    return {"added": len(entries), "size": size}


async def withdraw(settings: Settings, entries: list[str]) -> dict[str, int]:
    """Withdraw voters."""
    return {"withdrawn": await roll.withdraw(settings.redis, entries)}


async def stats(settings: Settings) -> dict[str, Any]:
    """The set's size."""
    return {"roll": "redis", "set": VALID_HASHES, "entries": await roll.roll_size(settings.redis)}


async def check(settings: Settings, entry: str) -> bool:
    """Whether a voter is in the set."""
    return await roll.on_roll(settings.redis, entry)


async def export(settings: Settings, output: Path | None, form: Format) -> int:
    """Export the set; returns its size."""
    return await write_hashes(output, form, roll.members(settings.redis))

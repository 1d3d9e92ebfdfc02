"""`scrutin doctor`: Redis."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, NoPermissionError, RedisError, ResponseError

from streams.adapters.redis.client import address
from streams.adapters.redis.roll import VALID_HASHES
from streams.errors import ServiceUnavailable, SettingsError
from streams.inspect.checks import Check, CheckClock, CheckedService
from streams.settings.configs import RedisConfig
from streams.settings.tls import refusal

SERVICE: Final = CheckedService("redis")
_VOTED: Final = "voted_hashes"


@dataclass(frozen=True)
class RedisFacts:
    """Facts about Redis."""

    version: str
    clock: CheckClock
    roll: int | None
    """Members of `valid_hashes`; None if it is not a set."""
    voted: int | None
    """Members of `voted_hashes`; None if it is not a set."""
    persistent: bool | None
    """Whether it writes to disk; None if unknown."""
    policy: str | None
    """`maxmemory-policy`; None if unknown."""
    max_memory: int
    """Bytes; 0 is unlimited."""


async def gather(config: RedisConfig) -> RedisFacts:
    """Read the facts from Redis.

    Raises:
        ServiceUnavailable: Redis does not answer.
        SettingsError: it refuses the password.
    """
    where: dict[str, object] = {"host": config.host, "port": config.port}
    client: Any = Redis(
        **address(config),
        decode_responses=True,
        # One attempt: the check reports the present state.
        retry=Retry(NoBackoff(), 0),
    )
    try:
        async with client:
            return await _ask(client)
    except (AuthenticationError, NoPermissionError) as error:
        raise SettingsError(
            f"Redis refuses: {error}", where=where, todo="Check REDIS_PASSWORD"
        ) from error
    except (RedisError, OSError) as error:
        raise ServiceUnavailable(
            f"Redis does not answer: {refusal(error) or type(error).__name__}",
            where=where,
            todo="Check REDIS_HOST, REDIS_PORT, REDIS_DB and that it is up",
        ) from error


async def _ask(client: Any) -> RedisFacts:
    asked = time.time()
    seconds, microseconds = await client.time()
    clock = CheckClock.read(seconds + microseconds / 1e6, asked)
    info = await client.info()
    return RedisFacts(
        version=str(info.get("redis_version", "?")),
        clock=clock,
        roll=await _members(client, VALID_HASHES),
        voted=await _members(client, _VOTED),
        persistent=await _persistent(client, info),
        policy=info.get("maxmemory_policy"),
        max_memory=int(info.get("maxmemory", 0)),
    )


async def _members(client: Any, key: str) -> int | None:
    try:
        return int(await client.scard(key))
    except ResponseError:
        return None


async def _persistent(client: Any, info: dict[str, Any]) -> bool | None:
    if info.get("aof_enabled"):
        return True
    try:
        return bool((await client.config_get("save")).get("save"))
    except ResponseError:
        # Hosted Redis often forbids CONFIG.
        return None


def evaluate(roll: str, facts: RedisFacts) -> Iterator[Check]:
    """Checks derived from the facts."""
    yield SERVICE.ok("reachable", f"version {facts.version}")
    yield _evaluate_roll(roll, facts)
    if facts.voted is None:
        yield SERVICE.failure(
            _VOTED, "is not a set", "Delete the key, then `scrutin mirror rebuild`"
        )
    if facts.policy is None:
        yield SERVICE.not_checked("eviction", "Redis does not tell its maxmemory-policy")
    elif facts.policy.startswith("allkeys"):
        limit = f"{facts.max_memory:,} bytes" if facts.max_memory else "no limit set"
        yield SERVICE.warning(
            "eviction",
            f"maxmemory-policy {facts.policy} ({limit})",
            "A full Redis would evict the roll; set maxmemory-policy noeviction",
        )
    else:
        yield SERVICE.ok("eviction", f"maxmemory-policy {facts.policy}")
    if facts.persistent is False:
        yield SERVICE.warning(
            "persistence",
            "off",
            "A restart loses the roll, and votes wait until it is loaded again; set "
            "appendonly yes or a save interval",
        )
    elif facts.persistent:
        yield SERVICE.ok("persistence", "on")
    else:
        yield SERVICE.not_checked(
            "persistence",
            "Redis refuses CONFIG GET save",
            "Find out where it is hosted whether a restart loses the roll",
        )
    yield SERVICE.clock(facts.clock)


def _evaluate_roll(roll: str, facts: RedisFacts) -> Check:
    if roll != "redis":
        return SERVICE.not_checked("roll", f"not used (SCRUTIN_ROLL={roll})")
    if facts.roll is None:
        return SERVICE.failure(
            "roll", f"{VALID_HASHES} is not a set", "Load the roll: `scrutin roll`"
        )
    if not facts.roll:
        return SERVICE.failure(
            "roll",
            f"{VALID_HASHES} is empty or missing, so votes wait in the queue",
            "Load the roll: `scrutin roll load FILE`; check REDIS_DB",
        )
    voted = "" if facts.voted is None else f", {facts.voted:,} have voted"
    return SERVICE.ok("roll", f"{facts.roll:,} voters{voted}")

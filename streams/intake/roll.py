"""Looks up hashes in the roll. The answer is written to the log with the vote."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any, Final, Protocol, cast

from redis.asyncio import Redis

from streams.adapters.redis.client import redis_errors
from streams.adapters.redis.roll import VALID_HASHES
from streams.core.keys import normalise_hash
from streams.errors import ServiceUnavailable
from streams.runtime.metrics import BridgeMetrics

_CHUNK: Final = 5_000
"""Hashes per command, so that no command blocks Redis for long."""


class Roll(Protocol):
    """Answers whether hashes may vote.

    The answer "no" is final for a vote, so a roll that cannot be trusted raises
    :class:`ServiceUnavailable` instead of answering.
    """

    async def ask(self, hashes: Sequence[str]) -> Sequence[bool]:
        """One answer for each hash, in order; without hashes, only check that the roll exists."""


class OpenRoll:
    """Everybody may vote."""

    async def ask(self, hashes: Sequence[str]) -> Sequence[bool]:
        """Yes."""
        return [True] * len(hashes)


class TableRoll:
    """The roll in the log. Validation looks up the voters; this only checks that a roll exists."""

    def __init__(self) -> None:
        self._loaded = False

    def loaded(self) -> None:
        """Note that the roll has entries."""
        self._loaded = True

    async def ask(self, hashes: Sequence[str]) -> Sequence[bool]:
        """Yes; validation decides.

        Raises:
            ServiceUnavailable: the roll was never loaded.
        """
        if not self._loaded:
            raise ServiceUnavailable(
                "The roll in the log is empty",
                where={"variable": "SCRUTIN_ROLL"},
                todo="Load it (`scrutin roll load`); votes wait until then",
            )
        return [True] * len(hashes)


@dataclass
class RedisRoll:
    """The set `valid_hashes`.

    A set that is missing, empty or much smaller than before counts as damaged, not as a roll
    without voters.
    """

    redis: Redis
    """Client."""
    _: KW_ONLY
    min_share: float
    """Share of the largest size that this process saw; a smaller set is damaged."""
    metrics: BridgeMetrics
    """Of the bridge."""

    def __post_init__(self) -> None:
        self._largest = 0

    async def ask(self, hashes: Sequence[str]) -> Sequence[bool]:
        """One answer for each hash, in order.

        Raises:
            ServiceUnavailable: Redis does not answer, or the set is missing or too small.
        """
        asked = self.metrics.redis_operations
        try:
            # One transaction, so that size and answers are from the same moment.
            async with redis_errors("ask the roll"):
                pipe = self.redis.pipeline(transaction=True)
                pipe.scard(VALID_HASHES)
                for start in range(0, len(hashes), _CHUNK):
                    chunk = list(hashes[start : start + _CHUNK])
                    cast(Callable[..., Any], pipe.smismember)(VALID_HASHES, chunk)
                size, *answers = await pipe.execute()
        except ServiceUnavailable:
            asked.labels("smismember", "error").inc()
            raise
        self.metrics.roll_size.set(size)
        self._check(size)
        asked.labels("smismember", "success").inc()
        found = [bool(answer) for chunk in answers for answer in chunk]
        return found if all(found) else await self._in_capitals(hashes, found)

    async def _in_capitals(self, hashes: Sequence[str], found: list[bool]) -> list[bool]:
        """Ask again for hashes that others may have put into the set in capital letters."""
        capitals = {
            n: hashes[n].upper()
            for n, there in enumerate(found)
            if not there and hashes[n].islower() and normalise_hash(hashes[n].upper()) == hashes[n]
        }
        places = list(capitals)
        ask = cast(Callable[..., Any], self.redis.smismember)
        async with redis_errors("ask the roll"):
            for start in range(0, len(places), _CHUNK):
                some = places[start : start + _CHUNK]
                answers = await ask(VALID_HASHES, [capitals[n] for n in some])
                for n, there in zip(some, answers, strict=True):
                    found[n] = bool(there)
        return found

    def _check(self, size: int) -> None:
        if size == 0:
            raise ServiceUnavailable(
                "The roll is missing or empty",
                where={"set": VALID_HASHES},
                todo="Load it (`scrutin roll load`); votes wait until then",
            )
        if size < self.min_share * self._largest:
            raise ServiceUnavailable(
                f"The roll has shrunk from {self._largest} to {size} entries",
                where={"set": VALID_HASHES, "variable": "SCRUTIN_ROLL_MIN_SHARE"},
                todo="Restore it, or restart the bridge if it is meant to be smaller",
            )
        self._largest = max(self._largest, size)

"""Casting a vote: limits, the roll, and publishing with a receipt as the answer."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field

from redis.asyncio import Redis

from streams.adapters.redis.client import redis_errors
from streams.adapters.redis.roll import VALID_HASHES
from streams.errors import ServiceUnavailable
from streams.gateway.client_address import AnyRequest, TrustedProxies
from streams.gateway.problems import Problem, Unavailable
from streams.gateway.submissions import Faulty, Outgoing, RequestClock
from streams.gateway.throttle import Attempt, Throttle
from streams.gateway.vote_sink import Unconfirmed, VoteSink
from streams.intake.receipts import Receipts
from streams.runtime.metrics import GatewayMetrics


def faulty(fault: Faulty) -> Problem:
    """The answer to a field that does not fit."""
    return Problem(422, str(fault), faults={fault.field: [fault.fault]})


@dataclass(frozen=True)
class VoteLimits:
    """Limits of requests by address, voter and poll."""

    throttle: Throttle
    proxies: TrustedProxies

    async def check_official_vote(self, request: AnyRequest, person: str) -> None:
        """Count a vote on a law or in an election, before anything is asked.

        Args:
            request: the vote.
            person: whom the vote is for. Not the voter's hash: that holds the code too, and
                somebody who tries codes must not get a limit of its own for each.

        Raises:
            Problem: too many (429).
        """
        await self.throttle.check("law_address", self.proxies.network_of(request))
        await self.throttle.check("voter", person)

    async def check_poll_address(self, request: AnyRequest) -> None:
        """Count a vote in a poll, before anything is asked.

        Raises:
            Problem: too many (429).
        """
        await self.throttle.check("address", self.proxies.network_of(request))

    async def check_poll_vote(self, voter: str, contest: str) -> None:
        """Count a voter's vote in a poll.

        Raises:
            Problem: too many (429).
        """
        await self.throttle.check("voter", voter)
        await self.throttle.check("poll", contest)

    def attempt(
        self, request: AnyRequest, person: str | None = None
    ) -> AbstractAsyncContextManager[Attempt]:
        """As :meth:`Throttle.attempt`, for the address of a request."""
        return self.throttle.attempt(self.proxies.network_of(request), person)

    async def check_creation(self, request: AnyRequest) -> None:
        """Count a new poll.

        Raises:
            Problem: too many (429).
        """
        await self.throttle.check("address", f"create {self.proxies.network_of(request)}")


@dataclass(frozen=True)
class RollLookup:
    """Early answers of the roll. Where the roll is not in Redis, a bridge or worker checks it."""

    redis: Redis
    kind: str
    """`SCRUTIN_ROLL`."""

    async def first_known(self, hashes: Sequence[str]) -> str | None:
        """The first of a voter's possible hashes that is on the roll.

        Returns:
            None if none is. Without a roll in Redis, and while Redis does not answer, the first
            hash: the bridge will ask.
        """
        if self.kind != "redis" or not hashes:
            return hashes[0]
        try:
            async with redis_errors("ask the roll"):
                answers = await self.redis.smismember(VALID_HASHES, list(hashes))
        except ServiceUnavailable:
            return hashes[0]
        return next((each for each, known in zip(hashes, answers, strict=True) if known), None)


@dataclass(frozen=True)
class VoteSubmitter:
    """Publishes votes, counts those that were not taken, and seals receipts."""

    sink: VoteSink
    receipts: Receipts
    metrics: GatewayMetrics
    clock: RequestClock = field(default_factory=RequestClock)

    async def send(self, outgoing: Outgoing) -> str:
        """Publish a vote; returns its receipt once a broker has confirmed it.

        Raises:
            Unavailable: the broker does not answer, is blocked or did not confirm in time.
        """
        try:
            await self.sink.publish(outgoing.body, outgoing.message_id)
        except ServiceUnavailable as error:
            self.refused("unconfirmed" if isinstance(error, Unconfirmed) else "unavailable")
            raise Unavailable(f"{error.what}. {error.todo}.") from error
        return self.receipts.seal(outgoing.submission)

    def refused(self, kind: str) -> None:
        """Count a vote that was not taken."""
        self.metrics.vote_errors.labels(kind).inc()

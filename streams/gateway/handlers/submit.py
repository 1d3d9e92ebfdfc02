"""Casting a vote: throttled, published, confirmed, answered with a receipt."""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from streams.adapters.redis.client import redis_errors
from streams.errors import ServiceUnavailable
from streams.gateway.problems import Problem, Unavailable
from streams.gateway.services import AnyRequest, Parts
from streams.gateway.submissions import Faulty, Outgoing
from streams.gateway.vote_sink import Unconfirmed

log = structlog.get_logger(__name__)

VALID_HASHES = "valid_hashes"


def faulty(fault: Faulty) -> Problem:
    """The answer to a field that is not what it has to be."""
    return Problem(422, str(fault), faults={fault.field: [fault.fault]})


async def throttle_law(parts: Parts, request: AnyRequest, voter: str) -> None:
    """Apply the limits of votes on laws and in elections."""
    await parts.throttle.check("law_address", parts.address_of(request))
    await parts.throttle.check("voter", voter)


async def send(parts: Parts, outgoing: Outgoing) -> str:
    """Publish a vote; returns its receipt once RabbitMQ has confirmed it.

    Raises:
        Unavailable: RabbitMQ is away, blocked or silent.
    """
    try:
        await parts.queue.publish(outgoing.body, outgoing.message_id)
    except ServiceUnavailable as error:
        kind = "unconfirmed" if isinstance(error, Unconfirmed) else "unavailable"
        parts.metrics.vote_errors.labels(kind).inc()
        raise Unavailable(f"{error.what}. {error.todo}.") from error
    return parts.receipts.seal(outgoing.submission)


async def on_roll(parts: Parts, hashes: Sequence[str]) -> str | None:
    """The first of a voter's possible hashes that the roll has.

    Returns:
        None if it has none. Without a roll in Redis, or while Redis is away, the first: the bridge
        will ask.
    """
    if parts.settings.roll != "redis" or not hashes:
        return hashes[0]
    try:
        async with redis_errors("ask the roll"):
            answers = await parts.redis.smismember(VALID_HASHES, list(hashes))
    except ServiceUnavailable:
        return hashes[0]
    return next((each for each, known in zip(hashes, answers, strict=True) if known), None)

"""`/live`, `/ready`, `/metrics` for machines, and the health calls of the replaced service."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime

import msgspec
from litestar import MediaType, Response, get
from litestar.handlers import HTTPRouteHandler
from litestar.openapi.datastructures import ResponseSpec
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from redis.asyncio import Redis

from streams.adapters.redis.client import redis_errors
from streams.errors import ServiceUnavailable
from streams.gateway.store import Store
from streams.gateway.vote_sink import VoteSink

_CHECK_S = 2.0


class Faults(msgspec.Struct):
    """What is wrong; an empty list if nothing is."""

    status: str
    faults: list[str]


class Health(msgspec.Struct):
    """Which services answer."""

    status: str
    """`healthy` or `unhealthy`."""
    services: dict[str, str]
    timestamp: datetime


def status_handlers(
    *, ready: Callable[[], list[str]], registry: CollectorRegistry
) -> list[HTTPRouteHandler]:
    """The handlers for machines.

    Args:
        ready: says why the gateway can take no votes now.
        registry: of the metrics.
    """

    @get("/live", include_in_schema=False)
    async def live() -> Faults:
        return Faults("ok", [])

    @get("/ready", include_in_schema=False)
    async def show_ready() -> Response[Faults]:
        faults = ready()
        return Response(
            Faults("failing" if faults else "ok", faults), status_code=503 if faults else 200
        )

    @get("/metrics", include_in_schema=False)
    async def metrics() -> Response[bytes]:
        return Response(
            generate_latest(registry),
            media_type=MediaType.TEXT,
            headers={"Content-Type": CONTENT_TYPE_LATEST},
        )

    return [live, show_ready, metrics]


def health_handlers(
    *, sink: VoteSink, sink_name: str, store: Store, redis: Redis
) -> list[HTTPRouteHandler]:
    """The handlers that tell which services answer.

    Args:
        sink: where votes go.
        sink_name: the broker's name in the answer.
        store: the result database.
        redis: client.
    """

    @get(
        ["/api/v1/health", "/health"],
        tags=["health"],
        summary="Which services answer",
        responses={503: ResponseSpec(Health, description="One of them does not")},
    )
    async def health() -> Response[Health]:
        postgresql_answers, redis_answers = await asyncio.gather(_answers(store), _pongs(redis))
        answering = {
            sink_name: sink.fault is None,
            "postgresql": postgresql_answers,
            "redis": redis_answers,
        }
        well = all(answering.values())
        services = {
            name: "connected" if answers else "disconnected" for name, answers in answering.items()
        }
        return Response(
            Health("healthy" if well else "unhealthy", services, datetime.now(UTC)),
            status_code=200 if well else 503,
        )

    return [health]


async def _answers(store: Store) -> bool:
    try:
        async with asyncio.timeout(_CHECK_S):
            await store.ping()
    except (ServiceUnavailable, TimeoutError):
        return False
    return True


async def _pongs(redis: Redis) -> bool:
    try:
        async with asyncio.timeout(_CHECK_S), redis_errors("answer"):
            await redis.ping()
    except (ServiceUnavailable, TimeoutError):
        return False
    return True

"""`/live`, `/ready`, `/metrics` for machines, and the health calls of the service before."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import msgspec
from litestar import MediaType, Response, get
from litestar.handlers import HTTPRouteHandler
from litestar.openapi.datastructures import ResponseSpec
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from streams.adapters.redis.client import redis_errors
from streams.errors import ServiceUnavailable
from streams.gateway.services import Parts

_CHECK_S = 2.0


class Faults(msgspec.Struct):
    """What is wrong; nothing wrong is an empty list."""

    status: str
    faults: list[str]


class Health(msgspec.Struct):
    """Which services answer."""

    status: str
    """`healthy` or `unhealthy`."""
    services: dict[str, str]
    timestamp: datetime


def status_handlers(parts: Parts) -> list[HTTPRouteHandler]:
    """The handlers."""

    @get("/live", include_in_schema=False)
    async def live() -> Faults:
        return Faults("ok", [])

    @get("/ready", include_in_schema=False)
    async def ready() -> Response[Faults]:
        faults = parts.ready()
        return Response(
            Faults("failing" if faults else "ok", faults), status_code=503 if faults else 200
        )

    @get("/metrics", include_in_schema=False)
    async def metrics() -> Response[bytes]:
        return Response(
            generate_latest(parts.metrics.registry),
            media_type=MediaType.TEXT,
            headers={"Content-Type": CONTENT_TYPE_LATEST},
        )

    @get(
        ["/api/v1/health", "/health"],
        tags=["health"],
        summary="Which services answer",
        responses={503: ResponseSpec(Health, description="One of them does not")},
    )
    async def health() -> Response[Health]:
        postgresql, redis = await asyncio.gather(_postgresql(parts), _redis(parts))
        services = {
            parts.settings.confirm: "connected" if parts.queue.fault is None else "disconnected",
            "postgresql": "connected" if postgresql else "disconnected",
            "redis": "connected" if redis else "disconnected",
        }
        well = "disconnected" not in services.values()
        return Response(
            Health("healthy" if well else "unhealthy", services, datetime.now(UTC)),
            status_code=200 if well else 503,
        )

    return [live, ready, metrics, health]


async def _postgresql(parts: Parts) -> bool:
    try:
        async with asyncio.timeout(_CHECK_S):
            await parts.store.ping()
    except (ServiceUnavailable, TimeoutError):
        return False
    return True


async def _redis(parts: Parts) -> bool:
    try:
        async with asyncio.timeout(_CHECK_S), redis_errors("answer"):
            await parts.redis.ping()
    except (ServiceUnavailable, TimeoutError):
        return False
    return True

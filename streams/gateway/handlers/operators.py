"""The operators' page in one call: rates, latencies, lag, reasons, workers. No identities."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import datetime

import msgspec
from litestar import get
from litestar.handlers import HTTPRouteHandler

from streams.core.topics import VALIDATION_TOPIC
from streams.gateway.store import Store
from streams.inspect.lag import SINK, Lag

CACHE_S = 2.0
"""The services are asked at most this often, however many callers there are."""

RATE = """
SELECT coalesce(sum(votes), 0)::float8 / 60 AS rate
FROM vote_windows WHERE window_start > now() - interval '60 seconds'
"""
LATENCY = """
SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY took) AS p50,
    percentile_cont(0.99) WITHIN GROUP (ORDER BY took) AS p99
FROM (SELECT extract(epoch FROM created_at - processed_timestamp)::float8 AS took
      FROM vote_audit ORDER BY id DESC LIMIT 2000) AS latest
"""
REASONS = """
SELECT status, reason, count(*) AS count FROM rejected_votes
GROUP BY 1, 2 ORDER BY 3 DESC, 1, 2 LIMIT 50
"""
WORKERS = """
SELECT substr(application_name, 16) AS name, min(backend_start) AS since FROM pg_stat_activity
WHERE application_name LIKE 'scrutin-worker %' AND datname = current_database()
GROUP BY 1 ORDER BY 1
"""


class Partition(msgspec.Struct):
    """How far a partition of the input log is counted."""

    partition: int
    end: int
    applied: int
    """Records of it that PostgreSQL has."""
    behind: int


class ReasonCount(msgspec.Struct):
    """Votes not counted."""

    status: str
    reason: str
    count: int


class WorkerSeen(msgspec.Struct):
    """A worker that is connected to PostgreSQL."""

    name: str
    since: datetime


class Operations(msgspec.Struct):
    """The state of the deployment."""

    votes_per_s: float
    """Over the last minute."""
    latency_p50_s: float | None
    """From the bridge to the row, of the latest votes."""
    latency_p99_s: float | None
    partitions: list[Partition]
    queues: dict[str, int | None]
    """Messages ready; null where there is no such queue."""
    reasons: list[ReasonCount]
    workers: list[WorkerSeen]
    errors: list[str]
    """Services that could not be asked."""


def operator_handlers(
    *, store: Store, measure_lag: Callable[[], Awaitable[Lag]]
) -> list[HTTPRouteHandler]:
    """The handlers.

    Args:
        store: the result database.
        measure_lag: asks the services how far every reader is behind.
    """
    lock = asyncio.Lock()
    kept: list[tuple[float, Operations]] = []

    @get("/api/operators", tags=["operators"], summary="Rates, latencies, lag, reasons, workers")
    async def operations() -> Operations:
        async with lock:
            if not kept or time.monotonic() - kept[0][0] > CACHE_S:
                found = await _look(store, measure_lag)
                kept[:] = [(time.monotonic(), found)]
        return kept[0][1]

    return [operations]


async def _look(store: Store, measure_lag: Callable[[], Awaitable[Lag]]) -> Operations:
    lag, [rate], [latency], reasons, workers = await asyncio.gather(
        measure_lag(),
        store.fetch(RATE),
        store.fetch(LATENCY),
        store.fetch(REASONS),
        store.fetch(WORKERS),
    )
    return Operations(
        votes_per_s=rate["rate"],
        latency_p50_s=latency["p50"],
        latency_p99_s=latency["p99"],
        partitions=_partitions(lag),
        queues={name: None if q is None else q.ready for name, q in lag.queues.items()},
        reasons=[ReasonCount(*row) for row in reasons],
        workers=[WorkerSeen(*row) for row in workers],
        errors=sorted(f"{service} could not be asked" for service in lag.errors),
    )


def _partitions(lag: Lag) -> list[Partition]:
    found = []
    for each in lag.partitions:
        if each.topic == VALIDATION_TOPIC:
            behind = each.lag(SINK) if SINK in each.next_offsets else None
            behind = each.end if behind is None else behind
            found.append(Partition(each.partition, each.end, each.end - behind, behind))
    return found

"""Snapshots of a running deployment, and rates and latencies between two of them."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

import asyncpg

from streams.adapters.postgres.connection import connected
from streams.core.topics import VALIDATED_TOPIC, VALIDATION_TOPIC
from streams.errors import ScrutinError
from streams.inspect.lag import EGRESS, MIRROR, SINK, WORKERS, Lag, measure
from streams.inspect.scrape import Kind, Process, scrape
from streams.settings.configs import DeploymentConfig, PostgresConfig
from streams.settings.queues import REVIEW

SHOWN_WINDOWS: Final = 60
_WINDOW_ROWS: Final = 5_000
# The latest changes by the index on updated_xid: the table has a row for every second.
_WINDOWS: Final = """
SELECT window_start, sum(votes)::bigint AS votes FROM (
    SELECT window_start, votes FROM vote_windows ORDER BY updated_xid DESC LIMIT $1
) AS latest GROUP BY window_start ORDER BY window_start DESC LIMIT $2
"""

LATENCIES: Final = {
    "end_to_end": "scrutin_end_to_end_latency_seconds",
    "validation": "validation_processing_latency_seconds",
    "flush": "scrutin_flush_duration_seconds",
}
"""Name of a latency -> its histogram."""
RATES: Final[Mapping[str, tuple[str, Kind]]] = {
    "taken": ("scrutin_bridge_received_total", "bridge"),
    "decided": ("votes_received_total", "worker"),
    "counted": ("votes_aggregated_total", "worker"),
    "reviews": ("scrutin_bridge_published_total", "bridge"),
    "mirrored": ("scrutin_mirrored_total", "bridge"),
    "over_http": ("votes_submitted_total", "gateway"),
}
"""Name of a rate -> its counter, and the kind of process that has it."""
RATE_NAMES: Final = {
    "taken": "taken in",
    "decided": "decided",
    "counted": "counted",
    "reviews": "reviews",
    "mirrored": "mirrored",
    "over_http": "over HTTP",
}
LATENCY_NAMES: Final = {
    "end_to_end": "intake to committed row",
    "validation": "validation",
    "flush": "database transaction",
}


@dataclass
class Snapshot:
    """State of the deployment at one time."""

    at_s: float
    """Monotonic clock."""
    processes: list[Process]
    lag: Lag
    windows: list[tuple[datetime, int]] | None = field(default_factory=list)
    """(start, votes), the latest first; None if PostgreSQL could not be asked."""


@dataclass(frozen=True)
class Quantiles:
    """Quantiles of a histogram; infinite beyond its last bucket."""

    p50_s: float
    p99_s: float


@dataclass
class View:
    """Data to show."""

    now: Snapshot
    seconds: float
    """Time between the two snapshots."""
    rates: dict[str, float | None]
    """Keys of :data:`RATES`, per second; None if no process that counts it answered twice."""
    verdicts: dict[str, float]
    """Status -> messages per second."""
    latencies: dict[str, Quantiles | None]
    """Keys of :data:`LATENCIES`; None without observations."""
    worker_rates: dict[str, float]
    """Address of a worker -> votes counted per second."""

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "seconds": round(self.seconds, 3),
            "votes_per_second": {
                name: None if rate is None else round(rate, 1) for name, rate in self.rates.items()
            },
            "verdicts_per_second": {name: round(r, 1) for name, r in self.verdicts.items()},
            "latency_seconds": {
                name: None
                if found is None
                else {"p50": _finite(found.p50_s), "p99": _finite(found.p99_s)}
                for name, found in self.latencies.items()
            },
            "waiting": waiting(self.now.lag),
            "processes": [
                {
                    "address": process.address,
                    "kind": process.kind,
                    "ready": process.answers and not process.faults,
                    "faults": process.faults,
                    "partitions": partitions_of(process),
                }
                for process in self.now.processes
            ],
            "windows": None
            if self.now.windows is None
            else [
                {"start": start.isoformat(), "votes": votes} for start, votes in self.now.windows
            ],
            "errors": {service: str(error) for service, error in self.now.lag.errors.items()},
        }


def _finite(seconds: float) -> float | None:
    return round(seconds, 4) if math.isfinite(seconds) else None


async def look(deployment: DeploymentConfig, addresses: Sequence[str]) -> Snapshot:
    """Query services and processes concurrently; those that do not answer are named."""
    processes, lag, windows = await asyncio.gather(
        scrape(addresses), measure(deployment), _windows(deployment.postgres)
    )
    return Snapshot(time.monotonic(), processes, lag, windows)


async def _windows(config: PostgresConfig) -> list[tuple[datetime, int]] | None:
    try:
        async with connected(config) as connection:
            try:
                rows = await connection.fetch(_WINDOWS, _WINDOW_ROWS, SHOWN_WINDOWS)
            except asyncpg.UndefinedTableError:
                return []
    except ScrutinError:
        # The lag already reports the database's error.
        return None
    return [(row["window_start"], row["votes"]) for row in rows]


def waiting(lag: Lag) -> dict[str, int | None]:
    """Waiting messages by queue and records by reader; None if unknown."""

    def records(topic: str, reader: str) -> int | None:
        behind = [
            p.lag(reader) if p.next_offsets.get(reader) is not None else p.end
            for p in lag.partitions
            if p.topic == topic and reader in p.next_offsets
        ]
        return sum(b for b in behind if b is not None) if behind else None

    found: dict[str, int | None] = {
        f"queue {name}": None if depth is None else depth.ready
        for name, depth in lag.queues.items()
    }
    return {
        **found,
        "validation": records(VALIDATION_TOPIC, WORKERS),
        "aggregation": records(VALIDATED_TOPIC, SINK),
        "reviews": records(VALIDATED_TOPIC, EGRESS),
        "mirror": records(VALIDATED_TOPIC, MIRROR),
    }


def partitions_of(process: Process) -> list[int]:
    """Partitions that a worker validates."""
    return sorted(
        int(sample.labels["partition"])
        for sample in process.samples.get("scrutin_lag_records", [])
        if sample.labels.get("stage") == "validation"
    )


def compare(before: Snapshot, now: Snapshot, review_queue: str = REVIEW) -> View:
    """Rates and latencies between two snapshots.

    Args:
        before: the earlier one.
        now: the later one.
        review_queue: deployed name of `votes.review`.
    """
    seconds = max(now.at_s - before.at_s, 1e-9)
    earlier = {process.address: process for process in before.processes}
    pairs = [
        (earlier[p.address], p)
        for p in now.processes
        if p.answers and p.address in earlier and earlier[p.address].answers
    ]

    def rate(name: str, **labels: str) -> float:
        return sum(
            _increase(b.total(name, **labels), p.total(name, **labels)) for b, p in pairs
        ) / (seconds)

    reached = {process.kind for _, process in pairs}
    rates = {
        what: None
        if kind not in reached
        else rate(name, queue=review_queue)
        if what == "reviews"
        else rate(name)
        for what, (name, kind) in RATES.items()
    }
    verdicts = {
        status: rate("validation_votes_processed_total", status=status)
        for _, process in pairs
        for status in process.by("validation_votes_processed_total", "status")
    }
    counter, _ = RATES["counted"]
    return View(
        now=now,
        seconds=seconds,
        rates=rates,
        verdicts=dict(sorted(verdicts.items())),
        latencies={what: _quantiles(pairs, name) for what, name in LATENCIES.items()},
        worker_rates={
            p.address: _increase(b.total(counter), p.total(counter)) / seconds
            for b, p in pairs
            if p.kind == "worker"
        },
    )


def _increase(before: float, now: float) -> float:
    """Increase of a counter; a counter that fell was reset by a restart."""
    return now - before if now >= before else now


def _quantiles(pairs: Sequence[tuple[Process, Process]], name: str) -> Quantiles | None:
    buckets: dict[float, float] = {}
    for before, now in pairs:
        old = before.by(f"{name}_bucket", "le")
        for bound, count in now.by(f"{name}_bucket", "le").items():
            at = float(bound)
            buckets[at] = buckets.get(at, 0.0) + _increase(old.get(bound, 0.0), count)
    if not buckets or buckets[max(buckets)] <= 0:
        return None
    return Quantiles(quantile(buckets, 0.5), quantile(buckets, 0.99))


def quantile(buckets: dict[float, float], share: float) -> float:
    """A quantile of a histogram, linear within a bucket like Prometheus' histogram_quantile.

    Args:
        buckets: upper bound -> observations at or below it.
        share: between 0 and 1.

    Returns:
        The value; infinite if it lies beyond the last finite bound.
    """
    bounds = sorted(buckets)
    wanted = share * buckets[bounds[-1]]
    lower, below = 0.0, 0.0
    for bound in bounds:
        if buckets[bound] >= wanted:
            if math.isinf(bound):
                return math.inf
            inside = buckets[bound] - below
            return lower + (bound - lower) * ((wanted - below) / inside if inside else 1.0)
        lower, below = bound, buckets[bound]
    return math.inf

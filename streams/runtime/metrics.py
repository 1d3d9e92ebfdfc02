"""All metrics, by process. The unprefixed names are those that deployed dashboards read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from schemas.verdicts import Status
from streams.runtime.outages import OutageTracker

# The deployed dashboards know no `_created` series, and they double the scrape.
disable_created_metrics()  # type: ignore[no-untyped-call]

MAX_LAW_SERIES = 200
"""Laws with series of their own where clients name them."""

LATENCY_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


def process_registry() -> CollectorRegistry:
    """The registry of a process, with its memory, files and start time."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    return registry


def expose_health(
    registry: CollectorRegistry, ready: Callable[[], list[str]], outages: OutageTracker
) -> None:
    """Let alerts see what `/ready` answers, and which service a process cannot reach.

    Args:
        registry: of the process.
        ready: what keeps the process from doing its work now.
        outages: failed tries by service.
    """
    gauge = Gauge("scrutin_ready", "1 while `/ready` answers 200", registry=registry)
    gauge.set_function(lambda: 0 if ready() else 1)
    registry.register(_Outages(outages))


class _Outages(Collector):
    """A series for each service while tries to reach it fail."""

    def __init__(self, outages: OutageTracker) -> None:
        self._outages = outages

    def collect(self) -> Iterable[GaugeMetricFamily]:
        family = GaugeMetricFamily(
            "scrutin_service_failed_tries",
            "Failed tries in a row to reach a service",
            labels=["service"],
        )
        for service, tries in self._outages.failures().items():
            family.add_metric([service.lower()], tries)
        yield family


class WorkerMetrics:
    """What a worker exposes.

    Args:
        registry: where to register; each process has its own.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        r = registry
        self.registry = registry
        # Of the aggregation service.
        self.votes_aggregated = Counter(
            "votes_aggregated_total", "Votes counted", ["law_id", "choice"], registry=r
        )
        self.current_vote_totals = Gauge(
            "current_vote_totals",
            "Totals as committed; exported by one worker only",
            ["law_id", "choice"],
            registry=r,
        )
        self.batch_processing_duration = Gauge(
            "batch_processing_duration_seconds", "Duration of the last flush", registry=r
        )
        self.batch_size_processed = Counter(
            "batch_size_processed_total", "Votes in processed flushes", registry=r
        )
        self.aggregation_errors = Counter(
            "aggregation_errors_total", "Errors of the aggregation", ["error_type"], registry=r
        )
        self.database_operations = Counter(
            "database_operations_total", "Database operations", ["operation", "status"], registry=r
        )
        # Of the validation service.
        self.validation_votes = Counter(
            "validation_votes_processed_total", "Messages by verdict", ["status"], registry=r
        )
        self.validation_latency = Histogram(
            "validation_processing_latency_seconds",
            "From taking a batch of records to its verdicts being in Kafka",
            buckets=LATENCY_BUCKETS_S,
            registry=r,
        )
        self.validation_errors = Counter(
            "validation_errors_total", "Errors of the validation", ["error_type"], registry=r
        )
        # Of the deployed voting services; the same events under their names.
        self.votes_received = Counter("votes_received_total", "Messages decided on", registry=r)
        self.votes_duplicate = Counter("votes_duplicate_total", "Duplicate attempts", registry=r)
        self.duplicate_attempts = Counter(
            "duplicate_attempts_total", "Duplicate attempts", registry=r
        )
        self.votes_validation_processed = Counter(
            "votes_validation_processed_total", "Messages decided on", registry=r
        )
        self.votes_validation_failed = Counter(
            "votes_validation_failed_total", "Invalid and malformed messages", registry=r
        )
        self.votes_validation_status = Counter(
            "votes_validation_status_total", "Messages by verdict", ["status"], registry=r
        )
        self.votes_by_law = Counter(
            "votes_by_law_total", "Votes counted, by law", ["law_id"], registry=r
        )
        # Ours.
        self.latency = Histogram(
            "scrutin_end_to_end_latency_seconds",
            "From the bridge taking a vote in to its committed row",
            buckets=LATENCY_BUCKETS_S,
            registry=r,
        )
        self.flush_duration = Histogram(
            "scrutin_flush_duration_seconds",
            "Database transactions of the sink",
            buckets=LATENCY_BUCKETS_S,
            registry=r,
        )
        self.replays = Counter(
            "scrutin_replays_total", "Records met again and dropped", ["stage"], registry=r
        )
        self.fence_drops = Counter(
            "scrutin_fence_drops_total",
            "Verdict batches at or below the database's offset, dropped",
            registry=r,
        )
        self.backfills = Counter(
            "scrutin_gaps_healed_total",
            "Ranges that a committed offset had skipped and that were read from the log",
            ["stage"],
            registry=r,
        )
        for stage in ("validation", "sink"):
            # There from the start: `increase` does not see a series' first step.
            self.backfills.labels(stage=stage)
        self.skipped_records = Counter(
            "scrutin_skipped_records_total",
            "Undecodable records that were passed because an operator decided so",
            registry=r,
        )
        self.already_counted_votes = Counter(
            "scrutin_surplus_votes_total",
            "Accepted votes that the database already had; should stay 0",
            registry=r,
        )
        self.lag = Gauge(
            "scrutin_lag_records",
            "Records not yet processed",
            ["stage", "partition"],
            registry=r,
        )
        self.voted_entries = Gauge(
            "scrutin_voted_entries", "Voter keys in the voted table", ["partition"], registry=r
        )
        self.live_messages = Counter(
            "scrutin_live_messages_total",
            "Messages with committed totals for watchers",
            ["outcome"],
            registry=r,
        )
        self.roll_entries = Gauge(
            "scrutin_roll_entries", "Voter keys on the roll in the log", ["partition"], registry=r
        )
        self.recovery_duration = Gauge(
            "scrutin_recovery_seconds", "Duration of the last restore of the table", registry=r
        )

    def decided(self, by_status: Mapping[str, int]) -> None:
        """Count verdicts, under every name that deployed dashboards have for them."""
        for status, count in by_status.items():
            self.validation_votes.labels(status=status).inc(count)
            self.votes_validation_status.labels(status=status).inc(count)
        total = sum(by_status.values())
        self.votes_received.inc(total)
        self.votes_validation_processed.inc(total)
        failed = by_status.get(Status.INVALID, 0) + by_status.get(Status.MALFORMED, 0)
        self.votes_validation_failed.inc(failed)
        self.votes_duplicate.inc(by_status.get(Status.DUPLICATE, 0))
        self.duplicate_attempts.inc(by_status.get(Status.DUPLICATE, 0))


class BridgeMetrics:
    """What a bridge exposes.

    Args:
        registry: where to register; each process has its own.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        r = registry
        self.registry = registry
        self.validation_queue_size = Gauge(
            "validation_queue_size", "Messages waiting in the validation queue", registry=r
        )
        self.redis_operations = Counter(
            "redis_operations_total", "Redis operations", ["operation", "status"], registry=r
        )
        self.received = Counter(
            "scrutin_bridge_received_total", "Deliveries taken from a queue", ["queue"], registry=r
        )
        self.malformed = Counter(
            "scrutin_bridge_malformed_total", "Messages that are no vote", ["reason"], registry=r
        )
        self.oversized = Counter(
            "oversized_payloads_total", "Messages longer than the limit", registry=r
        )
        self.patterns_unique = Counter(
            "error_patterns_unique_total", "First characters of unknown hashes, new", registry=r
        )
        self.patterns_repeated = Counter(
            "error_patterns_repeated_total", "The same, seen before", registry=r
        )
        self.acknowledged = Counter(
            "scrutin_bridge_acknowledged_total", "Deliveries acknowledged", ["queue"], registry=r
        )
        self.published = Counter(
            "scrutin_bridge_published_total",
            "Messages confirmed by RabbitMQ",
            ["queue"],
            registry=r,
        )
        self.returned = Counter(
            "scrutin_bridge_returned_total",
            "Messages RabbitMQ could not route",
            ["queue"],
            registry=r,
        )
        self.reviews_withheld = Counter(
            "scrutin_reviews_withheld_total",
            "Rejected messages whose review was left out, see SCRUTIN_REVIEWS_PER_MINUTE",
            ["status", "reason"],
            registry=r,
        )
        self.reproduced = Counter(
            "scrutin_bridge_reproduced_total",
            "Batches written to Kafka again because the first answer was lost",
            registry=r,
        )
        self.reconnects = Counter(
            "scrutin_bridge_reconnects_total", "Connections made again", ["service"], registry=r
        )
        self.in_flight = Gauge(
            "scrutin_bridge_in_flight", "Deliveries not yet acknowledged", ["queue"], registry=r
        )
        self.paused = Gauge(
            "scrutin_bridge_paused", "1 while intake waits for the workers to catch up", registry=r
        )
        self.blocked = Gauge(
            "scrutin_bridge_blocked",
            "1 while RabbitMQ, short of memory or disk, does not read from us",
            ["queue"],
            registry=r,
        )
        self.roll_size = Gauge(
            "scrutin_roll_size", "Entries of `valid_hashes` at the last look", registry=r
        )
        self.behind = Gauge(
            "scrutin_bridge_lag_records",
            "Verdict batches in Kafka that a reader of this bridge has yet to deal with",
            ["reader", "partition"],
            registry=r,
        )
        self.mirrored = Counter(
            "scrutin_mirrored_total", "Votes written to the Redis mirror", registry=r
        )


class GatewayMetrics:
    """What a gateway exposes.

    Args:
        registry: where to register; each process has its own.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        r = registry
        self.registry = registry
        # Of the vote API before.
        self.votes_submitted = Counter(
            "votes_submitted_total", "Votes confirmed", ["law_id", "vote_choice"], registry=r
        )
        self.vote_errors = Counter(
            "vote_errors_total", "Votes not taken", ["error_type"], registry=r
        )
        self.http_duration = Histogram(
            "http_request_duration_seconds",
            "From a request to its whole response",
            ["method", "endpoint", "status"],
            buckets=LATENCY_BUCKETS_S,
            registry=r,
        )
        self.http_requests = Counter("http_requests_total", "Requests", ["status"], registry=r)
        self.oversized = Counter("oversized_payloads_total", "Bodies beyond the limit", registry=r)
        # Ours.
        self.throttled = Counter(
            "scrutin_gateway_throttled_total", "Requests turned away", ["limit"], registry=r
        )
        self.unthrottled = Counter(
            "scrutin_gateway_unthrottled_total",
            "Requests let through because Redis could not be asked",
            registry=r,
        )
        self.blocked = Gauge(
            "scrutin_gateway_blocked",
            "1 while RabbitMQ, short of memory or disk, does not read from us",
            registry=r,
        )
        self.watchers = Gauge(
            "scrutin_gateway_watchers", "Open sockets and event streams", registry=r
        )
        self._laws: set[str] = set()

    def submitted(self, law_id: str, choice: str) -> None:
        """Count a confirmed vote. Anybody can name a law, so only so many get a series."""
        if law_id not in self._laws:
            if len(self._laws) >= MAX_LAW_SERIES:
                law_id = "other"
            self._laws.add(law_id)
        self.votes_submitted.labels(law_id, choice).inc()

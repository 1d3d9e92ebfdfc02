"""All metrics, by process. The unprefixed names are those that deployed dashboards read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Generic, TypeVar

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
from prometheus_client.metrics import MetricWrapperBase
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


M = TypeVar("M", bound=MetricWrapperBase)


class _Metric(Generic[M]):
    """A line of a table of metrics; an instance holds the metric itself under the same name."""

    def __init__(self, make: Callable[[CollectorRegistry], M]) -> None:
        self.make = make

    def __get__(self, metrics: _Metrics, owner: type) -> M:
        raise AttributeError("a metric of the class; it is made with an instance")


def _counter(name: str, about: str, *labels: str) -> _Metric[Counter]:
    return _Metric(lambda registry: Counter(name, about, labels, registry=registry))


def _gauge(name: str, about: str, *labels: str) -> _Metric[Gauge]:
    return _Metric(lambda registry: Gauge(name, about, labels, registry=registry))


def _histogram(name: str, about: str, *labels: str) -> _Metric[Histogram]:
    return _Metric(
        lambda registry: Histogram(
            name, about, labels, buckets=LATENCY_BUCKETS_S, registry=registry
        )
    )


class _Metrics:
    """Registers the metrics that a subclass lists.

    Args:
        registry: where to register; each process has its own.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        for attribute, line in vars(type(self)).items():
            if isinstance(line, _Metric):
                setattr(self, attribute, line.make(registry))


class WorkerMetrics(_Metrics):
    """What a worker exposes."""

    # Of the aggregation service.
    votes_aggregated = _counter("votes_aggregated_total", "Votes counted", "law_id", "choice")
    current_vote_totals = _gauge(
        "current_vote_totals",
        "Totals as committed; exported by one worker only",
        "law_id",
        "choice",
    )
    batch_processing_duration = _gauge(
        "batch_processing_duration_seconds", "Duration of the last flush"
    )
    batch_size_processed = _counter("batch_size_processed_total", "Votes in processed flushes")
    aggregation_errors = _counter(
        "aggregation_errors_total", "Errors of the aggregation", "error_type"
    )
    database_operations = _counter(
        "database_operations_total", "Database operations", "operation", "status"
    )
    # Of the validation service.
    validation_votes = _counter("validation_votes_processed_total", "Messages by verdict", "status")
    validation_latency = _histogram(
        "validation_processing_latency_seconds",
        "From taking a batch of records to its verdicts being in Kafka",
    )
    validation_errors = _counter(
        "validation_errors_total", "Errors of the validation", "error_type"
    )
    # Of the deployed voting services; the same events under their names.
    votes_received = _counter("votes_received_total", "Messages decided on")
    votes_duplicate = _counter("votes_duplicate_total", "Duplicate attempts")
    duplicate_attempts = _counter("duplicate_attempts_total", "Duplicate attempts")
    votes_validation_processed = _counter("votes_validation_processed_total", "Messages decided on")
    votes_validation_failed = _counter(
        "votes_validation_failed_total", "Invalid and malformed messages"
    )
    votes_validation_status = _counter(
        "votes_validation_status_total", "Messages by verdict", "status"
    )
    votes_by_law = _counter("votes_by_law_total", "Votes counted, by law", "law_id")
    # Scrutin's own.
    latency = _histogram(
        "scrutin_end_to_end_latency_seconds",
        "From the bridge taking a vote in to its committed row",
    )
    flush_duration = _histogram(
        "scrutin_flush_duration_seconds", "Database transactions of the sink"
    )
    replays = _counter("scrutin_replays_total", "Records met again and dropped", "stage")
    fence_drops = _counter(
        "scrutin_fence_drops_total", "Verdict batches at or below the database's offset, dropped"
    )
    contest_changes = _gauge(
        "scrutin_contest_changed_timestamp_seconds",
        "When a contest opened or closed; exported by one worker only",
        "law_id",
        "change",
    )
    contest_overdue = _gauge(
        "scrutin_contest_overdue_seconds",
        "How long a contest is due to open or to close by schedule, and did not; 0 if none is",
    )
    backfills = _counter(
        "scrutin_gaps_healed_total",
        "Ranges that a committed offset had skipped and that were read from the log",
        "stage",
    )
    skipped_records = _counter(
        "scrutin_skipped_records_total",
        "Undecodable records that were passed because an operator decided so",
    )
    ignored_commands = _counter(
        "scrutin_ignored_commands_total",
        "Changes in control records that nobody may make, and that had no effect; should stay 0",
        "stage",
    )
    already_counted_votes = _counter(
        "scrutin_surplus_votes_total", "Accepted votes that the database already had; should stay 0"
    )
    lag = _gauge("scrutin_lag_records", "Records not yet processed", "stage", "partition")
    voted_entries = _gauge("scrutin_voted_entries", "Voter keys in the voted table", "partition")
    live_messages = _counter(
        "scrutin_live_messages_total", "Messages with committed totals for watchers", "outcome"
    )
    roll_entries = _gauge("scrutin_roll_entries", "Voter keys on the roll in the log", "partition")
    recovery_duration = _gauge(
        "scrutin_recovery_seconds", "Duration of the last restore of the table"
    )

    def __init__(self, registry: CollectorRegistry) -> None:
        super().__init__(registry)
        for stage in ("validation", "sink"):
            # There from the start: `increase` does not see a series' first step.
            self.backfills.labels(stage=stage)
            self.ignored_commands.labels(stage=stage)

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


class BridgeMetrics(_Metrics):
    """What a bridge exposes."""

    validation_queue_size = _gauge(
        "validation_queue_size", "Messages waiting in the validation queue"
    )
    redis_operations = _counter("redis_operations_total", "Redis operations", "operation", "status")
    received = _counter("scrutin_bridge_received_total", "Deliveries taken from a queue", "queue")
    malformed = _counter("scrutin_bridge_malformed_total", "Messages that are no vote", "reason")
    oversized = _counter("oversized_payloads_total", "Messages longer than the limit")
    patterns_unique = _counter(
        "error_patterns_unique_total", "First characters of unknown hashes, new"
    )
    patterns_repeated = _counter("error_patterns_repeated_total", "The same, seen before")
    acknowledged = _counter("scrutin_bridge_acknowledged_total", "Deliveries acknowledged", "queue")
    published = _counter(
        "scrutin_bridge_published_total", "Messages confirmed by RabbitMQ", "queue"
    )
    returned = _counter(
        "scrutin_bridge_returned_total", "Messages RabbitMQ could not route", "queue"
    )
    reviews_withheld = _counter(
        "scrutin_reviews_withheld_total",
        "Rejected messages whose review was left out, see SCRUTIN_REVIEWS_PER_MINUTE",
        "status",
        "reason",
    )
    reproduced = _counter(
        "scrutin_bridge_reproduced_total",
        "Batches written to Kafka again because the first answer was lost",
    )
    reconnects = _counter("scrutin_bridge_reconnects_total", "Connections made again", "service")
    in_flight = _gauge("scrutin_bridge_in_flight", "Deliveries not yet acknowledged", "queue")
    paused = _gauge("scrutin_bridge_paused", "1 while intake waits for the workers to catch up")
    blocked = _gauge(
        "scrutin_bridge_blocked",
        "1 while RabbitMQ, short of memory or disk, does not read from us",
        "queue",
    )
    delivery_limit = _gauge(
        "scrutin_bridge_queue_delivery_limit",
        "Returns after which RabbitMQ removes a message of the queue; -1: never",
        "queue",
    )
    roll_size = _gauge("scrutin_roll_size", "Entries of `valid_hashes` at the last look")
    behind = _gauge(
        "scrutin_bridge_lag_records",
        "Verdict batches in Kafka that a reader of this bridge has yet to deal with",
        "reader",
        "partition",
    )
    mirrored = _counter("scrutin_mirrored_total", "Votes written to the Redis mirror")


class TallyMetrics(_Metrics):
    """What a tally worker exposes."""

    tasks = _histogram(
        "scrutin_tally_task_seconds", "Tasks of encrypted tallies", "phase", "outcome"
    )


class WebhookMetrics(_Metrics):
    """What a sender of webhooks exposes."""

    attempts = _counter(
        "scrutin_webhook_attempts_total", "Messages sent, by their outcome", "state"
    )


class GatewayMetrics(_Metrics):
    """What a gateway exposes."""

    # Of the replaced vote API.
    votes_submitted = _counter("votes_submitted_total", "Votes confirmed", "law_id", "vote_choice")
    vote_errors = _counter("vote_errors_total", "Votes not taken", "error_type")
    http_duration = _histogram(
        "http_request_duration_seconds",
        "From a request to its whole response",
        "method",
        "endpoint",
        "status",
    )
    http_requests = _counter("http_requests_total", "Requests", "status")
    oversized = _counter("oversized_payloads_total", "Bodies beyond the limit")
    # Scrutin's own.
    throttled = _counter("scrutin_gateway_throttled_total", "Requests turned away", "limit")
    unthrottled = _counter(
        "scrutin_gateway_unthrottled_total",
        "Requests that this gateway limited by itself because Redis could not be asked",
    )
    blocked = _gauge(
        "scrutin_gateway_blocked",
        "1 while RabbitMQ, short of memory or disk, does not read from us",
    )
    watchers = _gauge("scrutin_gateway_watchers", "Open sockets and event streams")
    unsigned_totals = _counter(
        "scrutin_gateway_unsigned_totals_total",
        "Messages with live totals that no worker signed with this gateway's secret lately",
    )

    def __init__(self, registry: CollectorRegistry) -> None:
        super().__init__(registry)
        self._laws: set[str] = set()

    def submitted(self, law_id: str, choice: str) -> None:
        """Count a confirmed vote. Anybody can name a law, so only so many get a series."""
        if law_id not in self._laws:
            if len(self._laws) >= MAX_LAW_SERIES:
                law_id = "other"
            self._laws.add(law_id)
        self.votes_submitted.labels(law_id, choice).inc()

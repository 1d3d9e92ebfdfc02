"""What `scrutin top` makes of two looks."""

from __future__ import annotations

import io
import math
from datetime import UTC, datetime, timedelta

import pytest
from prometheus_client.exposition import generate_latest
from rich.console import Console

from streams.adapters.rabbitmq.client import QueueDepth
from streams.cli.top import Seen, render
from streams.core.topics import VALIDATED_TOPIC, VALIDATION_TOPIC
from streams.elections.contest_making import ContestFacts, Moment, result_of_totals
from streams.inspect.lag import EGRESS, MIRROR, SINK, WORKERS, Lag, PartitionLag
from streams.inspect.scrape import Process, parse
from streams.inspect.top import Snapshot, compare, partitions_of, quantile, waiting
from streams.runtime.metrics import BridgeMetrics, WorkerMetrics, expose_health, process_registry
from streams.runtime.outages import OutageTracker


class Worker:
    """Metrics of a worker, scraped when asked."""

    def __init__(self, address: str = "127.0.0.1:8001") -> None:
        self.metrics = WorkerMetrics(process_registry())
        self.faults: list[str] = []
        self._address = address
        expose_health(self.metrics.registry, lambda: self.faults, OutageTracker(3))

    def scraped(self) -> Process:
        return parse(self._address, generate_latest(self.metrics.registry).decode(), self.faults)


def look(at_s: float, *processes: Process, lag: Lag | None = None) -> Snapshot:
    return Snapshot(at_s, list(processes), lag or Lag())


def test_a_worker_is_known_by_its_metrics_and_tells_its_partitions() -> None:
    worker = Worker()
    for stage in ("validation", "aggregation"):
        for partition in (3, 1):
            worker.metrics.lag.labels(stage=stage, partition=partition).set(5)
    process = worker.scraped()
    assert (process.kind, process.answers, process.faults) == ("worker", True, [])
    assert partitions_of(process) == [1, 3]
    assert process.total("scrutin_lag_records", stage="validation") == 10
    bridge = BridgeMetrics(process_registry())
    assert parse("b:1", generate_latest(bridge.registry).decode(), []).kind == "bridge"


def test_rates_are_what_was_gained_a_second_also_over_a_restart() -> None:
    one, two = Worker("a:1"), Worker("b:1")
    for worker in (one, two):
        worker.metrics.votes_aggregated.labels(law_id="x", choice="oui").inc(100)
        worker.metrics.decided({"valid": 100, "duplicate": 3})
    before = look(10.0, one.scraped(), two.scraped())
    one.metrics.votes_aggregated.labels(law_id="x", choice="non").inc(50)
    one.metrics.decided({"duplicate": 4})
    again = Worker("b:1")
    again.metrics.votes_aggregated.labels(law_id="x", choice="oui").inc(20)
    view = compare(before, look(12.0, one.scraped(), again.scraped()))
    assert view.rates["counted"] == 35
    assert view.worker_rates == {"a:1": 25, "b:1": 10}
    assert view.verdicts["duplicate"] == 2
    assert view.latencies == {"end_to_end": None, "validation": None, "flush": None}


def test_latencies_are_of_what_happened_between_the_looks() -> None:
    worker = Worker()
    worker.metrics.latency.observe(20)
    before = look(0.0, worker.scraped())
    for _ in range(100):
        worker.metrics.latency.observe(0.02)
    found = compare(before, look(1.0, worker.scraped())).latencies["end_to_end"]
    assert found is not None
    assert 0.01 < found.p50_s <= found.p99_s <= 0.025


@pytest.mark.parametrize(
    ("buckets", "share", "value"),
    [
        ({0.1: 10, 1.0: 10, math.inf: 10}, 0.5, 0.05),
        ({0.1: 0, 1.0: 10, math.inf: 10}, 0.5, 0.55),
        ({0.1: 0, 1.0: 0, math.inf: 10}, 0.5, math.inf),
        ({0.1: 50, 1.0: 100, math.inf: 100}, 0.99, 0.982),
    ],
)
def test_quantiles_are_linear_within_a_bucket(
    buckets: dict[float, float], share: float, value: float
) -> None:
    assert quantile(buckets, share) == pytest.approx(value)


def a_lag() -> Lag:
    positions = {WORKERS: 4, EGRESS: 3, MIRROR: None, SINK: 9}
    return Lag(
        [
            PartitionLag(VALIDATION_TOPIC, 0, 10, {WORKERS: 4, SINK: 9}),
            PartitionLag(VALIDATED_TOPIC, 0, 10, positions),
        ],
        {"votes.validation": QueueDepth(7, 1), "votes.review": None},
    )


def test_a_reader_that_never_committed_has_everything_before_it() -> None:
    assert waiting(a_lag()) == {
        "queue votes.validation": 7,
        "queue votes.review": None,
        "validation": 6,
        "aggregation": 1,
        "reviews": 7,
        "mirror": 10,
    }


AT = datetime(2026, 11, 30, 20, 0, 10, tzinfo=UTC)
PROOF = {
    "enforced": True,
    "final": True,
    "closed_at": AT,
    "vector": [],
    "passed": 1,
    "partitions": 1,
}
FINAL = (
    ContestFacts("L1", "law", "Pool", "closed", proof=PROOF, updated_at=AT - timedelta(seconds=10)),
    {"oui": 3, "non": 1},
    Moment(AT, []),
)
AGE = "as of 20:00:10 UTC, last change 10 s before"


def test_the_view_shows_who_is_not_ready_and_does_not_trust_texts() -> None:
    worker = Worker()
    worker.faults = ["kafka is unavailable\x1b[2J"]
    gone = Process("[::1]:8002", faults=["no answer: TimeoutError"])
    now = look(1.0, worker.scraped(), gone, lag=a_lag())
    console = Console(width=140, record=True, file=io.StringIO())
    console.print(render(Seen(compare(now, now), [result_of_totals(*FINAL)])))
    text = console.export_text()
    assert "kafka is unavailable" in text
    assert "\x1b[2J" not in text
    assert "no answer: TimeoutError" in text
    assert "queue votes.validation" in text
    assert "no window was committed yet" in text
    [line] = [line for line in text.splitlines() if "Pool" in line]
    assert line.split() == ["Pool", "final", "4", "oui", "75.0", "%", *AGE.split()]


def test_what_nobody_was_asked_for_is_no_zero() -> None:
    """Without an answer of the process that counts it, and without PostgreSQL."""
    gone = Process("[::1]:8002", faults=["no answer: TimeoutError"])
    now = Snapshot(1.0, [gone], Lag(), windows=None)
    view = compare(now, now)
    assert set(view.rates.values()) == {None}
    found = Seen(view, None).as_dict()
    assert set(found["votes_per_second"].values()) == {None}
    assert found["results"] is None
    assert found["windows"] is None
    console = Console(width=140, record=True, file=io.StringIO())
    console.print(render(Seen(view, None)))
    text = console.export_text()
    assert "0" not in text.split("windows ?", maxsplit=1)[0]
    assert "windows ? PostgreSQL could not be asked" in text
    # A worker that answers counts what workers count, and nothing else.
    worker = Worker()
    later = compare(look(1.0, worker.scraped(), gone), look(2.0, worker.scraped(), gone))
    assert {name for name, rate in later.rates.items() if rate is not None} == {
        "decided",
        "counted",
    }
    # One that was not reached before has no rate: its first figure is no increase.
    first = compare(look(1.0, Process("127.0.0.1:8001")), look(2.0, worker.scraped()))
    assert first.rates["counted"] is None

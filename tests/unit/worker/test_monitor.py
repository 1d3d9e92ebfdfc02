"""The gauges of a worker, where it owns nothing."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from faust.exceptions import ConsumerNotStarted
from faust.types import TP
from prometheus_client import CollectorRegistry

from streams.core.topics import VALIDATED_TOPIC
from streams.core.voted_partition import VotedPartition
from streams.engine.assignment import owned
from streams.runtime.metrics import WorkerMetrics
from streams.worker.monitor import Monitor


class NotBegun:
    """Faust's consumer between its own start and that of its thread."""

    def assignment(self) -> set[Any]:
        raise ConsumerNotStarted("Consumer thread not yet started")


def samples(gauge: Any) -> dict[tuple[str, ...], float]:
    return {tuple(s.labels.values()): s.value for m in gauge.collect() for s in m.samples}


async def test_a_consumer_whose_thread_has_not_begun_owns_nothing() -> None:
    metrics = WorkerMetrics(CollectorRegistry())
    app = SimpleNamespace(consumer=NotBegun())
    watch = Monitor(metrics, cast(Any, None), lambda topic: owned(app, topic))
    metrics.current_vote_totals.labels(law_id="law-1", choice="oui").set(3)
    await watch._export_totals()
    assert samples(metrics.current_vote_totals) == {}


def test_partitions_that_went_to_another_worker_are_not_exported() -> None:
    metrics = WorkerMetrics(CollectorRegistry())
    watch = Monitor(metrics, cast(Any, None), lambda _: [])
    watch.export_partitions({TP(VALIDATED_TOPIC, 3): 7}, {3: VotedPartition(3)})
    assert samples(metrics.lag) == {("aggregation", "3"): 7}
    assert samples(metrics.voted_entries) == {("3",): 0}
    watch.export_partitions({}, {})
    assert samples(metrics.lag) == samples(metrics.voted_entries) == {}

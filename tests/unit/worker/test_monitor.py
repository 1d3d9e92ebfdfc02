"""The watch of a worker, where it does not need one."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from faust.exceptions import ConsumerNotStarted
from prometheus_client import CollectorRegistry

from streams.adapters.kafka.reader import LogReader
from streams.runtime.metrics import WorkerMetrics
from streams.runtime.outages import OutageTracker
from streams.worker.monitor import Monitor


class NotBegun:
    """Faust's consumer between its own start and that of its thread."""

    def assignment(self) -> set[Any]:
        raise ConsumerNotStarted("Consumer thread not yet started")


async def test_a_consumer_whose_thread_has_not_begun_owns_nothing() -> None:
    metrics = WorkerMetrics(CollectorRegistry())
    worker = SimpleNamespace(app=SimpleNamespace(consumer=NotBegun()), sinks=True, metrics=metrics)
    watch = Monitor(cast(Any, worker), cast(Any, None), LogReader([]), OutageTracker(3))
    metrics.current_vote_totals.labels(law_id="law-1", choice="oui").set(3)
    await watch._export_totals()
    assert not [s for m in metrics.current_vote_totals.collect() for s in m.samples]

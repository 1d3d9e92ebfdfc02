"""Gauges of a running worker: committed totals, lag, and sizes of its partitions."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import structlog
from faust.types import TP

from streams.adapters.postgres import statements
from streams.adapters.postgres.connection import translated
from streams.core.topics import VALIDATED_TOPIC, VALIDATION_TOPIC
from streams.core.voted_partition import VotedPartition
from streams.errors import ServiceUnavailable
from streams.runtime.metrics import WorkerMetrics
from streams.worker.postgres_sink import PostgresSink

log = structlog.get_logger(__name__)

INTERVAL_S: Final = 1.0
MAX_CONTESTS: Final = 200
"""Whose latest changes are exported."""
_CHANGES: Final = """
SELECT c.contest_id, extract(epoch FROM coalesce(
        (SELECT min(at) FROM operator_actions
         WHERE subject = c.contest_id AND action = 'contest open'), c.opens_at))::float8 AS opened,
    extract(epoch FROM k.issued_at)::float8 AS closed
FROM contests AS c LEFT JOIN control_commands AS k ON k.command_id = c.closed_by
WHERE c.state <> 'draft' AND c.kind <> 'poll' ORDER BY c.updated_at DESC LIMIT $1
"""
_REPLY_TIMEOUT_S: Final = 30.0
_STAGES: Final = {VALIDATION_TOPIC: "validation", VALIDATED_TOPIC: "aggregation"}


@dataclass(frozen=True)
class Monitor:
    """Sets the gauges."""

    metrics: WorkerMetrics
    """Of the worker."""
    sink: PostgresSink
    """For the totals."""
    owned: Callable[[str], Sequence[int]]
    """Numbers of the partitions of a topic that this worker owns."""

    async def run(self) -> None:
        """Export the totals until cancelled."""
        while True:
            await asyncio.sleep(INTERVAL_S)
            try:
                async with asyncio.timeout(_REPLY_TIMEOUT_S):
                    await self._export_totals()
            except (ServiceUnavailable, TimeoutError) as error:
                # The flushes report the outage.
                log.debug("totals are unknown", error=str(error))

    async def _export_totals(self) -> None:
        """Totals are exported by the owner of partition 0 only, so that sums are right."""
        gauge, changes = self.metrics.current_vote_totals, self.metrics.contest_changes
        if 0 not in self.owned(VALIDATED_TOPIC):
            gauge.clear()
            changes.clear()
            return
        where: dict[str, object] = {"table": "vote_results"}
        async with translated(where), self.sink.connections.acquire() as connection:
            rows = await connection.fetch(statements.READ_TOTALS)
            changed = await connection.fetch(_CHANGES, MAX_CONTESTS)
        # A reset removes laws.
        gauge.clear()
        for row in rows:
            gauge.labels(law_id=row["law_id"], choice="oui").set(row["oui_count"])
            gauge.labels(law_id=row["law_id"], choice="non").set(row["non_count"])
        changes.clear()
        for row in changed:
            for change in ("opened", "closed"):
                if row[change] is not None:
                    changes.labels(law_id=row["contest_id"], change=change).set(row[change])

    def export_partitions(self, lag: Mapping[TP, int], voted: Mapping[int, VotedPartition]) -> None:
        """Export the lag, and the number of voters of the owned partitions.

        Args:
            lag: number of waiting records, by owned partition.
            voted: partitions of the voted table.
        """
        metrics = self.metrics
        # The new owner reports a reassigned partition.
        for gauge in (metrics.lag, metrics.voted_entries, metrics.roll_entries):
            gauge.clear()
        for tp, records in lag.items():
            metrics.lag.labels(stage=_STAGES[tp.topic], partition=tp.partition).set(records)
        for partition, state in voted.items():
            metrics.voted_entries.labels(partition=partition).set(len(state))
            metrics.roll_entries.labels(partition=partition).set(len(state.rules.roll))

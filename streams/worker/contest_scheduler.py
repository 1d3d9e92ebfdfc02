"""Opens and closes contests at their scheduled times, and completes partly written commands.

Runs in every worker; the holder of the issuers' lock does the work. PostgreSQL's clock decides
once when a contest closes. The log alone decides which votes were in time: those before the
closing record of their partition.
"""

from __future__ import annotations

import asyncio
from dataclasses import KW_ONLY, dataclass
from typing import Final

import structlog

from schemas.control import Contest
from streams.adapters.kafka.writer import LogWriter
from streams.adapters.postgres.connection import translated
from streams.control.issuer import Issuer
from streams.core.contests import due_changes
from streams.errors import ServiceUnavailable
from streams.runtime.metrics import WorkerMetrics
from streams.worker.postgres_sink import PostgresSink

log = structlog.get_logger(__name__)

PERIOD_S: Final = 0.5

DUE: Final = """
SELECT greatest(extract(epoch FROM now() - min(
        CASE state WHEN 'draft' THEN opens_at ELSE closes_at END)), 0)::float8 AS overdue_s,
    EXISTS (SELECT 1 FROM control_commands WHERE written_at IS NULL) AS unwritten
FROM contests
WHERE (state = 'draft' AND opens_at <= now()) OR (state = 'open' AND closes_at <= now())
"""
"""How long the contest that waits longest is due, if any is, and whether a command is partly
written."""


@dataclass(frozen=True)
class ContestScheduler:
    """Issues scheduled commands."""

    sink: PostgresSink
    """For its connections."""
    writer: LogWriter
    """To Kafka, for this task alone."""
    _: KW_ONLY
    partitions: int
    """Of the log."""
    name: str
    """Of the worker."""
    enforced: bool
    """Whether only votes in open contests count."""
    metrics: WorkerMetrics

    async def run(self) -> None:
        """Check the schedule until cancelled."""
        while True:
            await asyncio.sleep(PERIOD_S)
            try:
                await self.issue_due()
            except ServiceUnavailable as error:
                # The stages report outages; due changes stay due.
                log.debug("commands wait for a service", error=str(error))

    async def issue_due(self) -> None:
        """Issue the changes that are due.

        Raises:
            ServiceUnavailable: PostgreSQL or Kafka does not answer.
        """
        async with (
            translated({"table": "contests"}),
            self.sink.connections.acquire() as connection,
        ):
            [(overdue_s, unwritten)] = await connection.fetch(DUE)
            self.metrics.contest_overdue.set(overdue_s or 0)
            if overdue_s is None and not unwritten:
                return
            issuer = Issuer(
                connection=connection,
                writer=self.writer,
                partitions=self.partitions,
                name=self.name,
                enforced=self.enforced,
            )
            async with issuer.turn(wait=False) as mine:
                if mine and (command := await issuer.change_contests(_due_changes)):
                    for contest in command.contests:
                        log.info(
                            "contest changed by schedule", contest=contest.id, state=contest.state
                        )


def _due_changes(known: dict[str, Contest], now_ms: int) -> list[Contest]:
    return due_changes(known, now_ms)

"""Rebuild the log, and all that follows from it, from the database after Kafka lost everything."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from streams.adapters.kafka.admin import ensure_topics
from streams.adapters.postgres import statements
from streams.adapters.postgres.connection import connected, require_owner
from streams.core.topics import VALIDATION_TOPIC
from streams.errors import OLD_RESULTS, LogMismatch
from streams.maintenance import log as of_log
from streams.maintenance import postgres as of_postgres
from streams.maintenance import topics as of_topics
from streams.maintenance.guard import Bars
from streams.maintenance.sources import AuditSource
from streams.settings.configs import DeploymentConfig


async def rebuild_from_audit(
    config: DeploymentConfig, bars: Bars, *, dry_run: bool
) -> Mapping[
    str, of_log.LogRebuildReport | of_topics.TopicRebuildReport | of_postgres.PostgresRebuildReport
]:
    """Write counted and rejected votes to the log, then rebuild everything derived from it.

    The tables in use stay until the count from the new log proves to be the same.

    Raises:
        LogMismatch: the database holds the results of this very log, or none.
        ServiceUnavailable: a service does not answer.
    """
    genesis = await ensure_topics(config.kafka)
    async with connected(config.postgres) as connection:
        # Check before the log is written: the tables are replaced last.
        await require_owner(connection, config.postgres, "scrutin rebuild log --from-audit")
        await _check_other(connection, {p: g.log_id for p, g in genesis.items()})
        await _check_plain(connection)
        source = AuditSource(connection, genesis)
        reports: dict[str, Any] = {}
        reports["log"] = log = await of_log.LogRebuild(config, source, bars).run(dry_run=dry_run)
    if dry_run or not log.right:
        return reports
    ends = {found.partition: found.known - found.held for found in log.verified or log.found}
    reports["voted"], reports["validated"] = await of_topics.TopicRebuild(config, bars).all_of(ends)
    reports["postgres"] = await of_postgres.PostgresRebuild(config, bars).run(moved=True)
    return reports


async def _check_plain(connection: Any) -> None:
    """A log made from the database has no roll, so neither weights nor revotes."""
    if await connection.fetchval(
        "SELECT EXISTS (SELECT FROM vote_audit WHERE weight <> 1)"
        " OR EXISTS (SELECT FROM rejected_votes WHERE status = 'replaced')"
    ):
        raise LogMismatch(
            "Votes have weights, or were replaced: a log from the database would count otherwise",
            where={"table": "vote_audit"},
            todo="Keep the results in the database; `scrutin fresh` archives them for a new log",
        )


async def _check_other(connection: Any, log_ids: dict[int, bytes]) -> None:
    rows = []
    if await connection.fetchval(statements.HAS_FENCE):
        rows = await connection.fetch(statements.READ_OFFSETS)
    if not rows:
        raise LogMismatch(
            "The database holds no count of any log",
            where={"table": "sink_offsets"},
            todo=OLD_RESULTS,
        )
    for row in rows:
        partition = row["partition"]
        if partition not in log_ids:
            raise LogMismatch(
                f"The database counted partition {partition}, the settings say there are"
                f" {len(log_ids)}",
                where={"variable": "SCRUTIN_PARTITIONS"},
                todo="Set it to the number of the lost log",
            )
        if row["log_id"] == log_ids[partition]:
            raise LogMismatch(
                "The database holds the results of this very log",
                where={"topic": VALIDATION_TOPIC, "partition": partition},
                todo="Without --from-audit the log is restored from votes.validated; if that is"
                " gone too, delete the topic and run this again",
            )

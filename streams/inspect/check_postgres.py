"""`scrutin doctor`: PostgreSQL, and whether its data belongs to the log."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from streams.adapters.kafka.view import Span
from streams.adapters.postgres.connection import connected
from streams.adapters.postgres.migrations import migrations
from streams.inspect.checks import Check, CheckClock, CheckedService
from streams.settings.configs import PostgresConfig

SERVICE: Final = CheckedService("postgresql")
LOG_IDENTITY: Final = "log identity"
_DURABLE: Final = {"fsync": ("on",), "full_page_writes": ("on",)}
_OLDEST: Final = 13
_LOCKS: Final = ("max_connections", "max_locks_per_transaction")
_LOCKS_OF_A_TABLE: Final = 4
"""With its indexes."""
_READERS: Final = 20
"""Who look into `vote_audit` at the same time."""
_JIT: Final = ("jit", "jit_above_cost")
_COST_OF_A_TABLE: Final = 4_500
"""As the planner sees a look-up by time: 9,000 for a stretch, of two tables."""


class SinkRow(NamedTuple):
    """A row of `sink_offsets`."""

    log_id: bytes
    source_offset: int
    """Last input offset applied."""


@dataclass
class PostgresFacts:
    """Facts about PostgreSQL."""

    version: str
    clock: CheckClock
    parameters: dict[str, str]
    connections: int
    """In use by all clients."""
    applied: list[int] | None = None
    """Versions of the applied migrations; None before the first."""
    sink: dict[int, SinkRow] = field(default_factory=dict)
    """By partition."""
    has_votes: bool = False
    vote_tables: int = 0
    """Behind `vote_audit`."""


async def gather(config: PostgresConfig) -> PostgresFacts:
    """Read the facts from PostgreSQL.

    Raises:
        ServiceUnavailable: PostgreSQL does not answer.
        SettingsError: it refuses the login.
    """
    async with connected(config) as connection:
        asked = time.time()
        now = await connection.fetchval("SELECT extract(epoch FROM clock_timestamp())::float8")
        clock = CheckClock.read(now, asked)
        rows = await connection.fetch(
            # As others have them.
            "SELECT name, reset_val FROM pg_settings WHERE name = ANY($1)",
            [*_DURABLE, "synchronous_commit", "server_version", *_LOCKS, *_JIT],
        )
        parameters = {row["name"]: row["reset_val"] for row in rows}
        facts = PostgresFacts(
            parameters["server_version"],
            clock,
            parameters,
            await connection.fetchval("SELECT count(*) FROM pg_stat_activity"),
        )
        if await connection.fetchval("SELECT to_regclass('schema_migrations')"):
            rows = await connection.fetch("SELECT version FROM schema_migrations ORDER BY 1")
            facts.applied = [row["version"] for row in rows]
        if await connection.fetchval("SELECT to_regclass('sink_offsets')"):
            rows = await connection.fetch(
                "SELECT partition, log_id, source_offset FROM sink_offsets"
            )
            facts.sink = {
                row["partition"]: SinkRow(bytes(row["log_id"]), row["source_offset"])
                for row in rows
            }
        if await connection.fetchval("SELECT to_regclass('vote_audit')"):
            facts.has_votes = await connection.fetchval("SELECT EXISTS (SELECT FROM vote_audit)")
        facts.vote_tables = await connection.fetchval(
            "SELECT count(*) FROM pg_partition_tree(to_regclass('counted_votes'))"
        )
        return facts


def evaluate(config: PostgresConfig, facts: PostgresFacts) -> Iterator[Check]:
    """Checks derived from the facts."""
    yield SERVICE.ok("reachable", f"version {facts.version}")
    if int(facts.version.split(".", maxsplit=1)[0]) < _OLDEST:
        yield SERVICE.failure(
            "version", facts.version, f"Version {_OLDEST} or newer is needed (xid8)"
        )
    yield evaluate_schema(facts.applied, [m.version for m in migrations()])
    yield from _evaluate_durability(facts.parameters)
    free = int(facts.parameters["max_connections"]) - facts.connections
    if free < config.max_connections:
        yield SERVICE.warning(
            "connections",
            f"{free} free, a worker may open {config.max_connections}",
            "Raise max_connections or lower POSTGRES_MAX_CONNECTIONS",
        )
    held = facts.vote_tables * _LOCKS_OF_A_TABLE * _READERS
    connections, locks = (int(facts.parameters[name]) for name in _LOCKS)
    if held > connections * locks:
        yield SERVICE.warning(
            "locks",
            f"{connections * locks} fit; {_READERS} readers of vote_audit need {held}",
            f"Raise max_locks_per_transaction to {-(-held // connections)}",
        )
    jit, above_cost = (facts.parameters[name] for name in _JIT)
    if jit == "on" and 0 <= float(above_cost) < facts.vote_tables * _COST_OF_A_TABLE:
        yield SERVICE.warning(
            "jit",
            f"on; to compile a look-up by time in {facts.vote_tables} tables takes longer than it",
            "Run `scrutin roles --apply` as the database's owner, who sets it off",
        )
    yield SERVICE.clock(facts.clock)


def evaluate_schema(applied: list[int] | None, known: list[int]) -> Check:
    """Compare the applied migrations with those of this version."""
    newer = sorted(set(applied or ()) - set(known))
    pending = sorted(set(known) - set(applied or ()))
    if newer:
        return SERVICE.failure(
            "schema",
            f"has migration {newer[-1]}, this version ends at {max(known, default=0)}",
            "Run the newer version of Scrutin",
        )
    if pending:
        detail = "no tables yet" if not applied else f"{len(pending)} migrations are missing"
        return SERVICE.warning("schema", detail, "Run `scrutin migrate`; a worker does so at start")
    return SERVICE.ok("schema", f"version {max(known, default=0)}")


def _evaluate_durability(parameters: Mapping[str, str]) -> Iterator[Check]:
    off = [
        f"{name}={parameters[name]}"
        for name, safe in _DURABLE.items()
        if parameters.get(name, "on") not in safe
    ]
    # Workers do not override it, so a crash can lose committed rows.
    if parameters.get("synchronous_commit") == "off":
        off.append("synchronous_commit=off")
    if off:
        yield SERVICE.warning(
            "durability",
            ", ".join(off),
            "A power failure can lose committed votes; acceptable for trials, not for a real count",
        )
    else:
        yield SERVICE.ok("durability", "commits are on disk")


def evaluate_log(
    facts: PostgresFacts, log_ids: Mapping[int, bytes | None], spans: Mapping[int, Span]
) -> Check:
    """Check that database and log belong together.

    Args:
        facts: about the database.
        log_ids: partition -> identity of the log.
        spans: partition -> offsets of the log.
    """
    name = LOG_IDENTITY
    if not facts.sink:
        if facts.has_votes:
            return SERVICE.failure(
                name,
                "votes were counted, but there is no position in any log",
                "Use an empty database for a new count, or restore the log of these votes",
            )
        return SERVICE.ok(name, "nothing counted yet")
    foreign = sorted(p for p, row in facts.sink.items() if log_ids.get(p) != row.log_id)
    if foreign:
        return SERVICE.failure(
            name,
            f"partitions {', '.join(map(str, foreign))} were counted from another log",
            "The topic was recreated, or the database belongs to another deployment: restore the "
            "wrong one before you start workers",
        )
    ahead = sorted(
        p for p, row in facts.sink.items() if p in spans and row.source_offset >= spans[p].end
    )
    if ahead:
        return SERVICE.failure(
            name,
            f"partitions {', '.join(map(str, ahead))}: the database is newer than the log",
            "The log was truncated; restore it before you start workers",
        )
    return SERVICE.ok(name, f"{len(facts.sink)} partitions belong to this log")

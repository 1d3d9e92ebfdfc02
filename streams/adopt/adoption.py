"""`scrutin adopt`: the steps, their order, and the state after a kill.

1. In one transaction: the old tables are locked against writers, then copied and sorted in the
   schema `scrutin_adoption`. Tables whose names Scrutin needs are moved to `scrutin_replaced`.
   Killed before its commit: nothing has changed.
2. The migrations run.
3. Items are written to the input log in chunks, and the progress is stored after every chunk.
   Killed: the next run writes the last chunk again, and validation drops the repeated records.
"""

from __future__ import annotations

import secrets
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

import asyncpg
import msgspec

from schemas.notices import AdoptionBegun, AdoptionEnded
from streams.adapters.kafka.writer import writing
from streams.adapters.postgres.connection import connected
from streams.adapters.postgres.migrations import migrate
from streams.adapters.redis.client import redis_client
from streams.adopt import moving, polls
from streams.adopt import statements as sql
from streams.adopt.accounts import Account, rows_of, unknown_tables
from streams.adopt.copying import LONG_S
from streams.adopt.dialects import (
    AUDIT,
    ELECTION_RESULTS,
    ELECTION_VOTES,
    ELECTIONS,
    LAWS,
    POLL_LOG,
    VOTE_LOG,
    dialect,
)
from streams.adopt.findings import UNACCOUNTED, Finding
from streams.adopt.old_system import (
    OldSystem,
    inspect_tables,
    reader_schemas,
    same_database,
    vote_service,
)
from streams.adopt.readiness import check_log, notify_bridges, queues
from streams.adopt.records import records
from streams.adopt.staging import Step, assess, stage
from streams.errors import ScrutinError
from streams.runtime import failpoints
from streams.runtime.failpoints import Point
from streams.settings.configs import DeploymentConfig

CHUNK_ITEMS: Final = 20_000
DEFINITIONS: Final = (ELECTIONS, LAWS)
"""Tables that describe what is voted on."""
LEFT_OUT: Final = ("uncountable", "pending", "unknown_status", "unusable", "voted_without_vote")
"""Outcomes of rows whose vote does not count."""
_READ: Final = [AUDIT, ELECTION_VOTES, ELECTION_RESULTS]

_READERS: Final = """
SELECT DISTINCT grantee::text FROM information_schema.role_table_grants
WHERE table_schema = $1 AND table_name = ANY($2) AND privilege_type = 'SELECT'
    AND grantee <> 'PUBLIC' AND grantee <> current_user
ORDER BY 1
"""
_OTHERS: Final = """
SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
    AND pid <> pg_backend_pid() AND backend_type = 'client backend'
    AND application_name NOT LIKE 'scrutin%'
"""


@dataclass
class Adoption:
    """Progress and findings of an adoption."""

    source: str
    items: int = 0
    """Records to write: votes, attempts, voters without a vote, refused votes."""
    done: int = 0
    finished: bool = False
    moved: list[str] = field(default_factory=list)
    """Old relations that are in `scrutin_replaced`, or would be moved there."""
    facts: dict[str, int] = field(default_factory=dict)
    by_choice: list[dict[str, Any]] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    accounts: list[Account] = field(default_factory=list)
    """The outcome of each row that was read, by table."""
    reader_schemas: list[str] = field(default_factory=list)
    """Schemas with views that show readers the old tables' columns."""
    readers: list[str] = field(default_factory=list)
    """Roles that could read the old tables of votes."""

    @property
    def serious(self) -> bool:
        """Whether it needs the operator's consent."""
        return any(finding.serious for finding in self.findings)

    @property
    def left_out(self) -> dict[str, int]:
        """Rows of votes that are not counted as they were: outcome -> rows, over all tables."""
        found: Counter[str] = Counter()
        for account in self.accounts:
            found.update({o: n for o, n in account.outcomes.items() if o in LEFT_OUT})
        return dict(found)

    @property
    def unknown_tables(self) -> list[str]:
        """Tables that look as if they held votes and were not read."""
        return [d for f in self.findings if f.name == "unknown_tables" for d in f.details]


class Differences(ScrutinError):
    """The old system's data is inconsistent, and the operator did not accept that."""


async def examine(config: DeploymentConfig, old: OldSystem, step: Step) -> Adoption:
    """Examine the old system and change nothing.

    Raises:
        ScrutinError: there is nothing to adopt, or its tables cannot be interpreted.
        ServiceUnavailable: a service does not answer.
    """
    async with _staged(config, old, step, keep=False) as (adoption, _):
        return adoption


async def begin(
    config: DeploymentConfig, old: OldSystem, step: Step, *, accept_differences: bool
) -> Adoption:
    """Stage the old system's votes and make room for Scrutin's tables, unless already done.

    Raises:
        Differences: there are serious findings, and they are not accepted.
        LogMismatch: the log has votes that were not adopted.
        ScrutinError: there is nothing to adopt, or its tables cannot be interpreted.
        ServiceUnavailable: a service does not answer.
    """
    async with connected(config.postgres) as connection:
        found = await present(connection)
        if found is None:
            await check_log(config)
            async with (
                _waiting_bridges(config),
                _staged(config, old, step, keep=True) as (found, target),
            ):
                if any(finding.name == UNACCOUNTED for finding in found.findings):
                    raise ScrutinError(
                        "Not every row of the old tables has an outcome",
                        where={a.source: a.unaccounted for a in found.accounts if a.unaccounted},
                        todo="Nothing was changed. Stop whatever still writes these tables, and"
                        " try again",
                    )
                if found.serious and not accept_differences:
                    raise Differences(
                        "The old system's data is inconsistent",
                        where={f.name: f.count for f in found.findings if f.serious},
                        todo="`scrutin adopt --dry-run` shows how each is handled; then"
                        " adopt with --accept-differences",
                    )
                await target.execute(
                    sql.INSERT_ADOPTION,
                    secrets.token_bytes(16),
                    found.source,
                    found.moved,
                    msgspec.json.encode(_stored(found)).decode(),
                )
                if found.moved:
                    await moving.move(target, found.moved, "public", sql.REPLACED)
        step("migrating")
        await migrate(connection)
        if not found.finished:
            await polls.reserve(connection)
        return found


async def write_items(config: DeploymentConfig, advance: Callable[[int], None]) -> Adoption:
    """Write the staged items to the log, from the stored progress; returns when Kafka has all.

    Bridges wait meanwhile (`votes.control`), also those started during an interruption.

    Args:
        config: of this deployment.
        advance: called with the items written, first with those of earlier runs.

    Raises:
        LogMismatch: a bridge has written votes since it began.
        ServiceUnavailable: a service does not answer. The next run continues from there.
    """
    await notify_bridges(config, AdoptionBegun)
    epoch = await check_log(config)
    async with (
        writing(config.kafka, config.retry) as writer,
        connected(config.postgres) as connection,
    ):
        row = await connection.fetchrow(sql.READ_ADOPTION)
        assert row is not None, "nothing is staged"
        done = row["done"]
        advance(done)
        while done < row["items"]:
            items = await connection.fetch(sql.READ_ITEMS, done, CHUNK_ITEMS)
            await writer.write(
                records(
                    [dict(item) for item in items],
                    adoption=row["adoption"],
                    ingest_ms=time.time_ns() // 1_000_000,
                    name=f"adopt {config.name}",
                    epoch=epoch,
                    partitions=config.kafka.partitions,
                )
            )
            failpoints.at(Point.AFTER_ADOPTED)
            done = items[-1]["n"]
            await connection.execute(sql.SET_PROGRESS, done, None)
            advance(len(items))
        # After the votes: a poll that is over is final only when these are counted.
        await polls.announce(
            connection, writer, partitions=config.kafka.partitions, name=config.name
        )
        await connection.execute(sql.SET_PROGRESS, done, datetime.now(UTC))
        await notify_bridges(config, AdoptionEnded)
        found = await present(connection)
        assert found is not None
        return found


async def end(config: DeploymentConfig) -> None:
    """Let the bridges resume once all is in the log, if the run that wrote it was killed before.

    Raises:
        ServiceUnavailable: Kafka does not answer.
    """
    await notify_bridges(config, AdoptionEnded)


@asynccontextmanager
async def _waiting_bridges(config: DeploymentConfig) -> AsyncIterator[None]:
    """Make the bridges wait; they resume if the block fails."""
    await notify_bridges(config, AdoptionBegun)
    try:
        yield
    except BaseException:
        await notify_bridges(config, AdoptionEnded)
        raise


async def uncounted(config: DeploymentConfig) -> tuple[int, int]:
    """Adopted votes not counted unchanged, and voters whose attempts are not recorded.

    Both are 0 once the workers have counted everything. They stay above 0 if a voter had voted in
    Scrutin before the adoption.
    """
    async with connected(config.postgres) as connection:
        return (
            await connection.fetchval(sql.UNCOUNTED, timeout=LONG_S),
            await connection.fetchval(sql.UNRECORDED, timeout=LONG_S),
        )


async def undo(config: DeploymentConfig) -> Adoption:
    """Move the old tables back, and Scrutin's tables to `scrutin_undone`.

    Raises:
        ScrutinError: nothing was adopted here.
        ServiceUnavailable: the database does not answer, or the tables are locked.
    """
    async with connected(config.postgres) as connection:
        found = await present(connection)
        if found is None:
            raise ScrutinError(
                "Nothing was adopted in this database",
                where=config.postgres.where(),
                todo="Check POSTGRES_DB",
            )
        async with connection.transaction():
            await connection.execute("SET LOCAL lock_timeout = '10s'")
            await moving.undo(connection, found.moved)
        return found


async def present(connection: Any) -> Adoption | None:
    """The adoption of this database; None if there is none."""
    if await connection.fetchval(f"SELECT to_regclass('{sql.SCHEMA}.adoption')") is None:
        return None
    row = await connection.fetchrow(sql.READ_ADOPTION)
    kept = msgspec.json.decode(row["findings"])
    return Adoption(
        source=row["source"],
        items=row["items"],
        done=row["done"],
        finished=row["finished_at"] is not None,
        moved=list(row["moved"]),
        facts=kept["facts"],
        by_choice=kept["by_choice"],
        findings=msgspec.convert(kept["findings"], list[Finding]),
        accounts=msgspec.convert(kept.get("accounts", []), list[Account]),
        reader_schemas=(
            kept["reader_schemas"] if "reader_schemas" in kept else [kept["reader_schema"]]
        ),
        readers=kept["readers"],
    )


def _stored(adoption: Adoption) -> dict[str, Any]:
    names = ("facts", "by_choice", "findings", "accounts", "reader_schemas", "readers")
    return {name: getattr(adoption, name) for name in names}


@asynccontextmanager
async def _staged(
    config: DeploymentConfig, old: OldSystem, step: Step, *, keep: bool
) -> AsyncIterator[tuple[Adoption, asyncpg.Connection]]:
    """Stage in a transaction that the block ends: committed if `keep` and without an error."""
    here = same_database(old.postgres, config.postgres)
    async with (
        aclosing(redis_client(config.redis)) as redis,
        connected(old.postgres) as source,
        vote_service(old) as elsewhere,
        connected(config.postgres) as target,
    ):
        transaction = target.transaction()
        await transaction.start()
        try:
            occupied = not await moving.is_ours(target)
            found, moved = await inspect_tables(source, target, old, here=here, occupied=occupied)
            reading = source.transaction(isolation="repeatable_read", readonly=True)
            await reading.start()
            readers = [row[0] for row in await source.fetch(_READERS, old.schema, _READ)]
            connections = int(await source.fetchval(_OTHERS))
            tables = dialect(old.schema, found, config.default_election)
            logs: dict[str, polls.VoteService] = {
                table: polls.VoteService(source, old.schema)
                for table in (POLL_LOG, VOTE_LOG)
                if table in tables.tables
            }
            rows = await rows_of(source, old.schema, tables.tables)
            unknown = await unknown_tables(
                source,
                {(old.schema, table) for table in (*tables.tables, *DEFINITIONS)},
                moving.ours() if here and not occupied else (),
            )
            if elsewhere is not None and tables.polls:
                logs[VOTE_LOG] = elsewhere
                read = await rows_of(elsewhere.connection, elsewhere.schema, [VOTE_LOG])
                rows |= read
                unknown += await unknown_tables(
                    elsewhere.connection, {(elsewhere.schema, table) for table in read}, ()
                )
            others = await stage(
                source,
                target,
                tables,
                redis if old.redis else None,
                step,
                schema=old.schema,
                logs=logs,
                secret=config.secret,
                default_election=config.default_election,
            )
            # Its locks would keep Scrutin's transaction from moving the tables.
            await reading.rollback()
            more = {
                "others_connected": connections,
                "vote_service_not_read": int(tables.polls and VOTE_LOG not in logs),
                **await queues(config, polls=tables.polls),
            }
            accepted = await target.fetchval(
                "SELECT EXISTS (SELECT 1 FROM audit WHERE status = 'accepted')"
            )
            step("comparing")
            facts, by_choice, accounts, findings = await assess(
                target, more, rows, tables.totals, unknown, others=others, with_redis=old.redis
            )
            await target.execute("SET LOCAL search_path TO public")
            adoption = Adoption(
                source=f"{old.postgres.database}.{old.schema}",
                items=facts["items"],
                moved=moved,
                facts=facts,
                by_choice=by_choice,
                findings=findings,
                accounts=accounts,
                reader_schemas=reader_schemas(found, accepted=accepted),
                readers=readers,
            )
            yield adoption, target
        except BaseException:
            await transaction.rollback()
            raise
        if keep:
            await transaction.commit()
        else:
            await transaction.rollback()

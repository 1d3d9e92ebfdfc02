"""Shadow tables of the count: created beside the tables in use, compared, and swapped in.

A rebuild counts into its own schema. The results in use stay unchanged until the new ones are
complete; then one transaction replaces the rows, so that views, grants and readers keep working.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Final

from streams.adapters.postgres.migrations import migrate
from streams.adapters.postgres.statements import EMPTY_TEXT, HAS_TEXT

SCHEMA: Final = "scrutin_rebuild"

DERIVED: Final = {
    "vote_audit": "vote_hash, contest, choice, citizen_id, timestamp, weight",
    "rejected_votes": "status, reason, attempt_count, identity, weight",
    "duplicate_attempts": "vote_hash, contest, choice, attempt_count, reason",
    "vote_results": "law_id, oui_count, non_count",
    "contest_results": "contest_id, choice, votes",
    "vote_windows": "contest, choice, window_start, votes",
    "control_progress": "command_id, partition",
    "contest_closings": "command_id, contest_id",
    "sink_offsets": "partition, tree_size, tree_peaks",
    "proof_nodes": "partition, level, number, hash",
    "proof_leaves": "",
    "proof_starts": "partition, start_offset",
    "window_cursor": "",
}
"""Tables derived from the log, and the columns by which their rows are compared."""

MERGED: Final = {"control_commands": "command_id", "contests": "contest_id"}
"""Tables of commands and their keys. Commands may not be in the log yet: rows are only added."""

_SUMS: Final = ("contest_results", "vote_windows")
"""Tables in which a row of no votes may be left, once later votes have replaced all of them."""

_PLACES: Final = "source_partition, source_offset, source_index"

_NUMBERED: Final = {"vote_audit": "counted_votes", "rejected_votes": "rejected_votes"}
"""What has rows numbered in the order of the log, with their source offset -> the table of them."""

_OF_ONE_LOG: Final = ("sink_offsets", "proof_nodes", "proof_starts")
"""Tables that follow from offsets; another log with the same votes has other rows."""

_REPLACE_STRETCHES: Final = f"""
SELECT forget_stretches((max(number) + 1)::smallint) FROM vote_stretches;
INSERT INTO vote_stretches SELECT * FROM {SCHEMA}.vote_stretches;
SELECT make_stretch(number) FROM vote_stretches;
"""  # noqa: S608 - all names are constants
_KEEP_STRETCHES: Final = f"""
UPDATE vote_stretches SET first_id = (SELECT last_value + 1 FROM counted_votes_id_seq);
TRUNCATE vote_filters;
INSERT INTO vote_filters SELECT * FROM {SCHEMA}.vote_filters AS f WHERE EXISTS (
    SELECT FROM {SCHEMA}.vote_filters AS l WHERE l.stretch = f.stretch AND l.final
);
SELECT sum_up_stretch(number) FROM vote_stretches;
"""  # noqa: S608 - all names are constants
"""Rows get new numbers, so a filter that is not complete cannot be continued."""

_LONG_S: Final = 24 * 3600.0
"""Statements over millions of rows take longer than the usual timeout."""


@dataclass(frozen=True)
class ShadowDifference:
    """How a table in use compares with the log."""

    table: str
    in_log: int
    in_database: int
    missing: int
    """Rows that follow from the log and the database lacks."""
    surplus: int
    """Rows of the database that do not follow from the log."""

    @property
    def equal(self) -> bool:
        """Whether the rows are the same."""
        return not self.missing and not self.surplus

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


async def begin(connection: Any, *, moved: bool = False) -> bool:
    """Create the schema, or find that of an interrupted rebuild.

    Args:
        connection: to the database.
        moved: the log is another one, so the trees begin with it.

    Returns:
        Whether the schema existed.
    """
    existed = await connection.fetchval("SELECT to_regnamespace($1) IS NOT NULL", SCHEMA)
    await connection.execute(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}")
    search_path = await connection.fetchval("SHOW search_path")
    await connection.execute(f"SET search_path TO {SCHEMA}")
    try:
        await migrate(connection)
    finally:
        await connection.execute("SELECT set_config('search_path', $1, false)", search_path)
    if not existed and not moved:
        starts = _select("partition, start_offset", "proof_starts")
        await connection.execute(f"INSERT INTO {SCHEMA}.proof_starts {starts}")
    return bool(existed)


async def drop(connection: Any) -> None:
    """Drop the schema with its contents."""
    await connection.execute(f"DROP SCHEMA IF EXISTS {SCHEMA} CASCADE")


async def compare(connection: Any, *, with_places: bool = True) -> list[ShadowDifference]:
    """Compare every table of both sides, row by row.

    Args:
        connection: to the database.
        with_places: whether to compare a row's position in the log too, and what follows from it.
    """
    differences = []
    for table, content in DERIVED.items():
        if not content or (table in _OF_ONE_LOG and not with_places):
            continue
        columns = content
        if with_places and table in _NUMBERED:
            columns = f"{columns}, {_PLACES}"
        filled = " WHERE votes <> 0" if table in _SUMS else ""
        rebuilt, in_use = (_select(columns, name) + filled for name in (f"{SCHEMA}.{table}", table))
        counts = [
            await _count(connection, query)
            for query in (
                rebuilt,
                in_use,
                f"{rebuilt} EXCEPT ALL {in_use}",
                f"{in_use} EXCEPT ALL {rebuilt}",
            )
        ]
        differences.append(ShadowDifference(table, *counts))
    return differences


async def consistent(connection: Any) -> bool:
    """Whether totals and windows of the new tables add up to their counted votes."""
    by_choice = " GROUP BY 1, 2"
    audit = _select("contest, choice, sum(weight)", f"{SCHEMA}.vote_audit") + by_choice
    results = _select("contest_id, choice, votes::numeric", f"{SCHEMA}.contest_results")
    results += " WHERE votes <> 0"
    windows = _select("contest, choice, sum(votes)", f"{SCHEMA}.vote_windows") + by_choice
    windows += " HAVING sum(votes) <> 0"
    return not any(
        [
            await _count(connection, f"({audit} EXCEPT {sums}) UNION ALL ({sums} EXCEPT {audit})")
            for sums in (results, windows)
        ]
    )


def _select(columns: str, table: str) -> str:
    return f"SELECT {columns} FROM {table}"  # noqa: S608 - all names are constants


async def _count(connection: Any, query: str) -> int:
    counting = f"SELECT count(*) FROM ({query}) AS q"  # noqa: S608 - all names are constants
    return int(await connection.fetchval(counting, timeout=_LONG_S))


async def replace(connection: Any) -> None:
    """Put the new rows into the tables in use and drop the schema, in one transaction."""
    async with connection.transaction():
        # In the lock order of a flush: the fence first.
        await connection.execute("LOCK TABLE sink_offsets, vote_audit IN ACCESS EXCLUSIVE MODE")
        tables = [_NUMBERED.get(table, table) for table in DERIVED]
        for table in tables:
            await connection.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
        await connection.execute(f"TRUNCATE {', '.join(tables)}")
        if await connection.fetchval(HAS_TEXT):
            await connection.execute(EMPTY_TEXT)
        await connection.execute(_REPLACE_STRETCHES)
        for table in tables:
            columns = await _written_columns(connection, table)
            order = " ORDER BY id" if table in _NUMBERED.values() else ""
            rows = _select(columns, f"{SCHEMA}.{table}") + order
            await connection.execute(f"INSERT INTO {table} ({columns}) {rows}", timeout=_LONG_S)
        await connection.execute(_KEEP_STRETCHES, timeout=_LONG_S)
        for table, key in MERGED.items():
            columns = await _written_columns(connection, table)
            newer = (
                f" DO UPDATE SET ({columns}) = ({_excluded(columns)})"
                f" WHERE {table}.number < excluded.number"
            )
            rows = _select(columns, f"{SCHEMA}.{table}")
            await connection.execute(
                f"INSERT INTO {table} ({columns}) {rows} ON CONFLICT ({key}) {newer}"
            )
        await drop(connection)


def _excluded(columns: str) -> str:
    return ", ".join(f"excluded.{column}" for column in columns.split(", "))


async def _written_columns(connection: Any, table: str) -> str:
    """Columns that are neither generated nor numbers of rows."""
    rows = await connection.fetch(
        "SELECT quote_ident(column_name) AS name FROM information_schema.columns"
        " WHERE table_schema = $1 AND table_name = $2"
        " AND is_generated = 'NEVER' AND is_identity = 'NO'"
        " AND coalesce(column_default, '') NOT LIKE 'nextval(%' ORDER BY ordinal_position",
        SCHEMA,
        table,
    )
    return ", ".join(row["name"] for row in rows)

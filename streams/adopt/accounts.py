"""The account of an adoption: each row of each table that is read has exactly one outcome.

Also the search for tables that hold votes and are not read.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Final

import asyncpg
import msgspec

OUTCOMES: Final[dict[str, str]] = {
    "counted": "counted",
    "second_votes": "a further vote of a counted voter: a duplicate attempt",
    "doubled_rows": "repeats a row that is counted",
    "attempts": "a duplicate attempt",
    "attempts_elsewhere": "an attempt of which the other table has as many or more rows",
    "attempt_counts": "a number of attempts",
    "refused": "refused as invalid by the old system, and here",
    "uncountable": "the voter has voted, the choice is none",
    "pending": "not decided by the old system: not adopted",
    "unknown_status": "unknown status: not adopted",
    "unusable": "without voter or contest, or too long: not adopted",
    "announced": "a poll here, with its number and those of its options",
    "without_options": "a poll without options: not adopted",
    "compared": "a total: compared with the votes",
    "voters_with_vote": "the voter has a vote in a table",
    "voted_without_vote": "the voter has voted, the vote is lost",
    "counters_without_vote": "a counter of nobody known: not adopted",
}
"""Outcome -> its meaning. Each row has one."""

_HOLDS_VOTES: Final = r"""
SELECT n.nspname::text AS schema, c.relname::text AS name,
       has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT') AS readable
FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'm', 'f') AND NOT c.relispartition
    AND n.nspname !~ '^(pg_|information_schema$|scrutin_|reader_)'
    AND (c.relname ~* '(^|_)(votes?|voted|votelogs?|ballots?)(_|$)' OR EXISTS (
        SELECT 1 FROM pg_attribute AS a
        WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
            AND a.attname IN ('vote_hash', 'voter_hash', 'hash', 'voter_id', 'voter_name',
                              'citizen_id', 'user_id')
    ) AND EXISTS (
        SELECT 1 FROM pg_attribute AS a
        WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
            AND a.attname IN ('vote', 'choice', 'law_id', 'candidate_id', 'election_id',
                              'option_id', 'poll_id', 'option_id_id', 'poll_id_id',
                              'ranked_choices')
    ))
ORDER BY 1, 2
"""


class Account(msgspec.Struct, frozen=True):
    """The outcome for the rows of one table, or of the keys of one kind."""

    source: str
    rows: int
    """Counted in the source itself, not in the copy."""
    outcomes: dict[str, int]
    """Rows by outcome (:data:`OUTCOMES`)."""

    @property
    def unaccounted(self) -> int:
        """Rows without an outcome; 0 unless something is wrong."""
        return self.rows - sum(self.outcomes.values())


class UnknownTable(msgspec.Struct, frozen=True):
    """A table that may hold votes and is not read."""

    name: str
    """With its schema."""
    rows: int | None
    """None: it cannot be read."""

    def __str__(self) -> str:
        rows = "not readable for this user" if self.rows is None else f"{self.rows:,} rows"
        return f"{self.name}: {rows}"


def accounts(sources: dict[str, int], outcomes: Sequence[Any]) -> list[Account]:
    """Put the figures of the sources and of the outcomes together.

    Args:
        sources: table -> its rows. A source that only the outcomes name is a kind of keys in
            Redis, which is counted by its outcomes.
        outcomes: rows of `source`, `outcome`, `rows`.
    """
    by_source: dict[str, dict[str, int]] = {source: {} for source in sources}
    for row in outcomes:
        by_source.setdefault(row["source"], {})[row["outcome"]] = row["rows"]
    return [
        Account(source, sources.get(source, sum(found.values())), found)
        for source, found in by_source.items()
    ]


async def unknown_tables(
    source: asyncpg.Connection, read: Collection[tuple[str, str]], ours: Collection[str]
) -> list[UnknownTable]:
    """Tables with rows that may hold votes and are not read, in all schemas of the database.

    Args:
        source: to the old system's database.
        read: schema and name of each table that is read.
        ours: names in `public` that are Scrutin's own.
    """
    found = []
    for row in await source.fetch(_HOLDS_VOTES):
        schema, name = row["schema"], row["name"]
        if (schema, name) in read or (schema == "public" and name in ours):
            continue
        rows = None
        if row["readable"]:
            rows = await _rows(source, schema, name)
        if rows != 0:
            found.append(UnknownTable(f"{schema}.{name}", rows))
    return found


async def rows_of(source: asyncpg.Connection, schema: str, tables: Sequence[str]) -> dict[str, int]:
    """Rows of each table, counted in the source itself."""
    return {table: await _rows(source, schema, table) for table in tables}


async def _rows(source: asyncpg.Connection, schema: str, table: str) -> int:
    name = ".".join('"' + part.replace('"', '""') + '"' for part in (schema, table))
    query = f"SELECT count(*) FROM {name}"  # noqa: S608 - the name is quoted
    return int(await source.fetchval(query, timeout=3600.0))

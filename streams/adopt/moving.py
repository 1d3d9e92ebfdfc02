"""Move relations between schemas, so that old tables and Scrutin's never clash.

A table keeps its indexes, constraints, triggers and owned sequences. Views and foreign keys that
reference it keep working, since they reference it by OID.
"""

from __future__ import annotations

import re
from typing import Any, Final

from streams.adapters.postgres.migrations import migrations, reader_schemas
from streams.adopt.statements import REPLACED, SCHEMA, UNDONE
from streams.errors import ScrutinError

_CREATED: Final = re.compile(
    r"^ *CREATE (?:OR REPLACE )?(?:TABLE|VIEW) (\w+)(?!\w*\.)", re.MULTILINE
)
_KINDS: Final = {"r": "TABLE", "p": "TABLE", "v": "VIEW", "m": "MATERIALIZED VIEW"}

_STANDING: Final = """
SELECT relname::text AS name, relkind::text AS kind FROM pg_class AS c
WHERE relnamespace = to_regnamespace($1) AND relkind IN ('r', 'p', 'v', 'm')
    AND (relname = ANY($2) OR EXISTS (
        SELECT FROM pg_partition_ancestors(c.oid) AS a JOIN pg_class AS p ON p.oid = a.relid
        WHERE p.relnamespace = c.relnamespace AND p.relname = ANY($2)
    ))
ORDER BY relname
"""
"""Relations of some names with their partitions, which do not follow them into another schema."""


def ours() -> list[str]:
    """Names of all tables and views that the migrations create in `public`."""
    texts = [migration.statements for migration in migrations()]
    return sorted(
        {name for text in texts for name in _CREATED.findall(text)} | {"schema_migrations"}
    )


async def is_ours(connection: Any) -> bool:
    """Whether the tables in `public` are Scrutin's."""
    if await connection.fetchval("SELECT to_regclass('public.schema_migrations')") is None:
        return False
    query = "SELECT EXISTS (SELECT 1 FROM public.schema_migrations WHERE version = 1)"
    return bool(await connection.fetchval(query))


async def standing(connection: Any) -> list[str]:
    """Names in `public` that the migrations need and other relations use; `laws` may stay."""
    rows = await connection.fetch(_STANDING, "public", [n for n in ours() if n != "laws"])
    return [row["name"] for row in rows]


async def move(connection: Any, names: list[str], source: str, target: str) -> None:
    """Move relations from one schema to another, which is created if needed.

    Raises:
        ScrutinError: the target schema already has one of the names.
    """
    if taken := await connection.fetch(_STANDING, target, names):
        raise ScrutinError(
            f"The schema {target} already has a {taken[0]['name']}",
            where={"schema": target},
            todo="It belongs to an earlier adoption; rename that schema, or drop it",
        )
    await connection.execute(f"CREATE SCHEMA IF NOT EXISTS {target}")
    for row in await connection.fetch(_STANDING, source, names):
        name = row["name"]
        await connection.execute(
            f'ALTER {_KINDS[row["kind"]]} {source}."{name}" SET SCHEMA {target}'
        )


async def undo(connection: Any, moved: list[str]) -> None:
    """Move the old relations back and Scrutin's away; within a transaction."""
    await move(connection, ours(), "public", UNDONE)
    if moved:
        await move(connection, moved, REPLACED, "public")
        await connection.execute(f"DROP SCHEMA {REPLACED}")
    for schema in [SCHEMA, *reader_schemas()]:
        await connection.execute(f"DROP SCHEMA IF EXISTS {schema} CASCADE")

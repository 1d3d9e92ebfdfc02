"""Every table of the database is known to the rebuild, as one thing or another."""

from __future__ import annotations

from streams.devstack import Stack
from streams.rebuild.shadow import DERIVED, MERGED
from tests.harness import database
from tests.integration.core_world import own_database

KEPT = {"schema_migrations"}
"""Tables that no rebuild touches."""


async def test_every_table_is_derived_merged_or_kept(stack: Stack) -> None:
    async with own_database(stack) as settings:
        connection = await database(settings)
        rows = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        await connection.close()
    assert {row[0] for row in rows} == {*DERIVED, *MERGED, *KEPT}

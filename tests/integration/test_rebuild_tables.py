"""Every table of the database is known to the rebuild, as one thing or another."""

from __future__ import annotations

from importlib.resources import files

from streams.devstack import Stack
from streams.maintenance.archive import created_relations
from streams.maintenance.shadow import DERIVED, MERGED
from tests.harness import database
from tests.integration.sink_harness import own_database


async def test_every_table_is_derived_merged_or_kept(stack: Stack) -> None:
    """The encrypted tally, the definitions of polls and elections and the counts by round are not
    made by the fold; how far a roll file was read is not either, and no rebuild signs, acts as an
    operator or tells other systems. No rebuild touches them."""
    kept = {"schema_migrations", "roll_loads", "proof_checkpoints", "proof_cosignatures"}
    kept.add("operator_actions")
    # Of the rows of `rejected_votes`, by a trigger.
    kept.add("rejected_counts")
    migrations = (
        "0003_tally",
        "0004_polls",
        "0006_ballot_votes",
        "0007_elections",
        "0022_webhooks",
        "0025_election_maps",
    )
    for migration in migrations:
        text = files("sql").joinpath(f"{migration}.sql").read_text(encoding="utf-8")
        kept |= {name for kind, name in created_relations(text) if kind == "TABLE"}
    async with own_database(stack) as settings:
        connection = await database(settings)
        rows = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        await connection.close()
    # The view of this name shows them; stretches and filters are replaced with them.
    counted = {"counted_votes", "vote_stretches", "vote_filters"}
    for kind in ("law", "contest"):
        counted |= {f"counted_{kind}_votes", f"counted_{kind}_votes_0"}
    assert {row[0] for row in rows} == {*DERIVED, *MERGED, *kept, *counted} - {"vote_audit"}

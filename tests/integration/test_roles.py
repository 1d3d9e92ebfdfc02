"""Least rights in the database: a count runs with them, and more is refused."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import pytest

from streams.devstack import Stack
from streams.errors import ExitCode
from streams.load.election import Plan
from tests.harness import Chain, wipe
from tests.integration.cli_world import run_cli

pytestmark = pytest.mark.timeout(240)


@asynccontextmanager
async def users(stack: Stack) -> AsyncIterator[dict[str, dict[str, str]]]:
    """Users in the two roles of a migrated database: role -> environment."""
    assert run_cli(stack.env(), "migrate").returncode == 0
    for _ in range(2):
        done = run_cli(stack.env(), "roles", "--apply")
        assert done.returncode == 0, done.stderr
    password = secrets.token_hex(8)
    owner = await asyncpg.connect(**address(stack.env()))
    try:
        for role in ("scrutin_sink", "scrutin_reader"):
            await owner.execute(f"CREATE USER test_{role} PASSWORD '{password}' IN ROLE {role}")
        yield {
            role: {"POSTGRES_USER": f"test_{role}", "POSTGRES_PASSWORD": password}
            for role in ("scrutin_sink", "scrutin_reader")
        }
    finally:
        for role in ("scrutin_sink", "scrutin_reader"):
            await owner.execute(f"DROP USER IF EXISTS test_{role}")
        await owner.close()


def address(env: dict[str, str]) -> dict[str, str]:
    return {
        "host": env["POSTGRES_HOST"],
        "port": env["POSTGRES_PORT"],
        "user": env["POSTGRES_USER"],
        "password": env["POSTGRES_PASSWORD"],
        "database": env["POSTGRES_DB"],
    }


async def refused(connection: asyncpg.Connection, *statements: str) -> None:
    for statement in statements:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute(statement)


async def test_a_count_runs_with_the_sinks_rights_and_can_change_no_counted_vote(
    stack: Stack, tmp_path: Path
) -> None:
    plan = Plan(votes=200)
    await wipe(stack.env())
    async with (
        users(stack) as as_role,
        # Wipes the tables: a worker of the sink may not make them again.
        Chain(stack, tmp_path, settings=as_role["scrutin_sink"]) as chain,
    ):
        await chain.load_roll(plan)
        [worker] = chain.workers
        worker.start()
        assert await worker.ended() == ExitCode.BAD_SETTINGS
        assert "Run `scrutin migrate` and `scrutin roles --apply`" in worker.log.read_text()
        assert run_cli(stack.env(), "migrate").returncode == 0
        assert run_cli(stack.env(), "roles", "--apply").returncode == 0
        await chain.start()
        await chain.verify(await chain.publish(plan), patience_s=60)
        await rights(stack, as_role)


async def rights(stack: Stack, as_role: dict[str, dict[str, str]]) -> None:
    sink = await asyncpg.connect(**address({**stack.env(), **as_role["scrutin_sink"]}))
    reader = await asyncpg.connect(**address({**stack.env(), **as_role["scrutin_reader"]}))
    try:
        assert await sink.fetchval("SELECT count(*) FROM vote_audit") == 200
        await refused(
            sink,
            "UPDATE vote_audit SET choice = 'non'",
            "DELETE FROM vote_audit",
            "TRUNCATE vote_audit",
            "UPDATE rejected_votes SET reason = 'x'",
            "DELETE FROM rejected_votes",
            "DELETE FROM vote_results",
            "DROP TABLE vote_audit",
            "CREATE TABLE mine (x int)",
            "INSERT INTO schema_migrations (version, name) VALUES (9999, 'x')",
        )
        assert await reader.fetchval("SELECT sum(total_votes) FROM vote_results") > 0
        assert await reader.fetchval("SELECT count(*) FROM reader_voting.vote_results") > 0
        await refused(
            reader,
            "UPDATE vote_results SET oui_count = 0",
            "INSERT INTO vote_windows (contest, choice, window_start, votes)"
            " VALUES ('a', 'oui', now(), 1)",
            "SELECT * FROM sealed_secrets",
            "CREATE TABLE mine (x int)",
        )
    finally:
        await sink.close()
        await reader.close()

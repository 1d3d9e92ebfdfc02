"""Least rights in the database: a count runs with them, and more is refused."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import pytest
from pydantic import SecretStr

from streams.adapters.postgres.statements import REWIND_VALIDATED
from streams.devstack import Stack
from streams.errors import ExitCode
from streams.load.election import LoadPlan
from streams.settings.build import tally_config
from streams.tally.commands import tally
from tests.harness import Chain, wipe
from tests.integration.cli_harness import run_cli
from tests.integration.tally_harness import TallyHarness, small_election

pytestmark = pytest.mark.timeout(480)


ROLES = ("scrutin_sink", "scrutin_operator", "scrutin_reader")
ELECTION = {
    "political_parties": [{"id": 1, "party_code": "A", "party_name": "Alpha"}],
    "regions": [{"id": 10, "region_code": "N", "region_name": "North"}],
    "elections": [{"id": 1, "election_code": "E", "election_name": "E"}],
    "candidates": [
        {
            "id": number,
            "election_id": 1,
            "region_id": 10,
            "party_id": 1,
            "first_name": "Candidate",
            "last_name": str(number),
        }
        for number in (11, 12)
    ],
}


@asynccontextmanager
async def users(stack: Stack) -> AsyncIterator[dict[str, dict[str, str]]]:
    """Users in the roles of a migrated database: role -> environment."""
    assert run_cli(stack.env(), "migrate").returncode == 0
    for _ in range(2):
        done = run_cli(stack.env(), "roles", "--apply")
        assert done.returncode == 0, done.stderr
    password = secrets.token_hex(8)
    owner = await asyncpg.connect(**address(stack.env()))
    try:
        for role in ROLES:
            await owner.execute(f"CREATE USER test_{role} PASSWORD '{password}' IN ROLE {role}")
        yield {
            role: {"POSTGRES_USER": f"test_{role}", "POSTGRES_PASSWORD": password} for role in ROLES
        }
    finally:
        for role in ROLES:
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
    plan = LoadPlan(votes=200)
    await wipe(stack.env())
    async with (
        users(stack) as as_role,
        # Wipes the tables: a worker of the sink may not make them again.
        Chain(
            stack,
            tmp_path,
            settings={**as_role["scrutin_sink"], "SCRUTIN_REHEARSAL": "dry-run"},
        ) as chain,
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
        await tallies(stack, as_role["scrutin_operator"], tmp_path)
        await rights(stack, as_role)
        await commands(chain, as_role, tmp_path)
        await resets(chain, as_role, plan)


async def tallies(stack: Stack, operator: dict[str, str], directory: Path) -> None:
    """An operator sets an encrypted election up, with all that its guardians bring."""
    world = TallyHarness(stack, directory)
    settings = world.settings.model_copy(
        update={
            "postgres_user": operator["POSTGRES_USER"],
            "postgres_password": SecretStr(operator["POSTGRES_PASSWORD"]),
        }
    )
    held = small_election("e", 3, cast=2)
    guardian = held.keys[0].owner_id
    async with tally(tally_config(settings)) as asked:
        await world.put(asked, "e", held)
        for _ in range(2):
            await world.seal(asked, "e", held, 0)
        await asked.create("e")
        assert await asked.decrypt("e", guardian) == guardian


async def rights(stack: Stack, as_role: dict[str, dict[str, str]]) -> None:
    sink = await asyncpg.connect(**address({**stack.env(), **as_role["scrutin_sink"]}))
    operator = await asyncpg.connect(**address({**stack.env(), **as_role["scrutin_operator"]}))
    reader = await asyncpg.connect(**address({**stack.env(), **as_role["scrutin_reader"]}))
    try:
        assert await sink.fetchval("SELECT sealed FROM sealed_secrets") is not None
        await refused(
            operator,
            "SELECT sealed FROM sealed_secrets",
            "SELECT * FROM guardian_backups",
            "DELETE FROM sealed_secrets",
            "INSERT INTO vote_audit (vote_hash) VALUES ('x')",
            "INSERT INTO rejected_votes (status) VALUES ('invalid')",
            "UPDATE vote_audit SET choice = 'non'",
            "UPDATE vote_results SET oui_count = 0",
            "UPDATE contest_results SET votes = 0",
            "UPDATE sink_offsets SET source_offset = 0",
            "UPDATE candidates SET first_name = 'x'",
            "UPDATE control_commands SET record = '', number = 1",
            "INSERT INTO contest_closings VALUES ('', 'C-1')",
            "DELETE FROM operator_actions",
            "INSERT INTO control_progress VALUES ('', 0, '', 0)",
            "CREATE TABLE mine (x int)",
            "SELECT take_back_votes('{}')",
        )
        await contests_go_forward(operator)
        undone = operator.transaction()
        await undone.start()
        await operator.execute(REWIND_VALIDATED)
        await undone.rollback()
        # The last vote counts in none of these contests, so none can be taken back.
        every = "SELECT array_agg(vote_hash) FROM vote_audit"
        assert await sink.fetch(f"SELECT * FROM take_back_votes(({every}))") == []
        assert await sink.fetchval("SELECT count(*) FROM vote_audit") == 200
        await refused(
            sink,
            "UPDATE vote_audit SET choice = 'non'",
            "DELETE FROM vote_audit",
            "DELETE FROM counted_votes",
            "UPDATE counted_law_votes SET choice = 'non'",
            "TRUNCATE counted_votes",
            "UPDATE rejected_votes SET reason = 'x'",
            "DELETE FROM rejected_votes",
            "UPDATE control_commands SET record = ''",
            "DELETE FROM vote_results",
            "UPDATE encrypted_ballots SET state = 2",
            "UPDATE election_center SET encrypted_tally = ''",
            "UPDATE tally_elections SET context = ''",
            "UPDATE candidates SET first_name = 'x'",
            "DELETE FROM election_counts",
            "DROP VIEW vote_audit",
            "CREATE TABLE mine (x int)",
            "INSERT INTO schema_migrations (version, name) VALUES (9999, 'x')",
        )
        for called in ("sum_up_stretch(0::smallint)", "counted_in('{0}', '{t}', '{h}')"):
            await sink.execute(f"SELECT {called}")
            await refused(operator, f"SELECT {called}")
            await refused(reader, f"SELECT {called}")
        assert await reader.fetchval("SHOW jit") == "off"
        assert await reader.fetchval("SELECT sum(total_votes) FROM vote_results") > 0
        assert await reader.fetchval("SELECT count(*) FROM reader_voting.vote_results") > 0
        await refused(
            reader,
            "UPDATE vote_results SET oui_count = 0",
            "INSERT INTO vote_windows (contest, choice, window_start, votes)"
            " VALUES ('a', 'oui', now(), 1)",
            "SELECT * FROM sealed_secrets",
            "SELECT * FROM guardian_backups",
            "CREATE TABLE mine (x int)",
        )
        await hidden_from_readers(operator, reader)
    finally:
        for connection in (sink, operator, reader):
            await connection.close()


async def hidden_from_readers(operator: asyncpg.Connection, reader: asyncpg.Connection) -> None:
    """From the announcement of a hidden election readers see no choice of anybody."""
    assert await reader.fetchval("SELECT count(*) FROM vote_audit") > 0
    undone = operator.transaction()
    await undone.start()
    await operator.execute(
        "INSERT INTO contests (contest_id, kind, title, state, roll, command_id, number, conduct)"
        " VALUES ('election:9', 'election', 'T', 'draft', 'default', 'c', 1, '{\"hidden\": true}')"
    )
    may = await operator.fetch(
        "SELECT c.oid::regclass::text AS name FROM pg_class AS c JOIN pg_attribute AS a"
        " ON a.attrelid = c.oid AND a.attname IN ('choice', 'vote', 'votes', 'ranked_choices')"
        " WHERE c.relkind IN ('r', 'v') AND c.relnamespace::regnamespace::text ~ '^(public|reader)'"
        " AND has_table_privilege('scrutin_reader', c.oid, 'SELECT')"
    )
    assert [row["name"] for row in may] == []
    results = "SELECT has_table_privilege('scrutin_reader', 'vote_results', 'SELECT')"
    assert await operator.fetchval(results) is True
    await undone.rollback()
    assert await reader.fetchval("SELECT count(*) FROM vote_audit") > 0


async def contests_go_forward(operator: asyncpg.Connection) -> None:
    """What an operator may change by a command, and nothing else."""
    undone = operator.transaction()
    await undone.start()
    await operator.execute(
        "INSERT INTO contests (contest_id, kind, title, state, roll, command_id, number, closed_by)"
        " VALUES ('over', 'law', 'T', 'closed', 'default', 'c', 1, 'c'),"
        " ('open', 'law', 'T', 'open', 'default', 'c', 1, NULL)"
    )
    # No table of one's own stands in for the one that knows whether there was a reset.
    await operator.execute(
        "CREATE TEMPORARY TABLE sink_offsets AS SELECT true AS rehearsal, 1 AS epoch"
    )
    for change in (
        "state = 'open', number = 2 WHERE contest_id = 'over'",
        "state = 'draft', number = 2 WHERE contest_id = 'open'",
        "roll = 'open', number = 2 WHERE contest_id = 'open'",
        "choices = ARRAY['oui'] WHERE contest_id = 'open'",
        "closed_by = 'd' WHERE contest_id = 'over'",
        "title = 'Another' WHERE contest_id = 'over'",
        "contest_id = 'renamed' WHERE contest_id = 'open'",
    ):
        with pytest.raises(asyncpg.CheckViolationError, match="only goes forward"):
            async with operator.transaction():
                await operator.execute(f"UPDATE contests SET {change}")
    await operator.execute(
        "UPDATE contests SET closes_at = now(), title = 'New' WHERE contest_id = 'open'"
    )
    await undone.rollback()


async def commands(chain: Chain, as_role: dict[str, dict[str, str]], directory: Path) -> None:
    """Operators' commands run in their role; without the rights they say which role is needed."""
    file = directory / "election.json"
    file.write_text(json.dumps(ELECTION))
    roll = directory / "roll.txt"
    roll.write_text("a-voter\n")
    for role, arguments, code in (
        ("scrutin_reader", ("results",), ExitCode.OK),
        ("scrutin_reader", ("contest", "create", "C-1"), ExitCode.BAD_SETTINGS),
        ("scrutin_sink", ("election", "import", str(file)), ExitCode.BAD_SETTINGS),
        ("scrutin_operator", ("election", "import", str(file), "--wait", "120"), ExitCode.OK),
        ("scrutin_operator", ("election", "count", "1"), ExitCode.OK),
        ("scrutin_operator", ("contest", "create", "C-1"), ExitCode.OK),
        ("scrutin_operator", ("roll", "load", str(roll), "--kind", "text"), ExitCode.OK),
        ("scrutin_operator", ("roll", "add", "another-voter", "--kind", "text"), ExitCode.OK),
    ):
        env = {**chain.env, **as_role[role], "SCRUTIN_ROLL": "table"}
        done = await asyncio.to_thread(run_cli, env, *arguments)
        assert done.returncode == code, (role, arguments, done.stderr)
        if code:
            assert "operators' commands one in scrutin_operator" in told(done.stderr)


async def resets(chain: Chain, as_role: dict[str, dict[str, str]], plan: LoadPlan) -> None:
    """The owner empties a rehearsal whose worker could not, and only the owner."""
    rehearsal = {**chain.env, "SCRUTIN_REHEARSAL": "dry-run"}
    owner = {**rehearsal, **chain.stack.env()}
    arguments = ("reset", "--confirm", "dry-run")
    db = await asyncpg.connect(**address(chain.stack.env()))
    try:
        env = {**rehearsal, **as_role["scrutin_operator"]}
        done = await asyncio.to_thread(run_cli, env, *arguments)
        assert done.returncode == ExitCode.BAD_SETTINGS, done.stderr
        assert "needs the owner of Scrutin's tables" in told(done.stderr)
        assert await db.fetchval("SELECT count(*) FROM vote_audit") == plan.votes
        done = await asyncio.to_thread(run_cli, owner, *arguments)
        assert done.returncode == ExitCode.OK, done.stderr
        assert await db.fetchval("SELECT count(*) FROM vote_audit") == 0
        await chain.verify(await chain.publish(plan), patience_s=60)
        await restored_from_before(chain, owner, as_role["scrutin_sink"], db)
        assert await db.fetchval("SELECT count(*) FROM vote_audit") == plan.votes
    finally:
        await db.close()


async def restored_from_before(
    chain: Chain, owner: dict[str, str], sink: dict[str, str], db: asyncpg.Connection
) -> None:
    """A database that did not see the reset is no worker's to empty."""
    [worker] = chain.workers
    await worker.terminate()
    await db.execute("UPDATE sink_offsets SET epoch = 0, source_offset = -1, validated_offset = -1")
    await db.execute("TRUNCATE counted_votes, rejected_votes, vote_results, contest_results")
    worker.start()
    assert await worker.ended() == ExitCode.BAD_SETTINGS
    assert "Run `scrutin rebuild postgres --drop-unknown`" in worker.log.read_text()
    rebuild = ("rebuild", "postgres", "--drop-unknown")
    refused = await asyncio.to_thread(run_cli, {**owner, **sink}, *rebuild)
    assert refused.returncode == ExitCode.BAD_SETTINGS, refused.stderr
    rebuilt = await asyncio.to_thread(run_cli, owner, *rebuild)
    assert rebuilt.returncode == ExitCode.OK, rebuilt.stderr
    worker.start()
    await worker.ready(within_s=120)


def told(stderr: str) -> str:
    """A message without the line breaks of the terminal."""
    return " ".join(stderr.split())

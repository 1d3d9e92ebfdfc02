"""`scrutin adopt` accounts for each row of each table: those of candidate votes, those that bar."""

from __future__ import annotations

import asyncio
import json
import re
import signal
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from streams.adapters.rabbitmq.client import connected
from streams.adapters.rabbitmq.queues import ensure_queue
from streams.devstack import Stack
from streams.errors import ExitCode
from tests.harness import database, redis_of, until, wipe
from tests.integration.adopt_harness import KILLED, Before, Running
from tests.integration.bridge_harness import scrutin
from tests.integration.old_systems import OldElection, election, fill_elections

UNCHANGED = "Every adopted vote is counted unchanged"
LOST = "d" * 64


@pytest.fixture
async def before(stack: Stack) -> AsyncIterator[Before]:
    await wipe(stack.env())
    yield Before(stack)
    await wipe(stack.env())


async def with_elections(before: Before, voters: int) -> OldElection:
    db, redis = await database(before.settings), redis_of(before.settings)
    try:
        return await fill_elections(db, redis, voters)
    finally:
        await db.close()
        await redis.aclose()


def accounts(plan: dict[str, Any]) -> dict[str, tuple[int, dict[str, int]]]:
    assert all(account["unaccounted"] == 0 for account in plan["accounts"]), plan["accounts"]
    return {a["source"]: (a["rows"], a["outcomes"]) for a in plan["accounts"]}


async def text(before: Before, *arguments: str) -> str:
    done = await asyncio.to_thread(scrutin, before.env, "adopt", *arguments, timeout_s=180)
    return f"{done.stdout}{done.stderr}"


@pytest.mark.timeout(400)
async def test_candidate_votes_of_the_deployed_api_are_counted(
    before: Before, stack: Stack, tmp_path: Path
) -> None:
    """Killed on the way and resumed; law votes and rankings beside them."""
    laws = election("voting", 300)
    await before.fill(laws)
    candidates = await with_elections(before, 50)
    await before.rows("CREATE ROLE reporting")
    await before.rows("GRANT SELECT ON election_votes TO reporting")
    try:
        code, plan = await before.run("adopt", "--dry-run")
        assert (code, plan["findings"]) == (0, []), plan
        assert accounts(plan) == {
            "vote_audit": (303, {"counted": 300, "refused": 3}),
            "election_votes": (50, {"counted": 50}),
            "duplicate_attempts": (6, {"attempt_counts": 6}),
            "vote_results": (3, {"compared": 3}),
            "election_results": (2, {"compared": 2}),
            "voted_hashes": (350, {"voters_with_vote": 350}),
            "duplicate_count": (6, {"attempt_counts": 6}),
        }
        said = await text(before, "--dry-run")
        assert re.search(r"election_votes +50 *\n +50 +counted", said), said
        assert "`scrutin election import --from-schema scrutin_replaced`" in " ".join(said.split())
        assert plan["reader_schemas"] == ["reader_voting", "reader_elections"]
        granted, path = plan["reader_statements"]
        schemas = "reader_voting, reader_api, reader_elections"
        assert granted.startswith(f'GRANT USAGE ON SCHEMA {schemas} TO "reporting"')
        assert path.endswith("= reader_voting, reader_elections, public;")
        assert [each.partition(" = ")[2] for each in plan["reader_alternatives"]] == [
            "reader_api, reader_elections, public;"
        ]
        assert (await before.run("adopt", **KILLED))[0] == -signal.SIGKILL
        async with Running(stack, tmp_path):
            code, done = await before.run("adopt", "--wait", "120")
            assert (code, done["finished"], done["done"]) == (0, True, 359), done
            counted = await before.rows("SELECT contest_id, choice, votes FROM contest_results")
            expected = laws.totals() + Counter((c, choice) for _, c, choice, _ in candidates.votes)
            assert {(c, choice): votes for c, choice, votes in counted} == dict(expected)
            rows = await before.rows(
                "SELECT voter_hash, contest, choice, timestamp FROM vote_audit"
                " WHERE metadata -> 'adopted' ->> 'from' = 'election_votes'"
            )
            assert set(rows) == set(candidates.votes)
            regions = await before.rows(
                "SELECT candidate_id::text, metadata ->> 'region_id', count(*) FROM vote_audit"
                " WHERE contest = 'election:1' GROUP BY 1, 2 ORDER BY 1"
            )
            assert regions == [("1", "1", 25), ("2", "2", 25)]
            assert f"{UNCHANGED}: 350." in await text(before, "--wait", "5")
    finally:
        await before.rows("DROP OWNED BY reporting")
        await before.rows("DROP ROLE reporting")


@pytest.mark.timeout(400)
async def test_tables_that_are_not_read_are_named(
    before: Before, stack: Stack, tmp_path: Path
) -> None:
    """No adoption claims to be complete beside a table with votes that it does not read."""
    await before.fill(
        election("aggregation", 100),
        "CREATE TABLE referendum_votes (voter text, answer text)",
        "INSERT INTO referendum_votes VALUES ('a', 'b'), ('c', 'd')",
        "CREATE SCHEMA other",
        "CREATE TABLE other.cast_papers (voter_hash text, choice text)",
        "INSERT INTO other.cast_papers VALUES ('a', 'b')",
        # As the deployed poll service names its table and columns.
        "CREATE TABLE polls_votelog (id bigint, voter_name text, poll_id_id int, option_id_id int)",
        "INSERT INTO polls_votelog VALUES (1, 'Ann', 1, 2), (2, 'Bob', 1, 3), (3, 'Eve', 2, 4)",
        "CREATE TABLE spare_votes (voter_hash text, choice text)",
        # Figures of the deployed services.
        "CREATE TABLE system_stats (stat_key text, stat_value bigint)",
        "INSERT INTO system_stats VALUES ('total_votes_received', 100)",
        "CREATE TABLE voters (voter_hash text)",
        "INSERT INTO voters VALUES ('a')",
    )
    code, plan = await before.run("adopt", "--dry-run")
    [unknown] = plan["findings"]
    assert (code, unknown["name"], unknown["serious"]) == (
        ExitCode.DIFFERENT,
        "unknown_tables",
        True,
    )
    named = [
        "other.cast_papers: 1 rows",
        "public.polls_votelog: 3 rows",
        "public.referendum_votes: 2 rows",
    ]
    assert unknown["details"] == named
    assert (await before.run("adopt"))[0] == ExitCode.FAILED
    assert (await before.run("adopt", "--accept-differences"))[0] == 0
    async with Running(stack, tmp_path):
        said = await text(before, "--wait", "120")
    assert "100 adopted votes are counted unchanged. Not everything was adopted" in said
    assert UNCHANGED not in said
    assert all(name in said for name in named)
    assert await before.rows("SELECT stat_value FROM system_stats") == [(100,)]


@pytest.mark.timeout(400)
async def test_who_voted_without_a_row_cannot_vote_again(
    before: Before, stack: Stack, tmp_path: Path
) -> None:
    """Whichever of the old system's contests that vote was in, and whatever form the next has."""
    before.env["SCRUTIN_DEFAULT_ELECTION"] = "1"
    await before.fill(
        election("validation", 100),
        "CREATE TABLE elections (id serial PRIMARY KEY, election_name text)",
        "INSERT INTO elections (election_name) VALUES ('one'), ('two')",
    )
    redis = redis_of(before.settings)
    await redis.sadd("voted_hashes", LOST)
    await redis.aclose()
    code, plan = await before.run("adopt", "--dry-run")
    assert code == ExitCode.DIFFERENT
    assert [(f["name"], f["count"]) for f in plan["findings"]] == [("voted_without_vote", 1)]
    assert accounts(plan)["voted_hashes"] == (
        101,
        {"voters_with_vote": 100, "voted_without_vote": 1},
    )
    code, done = await before.run("adopt", "--accept-differences")
    assert code == 0, done
    votes = [
        {"voter_hash": LOST, "candidate_id": 3},
        {"voter_hash": LOST, "candidate_id": 3, "election_id": 1},
        {"voter_hash": LOST, "candidate_id": 3, "election_id": 2},
    ]
    settings = {"SCRUTIN_DEFAULT_ELECTION": "1", "SCRUTIN_ROLL": "open"}
    async with Running(stack, tmp_path, bridges=1, settings=settings):
        async with connected(before.settings.rabbit, "scrutin test") as connection:
            channel, _ = await ensure_queue(connection, "votes.validation")
            for vote in votes:
                channel.raw.basic_publish("", "votes.validation", json.dumps(vote).encode())

        async def rejected() -> bool:
            rows = await before.rows(
                "SELECT contest, status, reason FROM rejected_votes WHERE voter_hash = $1", LOST
            )
            return Counter(rows) == Counter(
                {
                    ("election:1", "invalid", "vote_lost"): 1,
                    ("election:2", "invalid", "vote_lost"): 1,
                    ("election:1", "duplicate", "already_voted"): 2,
                    ("election:2", "duplicate", "already_voted"): 1,
                }
            )

        await until(rejected, "each further vote is a duplicate", within_s=120)
        counted = await before.rows("SELECT count(*) FROM vote_audit WHERE voter_hash = $1", LOST)
        assert counted == [(0,)]

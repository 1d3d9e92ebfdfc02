"""`scrutin adopt` on databases and Redis as each of the old systems leaves them."""

from __future__ import annotations

import json
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from schemas.codec import encode
from streams.adapters.kafka.admin import ensure_topics
from streams.adapters.kafka.writer import LogWriter
from streams.adapters.rabbitmq.client import connected
from streams.adapters.rabbitmq.queues import ensure_queue
from streams.adopt.adoption import CHUNK_ITEMS
from streams.core.records import OutRecord
from streams.core.topics import VALIDATION_TOPIC
from streams.devstack import Stack
from streams.errors import ExitCode
from streams.load.programs import Program
from streams.proof.notes import Signer
from streams.runtime.outages import OutageTracker
from streams.settings.load import load_settings
from tests.harness import Chain, database, metrics, redis_of, until, wipe
from tests.integration.adopt_harness import KILLED, PATIENCE_S, VOTES, Before, Running
from tests.integration.old_systems import OLD_ELECTIONS, SCHEMAS, OldElection, election, fill
from tests.integration.proof_harness import published, recounted
from tests.strategies import make_batch, make_vote


@pytest.fixture
async def before(stack: Stack) -> AsyncIterator[Before]:
    await wipe(stack.env())
    yield Before(stack)
    await wipe(stack.env())


async def check(before: Before, old: OldElection) -> None:
    """Fail unless everything that the old system had is here as it was."""
    await check_totals(before, old)
    audit = await before.rows(
        "SELECT voter_hash, coalesce(law_id, candidate_id::text), timestamp,"
        " metadata -> 'adopted' ->> 'from' FROM vote_audit"
    )
    assert Counter(audit) == Counter(
        (voter, where, at, "vote_audit") for voter, where, _, at in old.votes
    )
    attempts = await before.rows(
        "SELECT voter_hash, attempt_count, first_attempt, last_attempt > first_attempt"
        " FROM duplicate_attempts"
    )
    times = {voter: at for voter, _, _, at in old.votes}
    dated = old.dialect != "voting"
    assert {(v, n, first) for v, n, first, _ in attempts} == {
        (voter, n + 1, times[voter]) for voter, n in old.attempts.items()
    }
    assert all(later for *_, later in attempts) or not dated
    refused = await before.rows(
        "SELECT voter_hash, timestamp, reason FROM rejected_votes WHERE status = 'invalid'"
    )
    assert Counter(refused) == Counter(
        (voter, at, "refused_before") for voter, _, at in old.refused
    )


@pytest.mark.timeout(400 + 2 * PATIENCE_S)
@pytest.mark.parametrize("dialect", SCHEMAS)
async def test_an_adopted_election_is_the_old_one(
    before: Before, stack: Stack, tmp_path: Path, dialect: str
) -> None:
    """Killed on the way, gone on with, counted by workers, and a voter's later vote refused."""
    old = election(dialect, VOTES)
    await before.fill(old)
    code, plan = await before.run("adopt", "--dry-run")
    assert (code, plan["findings"]) == (0, []), plan
    assert await before.rows("SELECT to_regnamespace('scrutin_adoption') IS NULL") == [(True,)]
    assert "vote_audit" in plan["moved"]

    code, _ = await before.run("adopt", **KILLED)
    assert code == -signal.SIGKILL
    assert await before.rows("SELECT done FROM scrutin_adoption.adoption") == [(0,)]
    async with Running(stack, tmp_path) as chain:
        started_s = time.monotonic()
        code, done = await before.run("adopt", "--wait", str(PATIENCE_S))
        assert (code, done["finished"], done["done"]) == (0, True, plan["items"]), done
        print(f"{dialect}: {plan['items']:,} items in {time.monotonic() - started_s:.1f} s")
        await check(before, old)
        # Workers met the first chunk twice.
        assert await replays(chain) >= min(CHUNK_ITEMS, plan["items"]) - len(old.refused)
        code, again = await before.run("adopt", "--wait", "5")
        assert (code, again["done"]) == (0, plan["items"])


async def faults(program: Program) -> str:
    """What a process says keeps it from being ready; nothing before it listens."""
    program.check()
    try:
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"http://127.0.0.1:{program.port}/ready") as answer,
        ):
            return await answer.text()
    except aiohttp.ClientConnectionError:
        return ""


@pytest.mark.timeout(400)
async def test_bridges_wait_and_repairs_keep_what_was_adopted(
    before: Before, stack: Stack, tmp_path: Path
) -> None:
    """A bridge that is started in an unfinished adoption takes no vote in front of an adopted one.

    Later the tables and the mirror are rebuilt from the log, and a reset empties them.
    """
    old = election("voting", 300)
    await before.fill(old)
    name = {"SCRUTIN_REHEARSAL": "dry-run", "SCRUTIN_ROLL": "open"}
    assert (await before.run("adopt", **KILLED, **name))[0] == -signal.SIGKILL
    hasty = {"vote_hash": old.votes[1][0], "law_id": old.votes[1][1], "choice": "non"}
    running = Chain(stack, tmp_path, settings=name)
    [worker], [bridge] = running.workers, running.bridges
    try:
        bridge.start()

        async def waits() -> bool:
            return "an adoption is not finished" in await faults(bridge)

        await until(waits, "the bridge waits for the adoption", within_s=60)
        async with connected(before.settings.rabbit, "scrutin test") as connection:
            channel, _ = await ensure_queue(connection, "votes.validation")
            channel.raw.basic_publish("", "votes.validation", json.dumps(hasty).encode())
        worker.start()
        await worker.ready()
        code, done = await before.run("adopt", "--wait", "120")
        assert (code, done["finished"]) == (0, True), done
        await bridge.ready()

        async def second() -> bool:
            rows = await before.rows(
                "SELECT attempt_count FROM duplicate_attempts WHERE voter_hash = $1",
                old.votes[1][0],
            )
            return rows == [(old.attempts.get(old.votes[1][0], 0) + 2,)]

        await until(second, "the hasty vote is a second attempt", within_s=60)
        await check_totals(before, old)
        await worker.terminate()
        code, told = await before.run("rebuild", "postgres")
        assert (code, told["equal"], told["surplus_votes"]) == (0, True, 0), told
        await before.rows("DELETE FROM contest_results")
        code, told = await before.run("rebuild", "postgres")
        assert (code, told["replaced"]) == (0, True), told
        await check_totals(before, old)
        redis = redis_of(before.settings)
        await redis.delete("voted_hashes")
        code, told = await before.run("mirror", "rebuild")
        assert code == 0, told
        assert await redis.smembers("voted_hashes") == {voter for voter, *_ in old.votes}
        await redis.aclose()
        signer = Signer.new("votes.example.org")
        report = await recounted(running.deployment, signer)
        assert report.audit_rows == len(old.votes)
        await published(running.deployment, signer, tmp_path / "bundle")
        worker.start()
        await worker.ready()
        code, told = await before.run("reset", "--confirm", "dry-run", **name)
        assert (code, told.get("epoch")) == (0, 1), told
        assert await before.rows("SELECT count(*) FROM vote_audit") == [(0,)]
    finally:
        for program in (bridge, worker):
            print("\n".join(program.tail()))
            await program.kill()


async def check_totals(before: Before, old: OldElection) -> None:
    counted = await before.rows("SELECT contest_id, choice, votes FROM contest_results")
    assert {(contest, choice): votes for contest, choice, votes in counted} == dict(old.totals())


async def replays(chain: Chain) -> float:
    found = await metrics(chain.workers[0])
    return found.get('validation_votes_processed_total{status="replay"}', 0.0)


FAULTS = (
    # A redelivery that the aggregator counted twice, and a vote that it lost.
    "UPDATE vote_results SET oui_count = oui_count + 3 WHERE law_id = 'law-000'",
    "UPDATE vote_results SET non_count = non_count - 2 WHERE law_id = 'law-001'",
    "UPDATE vote_results SET total_votes = oui_count + non_count",
    # No UNIQUE: the first two voters counted a second time, the next two have their row twice.
    "INSERT INTO vote_audit (vote_hash, law_id, vote, status, timestamp) SELECT vote_hash, law_id,"
    " 'non', 'validated', timestamp + interval '1 hour' FROM vote_audit WHERE id <= 2",
    "INSERT INTO vote_audit (vote_hash, law_id, vote, status, timestamp) SELECT vote_hash, law_id,"
    " vote, 'validated', timestamp FROM vote_audit WHERE id IN (3, 4)",
    "INSERT INTO vote_audit (vote_hash, law_id, vote, status, timestamp) VALUES"
    " (repeat('p', 64), 'law-001', 'oui', 'pending', now()),"
    " (repeat('q', 64), 'law-001', 'oui', 'odd', now())",
)


async def test_where_the_old_system_disagrees_with_itself(
    before: Before, stack: Stack, tmp_path: Path
) -> None:
    old = election("voting", 300)
    await before.fill(old, *FAULTS)
    redis = redis_of(before.settings)
    lost = ["a" * 64, "b" * 64]
    await redis.sadd("voted_hashes", *lost)
    await redis.srem("voted_hashes", old.votes[7][0])
    await redis.set(f"duplicate_count:{old.votes[8][0]}", 5)
    await redis.aclose()

    code, plan = await before.run("adopt", "--dry-run")
    assert code == ExitCode.DIFFERENT
    assert {finding["name"]: finding["count"] for finding in plan["findings"]} == {
        "totals_above_audit": 3,
        "totals_below_audit": 2,
        "second_votes": 2,
        "doubled_rows": 2,
        "voted_without_vote": 2,
        "votes_not_in_redis": 1,
        "pending": 1,
        "unknown_status": 1,
        "counters_differ": 1,
    }
    [above] = [f for f in plan["findings"] if f["name"] == "totals_above_audit"]
    [line] = above["details"]
    assert line.startswith("law-000 oui: ")
    hashes = [vote[0] for vote in old.votes] + lost
    assert not any(voter in json.dumps(plan) for voter in hashes)

    code, refused = await before.run("adopt")
    assert code == ExitCode.FAILED
    assert "--accept-differences" in refused["error"]
    assert await before.rows("SELECT count(*) FROM vote_audit") != [(0,)]
    # It puts the old tables aside; before that a worker would refuse to start.
    code, done = await before.run("adopt", "--accept-differences")
    assert code == 0, done
    async with Running(stack, tmp_path):
        code, done = await before.run("adopt", "--accept-differences", "--wait", "120")
        assert code == 0, done
        counted = await before.rows("SELECT contest_id, choice, votes FROM contest_results")
        assert {(c, choice): votes for c, choice, votes in counted} == dict(old.totals())
        rejected = await before.rows(
            "SELECT reason, count(*) FROM rejected_votes GROUP BY 1 ORDER BY 1"
        )
        assert dict(rejected)["vote_lost"] == 2
        second = await before.rows(
            "SELECT attempt_count FROM duplicate_attempts WHERE voter_hash = $1", old.votes[1][0]
        )
        assert second == [(2,)]
        counter = await before.rows(
            "SELECT attempt_count FROM duplicate_attempts WHERE voter_hash = $1", old.votes[8][0]
        )
        assert counter == [(6,)]


async def test_from_another_database(before: Before) -> None:
    """Tables elsewhere are only read, and nothing has to be moved."""
    old = election("aggregation", 200)
    admin = await database(before.settings)
    await admin.execute("DROP DATABASE IF EXISTS voting")
    await admin.execute("CREATE DATABASE voting")
    try:
        elsewhere = load_settings({**before.env, "POSTGRES_DB": "voting"})
        db, redis = await database(elsewhere), redis_of(before.settings)
        await fill(db, redis, old)
        await db.close()
        await redis.aclose()
        code, done = await before.run("adopt", "--from-database", "voting")
        assert (code, done["moved"], done["done"]) == (0, [], done["items"]), done
        assert await before.rows("SELECT count(*) FROM schema_migrations") > [(0,)]
        code, none = await before.run("adopt", "--from-database", "postgres", "--dry-run")
        assert code == ExitCode.FAILED
        assert "no table vote_audit or election_votes" in none["error"]
    finally:
        await admin.execute("DROP DATABASE voting WITH (FORCE)")
        await admin.close()


async def test_undo_puts_everything_back(before: Before) -> None:
    """The tables of elections move too; what they describe can be taken over from there."""
    old = election("voting", 200)
    await before.fill(old, *OLD_ELECTIONS)
    names = (
        "SELECT relname::text, relkind::text FROM pg_class"
        " WHERE relnamespace = 'public'::regnamespace ORDER BY 1"
    )
    standing = await before.rows(names)
    code, _ = await before.run("adopt")
    assert code == 0
    assert await before.rows("SELECT count(*) FROM scrutin_replaced.vote_audit") == [(202,)]
    code, drafted = await before.run(
        *("election", "import", "--from-schema", "scrutin_replaced", "--wait", "0")
    )
    assert code == 0, drafted
    assert (drafted["contest_id"], drafted["choices"], drafted["state"]) == (
        "election:1",
        ["1", "2"],
        "draft",
    )
    assert drafted["closes_at"] == "2027-01-01T20:00:00+00:00"
    # Partitions that no migration names move away too.
    assert await before.rows("SELECT open_next_stretch(0::smallint, 0)") == [(True,)]
    code, undone = await before.run("adopt", "--undo")
    assert code == 0, undone
    assert await before.rows(names) == standing
    schemas = await before.rows("SELECT nspname::text FROM pg_namespace WHERE nspname !~ '^pg_'")
    assert {name for (name,) in schemas} == {"public", "information_schema", "scrutin_undone"}
    code, again = await before.run("adopt", "--undo")
    assert code == ExitCode.FAILED
    assert "Nothing was adopted" in again["error"]


async def test_a_log_with_votes_of_its_own_is_refused(before: Before) -> None:
    await before.fill(election("voting", 100))
    await ensure_topics(before.settings.kafka)
    writer = LogWriter(before.settings.kafka.servers, outages=OutageTracker(3))
    await writer.write([OutRecord(VALIDATION_TOPIC, 1, encode(make_batch(make_vote(1))))])
    await writer.close()
    code, refused = await before.run("adopt")
    assert code == ExitCode.LOG_MISMATCH
    assert "before the first bridge" in refused["error"]
    assert await before.rows("SELECT to_regnamespace('scrutin_adoption') IS NULL") == [(True,)]

"""`scrutin publish`, `verify` and `roll` on the real chain: exact, and no fault goes unnoticed."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from pathlib import Path

import pika
import pytest

from streams.adapters.rabbitmq.client import QueueDepth, connected
from streams.devstack import Stack
from streams.load.checks import Report
from streams.load.election import LoadPlan, SyntheticElection
from streams.load.expected import read_expected
from streams.load.play import play
from streams.load.verification import verify
from streams.settings.build import deployment_config
from streams.settings.load import load_settings
from tests.harness import Chain, database, redis_of

pytestmark = pytest.mark.timeout(300)


class Cli:
    """Runs `scrutin` against a chain's services."""

    def __init__(self, chain: Chain) -> None:
        self._env = {**chain.env, "COLUMNS": "100"}
        self._cwd = chain.directory

    async def __call__(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        scrutin = str(Path(sys.executable).with_name("scrutin"))
        return await asyncio.to_thread(
            subprocess.run,
            [scrutin, *arguments],
            env=self._env,
            cwd=self._cwd,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )


async def compared(chain: Chain) -> Report:
    path = chain.directory / "expected.json"
    return await verify(chain.deployment, read_expected(path), path, review=True)


async def sql(chain: Chain, statement: str) -> None:
    connection = await database(chain.settings)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


async def publish_review(chain: Chain, body: bytes, message_id: str) -> None:
    async with connected(chain.settings.rabbit, "scrutin test") as connection:
        channel = await connection.channel()
        channel.raw.basic_publish(
            "", "votes.review", body, pika.BasicProperties(message_id=message_id, delivery_mode=2)
        )


# Each makes the count wrong, names the figure or the place that must tell, and is made good again.
DAMAGES = [
    (
        "UPDATE vote_results SET oui_count = oui_count + 1 WHERE law_id = 'law-001'",
        "UPDATE vote_results SET oui_count = oui_count - 1 WHERE law_id = 'law-001'",
        "vote_results law-001 oui",
    ),
    (
        "INSERT INTO vote_results (law_id, oui_count) VALUES ('law-666', 1)",
        "DELETE FROM vote_results WHERE law_id = 'law-666'",
        "vote_results law-666 oui",
    ),
    (
        "CREATE TABLE kept AS SELECT contest, choice, window_start FROM vote_windows LIMIT 1;"
        "UPDATE vote_windows w SET votes = votes + 1 FROM kept k"
        " WHERE (w.contest, w.choice, w.window_start) = (k.contest, k.choice, k.window_start)",
        "UPDATE vote_windows w SET votes = votes - 1 FROM kept k"
        " WHERE (w.contest, w.choice, w.window_start) = (k.contest, k.choice, k.window_start);"
        "DROP TABLE kept",
        "vote_windows votes",
    ),
    (
        "CREATE TABLE kept AS SELECT * FROM rejected_votes WHERE status = 'malformed' LIMIT 1;"
        "UPDATE rejected_votes SET reason = 'other' WHERE id = (SELECT id FROM kept)",
        "UPDATE rejected_votes r SET reason = k.reason FROM kept k WHERE k.id = r.id;"
        "DROP TABLE kept",
        "rejected malformed other",
    ),
    (
        "CREATE TABLE kept AS SELECT * FROM vote_audit ORDER BY id LIMIT 1;"
        "UPDATE vote_audit SET voter_hash = 'x' WHERE id = (SELECT id FROM kept)",
        "UPDATE vote_audit a SET voter_hash = k.voter_hash FROM kept k WHERE k.id = a.id;"
        "DROP TABLE kept",
        "vote_audit equal lines",
    ),
    (
        "CREATE TABLE kept AS SELECT * FROM duplicate_attempts LIMIT 1;"
        "DELETE FROM duplicate_attempts WHERE vote_hash = (SELECT vote_hash FROM kept)",
        "INSERT INTO duplicate_attempts OVERRIDING SYSTEM VALUE SELECT * FROM kept;DROP TABLE kept",
        "duplicate_attempts rows",
    ),
]


async def test_exact_and_no_damage_goes_unnoticed(stack: Stack, tmp_path: Path) -> None:
    async with Chain(stack, tmp_path) as chain:
        scrutin = Cli(chain)
        only_roll = await scrutin("publish", "--votes", "1500", "--only-roll")
        assert only_roll.returncode == 0, only_roll.stderr
        await chain.start()
        published = await scrutin(
            *("publish", "--votes", "1500", "--duplicates", "4%", "--candidates", "10%"),
            *("--malformed", "1%", "--json"),
        )
        assert published.returncode == 0, published.stderr
        assert json.loads(published.stdout)["counted"] == 1500
        done = await scrutin("verify", "expected.json")
        assert done.returncode == 0, done.stdout + done.stderr
        assert "Exact:" in done.stdout

        for damage, repair, named in DAMAGES:
            await sql(chain, damage)
            report = await compared(chain)
            wrong = {figure.name for figure in report.figures if not figure.ok}
            assert not report.equal, damage
            assert named in wrong, (damage, wrong)
            await sql(chain, repair)
        assert (await compared(chain)).equal

        await _damage_redis(chain)
        await _damage_reviews(chain, scrutin)


async def _notices(chain: Chain, where: str) -> None:
    report = await compared(chain)
    places = {difference.where for difference in report.differences}
    places |= {f"{f.group} {f.name}" for f in report.figures if not f.ok}
    assert not report.equal
    assert where in places, places


async def _damage_redis(chain: Chain) -> None:
    redis = redis_of(chain.settings)
    member = await redis.srandmember("voted_hashes")
    await redis.srem("voted_hashes", member)
    await redis.sadd("voted_hashes", "somebody else")
    await _notices(chain, "voted_hashes")
    await redis.sadd("voted_hashes", member)
    await _notices(chain, "Redis voted_hashes members")
    await redis.srem("voted_hashes", "somebody else")

    counter = await anext(redis.scan_iter("duplicate_count:*"))
    await redis.incr(counter)
    await _notices(chain, "duplicate_count")
    await redis.decr(counter)
    await redis.aclose()


async def _damage_reviews(chain: Chain, scrutin: Cli) -> None:
    assert (await compared(chain)).equal
    review = {"status": "duplicate", "reason": "already_voted", "attempt_count": 1}
    body = json.dumps({**review, "voter_hash": "x", "vote_hash": "x"}).encode()
    await publish_review(chain, body, "surplus")
    await _notices(chain, "votes.review attempts")
    await publish_review(chain, body, "surplus")
    done = await scrutin("verify", "expected.json", "--wait", "1", "--drain-review", "--json")
    assert done.returncode == 3
    report = json.loads(done.stdout)
    assert report["equal"] is False
    assert {d["where"] for d in report["differences"]} == {"votes.review attempts"}
    # Taken out: now all of them are missing.
    await _notices(chain, "votes.review different messages")
    done = await scrutin("verify", "expected.json", "--wait", "1", "--no-review")
    assert done.returncode == 0, done.stdout


async def test_roll_files(stack: Stack, tmp_path: Path) -> None:
    async with Chain(stack, tmp_path, workers=0, bridges=0) as chain:
        scrutin = Cli(chain)
        (tmp_path / "roll.txt").write_text("# two\n" + "AB" * 32 + "\n" + "cd" * 32 + "\n")
        done = await scrutin("roll", "load", "roll.txt", "--json")
        assert json.loads(done.stdout) == {
            "set": "valid_hashes",
            "read": 2,
            "size": 2,
            "repeated": 0,
        }
        redis = redis_of(chain.settings)
        assert await redis.smembers("valid_hashes") == {"ab" * 32, "cd" * 32}
        await redis.aclose()
        done = await scrutin("roll", "load")
        assert done.returncode == 10
        assert "roll load FILE" in done.stderr


async def test_publish_without_a_broker_says_so(stack: Stack, tmp_path: Path) -> None:
    async with Chain(stack, tmp_path, workers=0, bridges=0) as chain:
        chain.env["RABBITMQ_PORT"] = "9"
        done = await Cli(chain)("publish", "--votes", "10")
        assert done.returncode == 11
        assert "RABBITMQ_HOST" in done.stderr
        assert json.loads((tmp_path / "expected.json").read_text())["messages"] == 0


@pytest.mark.parametrize("ahead", [False, True])
async def test_a_slow_rate_ends_when_its_last_message_was_confirmed(
    stack: Stack, tmp_path: Path, ahead: bool
) -> None:
    """The end of the source may be found when no outstanding confirm would report it."""
    # A queue of its own, which nobody reads.
    settings = load_settings({**stack.env(), "VALIDATION_QUEUE": "test.slow-rate"})
    plan = LoadPlan(votes=5, duplicates=0, unknown=0, repeats=0, bad_choice=0, malformed=0)
    async with connected(settings.rabbit, "scrutin test") as connection:
        try:
            asked_us = time.time_ns() // 1000
            outcome = await play(
                deployment_config(settings),
                SyntheticElection(plan),
                expected=tmp_path / "expected.json",
                rate=5,
                ahead=ahead,
            )
            # The fifth is due 0.8 s after the first.
            assert outcome.seconds >= 0.8
            assert (outcome.started_us > asked_us + 900_000) == ahead
            assert await connection.depth("test.slow-rate") == QueueDepth(plan.messages, 0)
            assert outcome.unconfirmed == 0
        finally:
            (await connection.channel()).raw.queue_delete("test.slow-rate")

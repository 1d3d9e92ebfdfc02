"""What was lost is refused, and the command that the refusal names brings it back."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from schemas.codec import encode
from streams.adapters.kafka.admin import create_topics, delete_topic, planned_topics
from streams.adapters.kafka.reader import LogReader
from streams.core.topics import VALIDATED_TOPIC, VALIDATION_TOPIC, WINDOWS_TOPIC, changelog_topic
from streams.devstack import Stack
from streams.errors import ExitCode
from streams.maintenance import derived, postgres
from streams.maintenance.postgres import PostgresRebuild
from streams.maintenance.topics import TopicRebuild
from streams.settings.build import deployment_config
from streams.settings.configs import KafkaConfig
from streams.settings.load import load_settings
from streams.worker.postgres_sink import PostgresSink
from tests.harness import until
from tests.integration.cli_harness import run_cli
from tests.integration.worker_harness import APP_ID, PARTITIONS, WorkerHarness, ending
from tests.strategies import make_batch, make_vote

pytestmark = pytest.mark.timeout(300)

CHANGELOG = changelog_topic(APP_ID)
RECORDS = 5
"""Records that are written at once."""


@pytest.fixture
async def world(stack: Stack, tmp_path: Path) -> AsyncIterator[WorkerHarness]:
    async with WorkerHarness(stack, tmp_path) as world:
        yield world


def typed(world: WorkerHarness, command: str, *, code: int = ExitCode.OK) -> dict[str, Any]:
    """Type a `scrutin` command; returns what it prints."""
    _, *arguments = shlex.split(command)
    done = run_cli(world.env, *arguments, "--json")
    assert done.returncode == code, done.stdout + done.stderr
    told = json.loads(done.stdout) if done.stdout.startswith("{") else {"error": done.stderr}
    assert isinstance(told, dict)
    return told


def commands(said: str) -> list[str]:
    """The commands that an error names."""
    return re.findall(r"`(scrutin [^`]*)`", said)


async def refused(world: WorkerHarness, code: ExitCode) -> list[str]:
    """Start a worker that must refuse; returns the commands it names."""
    ended, log = await world.refused("refused")
    assert ended == code, log
    return commands(ending(log)["error"])


async def counted(world: WorkerHarness, records: int = 20) -> None:
    """Count some more records, to the end of the log, and stop."""
    await world.write(records)
    worker = await world.started("again")
    await world.counted()
    await world.windows_agree()
    assert await worker.terminate() == 0


class Interrupted(Exception):
    """Somebody killed the command."""


@contextmanager
def interrupted(owner: Any, name: str, *, after: int) -> Iterator[None]:
    """Let a method of a class fail once it was called so often."""
    original, calls = getattr(owner, name), 0

    async def call(*args: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls > after:
            raise Interrupted
        return await original(*args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(owner, name, call)
        yield


@contextmanager
def no_bars(_: str, __: int) -> Iterator[Callable[[int], None]]:
    yield lambda _: None


@pytest.fixture
def small_lots(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(derived, "WRITE_RECORDS", RECORDS)
    monkeypatch.setattr(postgres, "BACKFILL_VOTES", 100)


@pytest.mark.usefixtures("small_lots")
async def test_a_lost_changelog(world: WorkerHarness) -> None:
    await counted(world, 30)
    await delete_topic(world.servers, CHANGELOG)
    [command] = await refused(world, ExitCode.LOG_MISMATCH)
    typed(world, f"{command} --dry-run", code=ExitCode.DIFFERENT)
    with interrupted(derived.LogWriter, "write", after=3), pytest.raises(Interrupted):
        await TopicRebuild(deployment_config(load_settings(world.env)), no_bars).voted()
    made = typed(world, command)
    assert made["right"]
    assert made["written"] == 2 * 31 - 3 * RECORDS
    assert sum(f["votes"] for f in made["found"]) == await world.db.fetchval(
        "SELECT count(*) FROM vote_audit"
    )
    assert typed(world, command)["written"] == 0
    await counted(world)


async def test_spoilt_topics(world: WorkerHarness) -> None:
    await counted(world, 30)
    await world.producer.send_and_wait(CHANGELOG, b"junk", key=b"k", partition=1)
    await world.producer.send_and_wait(VALIDATED_TOPIC, b"junk", partition=0)
    [command] = await refused(world, ExitCode.RECOVERY_FAILED)
    made = typed(world, command)
    assert [f["wrong"] for f in made["found"]] == [0, 1]
    assert made["recreated"]
    made = typed(world, "scrutin rebuild validated")
    assert [f["wrong"] for f in made["found"]] == [1, 0]
    assert made["recreated"]
    await counted(world)


@pytest.mark.usefixtures("small_lots")
async def test_a_spoilt_database(world: WorkerHarness) -> None:
    await counted(world, 30)
    await world.db.execute(
        "DELETE FROM vote_audit WHERE source_index = 3;"
        "UPDATE contest_results SET votes = votes + 1;"
        "UPDATE vote_windows SET window_start = window_start + interval '1 hour';"
        "DELETE FROM rejected_votes"
    )
    told = typed(world, "scrutin rebuild postgres --dry-run", code=ExitCode.DIFFERENT)
    differing = {t["table"] for t in told["tables"] if t["missing"] or t["surplus"]}
    assert differing == {"vote_audit", "contest_results", "vote_windows", "rejected_votes"}
    work = PostgresRebuild(deployment_config(load_settings(world.env)), no_bars)
    with interrupted(PostgresSink, "flush", after=3), pytest.raises(Interrupted):
        await work.run()
    made = typed(world, "scrutin rebuild postgres")
    assert (made["resumed"], made["replaced"]) == (True, True)
    await world.check()
    await world.windows_agree()
    assert typed(world, "scrutin rebuild postgres")["equal"]
    await counted(world)


async def test_a_record_of_the_log_that_cannot_be_decoded(world: WorkerHarness) -> None:
    await world.write(10)
    sent = await world.producer.send_and_wait(VALIDATION_TOPIC, b"\xff junk", partition=1)
    after = make_batch(make_vote("after"))
    await world.producer.send_and_wait(VALIDATION_TOPIC, encode(after), partition=1)
    [command] = await refused(world, ExitCode.POISON_RECORD)
    assert command == f"scrutin skip {VALIDATION_TOPIC} 1 {sent.offset}"
    decided = typed(world, command)
    assert typed(world, command) == decided
    await world.passed(1, sent.offset, b"\xff junk")
    world.logs[1].decide(after)
    await world.skip_is_logged(1)
    await counted(world)
    assert (
        await world.db.fetchval(
            "SELECT body_head FROM rejected_votes WHERE reason = 'undecodable_record'"
        )
        == b"? aaaa"
    )
    # What is made from the log passes it too.
    for what in ("voted", "validated", "postgres"):
        told = typed(world, f"scrutin rebuild {what} --dry-run")
        assert told.get("right", True)
        assert told.get("equal", True)


async def rewrite_log(world: WorkerHarness, keep: int) -> None:
    """Let the input log be what an old backup would have: the first records of each partition."""
    reader = LogReader(world.servers)
    kept = {
        p: [r.value async for r in reader.read(VALIDATION_TOPIC, p, 0, keep)] for p in world.logs
    }
    await delete_topic(world.servers, VALIDATION_TOPIC)
    [plan] = [t for t in planned_topics(APP_ID, PARTITIONS) if t.name == VALIDATION_TOPIC]
    await create_topics(KafkaConfig(tuple(world.servers), APP_ID, PARTITIONS, 1), [plan])
    await world.new_producer()
    for partition, values in kept.items():
        for value in values:
            await world.producer.send(VALIDATION_TOPIC, value, partition=partition)
    await world.producer.flush()


async def since(world: WorkerHarness, name: str) -> None:
    """Votes come into whatever log there is now; they are to follow the old ones."""
    await world.new_producer()
    for partition, log in world.logs.items():
        batch = make_batch(make_vote(f"{name} {partition}"))
        await world.producer.send_and_wait(VALIDATION_TOPIC, encode(batch), partition=partition)
        log.decide(batch)


async def test_a_log_that_lost_its_end_and_one_that_was_recreated(world: WorkerHarness) -> None:
    await counted(world, 30)
    await rewrite_log(world, 12)
    assert await refused(world, ExitCode.LOG_MISMATCH) == ["scrutin rebuild log", "scrutin fresh"]
    made = typed(world, "scrutin rebuild log")
    assert (made["log"]["written"], made["log"]["recreated"]) == (2 * 19, False)
    await counted(world)

    await delete_topic(world.servers, VALIDATION_TOPIC)
    # The next process makes a new log, and votes come into it.
    assert await refused(world, ExitCode.LOG_MISMATCH) == ["scrutin rebuild log", "scrutin fresh"]
    await since(world, "after the loss")
    told = typed(world, "scrutin rebuild log --dry-run", code=ExitCode.DIFFERENT)
    assert [f["since"] for f in told["log"]["found"]] == [1, 1]
    assert typed(world, "scrutin rebuild log")["log"]["recreated"]
    assert typed(world, "scrutin rebuild log")["log"]["written"] == 0
    await counted(world)


async def test_a_log_from_the_database_where_all_of_kafka_is_gone(world: WorkerHarness) -> None:
    await counted(world, 30)
    for topic in (VALIDATION_TOPIC, VALIDATED_TOPIC, CHANGELOG, WINDOWS_TOPIC):
        await delete_topic(world.servers, topic)
    assert "scrutin rebuild log" in await refused(world, ExitCode.LOG_MISMATCH)
    await since(world, "after the loss")
    assert (
        "--from-audit" in typed(world, "scrutin rebuild log", code=ExitCode.LOG_MISMATCH)["error"]
    )
    made = typed(world, "scrutin rebuild log --from-audit")
    assert made["postgres"]["replaced"]
    assert made["postgres"]["equal"], made["postgres"]["tables"]
    voter = await world.db.fetchrow("SELECT voter_hash, law_id FROM vote_audit LIMIT 1")
    assert voter is not None
    partition = await world.db.fetchval("SELECT source_partition FROM vote_audit LIMIT 1")
    again = make_batch(make_vote(voter[0], contest=voter[1], message="again"))
    await world.producer.send_and_wait(VALIDATION_TOPIC, encode(again), partition=partition)
    world.logs[partition].decide(again)
    worker = await world.started("again")

    async def exact() -> bool:
        try:
            await world.check()
        except AssertionError:
            return False
        return True

    await until(exact, "what came since is counted", within_s=60)
    await world.check()
    await world.windows_agree()
    assert await worker.terminate() == 0


async def test_a_new_count_on_purpose(world: WorkerHarness) -> None:
    await counted(world, 20)
    before = await world.db.fetchval("SELECT count(*) FROM vote_audit")
    assert "delete the topic" in typed(world, "scrutin fresh", code=ExitCode.FAILED)["error"]
    await delete_topic(world.servers, VALIDATION_TOPIC)
    assert "scrutin fresh" in await refused(world, ExitCode.LOG_MISMATCH)
    assert typed(world, "scrutin fresh --dry-run")["topics"]
    made = typed(world, "scrutin fresh")
    assert set(made["topics"]) == {CHANGELOG, VALIDATED_TOPIC, WINDOWS_TOPIC}
    kept = await world.db.fetchval(f"SELECT count(*) FROM {made['schema']}.vote_audit")
    assert kept == before
    await world.new_producer()
    await world.new_log()
    await counted(world, 10)

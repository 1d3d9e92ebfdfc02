"""`scrutin results`, `lag`, `doctor` and `settings` on real services."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import signal
import subprocess
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pika
import pytest
import redis
from aiokafka import AIOKafkaConsumer, TopicPartition

from streams.adapters.postgres.migrations import migrate
from streams.core.topics import VALIDATION_TOPIC, egress_group
from streams.devstack import Stack
from streams.errors import ExitCode
from streams.settings.load import variables
from tests.harness import wipe
from tests.integration.cli_harness import FinishedCount, program, run_cli, vote, vote_hash

REDIS_DB = "13"


@asynccontextmanager
async def database(env: dict[str, str], name: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(
        host=env["POSTGRES_HOST"],
        port=int(env["POSTGRES_PORT"]),
        user=env["POSTGRES_USER"],
        password=env["POSTGRES_PASSWORD"],
        database=name,
    )
    try:
        yield connection
    finally:
        await connection.close()


def execute(env: dict[str, str], *statements: str) -> None:
    async def work() -> None:
        async with database(env, env["POSTGRES_DB"]) as connection:
            for statement in statements:
                await connection.execute(statement)

    asyncio.run(work())


@pytest.fixture(scope="module")
def emptied(stack: Stack) -> Stack:
    """Without the topics that another module has left: they may have other partitions."""
    asyncio.run(wipe(stack.env()))
    return stack


@pytest.fixture
def env(emptied: Stack) -> Iterator[dict[str, str]]:
    """A deployment of its own: app, queues, Redis database and an empty, migrated database."""
    unique = uuid.uuid4().hex[:8]
    shared = emptied.env()
    own = {
        **shared,
        "SCRUTIN_APP_ID": f"cli-{unique}",
        "VALIDATION_QUEUE": f"{unique}.validation",
        "REVIEW_QUEUE": f"{unique}.review",
        "REDIS_DB": REDIS_DB,
        "POSTGRES_DB": f"cli_{unique}",
    }

    async def begin() -> None:
        async with database(shared, shared["POSTGRES_DB"]) as connection:
            await connection.execute(f"CREATE DATABASE {own['POSTGRES_DB']}")
        async with database(own, own["POSTGRES_DB"]) as connection:
            await migrate(connection)
        async with FinishedCount(own["KAFKA_BOOTSTRAP_SERVERS"], own["SCRUTIN_APP_ID"]):
            pass

    async def end() -> None:
        async with database(shared, shared["POSTGRES_DB"]) as connection:
            await connection.execute(f"DROP DATABASE {own['POSTGRES_DB']} WITH (FORCE)")

    asyncio.run(begin())
    yield own
    asyncio.run(end())


@pytest.fixture
def roll(env: dict[str, str]) -> Iterator[redis.Redis]:
    client = redis.Redis(
        host=env["REDIS_HOST"],
        port=int(env["REDIS_PORT"]),
        db=int(REDIS_DB),
        password=env.get("REDIS_PASSWORD") or None,
    )
    client.sadd("valid_hashes", "a", "b", "c")
    yield client
    client.flushdb()
    client.close()


@pytest.fixture
def channel(env: dict[str, str]) -> Iterator[Any]:
    credentials = pika.PlainCredentials(env["RABBITMQ_USER"], env["RABBITMQ_PASSWORD"])
    connection = pika.BlockingConnection(
        pika.ConnectionParameters(
            env["RABBITMQ_HOST"], int(env["RABBITMQ_PORT"]), env["RABBITMQ_VHOST"], credentials
        )
    )
    channel = connection.channel()
    yield channel
    for queue in ("VALIDATION_QUEUE", "REVIEW_QUEUE"):
        channel.queue_delete(env[queue])
    connection.close()


def cli(env: dict[str, str], *arguments: str, code: int = 0) -> Any:
    done = run_cli(env, *arguments, "--json")
    assert done.returncode == code, done.stderr
    return json.loads(done.stdout)


RESULTS = (
    "INSERT INTO contest_results (contest_id, choice, votes) VALUES ('C-1', 'oui', 30),"
    " ('C-1', 'non', 10), ('C-2', 'non', 1), ('election:7', 'roy', 2), ('election:7', 'cyr', 5)",
)


def test_results(env: dict[str, str]) -> None:
    assert cli(env, "results") == {"laws": [], "contests": []}
    execute(env, *RESULTS)
    found = cli(env, "results")
    assert [law["law_id"] for law in found["laws"]] == ["C-1", "C-2"]
    assert found["contests"][0]["choices"] == {"cyr": 5, "roy": 2}
    law = cli(env, "results", "C-1")
    assert law.pop("updated_at")
    assert law.pop("result")["total_votes"] == 40
    assert law == {"law_id": "C-1", "oui_count": 30, "non_count": 10, "total_votes": 40}
    assert "75.0 %" in run_cli(env, "results", "C-1").stdout
    execute(
        env,
        "INSERT INTO contests (contest_id, kind, title, state, roll, command_id, number)"
        " VALUES ('C-9', 'law', 'C-9', 'open', 'default', '\\x00', 1)",
    )
    assert "no votes were counted yet" in run_cli(env, "results", "C-9").stdout
    found = cli(env, "results", "7")
    assert found["contest_id"] == "election:7"
    # The same as pages and other readers get.
    result = found["result"]
    assert (result["version"], result["phase"], result["total_votes"]) == ("2", "unannounced", 7)
    assert [(each["id"], each["votes"]) for each in result["choices"]] == [("cyr", 5), ("roy", 2)]
    assert "unannounced  7 votes, as of " in run_cli(env, "results", "7").stdout
    for mistyped in ("C-10", "c-1", "election:8", "poll:1"):
        for output in ((), ("--json",)):
            done = run_cli(env, "results", mistyped, *output)
            assert (done.returncode, done.stdout) == (ExitCode.FAILED, "")
            assert "There is no such contest" in done.stderr


def test_results_of_a_database_without_tables(env: dict[str, str]) -> None:
    execute(env, "DROP TABLE contest_results CASCADE")
    done = run_cli(env, "results")
    assert done.returncode == ExitCode.FAILED
    assert "scrutin migrate" in done.stderr


def start_watching(env: dict[str, str], *arguments: str, stdout: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [*program(arguments[0]), *arguments[1:]],
        env={"PATH": "/usr/bin:/bin", "TERM": "xterm", **env},
        stdout=stdout,
        start_new_session=True,
    )


def test_watched_results_follow_the_count(env: dict[str, str]) -> None:
    execute(env, *RESULTS)
    arguments = ("results", "C-1", "--watch", "--json", "--interval", "0.1")
    with start_watching(env, *arguments, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["total_votes"] == 40
        execute(env, "UPDATE contest_results SET votes = 31 WHERE choice = 'oui'")
        for line in process.stdout:
            if json.loads(line)["total_votes"] == 41:
                break
        process.send_signal(signal.SIGINT)
        process.stdout.read()
        assert process.wait(60) == ExitCode.OK


def test_watched_results_on_a_terminal(env: dict[str, str]) -> None:
    execute(env, *RESULTS)
    master, slave = pty.openpty()
    process = start_watching(env, "results", "C-1", "--watch", stdout=slave)
    os.close(slave)
    shown = b""
    while b"25.0 %" not in shown:
        shown += os.read(master, 4096)
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == ExitCode.OK
    os.close(master)
    assert "█".encode() in shown


def test_lag_of_a_new_deployment(env: dict[str, str]) -> None:
    found = cli(env, "lag")
    assert found["errors"] == {}
    assert found["queues"] == {env["VALIDATION_QUEUE"]: None, env["REVIEW_QUEUE"]: None}
    readers = [p["readers"] for p in found["partitions"] if p["topic"] == VALIDATION_TOPIC]
    assert len(readers) == 4
    for reader in readers:
        assert reader == {
            "workers": {"committed": None, "lag": None},
            "postgresql": {"committed": None, "lag": None},
        }
    assert "never" in run_cli(env, "lag").stdout


def test_lag_of_every_reader(env: dict[str, str], channel: Any) -> None:
    channel.queue_declare(env["VALIDATION_QUEUE"], durable=True)
    channel.basic_publish("", env["VALIDATION_QUEUE"], b"x")
    # An answer means that everything before it has arrived.
    channel.queue_declare(env["VALIDATION_QUEUE"], passive=True)
    voted = vote(vote_hash(1, "C-1"), "C-1")

    async def work() -> tuple[int, int]:
        async with FinishedCount(env["KAFKA_BOOTSTRAP_SERVERS"], env["SCRUTIN_APP_ID"]) as world:
            partition = world.partition(voted)
            await world.accept([voted])
            ((_, offset, _),) = world.places.values()
            for group, at in ((env["SCRUTIN_APP_ID"], offset), (egress(), 0)):
                topic = VALIDATION_TOPIC if group == env["SCRUTIN_APP_ID"] else "votes.validated"
                # Committing on its own, it would commit its position over ours when it stops.
                consumer = AIOKafkaConsumer(
                    bootstrap_servers=env["KAFKA_BOOTSTRAP_SERVERS"],
                    group_id=group,
                    enable_auto_commit=False,
                )
                await consumer.start()
                consumer.assign([TopicPartition(topic, partition)])
                await consumer.commit({TopicPartition(topic, partition): at})
                await consumer.stop()
            return partition, offset

    def egress() -> str:
        return egress_group(env["SCRUTIN_APP_ID"])

    partition, offset = asyncio.run(work())
    execute(
        env,
        "INSERT INTO sink_offsets (partition, log_id, source_offset, validated_offset)"
        f" VALUES ({partition}, '\\x00', {offset - 1}, 0)",
    )
    found = cli(env, "lag")
    rows = {(p["topic"], p["partition"]): p for p in found["partitions"]}
    ours = rows[VALIDATION_TOPIC, partition]
    assert ours["readers"]["workers"]["committed"] == offset
    assert ours["readers"]["workers"]["lag"] == ours["end"] - offset >= 1
    assert ours["readers"]["postgresql"]["lag"] == ours["end"] - offset
    verdicts = rows["votes.validated", partition]
    assert verdicts["readers"]["egress"]["lag"] == verdicts["end"]
    assert verdicts["readers"]["mirror"]["lag"] is None
    assert found["queues"][env["VALIDATION_QUEUE"]] == {"ready": 1, "consumers": 0}


AWAY = {
    "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:9",
    "RABBITMQ_PORT": "9",
    "POSTGRES_PORT": "9",
    "REDIS_PORT": "9",
}


@pytest.mark.parametrize("away", ["KAFKA_BOOTSTRAP_SERVERS", "RABBITMQ_PORT", "POSTGRES_PORT"])
def test_lag_shows_the_rest_when_a_service_is_away(env: dict[str, str], away: str) -> None:
    found = cli({**env, away: AWAY[away]}, "lag", code=ExitCode.SERVICE_UNAVAILABLE)
    assert list(found["errors"]) == [
        {"KAFKA_BOOTSTRAP_SERVERS": "kafka", "RABBITMQ_PORT": "rabbitmq"}.get(away, "postgresql")
    ]
    assert bool(found["partitions"]) == (away != "KAFKA_BOOTSTRAP_SERVERS")
    assert bool(found["queues"]) == (away != "RABBITMQ_PORT")


def findings(found: Any) -> dict[tuple[str, str], tuple[str, str]]:
    return {(c["service"], c["name"]): (c["status"], c["detail"]) for c in found["checks"]}


def test_doctor_of_a_good_deployment(env: dict[str, str], roll: redis.Redis, channel: Any) -> None:
    for queue in ("VALIDATION_QUEUE", "REVIEW_QUEUE"):
        channel.queue_declare(env[queue], durable=True)
    found = cli(env, "doctor")
    assert found["failures"] == 0
    checks = findings(found)
    for service in ("rabbitmq", "kafka", "redis", "postgresql"):
        assert checks[service, "reachable"][0] == "ok"
    assert checks["kafka", "log identity"][0] == "ok"
    assert checks["kafka", "retention"] == ("ok", "unlimited")
    assert checks["kafka", "replication"][0] == "warning"
    assert checks["redis", "roll"] == ("ok", "3 voters, 0 have voted")
    assert checks["postgresql", "schema"][0] == "ok"
    assert checks["postgresql", "clock"][0] == "ok"
    assert all(c["todo"] for c in found["checks"] if c["status"] != "ok")


def test_doctor_finds_what_is_wrong(
    env: dict[str, str], roll: redis.Redis, stack: Stack, channel: Any
) -> None:
    arguments = {"x-message-ttl": 86_400_000, "x-max-length": 1_000_000}
    channel.queue_declare(env["VALIDATION_QUEUE"], durable=True, arguments=arguments)
    roll.delete("valid_hashes")
    execute(
        env,
        "INSERT INTO schema_migrations (version, name) VALUES (9999, 'future')",
        "INSERT INTO sink_offsets (partition, log_id, source_offset, validated_offset)"
        " VALUES (0, '\\x00', 1, 1)",
    )
    found = cli({**env, "SCRUTIN_PARTITIONS": "8"}, "doctor", code=ExitCode.FAILED)
    checks = findings(found)
    assert checks["kafka", "partitions"][0] == "failure"
    assert checks["redis", "roll"][0] == "failure"
    assert checks["postgresql", "schema"] == (
        "failure",
        f"has migration 9999, {checks['postgresql', 'schema'][1].split(', ')[1]}",
    )
    assert checks["postgresql", "log identity"] == (
        "failure",
        "partitions 0 were counted from another log",
    )
    shown = run_cli(env, "doctor")
    assert "✘" in shown.stdout
    assert "→ Load the roll" in shown.stdout


def test_doctor_reads_queue_arguments_over_http(
    env: dict[str, str], roll: redis.Redis, channel: Any, management_url: str
) -> None:
    arguments = {"x-message-ttl": 86_400_000, "x-max-length": 1_000_000}
    channel.queue_declare(env["VALIDATION_QUEUE"], durable=True, arguments=arguments)
    found = cli({**env, "SCRUTIN_RABBITMQ_MANAGEMENT_URL": management_url}, "doctor")
    details = [c["detail"] for c in found["checks"] if c["name"].startswith("queue")]
    assert "message-ttl 86400000 ms" in details
    assert "max-length 1000000, overflow drop-head" in details


@pytest.fixture
def management_url(stack: Stack) -> str:
    for service in stack.status():
        if url := service.links.get("RabbitMQ management"):
            return url
    pytest.skip("the stack's RabbitMQ has no management pages")


def test_doctor_names_every_service_that_is_away(env: dict[str, str]) -> None:
    found = cli({**env, **AWAY}, "doctor", code=ExitCode.SERVICE_UNAVAILABLE)
    checks = findings(found)
    for service in ("rabbitmq", "kafka", "redis", "postgresql"):
        assert checks[service, "reachable"][0] == "failure"
        assert checks[service, "all else"][0] == "not_checked"
    assert checks["host", "python"][0] == "ok"
    assert found["not_checked"] >= 4
    away = {name: AWAY[name] for name in ("KAFKA_BOOTSTRAP_SERVERS",)}
    found = cli({**env, **away}, "doctor", code=ExitCode.SERVICE_UNAVAILABLE)
    assert findings(found)["postgresql", "log identity"][0] == "not_checked"
    assert "?" in run_cli({**env, **away}, "doctor").stdout


def test_doctor_refused_by_a_password(env: dict[str, str]) -> None:
    wrong = {"RABBITMQ_PASSWORD": "wrong", "POSTGRES_PASSWORD": "wrong"}
    found = cli({**env, **wrong}, "doctor", code=ExitCode.FAILED)
    checks = {c["service"]: c for c in found["checks"] if c["name"] == "reachable"}
    assert checks["rabbitmq"]["status"] == "failure"
    assert "RABBITMQ_PASSWORD" in checks["rabbitmq"]["todo"]
    assert "wrong" not in json.dumps(found)


def test_settings_hide_passwords(env: dict[str, str]) -> None:
    secret = {**env, "POSTGRES_PASSWORD": "s3cret-p", "REDIS_PASSWORD": "s3cret-r"}
    shown = run_cli(secret, "settings")
    assert shown.returncode == 0
    assert "s3cret" not in shown.stdout
    for names in variables().values():
        assert names[0] in shown.stdout
    found = cli(secret, "settings")
    assert "s3cret" not in json.dumps(found)
    values = {one["name"]: one["value"] for one in found}
    assert values["validation_queue"] == env["VALIDATION_QUEUE"]
    assert run_cli(env, "settings", "--json", "--markdown").returncode == ExitCode.USAGE


def test_a_bad_setting_is_named(env: dict[str, str]) -> None:
    done = run_cli({**env, "SCRUTIN_PARTITION": "8"}, "settings")
    assert done.returncode == ExitCode.BAD_SETTINGS
    assert "SCRUTIN_PARTITION" in done.stderr

"""The mistakes of docs/first-hour.md, made for real: what is printed is what the page shows."""

from __future__ import annotations

import asyncio
import os
import re
import resource
import socket
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import asyncpg
import pika
import pytest

from streams.adapters.kafka.admin import ensure_topics
from streams.adapters.rabbitmq.client import parameters
from streams.devstack import Stack
from streams.errors import ExitCode
from streams.settings.configs import KafkaConfig
from streams.settings.load import load_settings
from tests.faults.scenarios_hosts import wrong_clock
from tests.harness import wipe
from tests.integration.cli_harness import PARTITIONS, program, run_cli

pytestmark = pytest.mark.timeout(300)

PAGE = (Path(__file__).parents[2] / "docs" / "first-hour.md").read_text(encoding="utf-8")
SECTIONS = {
    title: re.findall(r"^```text\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
    for title, text in re.findall(r"^## ([^\n]*)\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
}
TRIED: set[str] = set()


def words(text: str) -> str:
    """A text without line breaks, and without the columns of a table."""
    return " ".join(text.split())


def shown(title: str, printed: str, number: int = 0) -> None:
    """Fail unless the page's message, `…` standing for anything, was printed."""
    TRIED.add(f"{title} {number}")
    message = words(SECTIONS[title][number])
    pattern = ".*?".join(re.escape(part) for part in message.split("…"))
    assert re.search(pattern, words(printed)), f"{message}\n\nis not in\n\n{printed}"


def refused(env: dict[str, str], *arguments: str) -> str:
    done = run_cli({**env, "COLUMNS": "200"}, *arguments)
    assert done.returncode != 0, done.stdout
    return done.stderr


@pytest.fixture(scope="module")
def env(stack: Stack) -> dict[str, str]:
    # The topics that another module has left may have other partitions.
    asyncio.run(wipe(stack.env()))
    return stack.env()


DOWN = "A service is down"
PUBLISH = ("publish", "--votes", "1", "--no-load-roll", "--expected", "{folder}/expected.json")


@pytest.mark.parametrize(
    ("number", "away", "arguments"),
    [
        (0, {"POSTGRES_PORT": "9"}, ("results",)),
        (1, {"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:9"}, ("contest", "create", "C-1")),
        (2, {"RABBITMQ_PORT": "9"}, PUBLISH),
        (3, {"REDIS_PORT": "9"}, ("roll", "check", "00")),
    ],
)
def test_a_service_that_is_down(
    env: dict[str, str],
    tmp_path: Path,
    number: int,
    away: dict[str, str],
    arguments: tuple[str, ...],
) -> None:
    typed = [argument.format(folder=tmp_path) for argument in arguments]
    shown(DOWN, refused({**env, **away}, *typed), number)


@pytest.mark.parametrize(
    ("number", "variable", "arguments"),
    [
        (0, "POSTGRES_PASSWORD", ("migrate",)),
        (1, "RABBITMQ_PASSWORD", PUBLISH),
    ],
)
def test_a_wrong_password(
    env: dict[str, str], tmp_path: Path, number: int, variable: str, arguments: tuple[str, ...]
) -> None:
    typed = [argument.format(folder=tmp_path) for argument in arguments]
    printed = refused({**env, variable: "not-the-password"}, *typed)
    shown("A wrong password", printed, number)
    assert "not-the-password" not in printed


def test_a_port_that_is_taken(env: dict[str, str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        own = {
            "SCRUTIN_METRICS_HOST": "127.0.0.1",
            "SCRUTIN_BRIDGE_METRICS_PORT": str(taken.getsockname()[1]),
        }
        done = subprocess.run(
            [sys.executable, "-m", "streams.bridge"],
            env={"PATH": "/usr/bin:/bin", **env, **own},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    assert done.returncode == ExitCode.PORT_TAKEN
    shown("A port in use", done.stderr)


def test_an_old_java(tmp_path: Path) -> None:
    java = tmp_path / "jre" / "bin" / "java"
    java.parent.mkdir(parents=True)
    java.write_text("#!/bin/sh\necho 'openjdk version \"11.0.2\" 2019-01-15' >&2\n")
    java.chmod(0o755)
    own = {"JAVA_HOME": str(tmp_path / "jre"), "SCRUTIN_STACK_DIR": str(tmp_path / "stack")}
    shown("Java is too old", refused(own, "stack", "up", "--native", "kafka"))


def test_a_topic_with_another_number_of_partitions(env: dict[str, str]) -> None:
    app_id = f"hour-{uuid.uuid4().hex[:8]}"
    servers = [env["KAFKA_BOOTSTRAP_SERVERS"]]
    asyncio.run(ensure_topics(KafkaConfig(tuple(servers), app_id, PARTITIONS, 1)))
    wrong = {**env, "SCRUTIN_APP_ID": app_id, "SCRUTIN_PARTITIONS": "8"}
    printed = refused(wrong, "contest", "create", "C-1")
    shown("A topic with another number of partitions", printed)


def test_a_database_newer_than_the_program(env: dict[str, str]) -> None:
    name = f"hour_{uuid.uuid4().hex[:8]}"

    async def execute(database: str, statement: str) -> None:
        connection = await asyncpg.connect(
            host=env["POSTGRES_HOST"],
            port=int(env["POSTGRES_PORT"]),
            user=env["POSTGRES_USER"],
            password=env["POSTGRES_PASSWORD"],
            database=database,
        )
        try:
            await connection.execute(statement)
        finally:
            await connection.close()

    asyncio.run(execute(env["POSTGRES_DB"], f"CREATE DATABASE {name}"))
    try:
        newer = (
            "CREATE TABLE schema_migrations (version integer PRIMARY KEY, name text NOT NULL,"
            " applied_at timestamptz NOT NULL DEFAULT now());"
            "INSERT INTO schema_migrations (version, name) VALUES (9999, 'future')"
        )
        asyncio.run(execute(name, newer))
        printed = refused({**env, "POSTGRES_DB": name}, "migrate")
        shown("A database newer than the program", printed)
    finally:
        asyncio.run(execute(env["POSTGRES_DB"], f"DROP DATABASE {name} WITH (FORCE)"))


def test_what_only_doctor_sees(stack: Stack, env: dict[str, str], tmp_path: Path) -> None:
    """A queue's arguments, too few file handles, a wrong clock, a disk nearly full."""
    [management] = [url for one in stack.status() if (url := one.links.get("RabbitMQ management"))]
    with queue_with_a_limit(env) as queue, small_disk(tmp_path / "data") as data:
        own = {
            **env,
            **wrong_clock(90),
            "COLUMNS": "250",
            "VALIDATION_QUEUE": queue,
            "SCRUTIN_DATA_DIR": str(data),
            "SCRUTIN_STACK_DIR": str(data),
            "SCRUTIN_RABBITMQ_MANAGEMENT_URL": management,
        }
        printed = doctor(own, partial(resource.setrlimit, resource.RLIMIT_NOFILE, (256, 256)))
    shown("A queue with other arguments", printed)
    shown("Too few file handles", printed)
    shown("A wrong clock", printed)
    if os.geteuid() == 0:
        shown("A disk nearly full", printed)


def doctor(env: dict[str, str], limit: Callable[[], object]) -> str:
    return subprocess.run(
        program("doctor"),
        env={"PATH": "/usr/bin:/bin", **env},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        preexec_fn=limit,
    ).stdout


@contextmanager
def queue_with_a_limit(env: dict[str, str]) -> Iterator[str]:
    name = f"hour.{uuid.uuid4().hex[:8]}"
    connection = pika.BlockingConnection(parameters(load_settings(env).rabbit, "scrutin test"))
    channel: Any = connection.channel()
    channel.queue_declare(name, durable=True, arguments={"x-message-ttl": 86_400_000})
    try:
        yield name
    finally:
        channel.queue_delete(name)
        connection.close()


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """A disk of 64 MiB, where this user may mount one."""
    folder.mkdir()
    if os.geteuid() != 0:
        yield folder
        return
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(folder)],
        check=True,
        capture_output=True,
        timeout=30,
    )
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True, timeout=30)


def test_every_message_of_the_page_was_tried(request: pytest.FixtureRequest) -> None:
    """Runs last: no section, and no message, without a test above."""
    assert len(SECTIONS) == 10

    if request.config.option.keyword or "::" in " ".join(request.config.args):
        pytest.skip("only some of the tests above were asked for")
    messages = {f"{title} {n}" for title, found in SECTIONS.items() for n in range(len(found))}
    left = messages - TRIED
    if os.geteuid() != 0:
        left -= {"A disk nearly full 0"}
    assert not left

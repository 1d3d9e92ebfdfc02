"""What the local stack knows of its services, without starting any."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import typer

from streams.cli.stack import export_lines, parse_signal
from streams.devstack import jars, packages, ports, postgres
from streams.devstack.choosing import choose
from streams.devstack.kafka import Kafka
from streams.devstack.packages import Need
from streams.devstack.rabbitmq import QUEUES, RabbitMQ, definitions, has_limits
from streams.devstack.redis import Redis
from streams.devstack.stack import Stack
from streams.devstack.state import ServiceRecord, StateFile
from streams.errors import ServiceUnavailable, StackError


class TestPackages:
    need = Need("no-such-program", "no-such-package", lambda: None)

    def test_without_root_the_command_is_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(os, "geteuid", lambda: 1000)
        monkeypatch.setattr(packages, "which", lambda _: Path("/usr/bin/apt-get"))
        with pytest.raises(StackError, match=r"sudo apt-get install .*no-such-package"):
            packages.ensure([self.need], lambda _: None)

    def test_without_apt_the_packages_are_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(packages, "which", lambda _: None)
        with pytest.raises(StackError, match="no-such-package"):
            packages.ensure([self.need], lambda _: None)

    def test_nothing_to_do_when_all_is_there(self) -> None:
        packages.ensure([Need("python", "python3", lambda: Path(sys.executable))], pytest.fail)

    def test_newest_goes_by_number(self, tmp_path: Path) -> None:
        for version in ("9", "15", "16", "2"):
            (tmp_path / version).mkdir()
            (tmp_path / version / "initdb").touch()
        assert packages.newest(f"{tmp_path}/*/initdb") == tmp_path / "16" / "initdb"
        assert packages.newest(f"{tmp_path}/*/nothing") is None


class TestJava:
    @pytest.mark.parametrize(
        ("text", "version"),
        [
            ('openjdk version "17.0.15" 2025-04-15', 17),
            ('java version "1.8.0_392"', 8),
            ('openjdk version "21" 2023-09-19 LTS', 21),
            ('Picked up JAVA_TOOL_OPTIONS: -X\nopenjdk version "25-ea" 2025', 25),
            ("command not found", 0),
        ],
    )
    def test_version(self, text: str, version: int) -> None:
        assert jars.java_version(text) == version

    def test_too_old_is_named(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        program = tmp_path / "bin" / "java"
        program.parent.mkdir()
        program.write_text("#!/bin/sh\necho 'openjdk version \"11.0.2\" 2019' >&2\n")
        program.chmod(0o755)
        monkeypatch.setenv("JAVA_HOME", str(tmp_path))
        with pytest.raises(StackError, match="needs Java 17 or newer, found 11"):
            jars.require_java()

    def test_none_is_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(jars, "java", lambda: None)
        with pytest.raises(StackError, match="needs Java"):
            jars.require_java()

    def test_a_broken_one_is_named(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        program = tmp_path / "bin" / "java"
        program.parent.mkdir()
        program.touch()
        monkeypatch.setenv("JAVA_HOME", str(tmp_path))
        with pytest.raises(StackError, match="found none"):
            jars.require_java()


class TestJars:
    @pytest.mark.parametrize("version", ["4.1.1", "4.2.1", "4.3.1", "4.4.0"])
    def test_the_list_of_each_version_is_whole(
        self, version: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("SCRUTIN_KAFKA_VERSION", version)
        digests = jars.expected()
        assert len(digests) > 40
        assert f"kafka_2.13-{version}.jar" in digests
        assert jars.cache().name == f"kafka-{version}"
        assert all(len(digest) == 64 for digest in digests.values())

    def test_a_version_without_a_list_is_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("SCRUTIN_KAFKA_VERSION", "3.9.0")
        with pytest.raises(StackError, match="SCRUTIN_KAFKA_VERSION=3"):
            jars.provide(print)

    def test_the_default_has_a_list(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("SCRUTIN_KAFKA_VERSION", raising=False)
        assert jars.chosen() == jars.VERSION

    def test_one_place_names_the_version(self) -> None:
        pom = Path(jars.__file__).with_name("pom.xml").read_text()
        assert jars.VERSION not in pom
        newest = jars.listed()[-1]
        assert newest == jars.VERSION
        docker = Path(__file__).parents[3] / "docker"
        named = {
            (path.name, found)
            for path in docker.rglob("*.y*ml")
            for found in re.findall(r"image:.*kafka.*", path.read_text())
        }
        assert named == {("compose.yaml", f"image: apache/kafka:{jars.VERSION}")}

    def test_changed_missing_and_foreign_files_are_named(self, tmp_path: Path) -> None:
        (tmp_path / "changed.jar").write_text("x")
        (tmp_path / "foreign.jar").write_text("y")
        with pytest.raises(StackError) as caught:
            jars.check(tmp_path, {"changed.jar": "0" * 64, "missing.jar": "0" * 64})
        for name in ("changed.jar", "foreign.jar", "missing.jar", str(tmp_path)):
            assert name in str(caught.value)


class TestEnv:
    def test_values_are_quoted_for_the_shell(self) -> None:
        names = {"POSTGRES_PASSWORD": 'a\'b $(id) "c" \n;', "REDIS_DB": "0"}
        script = "\n".join(export_lines(names))
        shown = subprocess.run(
            ["sh", "-c", f'{script}\nprintf %s "$POSTGRES_PASSWORD"'],
            capture_output=True,
            text=True,
            check=True,
        )
        assert shown.stdout == names["POSTGRES_PASSWORD"]

    @pytest.mark.parametrize("name", ["KILL", "SIGKILL", "kill", "9"])
    def test_signals_have_many_spellings(self, name: str) -> None:
        assert parse_signal(name) == signal.SIGKILL

    def test_an_unknown_signal_is_refused(self) -> None:
        with pytest.raises(typer.BadParameter, match="KILLALL"):
            parse_signal("KILLALL")


ENVIRON = {
    "RABBITMQ_HOST": "mq.example",
    "RABBITMQ_PASS": "secret",
    "SCRUTIN_RABBITMQ_MANAGEMENT_URL": "http://mq.example:15672",
    "KAFKA_BOOTSTRAP_SERVERS": "one:9092, two:9093",
    "REDIS_HOST": "cache.example",
    "REDIS_PORT": "6380",
    "REDIS_PASSWORD": "hidden",
}


class TestQueuesOfRabbitMQ:
    @pytest.mark.parametrize(
        ("version", "limits"), [("3.9.13", False), ("3.10.8", False), ("4.0.5", True)]
    )
    def test_a_limit_is_lifted_where_there_is_one(self, version: str, limits: bool) -> None:
        server = Path(f"/usr/lib/rabbitmq/lib/rabbitmq_server-{version}/sbin/rabbitmq-server")
        assert has_limits(server) is limits
        held = definitions(RabbitMQ("quorum").options(), limits=limits)
        lifted = [one["value"]["definition"] for one in held["parameters"]]
        assert lifted == [{"delivery-limit": -1}] * limits

    def test_the_first_start_makes_quorum_queues_the_default(self, tmp_path: Path) -> None:
        record = self.prepared(tmp_path, RabbitMQ("quorum").options())
        assert "default_user" not in (tmp_path / "rabbitmq.conf").read_text()
        path = tmp_path / "definitions.json"
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        held = json.loads(path.read_text())
        assert [one["metadata"] for one in held["vhosts"]] == [{"default_queue_type": "quorum"}]
        assert held["users"][0]["password"] == record.options["password"]

    @pytest.mark.parametrize("without", [(), (QUEUES,)])
    def test_classic_queues_and_older_stacks_stay_as_they_are(
        self, without: tuple[str, ...], tmp_path: Path
    ) -> None:
        options = RabbitMQ().options()
        for name in without:
            del options[name]
        self.prepared(tmp_path, options)
        assert "default_user = scrutin\n" in (tmp_path / "rabbitmq.conf").read_text()
        assert not (tmp_path / "definitions.json").exists()

    def prepared(self, folder: Path, options: dict[str, str]) -> ServiceRecord:
        rabbitmq = RabbitMQ()
        ports = dict.fromkeys(rabbitmq.ports, 1)
        log = str(folder / "rabbitmq.log")
        record = ServiceRecord("rabbitmq", "id", "native", "127.0.0.1", ports, options, log=log)
        rabbitmq.prepare(record, print)
        return record


class TestGiven:
    def test_addresses_come_back_as_they_were_given(self) -> None:
        rabbitmq = RabbitMQ().given("id", ENVIRON)
        assert rabbitmq is not None
        assert RabbitMQ().env(rabbitmq) == {
            "RABBITMQ_HOST": "mq.example",
            "RABBITMQ_PORT": "5672",
            "RABBITMQ_USER": "guest",
            "RABBITMQ_PASSWORD": "secret",
            "RABBITMQ_VHOST": "/",
            "SCRUTIN_RABBITMQ_MANAGEMENT_URL": "http://mq.example:15672",
        }
        kafka = Kafka().given("id", ENVIRON)
        assert kafka is not None
        assert kafka.host == "one"
        assert Kafka().env(kafka) == {"KAFKA_BOOTSTRAP_SERVERS": "one:9092, two:9093"}
        redis = Redis().given("id", ENVIRON)
        assert redis is not None
        assert Redis().env(redis)["REDIS_PASSWORD"] == "hidden"

    def test_a_malformed_port_is_named(self, tmp_path: Path) -> None:
        stack = Stack(tmp_path, environ={"REDIS_HOST": "localhost", "REDIS_PORT": "six"})
        with pytest.raises(StackError, match="Redis"):
            stack.up(only=["redis"])

    def test_one_that_does_not_answer_is_named(self, tmp_path: Path) -> None:
        port = str(ports.choose(1)[0])
        stack = Stack(tmp_path, environ={"REDIS_HOST": "127.0.0.1", "REDIS_PORT": port})
        with pytest.raises(ServiceUnavailable, match=port):
            stack.up(only=["redis"], deadline_seconds=0.2)

    def test_one_that_answers_is_used_and_never_ended(self, tmp_path: Path) -> None:
        asked = threading.Event()

        def answer(server: socket.socket) -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    connection.recv(64)
                    connection.sendall(b"+PONG\r\n")
                    asked.set()

        with socket.create_server(("127.0.0.1", 0)) as server:
            thread = threading.Thread(target=answer, args=(server,), daemon=True)
            thread.start()
            port = str(server.getsockname()[1])
            stack = Stack(tmp_path, environ={"REDIS_HOST": "127.0.0.1", "REDIS_PORT": port})
            assert stack.up(only=["redis"]) == []
            assert asked.wait(60)
            assert stack.env() == {
                "REDIS_HOST": "127.0.0.1",
                "REDIS_PORT": port,
                "REDIS_DB": "0",
            }
            assert [one.kind for one in Stack(tmp_path, environ={}).status()] == ["given"]
            with pytest.raises(StackError, match="does not control it"):
                stack.stop("redis")
            assert stack.down() == []
            server.shutdown(socket.SHUT_RDWR)
            thread.join(5)

    def test_what_runs_here_goes_before_the_environment(self, tmp_path: Path) -> None:
        state = StateFile(tmp_path).new()
        state.services["redis"] = ServiceRecord(
            name="redis", stack=state.id, kind="native", host="127.0.0.1", ports={"redis": 10300}
        )
        choose(state, tmp_path, [Redis()], ENVIRON, "native")
        assert state.services["redis"].kind == "native"


class TestPostgres:
    def test_a_private_folder_is_out_of_reach(self, tmp_path: Path) -> None:
        if os.geteuid() != 0 or packages.newest("/usr/lib/postgresql/*/bin/initdb") is None:
            pytest.skip("needs root and the user of PostgreSQL")
        private = tmp_path / "private"
        private.mkdir(mode=0o700)
        assert not postgres.reachable(private / "data", postgres.SYSTEM_USER)
        assert postgres.reachable(Path("/var/tmp/data"), postgres.SYSTEM_USER)
        assert postgres.reachable(private / "data", "")


class TestCommands:
    def test_without_a_stack_there_is_nothing_to_show_or_end(self, tmp_path: Path) -> None:
        stack = Stack(tmp_path / "none", environ={})
        assert stack.status() == []
        assert stack.down() == []
        with pytest.raises(StackError, match="There is no stack"):
            stack.env()
        assert not (tmp_path / "none").exists()

    def test_an_unknown_service_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(StackError, match="mongodb"):
            Stack(tmp_path, environ={}).up(only=["mongodb"])

"""The Docker way of the local stack, against an engine played by the test.

The engine speaks the part of Docker's HTTP interface that is used, on a Unix socket; a container
that runs answers PING on its published ports.
"""

from __future__ import annotations

import json
import os
import re
import socket
import socketserver
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
import yaml

from streams.devstack import docker
from streams.devstack.kafka import Kafka
from streams.devstack.postgres import PostgreSQL
from streams.devstack.rabbitmq import RabbitMQ
from streams.devstack.redis import Redis
from streams.devstack.service import StackService
from streams.devstack.state import ServiceRecord

COMPOSE_FILE = Path(__file__).parents[3] / "docker" / "compose.yaml"
COMPOSE = yaml.safe_load(COMPOSE_FILE.read_text())


class Container:
    def __init__(self, name: str, config: dict[str, Any]) -> None:
        self.name = name
        self.config = config
        self.status = "created"
        self.server: socket.socket | None = None

    def run(self) -> None:
        binding = self.config["HostConfig"]["PortBindings"]["6379/tcp"][0]
        self.server = socket.create_server((binding["HostIp"], int(binding["HostPort"])))
        threading.Thread(target=self._answer, args=(self.server,), daemon=True).start()
        self.status = "running"

    def _answer(self, server: socket.socket) -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            with connection:
                connection.recv(64)
                connection.sendall(b"+PONG\r\n")

    def end(self) -> None:
        if self.server is not None:
            self.server.shutdown(socket.SHUT_RDWR)
            self.server.close()
        self.server = None
        self.status = "exited"


class Engine(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True

    def __init__(self, path: Path) -> None:
        self.containers: dict[str, Container] = {}
        self.created = 0
        self.killed_with: list[str] = []
        super().__init__(str(path), Handler)

    def find(self, key: str) -> Container | None:
        for identity, container in self.containers.items():
            if key in {identity, container.name}:
                return container
        return None


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Engine

    def log_message(self, *_: object) -> None:
        pass

    def address_string(self) -> str:
        return "unix"

    def do_GET(self) -> None:
        self._route("GET")

    def do_HEAD(self) -> None:
        self._route("HEAD")

    def do_POST(self) -> None:
        self._route("POST")

    def do_DELETE(self) -> None:
        self._route("DELETE")

    def _reply(self, status: int, body: object = None) -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        data = b"" if status == 204 or self.command == "HEAD" else data
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _route(self, verb: str) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        sent = json.loads(self.rfile.read(length) or b"null") if length else None
        path, _, query = self.path.partition("?")
        path = re.sub(r"^/v[\d.]+", "", path)
        if path == "/_ping":
            self._reply(200, b"OK")
        elif path == "/version":
            self._reply(200, {"ApiVersion": "1.44", "Version": "26.0"})
        elif path == "/info":
            self._reply(200, {"OperatingSystem": "test"})
        elif path.startswith("/images/"):
            self._reply(200, {"Id": "sha256:1", "RepoTags": []})
        elif path == "/containers/create":
            name = query.partition("name=")[2].partition("&")[0]
            self.server.created += 1
            identity = f"{self.server.created:064x}"
            self.server.containers[identity] = Container(name, sent)
            self._reply(201, {"Id": identity, "Warnings": []})
        else:
            self._one(verb, path, query)

    def _one(self, verb: str, path: str, query: str) -> None:
        match = re.match(r"/containers/([^/]+)/?(\w*)", path)
        assert match, path
        container = self.server.find(match[1])
        if container is None:
            self._reply(404, {"message": "No such container"})
            return
        identity = next(i for i, one in self.server.containers.items() if one is container)
        if verb == "DELETE":
            container.end()
            del self.server.containers[identity]
            self._reply(204)
        elif match[2] == "json":
            state = {"Status": container.status, "Running": container.status == "running"}
            labels = {"Labels": container.config["Labels"], "Tty": False}
            body = {"Id": identity, "Name": container.name, "State": state, "Config": labels}
            self._reply(200, body | {"NetworkSettings": {"Ports": {}}, "HostConfig": {}})
        elif match[2] == "start":
            container.run()
            self._reply(204)
        elif match[2] == "kill":
            self.server.killed_with.append(query.partition("signal=")[2])
            container.end()
            self._reply(204)
        elif match[2] == "wait":
            self._reply(200, {"StatusCode": 0})
        elif match[2] in {"pause", "unpause"}:
            container.status = "paused" if match[2] == "pause" else "running"
            self._reply(204)
        elif match[2] == "logs":
            text = b"Ready to accept connections\n"
            self._reply(200, b"\x01\0\0\0" + len(text).to_bytes(4, "big") + text)
        else:
            raise AssertionError(path)


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    server = Engine(tmp_path / "docker.sock")
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    for container in server.containers.values():
        container.end()
    server.server_close()


def play(tmp_path: Path, script: str) -> Any:
    """Run a script with a stack of the folder in a process whose Docker is the engine."""
    code = (
        "import json, signal\n"
        "from streams.devstack import Stack\n"
        f"stack = Stack({str(tmp_path / 'stack')!r}, environ={{}})\n"
        "condition = lambda: [(one.kind, one.condition) for one in stack.status()]\n"
        f"print(json.dumps({script}))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "DOCKER_HOST": f"unix://{tmp_path / 'docker.sock'}"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


class TestContainers:
    def test_live_as_long_as_the_stack(self, engine: Engine, tmp_path: Path) -> None:
        started, env, conditions = play(
            tmp_path, "(stack.up(only=['redis']), stack.env(), condition())"
        )
        assert started == ["redis"]
        assert conditions == [["docker", "up"]]
        (container,) = engine.containers.values()
        binding = container.config["HostConfig"]["PortBindings"]["6379/tcp"]
        assert binding == [{"HostIp": "127.0.0.1", "HostPort": env["REDIS_PORT"]}]
        assert container.config["Image"].startswith("redis:")
        assert "--appendonly" in container.config["Cmd"]
        assert docker.LABEL in container.config["Labels"]
        assert play(tmp_path, "(stack.up(only=['redis']), stack.log_lines('redis', 5))") == [
            [],
            ["Ready to accept connections"],
        ]
        assert play(tmp_path, "stack.down()") == ["redis"]
        assert engine.containers == {}

    def test_stop_start_pause_and_resume(self, engine: Engine, tmp_path: Path) -> None:
        play(tmp_path, "stack.up(only=['redis'])")
        _, stopped, _, again, _, paused, _, resumed = play(
            tmp_path,
            "(stack.stop('redis', signal.SIGKILL), condition(), stack.start('redis'), condition(),"
            " stack.pause('redis'), condition(), stack.resume('redis'), condition())",
        )
        assert engine.killed_with == ["SIGKILL"]
        assert (stopped, again) == ([["docker", "stopped"]], [["docker", "up"]])
        assert (paused, resumed) == ([["docker", "paused"]], [["docker", "up"]])
        assert len(engine.containers) == 1

    def test_one_left_by_an_interrupted_start_is_replaced(
        self, engine: Engine, tmp_path: Path
    ) -> None:
        play(tmp_path, "stack.up(only=['redis'])")
        (tmp_path / "stack" / "state.json").unlink()
        play(tmp_path, "stack.up(only=['redis'])")
        assert (engine.created, len(engine.containers)) == (2, 1)


@pytest.mark.parametrize("service", [Kafka(), RabbitMQ(), PostgreSQL(), Redis()])
def test_images_are_those_of_compose_and_publish_the_port_that_clients_use(
    service: StackService,
) -> None:
    record = ServiceRecord(
        name=service.name,
        stack="0123abcd",
        kind="docker",
        host="127.0.0.1",
        ports={role: 10300 + n for n, role in enumerate(service.ports)},
        options=service.options(),
    )
    image = service.image(record)
    assert service.ports[0] in image.ports
    assert image.ports.keys() <= set(service.ports)
    shown = json.dumps(image.environment)
    for name in ("password", "user", "cluster"):
        if name in record.options:
            assert record.options[name] in shown
    assert image.name.removesuffix("-alpine") == COMPOSE["services"][service.name]["image"]


def test_compose_shows_how_a_container_sets_up_quorum_queues() -> None:
    rabbitmq = RabbitMQ("quorum")
    record = ServiceRecord("rabbitmq", "id", "docker", "127.0.0.1", {}, rabbitmq.options())
    image = rabbitmq.image(record)
    composed = COMPOSE["services"]["rabbitmq"]["environment"]
    assert image.environment["RABBITMQ_NODENAME"] == composed["RABBITMQ_NODENAME"]
    name = "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS"
    shown = " ".join(COMPOSE_FILE.read_text().replace("#", "").split())
    assert f"{name}: >- {image.environment[name]}" in shown
    record.options = RabbitMQ().options()
    assert name not in rabbitmq.image(record).environment


def test_kafka_is_reached_under_the_published_port() -> None:
    ports = {"broker": 10300, "controller": 10301}
    record = ServiceRecord("kafka", "id", "docker", "127.0.0.1", ports, Kafka().options())
    advertised = Kafka().image(record).environment["KAFKA_ADVERTISED_LISTENERS"]
    assert advertised == "PLAINTEXT://127.0.0.1:10300"


def test_kafka_behind_a_proxy_is_reached_under_the_port_of_the_proxy() -> None:
    kafka = Kafka(proxy_port=10400)
    ports = {role: 10300 + n for n, role in enumerate(kafka.ports)}
    record = ServiceRecord("kafka", "id", "docker", "127.0.0.1", ports, kafka.options())
    image = kafka.image(record)
    advertised = image.environment["KAFKA_ADVERTISED_LISTENERS"]
    assert advertised == "PLAINTEXT://127.0.0.1:10300,PROXIED://127.0.0.1:10400"
    assert image.environment["KAFKA_LISTENERS"].endswith(",PROXIED://:9094")
    assert image.ports == {"broker": 9092, "proxied": 9094}


class TestEngine:
    def test_none_without_a_socket(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.delenv("DOCKER_HOST", raising=False)
        monkeypatch.setattr(docker, "_SOCKET", tmp_path / "nothing")
        assert docker.engine() is None

    @pytest.mark.parametrize(
        ("url", "host"),
        [("unix:///run/docker.sock", "127.0.0.1"), ("tcp://docker:2375", "docker")],
    )
    def test_host_of_published_ports(
        self, monkeypatch: pytest.MonkeyPatch, url: str, host: str
    ) -> None:
        monkeypatch.setenv("DOCKER_HOST", url)
        assert docker.host() == host

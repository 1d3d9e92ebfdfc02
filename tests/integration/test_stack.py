"""The local stack on real processes: up, down, side by side, and what can go wrong."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import pika
import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from redis import Redis

from streams.cli import stack as cli
from streams.devstack import Stack, ports, process
from streams.devstack.state import ProcessRecord, StackRecord, StateFile
from streams.errors import PortTaken, ServiceUnavailable, StackError
from tests.harness import until

NAMES = {
    *(f"RABBITMQ_{part}" for part in ("HOST", "PORT", "USER", "PASSWORD", "VHOST")),
    *(f"POSTGRES_{part}" for part in ("HOST", "PORT", "DB", "USER", "PASSWORD")),
    *(f"REDIS_{part}" for part in ("HOST", "PORT", "DB")),
    "KAFKA_BOOTSTRAP_SERVERS",
    "SCRUTIN_RABBITMQ_MANAGEMENT_URL",
}


PROGRAM = Path(sys.executable).with_name("scrutin")


@dataclass(frozen=True)
class Shown:
    """What a command printed and how it ended."""

    stdout: str
    stderr: str
    code: int


Run = Callable[..., Shown]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs `scrutin stack` in this process: a new one would spend seconds on imports."""

    def run_here(directory: Path, *arguments: str, **environ: str) -> Shown:
        with monkeypatch.context() as patch:
            patch.setenv("SCRUTIN_STACK_DIR", str(directory))
            for name, value in environ.items():
                patch.setenv(name, value)
            capsys.readouterr()
            code = cli.app(list(arguments), standalone_mode=False)
        out, err = capsys.readouterr()
        return Shown(out, err, code or 0)

    return run_here


def scrutin(directory: Path, *arguments: str) -> Shown:
    done = subprocess.run(
        [str(PROGRAM), "stack", *arguments],
        env={**os.environ, "SCRUTIN_STACK_DIR": str(directory)},
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )
    return Shown(done.stdout, done.stderr, done.returncode)


def state(stack: Stack) -> StackRecord:
    found = StateFile(stack.directory).load()
    assert found is not None
    return found


def running_under(directory: Path) -> list[str]:
    """Command lines of all processes that name a folder."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:
                continue
            if str(directory) in line:
                found.append(f"{entry.name} {line}")
    return found


def soon_running_under(directory: Path, program: str) -> None:
    """Wait until a program runs that names a folder."""
    deadline_s = time.monotonic() + 120
    while not any(program in line for line in running_under(directory)):
        assert time.monotonic() < deadline_s
        time.sleep(0.05)


def not_to_be_called(*_: object, **__: object) -> None:
    raise AssertionError("a program was started")


def rabbitmq_of(stack: Stack) -> pika.BlockingConnection:
    env = stack.env()
    credentials = pika.PlainCredentials(env["RABBITMQ_USER"], env["RABBITMQ_PASSWORD"])
    host, port = env["RABBITMQ_HOST"], int(env["RABBITMQ_PORT"])
    return pika.BlockingConnection(
        pika.ConnectionParameters(host, port, env["RABBITMQ_VHOST"], credentials)
    )


def redis_of(stack: Stack) -> Redis:
    env = stack.env()
    return Redis(env["REDIS_HOST"], int(env["REDIS_PORT"]), int(env["REDIS_DB"]))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A whole stack that the tests of this module may stop and start."""
    stack = Stack(tmp_path_factory.mktemp("own"), environ={})
    stack.up(prefer="native")
    yield stack
    stack.down()


@pytest.fixture
def own(whole: Stack) -> Stack:
    """The same, up again after a test that failed half-way."""
    whole.up()
    return whole


@pytest.fixture
def some(tmp_path: Path) -> Iterator[Callable[..., Stack]]:
    """Makes stacks with few services, brought down at the end of the test."""
    stacks: list[Stack] = []

    def make(name: str, *only: str) -> Stack:
        stack = Stack(tmp_path / name, environ={})
        stacks.append(stack)
        if only:
            stack.up(only=only, prefer="native")
        return stack

    yield make
    for stack in stacks:
        stack.down()


class TestServices:
    def test_env_names_all(self, own: Stack) -> None:
        assert own.env().keys() == NAMES
        assert all(own.env().values())

    def test_status_of_all_is_up(self, own: Stack) -> None:
        assert {one.name: one.condition for one in own.status()} == {
            "kafka": "up",
            "rabbitmq": "up",
            "postgres": "up",
            "redis": "up",
        }

    def test_rabbitmq_carries_a_message(self, own: Stack) -> None:
        with rabbitmq_of(own) as connection:
            channel = connection.channel()
            queue = channel.queue_declare("", exclusive=True).method.queue
            channel.basic_publish("", queue, b"vote")
            _, _, body = channel.basic_get(queue, auto_ack=True)
        assert body == b"vote"

    async def test_kafka_makes_a_topic(self, own: Stack) -> None:
        client = AIOKafkaAdminClient(bootstrap_servers=own.env()["KAFKA_BOOTSTRAP_SERVERS"])
        await client.start()
        try:
            await client.create_topics([NewTopic("stack.test", 3, 1)])

            async def there() -> bool:
                # The controller has answered; the broker hears of it a moment later.
                return "stack.test" in await client.list_topics()

            await until(there, "the topic")
            await client.delete_topics(["stack.test"])
        finally:
            await client.close()

    async def test_postgres_is_durable_and_asks_for_the_password(self, own: Stack) -> None:
        env = own.env()
        address = {
            "host": env["POSTGRES_HOST"],
            "port": int(env["POSTGRES_PORT"]),
            "user": env["POSTGRES_USER"],
            "database": env["POSTGRES_DB"],
        }
        connection = await asyncpg.connect(password=env["POSTGRES_PASSWORD"], **address)
        try:
            for setting in ("fsync", "synchronous_commit", "full_page_writes"):
                assert await connection.fetchval(f"SHOW {setting}") == "on"
            assert await connection.fetchval("SHOW server_encoding") == "UTF8"
        finally:
            await connection.close()
        with pytest.raises(asyncpg.InvalidPasswordError):
            await asyncpg.connect(password="wrong", **address)

    def test_redis_keeps_an_append_only_file(self, own: Stack) -> None:
        with redis_of(own) as client:
            assert client.config_get("appendonly") == {"appendonly": "yes"}

    def test_all_listen_on_loopback_only(self, own: Stack) -> None:
        wanted = {port for one in state(own).services.values() for port in one.ports.values()}
        seen: set[int] = set()
        for table in ("tcp", "tcp6"):
            for line in Path("/proc/net", table).read_text().splitlines()[1:]:
                fields = line.split()
                address, _, port = fields[1].rpartition(":")
                if fields[3] == "0A" and int(port, 16) in wanted:
                    seen.add(int(port, 16))
                    assert address in {
                        "0100007F",
                        "0000000000000000FFFF00000100007F",
                        "00000000000000000000000001000000",
                    }, f"port {int(port, 16)} listens on {address}"
        assert seen == wanted


class TestCommands:
    def test_second_up_starts_nothing_and_is_quick(
        self, own: Stack, run: Run, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        before = [one.pids for one in own.status()]
        # No program is asked for anything: what it would take is what takes time.
        with monkeypatch.context() as patch:
            patch.setattr(subprocess, "Popen", not_to_be_called)
            shown = run(own.directory, "up")
        assert "All services were already up" in shown.stdout
        assert [one.pids for one in own.status()] == before

    def test_env_can_be_read_by_a_shell_and_as_json(self, own: Stack, run: Run) -> None:
        shown = subprocess.run(
            ["sh", "-c", f'eval "$({PROGRAM} stack env)"; printf %s "$POSTGRES_PASSWORD"'],
            env={**os.environ, "SCRUTIN_STACK_DIR": str(own.directory)},
            capture_output=True,
            text=True,
            check=True,
        )
        assert shown.stdout == own.env()["POSTGRES_PASSWORD"]
        assert json.loads(run(own.directory, "env", "--json").stdout) == own.env()

    def test_the_environment_changes_nothing_once_it_is_up(self, own: Stack, run: Run) -> None:
        elsewhere = {"REDIS_HOST": "cache.example", "KAFKA_BOOTSTRAP_SERVERS": "log.example:9092"}
        assert json.loads(run(own.directory, "env", "--json", **elsewhere).stdout) == own.env()
        assert run(own.directory, "status", **elsewhere).code == 0
        assert "already" in run(own.directory, "up", **elsewhere).stdout

    def test_status_shows_addresses_but_no_password(self, own: Stack, run: Run) -> None:
        shown = run(own.directory, "status")
        assert shown.code == 0
        env = own.env()
        assert env["KAFKA_BOOTSTRAP_SERVERS"] in shown.stdout
        assert env["POSTGRES_PASSWORD"] not in shown.stdout
        assert env["RABBITMQ_PASSWORD"] not in shown.stdout
        found = json.loads(run(own.directory, "status", "--json").stdout)
        assert [one["condition"] for one in found] == ["up"] * 4
        assert any("management" in name for one in found for name in one["links"])

    @pytest.mark.parametrize("service", ["kafka", "rabbitmq", "postgres", "redis"])
    def test_logs_are_there(self, own: Stack, run: Run, service: str) -> None:
        shown = run(own.directory, "logs", service, "-n", "3")
        assert shown.code == 0
        assert 1 <= len(shown.stdout.splitlines()) <= 3
        assert "\x1b" not in shown.stdout

    def test_logs_of_all_are_told_apart(self, own: Stack, run: Run) -> None:
        lines = run(own.directory, "logs", "-n", "1").stdout.splitlines()
        assert {line.split(":")[0] for line in lines} == {one.name for one in own.status()}

    def test_without_a_stack_commands_say_so(self, tmp_path: Path, run: Run) -> None:
        assert run(tmp_path / "none", "status").code == 1
        assert run(tmp_path / "none", "down").code == 0
        with pytest.raises(StackError, match="scrutin stack up"):
            run(tmp_path / "none", "env")


class TestOneService:
    @pytest.mark.parametrize("sig", [None, signal.SIGKILL])
    async def test_postgres_comes_back_with_its_data(
        self, own: Stack, sig: signal.Signals | None
    ) -> None:
        env = own.env()
        dsn = "postgresql://{USER}:{PASSWORD}@{HOST}:{PORT}/{DB}".format(
            **{name.removeprefix("POSTGRES_"): value for name, value in env.items()}
        )
        connection = await asyncpg.connect(dsn)
        await connection.execute("CREATE TABLE kept AS SELECT 1 AS one")
        own.stop("postgres", sig)
        connection.terminate()
        assert [one.condition for one in own.status() if one.name == "postgres"] == ["stopped"]
        with pytest.raises(ConnectionRefusedError):
            await asyncpg.connect(dsn)
        own.start("postgres")
        assert own.env() == env
        connection = await asyncpg.connect(dsn)
        assert await connection.fetchval("SELECT one FROM kept") == 1
        await connection.execute("DROP TABLE kept")
        await connection.close()

    @pytest.mark.parametrize("service", ["kafka", "rabbitmq", "redis"])
    def test_a_crashed_one_comes_back_at_its_address(
        self, own: Stack, run: Run, service: str
    ) -> None:
        env = own.env()
        assert run(own.directory, "stop", service, "--signal", "KILL").code == 0
        shown = run(own.directory, "status", "--json")
        assert shown.code == 1
        conditions = {one["name"]: one["condition"] for one in json.loads(shown.stdout)}
        assert [name for name, is_ in conditions.items() if is_ != "up"] == [service]
        assert own.up() == [service]
        assert own.env() == env
        assert {one.condition for one in own.status()} == {"up"}

    def test_a_paused_one_does_not_answer_until_it_is_resumed(self, own: Stack) -> None:
        own.pause("redis")
        assert [one.condition for one in own.status() if one.name == "redis"] == ["paused"]
        env = own.env()
        with socket.create_connection((env["REDIS_HOST"], int(env["REDIS_PORT"])), 1) as client:
            client.sendall(b"PING\r\n")
            client.settimeout(0.3)
            with pytest.raises(TimeoutError):
                client.recv(10)
            own.resume("redis")
            client.settimeout(60)
            assert client.recv(10) == b"+PONG\r\n"

    def test_up_resumes_what_is_paused(self, own: Stack) -> None:
        own.pause("postgres")
        assert own.up() == ["postgres"]
        assert {one.condition for one in own.status()} == {"up"}


class TestSideBySide:
    def test_two_stacks_share_nothing(self, some: Callable[..., Stack]) -> None:
        one, two = some("one", "redis", "postgres"), some("two", "redis", "postgres")
        assert not set(one.env().values()) & set(two.env().values()) - {
            *("127.0.0.1", "0", "postgres", "election_votes")
        }
        with redis_of(one) as client:
            client.set("whose", "one")
        one.down()
        assert {status.condition for status in two.status()} == {"up"}
        with redis_of(two) as client:
            assert client.get("whose") is None

    def test_two_rabbitmq_nodes_live_beside_each_other(
        self, own: Stack, some: Callable[..., Stack], run: Run
    ) -> None:
        other = some("other")
        up = run(other.directory, "up", "rabbitmq", "--native", "--queue-type", "quorum")
        assert up.code == 0
        for stack, queue_type in ((own, "classic"), (other, "quorum")):
            with rabbitmq_of(stack) as connection:
                channel = connection.channel()
                channel.queue_declare("typed", durable=True)
                # A declaration of another type is refused.
                arguments = {"x-queue-type": queue_type}
                channel.queue_declare("typed", durable=True, arguments=arguments)
                channel.queue_delete("typed")
        assert {status.condition for status in other.status()} == {"up"}
        other.down()
        assert {status.condition for status in own.status()} == {"up"}


class TestDown:
    def test_leaves_no_process_and_no_file(self, some: Callable[..., Stack]) -> None:
        stack = some("all", "kafka", "rabbitmq", "postgres", "redis")
        records = state(stack)
        ports_used = [port for one in records.services.values() for port in one.ports.values()]
        started = [one for service in records.services.values() for one in service.processes]
        family = [*started, *(child for one in started for child in process.descendants(one))]
        assert len(family) > len(started)
        assert sorted(stack.down()) == sorted(records.services)
        assert not [one for one in family if process.alive(one)]
        assert running_under(stack.directory) == []
        assert all(ports.is_free(port) for port in ports_used)
        assert not stack.directory.exists()
        assert stack.down() == []

    def test_keeps_the_data_when_told(self, some: Callable[..., Stack]) -> None:
        stack = some("kept", "redis")
        with redis_of(stack) as client:
            client.set("kept", "yes")
        env = stack.env()
        assert stack.down(keep=True) == ["redis"]
        assert [one.condition for one in stack.status()] == ["stopped"]
        stack.up(only=["redis"])
        assert stack.env() == env
        with redis_of(stack) as client:
            assert client.get("kept") == b"yes"

    def test_a_pid_that_now_belongs_to_others_is_left_alone(
        self, some: Callable[..., Stack]
    ) -> None:
        stack = some("recycled", "redis")
        stack.stop("redis", signal.SIGKILL)
        stranger = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
        try:
            record = state(stack)
            boot = process.start_time(os.getpid())
            assert boot is not None
            earlier = f"{boot.split(':')[0]}:1"
            record.services["redis"].processes = [ProcessRecord("redis", stranger.pid, earlier)]
            StateFile(stack.directory).save(record)
            assert [one.condition for one in stack.status()] == ["stopped"]
            assert stack.down() == []
            assert stranger.poll() is None
        finally:
            stranger.kill()
            stranger.wait()

    def test_ends_what_a_killed_up_has_left(self, tmp_path: Path) -> None:
        directory = tmp_path / "killed"
        up = subprocess.Popen(
            [str(PROGRAM), "stack", "up", "--native", "rabbitmq"],
            env={**os.environ, "SCRUTIN_STACK_DIR": str(directory)},
            stdout=subprocess.DEVNULL,
        )
        soon_running_under(directory, "beam.smp")
        up.kill()
        up.wait()
        assert running_under(directory)
        assert scrutin(directory, "down").code == 0
        assert running_under(directory) == []
        assert not directory.exists()

    def test_ctrl_c_ends_what_up_has_started(self, tmp_path: Path) -> None:
        directory = tmp_path / "interrupted"
        up = subprocess.Popen(
            [str(PROGRAM), "stack", "up", "--native", "rabbitmq"],
            env={**os.environ, "SCRUTIN_STACK_DIR": str(directory)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        soon_running_under(directory, "")
        up.send_signal(signal.SIGINT)
        assert up.wait(120) != 0
        assert running_under(directory) == []
        scrutin(directory, "down")


class TestFailures:
    def test_a_taken_port_is_named_and_nothing_is_left(self, some: Callable[..., Stack]) -> None:
        stack = some("taken", "redis", "postgres")
        stack.down(keep=True)
        port = state(stack).services["redis"].ports["redis"]
        with (
            socket.create_server(("127.0.0.1", port)),
            pytest.raises(PortTaken, match=str(port)),
        ):
            stack.up(only=["redis", "postgres"])
        assert {one.condition for one in stack.status()} == {"stopped"}
        assert len(stack.up(only=["redis", "postgres"])) == 2

    def test_a_port_taken_before_the_first_start_is_replaced(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        stack = Stack(tmp_path / "replaced", environ={})
        with socket.create_server(("127.0.0.1", ports.choose(1)[0])) as server:
            port = server.getsockname()[1]
            choices = [[port], ports.choose(1)]
            monkeypatch.setattr(ports, "choose", lambda *_: choices.pop(0))
            stack.up(only=["redis"], prefer="native")
            assert stack.env()["REDIS_PORT"] != str(port)
        stack.down()

    def test_an_address_that_does_not_answer_is_forgotten(self, tmp_path: Path) -> None:
        directory = tmp_path / "given"
        absent = {"REDIS_HOST": "127.0.0.1", "REDIS_PORT": str(ports.choose(1)[0])}
        with pytest.raises(ServiceUnavailable, match="does not answer"):
            Stack(directory, environ=absent).up(only=["redis"], deadline_seconds=1)
        stack = Stack(directory, environ={})
        assert stack.status() == []
        assert stack.up(only=["redis"], prefer="native") == ["redis"]
        stack.down()

    def test_the_command_exits_by_the_name_of_the_error(self, some: Callable[..., Stack]) -> None:
        stack = some("code", "redis")
        stack.down(keep=True)
        port = state(stack).services["redis"].ports["redis"]
        with socket.create_server(("127.0.0.1", port)):
            shown = scrutin(stack.directory, "up", "redis")
        assert shown.code == 13
        assert str(port) in shown.stderr
        assert "Traceback" not in shown.stderr

    @pytest.mark.parametrize(
        ("service", "file"), [("postgres", "PG_VERSION"), ("kafka", "meta.properties")]
    )
    def test_a_broken_data_folder_is_named(self, own: Stack, service: str, file: str) -> None:
        own.stop(service)
        broken = Path(state(own).services[service].data, file)
        aside = broken.rename(broken.with_suffix(".aside"))
        for text in ("garbage", None):
            broken.unlink(missing_ok=True) if text is None else broken.write_text(text)
            with pytest.raises(StackError) as caught:
                own.start(service)
            assert str(broken.parent) in str(caught.value)
            assert "scrutin stack down" in str(caught.value)
        aside.rename(broken)
        own.start(service)

    def test_a_service_that_ends_at_once_is_quoted(self, some: Callable[..., Stack]) -> None:
        stack = some("quoted", "redis")
        with redis_of(stack) as client:
            client.set("a", "b")
        stack.down(keep=True)
        files = list(Path(state(stack).services["redis"].data).rglob("*.manifest"))
        files[0].write_text("garbage\n")
        with pytest.raises(StackError, match=r"(?s)Redis ended while starting.*redis\.log.*\|"):
            stack.up(only=["redis"])
        assert running_under(stack.directory) == []

    def test_a_data_folder_that_is_a_file_is_named(self, some: Callable[..., Stack]) -> None:
        stack = some("file", "redis")
        stack.down(keep=True)
        data = Path(state(stack).services["redis"].data)
        shutil.rmtree(data)
        data.write_text("not a folder")
        with pytest.raises(StackError, match=str(data)):
            stack.up(only=["redis"])

    def test_a_private_parent_folder_is_no_obstacle(self, tmp_path: Path) -> None:
        private = tmp_path / "private"
        private.mkdir(mode=0o700)
        stack = Stack(private / "stack", environ={})
        stack.up(only=["postgres"], prefer="native")
        data = Path(state(stack).services["postgres"].data)
        stack.down()
        assert not data.exists()
        assert os.geteuid() != 0 or private not in data.parents
        assert not data.parent.exists()

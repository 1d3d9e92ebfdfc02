"""State, processes and ports of the local stack."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from streams.devstack import ports, process
from streams.devstack.state import ProcessRecord, ServiceRecord, StateFile, file_lock
from streams.errors import PortTaken, StackError

PATIENCE_S = 30.0


def soon(condition: Callable[[], bool]) -> None:
    """Wait for what another process or thread does."""
    deadline_s = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline_s
        time.sleep(0.01)


def record(name: str = "redis", **changes: object) -> ServiceRecord:
    values: dict[str, object] = {
        "name": name,
        "stack": "0123abcd",
        "kind": "native",
        "host": "127.0.0.1",
        "ports": {"redis": 10300},
    }
    return ServiceRecord(**(values | changes))


@pytest.fixture
def sleeper(tmp_path: Path) -> Iterator[ProcessRecord]:
    """A process started the way services are."""
    program = [sys.executable, "-c", "import time; time.sleep(600)"]
    command = process.Command("sleeper", program, tmp_path, process.clean_environment())
    started = process.spawn(command, tmp_path / "log")
    yield started
    process.end(started, signal.SIGKILL, PATIENCE_S)


class TestState:
    def test_comes_back_as_it_was_saved(self, tmp_path: Path) -> None:
        file = StateFile(tmp_path / "stack")
        saved = file.new()
        saved.services["redis"] = record(
            options={"db": "0"}, processes=[ProcessRecord("redis-server", 12, "boot:34")]
        )
        file.save(saved)
        assert file.load() == saved

    def test_is_for_its_owner_only(self, tmp_path: Path) -> None:
        file = StateFile(tmp_path)
        file.save(file.new())
        assert file.path.stat().st_mode & 0o777 == 0o600

    def test_none_without_a_stack(self, tmp_path: Path) -> None:
        assert StateFile(tmp_path / "nowhere").load() is None

    @pytest.mark.parametrize("text", ["", "{", '{"format": 1}', "[]"])
    def test_names_a_file_that_is_not_ours(self, tmp_path: Path, text: str) -> None:
        file = StateFile(tmp_path)
        file.path.write_text(text)
        with pytest.raises(StackError, match=r"state\.json"):
            file.load()

    def test_refuses_another_format(self, tmp_path: Path) -> None:
        file = StateFile(tmp_path)
        other = file.new()
        other.format = 99
        file.save(other)
        with pytest.raises(StackError, match="99"):
            file.load()

    def test_folders_have_different_ids(self, tmp_path: Path) -> None:
        assert StateFile(tmp_path / "a").new().id != StateFile(tmp_path / "b").new().id

    def test_lock_is_held_by_one(self, tmp_path: Path) -> None:
        path = tmp_path / "lock"
        with (
            file_lock(path, 1.0),
            pytest.raises(StackError, match="lock"),
            file_lock(path, 0.2),
        ):
            pass
        with file_lock(path, 0.2):
            pass

    def test_lock_survives_that_its_file_is_removed(self, tmp_path: Path) -> None:
        path = tmp_path / "lock"
        inside = threading.Event()

        def second() -> None:
            with file_lock(path, PATIENCE_S):
                inside.set()

        def both_have_opened_it() -> bool:
            files = [entry.resolve() for entry in Path("/proc/self/fd").iterdir()]
            return files.count(path.resolve()) == 2

        with file_lock(path, PATIENCE_S):
            waiter = threading.Thread(target=second)
            waiter.start()
            soon(both_have_opened_it)
            path.unlink()
            assert not inside.is_set()
        waiter.join(PATIENCE_S)
        assert inside.is_set()
        assert path.exists()


class TestProcess:
    def test_recognises_what_it_started(self, sleeper: ProcessRecord) -> None:
        assert process.alive(sleeper)
        assert not process.paused(sleeper)

    def test_runs_in_a_session_of_its_own(self, sleeper: ProcessRecord) -> None:
        assert os.getsid(sleeper.pid) == sleeper.pid != os.getsid(0)

    def test_ends_it(self, sleeper: ProcessRecord) -> None:
        assert process.end(sleeper, signal.SIGTERM, PATIENCE_S)
        assert not process.alive(sleeper)
        assert process.end(sleeper, signal.SIGTERM, PATIENCE_S)

    def test_pauses_and_ends_what_is_paused(self, sleeper: ProcessRecord) -> None:
        process.send_tree(sleeper, signal.SIGSTOP)
        soon(lambda: process.paused(sleeper))
        assert process.end(sleeper, signal.SIGTERM, PATIENCE_S)

    def test_a_recycled_pid_is_somebody_else(self, sleeper: ProcessRecord) -> None:
        other = ProcessRecord("redis-server", sleeper.pid, "another-boot:1")
        assert not process.alive(other)
        assert not process.send(other, signal.SIGKILL)
        process.end(other, signal.SIGKILL, 1.0)
        assert process.alive(sleeper)

    def test_a_zombie_does_not_run(self) -> None:
        child = subprocess.Popen([sys.executable, "-c", ""])
        seen = ProcessRecord("child", child.pid, process.start_time(child.pid) or "")
        soon(lambda: process.start_time(child.pid) is None)
        assert not process.alive(seen)
        child.returncode = 0

    def test_sigterm_that_is_ignored_becomes_sigkill(self, tmp_path: Path) -> None:
        code = (
            "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
            "print('set', flush=True); time.sleep(600)"
        )
        command = process.Command(
            "stubborn", [sys.executable, "-c", code], tmp_path, process.clean_environment()
        )
        stubborn = process.spawn(command, tmp_path / "log")
        soon(lambda: "set" in (tmp_path / "log").read_text())
        assert not process.end(stubborn, signal.SIGTERM, 0.3)
        assert not process.alive(stubborn)

    def test_children_in_other_sessions_end_too(self, tmp_path: Path) -> None:
        code = (
            "import subprocess, sys, time;"
            "p = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'],"
            " start_new_session=True); print(p.pid, flush=True); time.sleep(600)"
        )
        command = process.Command(
            "parent", [sys.executable, "-c", code], tmp_path, process.clean_environment()
        )
        parent = process.spawn(command, tmp_path / "log")
        soon(lambda: (tmp_path / "log").read_text().endswith("\n"))
        text = (tmp_path / "log").read_text()
        assert process.start_time(int(text)) is not None
        process.end(parent, signal.SIGKILL, PATIENCE_S)
        assert process.start_time(int(text)) is None

    def test_a_missing_program_is_named(self, tmp_path: Path) -> None:
        command = process.Command("redis-server", ["/nowhere/redis-server"], tmp_path)
        with pytest.raises(StackError, match="/nowhere/redis-server"):
            process.spawn(command, tmp_path / "log")

    def test_services_see_none_of_our_settings(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("RABBITMQ_NODENAME", "rabbit@elsewhere")
        monkeypatch.setenv("SCRUTIN_ROLL", "open")
        assert not [
            name for name in process.clean_environment() if "RABBIT" in name or "SCR" in name
        ]


class TestPorts:
    def test_are_free_and_different(self) -> None:
        chosen = ports.choose(8)
        assert len(set(chosen)) == 8
        assert all(ports.is_free(port) for port in chosen)

    def test_are_not_those_of_outgoing_connections(self) -> None:
        assert max(ports.choose(20)) <= ports.highest()

    def test_avoid_what_is_used_already(self) -> None:
        free = set(ports.choose(2))
        taken = set(range(1024, 65536)) - free
        assert set(ports.choose(2, taken)) == free
        with pytest.raises(PortTaken, match="No 3 free ports"):
            ports.choose(3, taken)

    def test_a_taken_port_is_named_with_its_holder(self) -> None:
        with socket.create_server(("127.0.0.1", ports.choose(1)[0])) as server:
            port = server.getsockname()[1]
            with pytest.raises(PortTaken, match=rf"{port}.*pid {os.getpid()}"):
                ports.require_free("Redis", {"redis": port})

    def test_waits_for_a_port_that_is_being_closed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(ports, "_GRACE_SECONDS", PATIENCE_S)
        server = socket.create_server(("127.0.0.1", ports.choose(1)[0]))
        threading.Timer(0.2, server.close).start()
        ports.require_free("Redis", {"redis": server.getsockname()[1]})

"""The demo, as a user runs it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

pytestmark = pytest.mark.timeout(500)


def environment(directory: Path) -> dict[str, str]:
    """A user's environment, with a marker that every descendant inherits or names."""
    ours = ("SCRUTIN_", "RABBITMQ_", "POSTGRES_", "REDIS_", "KAFKA_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return {**kept, "COLUMNS": "100", "SCRUTIN_STACK_DIR": str(directory)}


def command(*arguments: str) -> list[str]:
    return [str(Path(sys.executable).with_name("scrutin")), "demo", *arguments]


def processes_of(directory: Path) -> list[str]:
    """Command lines of processes that have to do with a folder."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            variables = (entry / "environ").read_bytes().decode(errors="replace")
        except OSError:
            continue
        if str(directory) in line or str(directory) in variables:
            found.append(line)
    return found


@pytest.mark.parametrize(
    ("ingress", "how"), [("votes.validation", ["--tls"]), ("votes.aggregation", [])]
)
def test_every_figure_is_equal_and_nothing_is_left(
    tmp_path: Path, ingress: str, how: list[str]
) -> None:
    done = subprocess.run(
        command("--votes", "5000", "--ingress", ingress, *how),
        # It starts its own services: nothing listens at this address.
        env=environment(tmp_path) | {"REDIS_HOST": "127.0.0.1", "REDIS_PORT": "1"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    out = done.stdout
    votes = 5025 if ingress == "votes.aggregation" else 5000
    assert f"Exact. {votes:,} votes counted" in out
    assert "DIFFERENT" not in out
    assert re.search(rf"vote_audit rows +{votes:,} +{votes:,}  ok", out)
    assert re.search(r"rejected malformed, 10 reasons +10 +10  ok", out)
    assert ("not_on_roll" in out or "invalid, 2 reasons" in out) == (ingress == "votes.validation")
    assert re.search(r"bridge +SIGTERM, exit code 0", out)
    assert re.search(r"worker-1 +SIGTERM, exit code 0", out)
    assert re.search(r"votes committed .* votes/s", out)
    assert max(map(len, out.splitlines()), default=0) <= 140
    assert processes_of(tmp_path) == []
    assert {path.name for path in (tmp_path / "demo").iterdir()} == {
        "demo.lock",
        "expected.json",
        "expected.json.lines",
        "logs",
    }


def test_held_until_interrupted_and_refused_beside_another(tmp_path: Path) -> None:
    log = tmp_path / "out"
    with log.open("wb") as output:
        held = subprocess.Popen(
            command("--votes", "500", "--hold"),
            env=environment(tmp_path / "stack"),
            cwd=tmp_path,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        deadline = time.monotonic() + 120
        while "Running until Ctrl-C" not in log.read_text():
            assert held.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)
        [address] = re.findall(r"Running until Ctrl-C: (http://\S+)", log.read_text())
        with urllib.request.urlopen(address, timeout=30) as page:
            assert b"<title>Scrutin</title>" in page.read()
        second = subprocess.run(
            command(),
            env=environment(tmp_path / "stack"),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert second.returncode == 12
        assert "Another demo runs" in second.stderr
        held.send_signal(signal.SIGINT)
        assert held.wait(120) == 0, log.read_text()
    finally:
        held.kill()
        held.wait()
    assert "Exact. 500 votes counted" in log.read_text()
    assert processes_of(tmp_path / "stack") == []


def test_interrupted_while_it_starts_leaves_nothing(tmp_path: Path) -> None:
    log = tmp_path / "out"
    with log.open("wb") as output:
        started = subprocess.Popen(
            command(),
            env=environment(tmp_path / "stack"),
            cwd=tmp_path,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        deadline = time.monotonic() + 120
        while "ready after" not in log.read_text():
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)
        started.send_signal(signal.SIGINT)
        assert started.wait(120) == 130, log.read_text()
    finally:
        started.kill()
        started.wait()
    assert processes_of(tmp_path / "stack") == []

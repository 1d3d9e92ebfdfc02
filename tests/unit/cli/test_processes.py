"""`scrutin worker` and its like become the documented process."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from streams.console.keys import Operators
from streams.errors import ExitCode

ROOT = Path(__file__).parents[3]
SCRUTIN = Path(sys.executable).with_name("scrutin")


@pytest.mark.parametrize(
    ("command", "told"),
    [
        (["worker"], "scrutin: Unknown settings"),
        (["worker", "-l", "debug", "--no-web"], "scrutin: Unknown settings"),
        (["bridge"], "scrutin bridge: Unknown settings"),
        (["gateway"], "scrutin gateway: Unknown settings"),
        (["webhook", "run"], "scrutin webhooks: Unknown settings"),
        (["console"], "scrutin console: Unknown settings"),
    ],
)
def test_the_process_reads_its_settings_and_gives_its_exit_code(
    command: list[str], told: str
) -> None:
    done = subprocess.run(
        [SCRUTIN, *command],
        env={"SCRUTIN_NO_SUCH": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == ExitCode.BAD_SETTINGS, done.stderr
    assert told in done.stderr


def test_a_key_for_the_console() -> None:
    done = subprocess.run(
        [SCRUTIN, "console", "--new-key", "alice", "--json"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    made = json.loads(done.stdout)
    assert Operators.read([made["entry"]]).admits("alice", made["key"])


def test_an_option_that_the_worker_does_not_have_is_refused() -> None:
    done = subprocess.run(
        [SCRUTIN, "worker", "--no-such-option"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == ExitCode.USAGE
    assert "--no-such-option" in done.stderr


def test_the_version_is_that_of_the_project() -> None:
    done = subprocess.run(
        [SCRUTIN, "version", "--json"], capture_output=True, text=True, timeout=120, check=True
    )
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert json.loads(done.stdout) == {
        "scrutin": project["version"],
        "python": platform.python_version(),
        "migration": max(path.stem for path in (ROOT / "sql").glob("[0-9]*.sql")),
    }

"""Processes started by their module: they explain themselves and start nothing by mistake."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from streams.errors import ExitCode

PROCESSES = ["streams.bridge", "streams.gateway"]


def run(module: str, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=Path(__file__).parents[3],
        env=variables,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize("module", PROCESSES)
def test_help_starts_nothing(module: str) -> None:
    # Settings that are wrong show that they were not even read.
    ended = run(module, "--help", RABBITMQ_PORT="none")
    assert (ended.returncode, ended.stderr) == (ExitCode.OK, "")
    assert f"python -m {module}" in ended.stdout
    assert "scrutin settings" in ended.stdout


@pytest.mark.parametrize("module", PROCESSES)
def test_unknown_arguments_and_bad_settings_have_their_exit_codes(module: str) -> None:
    ended = run(module, "--port", "80", RABBITMQ_PORT="none")
    assert ended.returncode == ExitCode.USAGE
    assert "--port" in ended.stderr
    ended = run(module, RABBITMQ_PORT="none")
    assert ended.returncode == ExitCode.BAD_SETTINGS
    assert "RABBITMQ_PORT" in ended.stderr
    assert "exit 10 BAD_SETTINGS" in ended.stderr

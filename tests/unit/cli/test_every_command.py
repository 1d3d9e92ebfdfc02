"""Every command has help with an example, and `--json` unless its output is not for programs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.doors.places import commands

COMMANDS = dict(commands())
IN_BASH = ("bash", "-c", '"$@"; exit $?', "bash")
"""The shell stays the parent of what it runs, which is how that knows which shell it is."""
_PROCESS = "becomes a process, which logs"
_FILE = "its output is a file, or nothing"
_DOCUMENT = "its output is a document or a stream of its own form"
_SILENT = "says only whether it was done, as its exit code does"
WITHOUT_JSON = {
    **dict.fromkeys(("bridge", "gateway", "worker", "webhook run"), _PROCESS),
    **dict.fromkeys(
        (
            *("audit key", "audit cosigned", "tally export", "tally manifest", "tally products"),
            *("tally setup", "tally upload", "guardian backup", "guardian decrypt"),
            *("guardian new", "guardian seal", "tables export"),
        ),
        _FILE,
    ),
    **dict.fromkeys(
        (
            *("audit checkpoint", "audit witness", "roll export", "schema", "stack logs"),
            *("demo", "tally demo"),
        ),
        _DOCUMENT,
    ),
    **dict.fromkeys(
        (
            *(f"stack {verb}" for verb in ("up", "down", "start", "stop", "pause", "resume")),
            *("guardian check", "roles", "webhook remove", "webhook resend"),
            *(f"tally {verb}" for verb in ("cancel", "combine", "decrypt", "resume")),
        ),
        _SILENT,
    ),
}
"""Command -> why it has no `--json`."""


@pytest.mark.parametrize("words", sorted(COMMANDS))
def test_help_has_an_example(words: str) -> None:
    text = " ".join((COMMANDS[words].help or "").split())
    assert f"scrutin {words}" in text.replace("`", "")


@pytest.mark.parametrize("words", sorted(COMMANDS))
def test_a_program_can_read_what_it_prints(words: str) -> None:
    options = {name for parameter in COMMANDS[words].params for name in _names(parameter)}
    assert ("--json" in options) is not (words in WITHOUT_JSON)


def _names(parameter: Any) -> list[str]:
    return list(getattr(parameter, "opts", ()))


def completed(line: str) -> str:
    """What bash is offered."""
    done = subprocess.run(
        [Path(sys.executable).with_name("scrutin")],
        env={
            **os.environ,
            "_SCRUTIN_COMPLETE": "complete_bash",
            "COMP_WORDS": line,
            "COMP_CWORD": str(len(line.split(" ")) - 1),
        },
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return done.stdout


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_is_told_how_to_complete(shell: str) -> None:
    """`--show-completion` prints it for the shell in which it is typed."""
    done = subprocess.run(
        [Path(sys.executable).with_name("scrutin")],
        env={**os.environ, "_SCRUTIN_COMPLETE": f"source_{shell}"},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert f"complete_{shell}" in done.stdout


def test_the_completion_is_shown() -> None:
    done = subprocess.run(
        [*IN_BASH, Path(sys.executable).with_name("scrutin"), "--show-completion"],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert "complete_bash" in done.stdout


def test_completion_is_written_where_the_shell_looks(tmp_path: Path) -> None:
    subprocess.run(
        [*IN_BASH, Path(sys.executable).with_name("scrutin"), "--install-completion"],
        env={**os.environ, "HOME": str(tmp_path)},
        capture_output=True,
        timeout=120,
        check=True,
    )
    assert "scrutin" in (tmp_path / ".bashrc").read_text()


def test_a_shell_completes_commands() -> None:
    assert completed("scrutin cont").split() == ["contest"]
    assert "close" in completed("scrutin contest c").split()

"""Programs that the native stack needs: find them, install them as root, or name the command."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from streams.devstack.process import program_path
from streams.devstack.state import file_lock
from streams.errors import StackError

_POLICY = Path("/usr/sbin/policy-rc.d")
_DEADLINE_SECONDS = 900.0


@dataclass(frozen=True)
class Need:
    """A program and the Debian package that contains it."""

    program: str
    package: str
    find: Callable[[], Path | None]


def which(program: str) -> Path | None:
    """A program on PATH or in the folders of system programs."""
    found = shutil.which(program, path=program_path())
    return Path(found) if found else None


def newest(pattern: str) -> Path | None:
    """The match of an absolute glob pattern with the highest version number in it."""

    def version(path: Path) -> list[int]:
        return [int(part) for part in "".join(_spaced(str(path))).split()]

    matches = sorted(Path("/").glob(pattern.lstrip("/")), key=version)
    return matches[-1] if matches else None


def _spaced(text: str) -> Iterator[str]:
    for character in text:
        yield character if character.isascii() and character.isdigit() else " "


def command_for(packages: Sequence[str]) -> str:
    """The command that installs Debian packages."""
    return f"apt-get install -y --no-install-recommends {' '.join(packages)}"


def ensure(needs: Sequence[Need], say: Callable[[str], None]) -> None:
    """Make sure that every program is installed.

    Raises:
        StackError: one is missing and cannot be installed; names the command to run.
    """
    missing = [need for need in needs if need.find() is None]
    if not missing:
        return
    packages = sorted({need.package for need in missing})
    programs = ", ".join(sorted({need.program for need in missing}))
    apt = which("apt-get")
    if apt is None:
        raise StackError(
            f"Missing: {programs}",
            where={"packages": " ".join(packages)},
            todo="Install them with this system's package manager, or start a Docker engine",
        )
    if os.geteuid() != 0:
        raise StackError(
            f"Missing: {programs}",
            todo=f"Run: sudo {command_for(packages)}  (or start a Docker engine)",
        )
    lock = Path(tempfile.gettempdir()) / "scrutin-apt.lock"
    with file_lock(lock, _DEADLINE_SECONDS):
        if all(need.find() for need in missing):
            return
        say(f"installing {' '.join(packages)}")
        _install(str(apt), packages)
    still = [need.program for need in missing if need.find() is None]
    if still:
        raise StackError(
            f"Still missing after the installation: {', '.join(still)}",
            where={"packages": " ".join(packages)},
        )


def _install(apt: str, packages: Sequence[str]) -> None:
    """`apt-get install`, with updated package lists if the first attempt fails."""
    install = [apt, "install", "-y", "-q", "--no-install-recommends", *packages]
    with _without_service_starts():
        if _run(install).returncode == 0:
            return
        updated = _run([apt, "update", "-q"])
        result = _run(install)
    if result.returncode != 0:
        tail = (updated.stdout + result.stdout).strip().splitlines()[-8:]
        raise StackError(
            "Debian packages could not be installed:\n  " + "\n  ".join(tail) + "\n",
            todo=f"Run: {command_for(packages)}",
        )


def _run(argv: list[str]) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(  # noqa: S603
            [*argv[:1], "-o", "DPkg::Lock::Timeout=300", *argv[1:]],
            env={**os.environ, "DEBIAN_FRONTEND": "noninteractive", "PATH": program_path()},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
            timeout=_DEADLINE_SECONDS,
        )
    except subprocess.TimeoutExpired as error:
        raise StackError(
            f"apt-get did not end within {_DEADLINE_SECONDS:.0f} s",
            where={"command": " ".join(argv)},
        ) from error


@contextmanager
def _without_service_starts() -> Iterator[None]:
    """Keep Debian from starting system-wide services of installed packages."""
    if _POLICY.exists():
        yield
        return
    _POLICY.write_text("#!/bin/sh\nexit 101\n")
    _POLICY.chmod(0o755)
    try:
        yield
    finally:
        _POLICY.unlink(missing_ok=True)

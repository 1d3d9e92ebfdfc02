"""Apache Kafka's jars: fetched once with Maven into a shared cache, checked at every start."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path

from streams.devstack.packages import Need, which
from streams.devstack.process import program_path
from streams.devstack.state import file_lock
from streams.errors import StackError

VERSION = "4.4.0"
"""Kafka's version unless SCRUTIN_KAFKA_VERSION names another with a list of digests."""
VERSION_VARIABLE = "SCRUTIN_KAFKA_VERSION"
JAVA_AT_LEAST = 17
_HERE = Path(__file__).parent
_DEADLINE_SECONDS = 900.0


def listed() -> list[str]:
    """Versions with a list of digests, oldest first."""
    names = (path.stem.removeprefix("kafka-") for path in _HERE.glob("kafka-*.sha256"))
    return sorted(names, key=lambda name: [int(part) for part in name.split(".")])


def chosen() -> str:
    """The version to run.

    Raises:
        StackError: SCRUTIN_KAFKA_VERSION names one without a list of digests.
    """
    version = os.environ.get(VERSION_VARIABLE) or VERSION
    if version not in listed():
        raise StackError(
            f"{VERSION_VARIABLE}={version} is not a version of Kafka that the local stack knows",
            todo=f"Choose one of {', '.join(listed())}",
        )
    return version


def cache() -> Path:
    """The folder for this version's jars."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "scrutin" / f"kafka-{chosen()}"


def expected() -> dict[str, str]:
    """SHA-256 by file name, from the list next to this module."""
    lines = (_HERE / f"kafka-{chosen()}.sha256").read_text().splitlines()
    return {name: digest for digest, name in (line.split() for line in lines if line)}


def needs() -> Sequence[Need]:
    """Java always, Maven only while the jars are missing."""
    found = [Need("java", "default-jre-headless", java)]
    if not cache().is_dir():
        found.append(Need("mvn", "maven", lambda: which("mvn")))
    return found


def java() -> Path | None:
    """Java from JAVA_HOME, or else from PATH."""
    if home := os.environ.get("JAVA_HOME"):
        program = Path(home) / "bin" / "java"
        if program.exists():
            return program
    return which("java")


def java_version(text: str) -> int:
    """The major version in the output of `java -version`; 0 if there is none."""
    match = re.search(r'version "(\d+)(?:\.(\d+))?', text)
    if not match:
        return 0
    major = int(match[1])
    return int(match[2] or 0) if major == 1 else major


def require_java() -> tuple[Path, str]:
    """A recent enough Java, and its version text."""
    program = java()
    if program is None:
        raise StackError(
            "Kafka needs Java, which is not installed", todo="Install a JRE, 17 or newer"
        )
    text = _version_text(program, program.stat().st_mtime_ns)
    version = java_version(text)
    if version < JAVA_AT_LEAST:
        raise StackError(
            f"Kafka {chosen()} needs Java {JAVA_AT_LEAST} or newer, found {version or 'none'}",
            where={"program": program},
            todo="Install a newer JRE (Debian: default-jre-headless) or point JAVA_HOME at one",
        )
    return program, text


@lru_cache
def _version_text(program: Path, modified_ns: int) -> str:
    del modified_ns
    try:
        result = subprocess.run(  # noqa: S603
            [str(program), "-version"], capture_output=True, text=True, check=False
        )
    except OSError as error:
        return str(error)
    return result.stderr + result.stdout


def provide(say: Callable[[str], None]) -> Path:
    """The folder with Kafka's jars, with checked digests."""
    target = cache()
    target.parent.mkdir(parents=True, exist_ok=True)
    with file_lock(target.with_name(target.name + ".lock"), _DEADLINE_SECONDS):
        if not target.is_dir():
            say(f"fetching Kafka {chosen()} with Maven (once)")
            _fetch(target)
        else:
            check(target, expected())
    return target


def _fetch(target: Path) -> None:
    """Copy the jars to a folder next to `target`, check them, then rename it."""
    temporary = Path(tempfile.mkdtemp(prefix="fetch-", dir=target.parent))
    try:
        jars = temporary / "jars"
        argv = [
            str(which("mvn")),
            *("-q", "-B", "-f", str(_HERE / "pom.xml")),
            "dependency:copy-dependencies",
            f"-Dkafka.version={chosen()}",
            f"-DoutputDirectory={jars}",
        ]
        try:
            result = subprocess.run(  # noqa: S603
                argv,
                cwd=temporary,
                env={**os.environ, "PATH": program_path()},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                check=False,
                timeout=_DEADLINE_SECONDS,
            )
        except subprocess.TimeoutExpired as error:
            raise StackError(f"Maven did not end within {_DEADLINE_SECONDS:.0f} s") from error
        if result.returncode != 0:
            lines = result.stdout.strip().splitlines()[:8]
            raise StackError(
                "Maven could not fetch Kafka:\n  " + "\n  ".join(lines) + "\n",
                where={"version": chosen()},
                todo="Check the connection to Maven Central (or a mirror in settings.xml)",
            )
        check(jars, expected())
        jars.rename(target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def check(folder: Path, digests: dict[str, str]) -> None:
    """Raise StackError unless the folder holds exactly the jars with these digests."""
    found = {jar.name for jar in folder.iterdir()}
    wrong = sorted(found ^ digests.keys())
    for name in sorted(found & digests.keys()):
        with (folder / name).open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != digests[name]:
                wrong.append(name)
    if wrong:
        raise StackError(
            f"Kafka's jars differ from the list: {', '.join(wrong[:5])}"
            + (f" and {len(wrong) - 5} more" if len(wrong) > 5 else ""),
            where={"folder": folder, "list": f"kafka-{chosen()}.sha256"},
            todo="Remove the folder to fetch them again; if they still differ, do not run them",
        )

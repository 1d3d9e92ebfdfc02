"""Installs and starts the peers."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

from streams.devstack.jars import VERSION as KAFKA
from streams.errors import StackError

HERE = Path(__file__).parent
CACHE = HERE.parents[2] / ".cache"
_JAVA = (HERE / "Dedupe.java", HERE / "Count.java")
_STEP_S = 600


def streams(
    servers: str, group: str, votes: str, verdicts: str, folder: Path, *accepted: str
) -> list[str]:
    """Command line of the stage in Kafka Streams.

    Args:
        servers: brokers of Kafka.
        group: name of the application.
        votes: topic to read.
        verdicts: topic to write.
        folder: for its state.
        accepted: topic for whole accepted votes, if they are to be counted.

    Raises:
        StackError: there is no Java compiler or no Maven.
    """
    return _java("Dedupe", servers, group, votes, verdicts, str(folder), *accepted)


def jdbc_sink(servers: str, votes: str, database: str, user: str, password: str) -> list[str]:
    """Command line of the sink that writes accepted votes into PostgreSQL.

    Raises:
        StackError: there is no Java compiler or no Maven.
    """
    return _java("Count", servers, votes, database, user, password)


def _java(name: str, *arguments: str) -> list[str]:
    target = _made("kafka-streams", HERE / "pom.xml", *_JAVA, make=_compile)
    where = f"{target}{os.pathsep}{target}/jars/*"
    # As a server runs it: no limits on the compiler, unlike the stack's broker.
    return ["java", "-Xmx1g", "-cp", where, name, *arguments]


def quix(servers: str, group: str, votes: str, verdicts: str, folder: Path) -> list[str]:
    """Command line of the stage in Quix Streams."""
    target = _made("quix-streams", HERE / "requirements.lock", make=_environment)
    own = [servers, group, votes, verdicts, str(folder)]
    return [str(target / "bin" / "python"), str(HERE / "dedupe_quix.py"), *own]


def runoff() -> str:
    """A Python that has PyRankVote."""

    def make(target: Path) -> None:
        _environment(target, "runoff.lock")

    return str(_made("runoff", HERE / "runoff.lock", make=make) / "bin" / "python")


def _made(name: str, *sources: Path, make: Callable[[Path], None]) -> Path:
    """A folder that holds what is made of the sources, made if they have changed."""
    target = CACHE / name
    stamp = target / "stamp"
    text = b"".join(source.read_bytes() for source in sources) + f"{sys.version} {KAFKA}".encode()
    want = sha256(text).hexdigest()
    if not stamp.is_file() or stamp.read_text() != want:
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True)
        make(target)
        stamp.write_text(want)
    return target


def _compile(target: Path) -> None:
    for program in ("mvn", "javac", "java"):
        if shutil.which(program) is None:
            raise StackError(
                f"Kafka Streams needs {program}, and there is none",
                todo="Install a JDK, 17 or newer, and Maven; or measure without it",
            )
    jars = target / "jars"
    _run(
        "mvn", "-q", "-B", "-f", str(HERE / "pom.xml"),
        "dependency:copy-dependencies",
        f"-Dkafka.version={KAFKA}", f"-DoutputDirectory={jars}",
    )  # fmt: skip
    _run("javac", "-cp", f"{jars}/*", "-d", str(target), *map(str, _JAVA))


def _environment(target: Path, lock: str = "requirements.lock") -> None:
    _run(sys.executable, "-m", "venv", str(target))
    _run(
        str(target / "bin" / "python"), "-m", "pip", "install", "-q", "--no-deps",
        "--require-hashes", "-r", str(HERE / lock),
    )  # fmt: skip


def _run(*argv: str) -> None:
    done = subprocess.run(
        argv, capture_output=True, text=True, check=False, timeout=_STEP_S, stdin=subprocess.DEVNULL
    )
    if done.returncode:
        end = "\n".join((done.stdout + done.stderr).splitlines()[-8:])
        raise StackError(f"{Path(argv[0]).name} failed:\n{end}")

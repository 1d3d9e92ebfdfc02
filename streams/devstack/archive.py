"""Java's class data sharing archive for Kafka: created once, it halves the CPU of a start.

It is only an optimisation. Java checks that an archive matches its version and these jars, and
otherwise runs without it; so does this module if it cannot create one.
"""

from __future__ import annotations

import hashlib
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from streams.devstack import ports, probes
from streams.devstack.process import clean_environment
from streams.devstack.state import file_lock

_DEADLINE_SECONDS = 60.0


def place(jars: Path, java_version: str) -> Path:
    """Path of the archive for these jars and this Java version."""
    digest = hashlib.sha256(java_version.encode()).hexdigest()[:8]
    return jars.with_name(f"{jars.name}.{digest}.jsa")


def provide(
    archive: Path,
    command: Callable[[Path, list[str]], list[str]],
    format_data: Callable[[Path, dict[str, int]], None],
    say: Callable[[str], None],
) -> None:
    """Run Kafka once on an empty data folder, so that Java saves the classes it has loaded.

    Args:
        archive: file to create unless it exists.
        command: returns the command line for a folder and Java options.
        format_data: creates configuration and data in a folder for the ports of that run.
        say: called once if this takes time.
    """
    if archive.exists():
        return
    with file_lock(archive.with_name(archive.name + ".lock"), 2 * _DEADLINE_SECONDS):
        if archive.exists():
            return
        say("preparing Java for fast starts (once)")
        home = Path(tempfile.mkdtemp(prefix="train-", dir=archive.parent))
        try:
            chosen = dict(zip(("broker", "controller"), ports.choose(2), strict=True))
            format_data(home, chosen)
            created = home / "created.jsa"
            _train(command(home, [f"-XX:ArchiveClassesAtExit={created}"]), home, chosen["broker"])
            if created.exists():
                created.rename(archive)
        finally:
            shutil.rmtree(home, ignore_errors=True)


def _train(argv: list[str], home: Path, port: int) -> None:
    """Run until Kafka answers, then stop it gracefully: the archive is written at exit."""
    # `timeout` ends it even if this process is killed.
    limited = ["timeout", "-k", "5", str(int(_DEADLINE_SECONDS)), *argv]
    with (home / "train.log").open("wb") as log:
        process = subprocess.Popen(  # noqa: S603
            limited,
            cwd=home,
            env=clean_environment(),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        end = time.monotonic() + _DEADLINE_SECONDS
        while process.poll() is None and time.monotonic() < end:
            try:
                probes.kafka(ports.LOOPBACK, port)
                break
            except probes.NotReady:
                time.sleep(0.1)
        process.send_signal(signal.SIGTERM)
        process.wait(_DEADLINE_SECONDS)
    except subprocess.TimeoutExpired:
        pass
    finally:
        process.kill()
        process.wait()

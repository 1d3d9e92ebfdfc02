"""Java's shared class archive for Kafka: made once, then Kafka starts with half the CPU.

It is only ever an optimisation. Java checks that an archive fits it and these jars, and goes on
without it otherwise; so does this module if it cannot be made.
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
    """Where the archive for these jars and this Java is, or would be."""
    digest = hashlib.sha256(java_version.encode()).hexdigest()[:8]
    return jars.with_name(f"{jars.name}.{digest}.jsa")


def provide(
    archive: Path,
    command: Callable[[Path, list[str]], list[str]],
    format_data: Callable[[Path, dict[str, int]], None],
    say: Callable[[str], None],
) -> None:
    """Run Kafka once on an empty data folder and let Java keep the classes it has loaded.

    Args:
        archive: file to make unless it is there.
        command: gives the command line for a folder and options of Java.
        format_data: makes configuration and data in a folder for the ports of that run.
        say: told once if this takes time.
    """
    if archive.exists():
        return
    with file_lock(archive.with_name(archive.name + ".lock"), 2 * _DEADLINE_SECONDS):
        if archive.exists():
            return
        say("preparing Java for quick starts (once)")
        home = Path(tempfile.mkdtemp(prefix="train-", dir=archive.parent))
        try:
            chosen = dict(zip(("broker", "controller"), ports.choose(2), strict=True))
            format_data(home, chosen)
            made = home / "made.jsa"
            _train(command(home, [f"-XX:ArchiveClassesAtExit={made}"]), home, chosen["broker"])
            if made.exists():
                made.rename(archive)
        finally:
            shutil.rmtree(home, ignore_errors=True)


def _train(argv: list[str], home: Path, port: int) -> None:
    """Run until Kafka answers, then end it in good order: the archive is written at the exit."""
    # `timeout` ends it even if we are killed meanwhile.
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

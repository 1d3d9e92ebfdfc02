"""The reference, electionguard 1.4.0, as a program in an environment of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ENVIRONMENT = HERE.parents[1] / ".cache" / "electionguard"


def install() -> Path:
    """Make the environment if its lock has changed; the path of its Python."""
    lock = HERE / "requirements.lock"
    stamp, want = (
        ENVIRONMENT / "stamp",
        sha256(lock.read_bytes() + sys.version.encode()).hexdigest(),
    )
    python = ENVIRONMENT / "bin" / "python"
    if not stamp.is_file() or stamp.read_text() != want:
        run = [sys.executable, "-m", "venv", "--clear", str(ENVIRONMENT)]
        subprocess.run(run, check=True, timeout=60)
        pip = [str(python), "-m", "pip", "install", "-q", "--no-deps", "--require-hashes"]
        subprocess.run([*pip, "-r", str(lock)], check=True, timeout=100)
        stamp.write_text(want)
    return python


class Reference:
    """Asks the reference one thing after the other."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def __call__(self, do: str, **request: Any) -> Any:
        """Its answer; `request` values are JSON already."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"do": do, **request}) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        assert answer, f"the reference ended during {do}"
        return json.loads(answer)


@contextmanager
def running(log: Path) -> Iterator[Reference]:
    """The reference while the block runs.

    Raises:
        subprocess.SubprocessError, OSError: its packages cannot be installed here.
    """
    python = install()
    with (
        log.open("w") as errors,
        subprocess.Popen(
            [str(python), str(HERE / "reference.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        ) as process,
    ):
        try:
            yield Reference(process)
        finally:
            process.kill()

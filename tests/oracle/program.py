"""The reference, electionguard 1.4.0, as a program in an environment of its own."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.tools import environment

HERE = Path(__file__).parent


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
    python = environment("electionguard", HERE / "requirements.lock")
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

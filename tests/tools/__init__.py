"""Programs that tests run beside Scrutin, each set in an environment of its own, from a lock."""

from __future__ import annotations

import subprocess
import sys
from hashlib import sha256
from pathlib import Path
from typing import Final

LOCK: Final = Path(__file__).parent / "requirements.lock"
"""Of what judges our files and locks."""
_CACHE: Final = Path(__file__).parents[2] / ".cache"


def environment(name: str, lock: Path) -> Path:
    """Make a virtual environment from a lock if that has changed; the path of its Python.

    Raises:
        subprocess.SubprocessError, OSError: its packages cannot be installed here.
    """
    folder = _CACHE / name
    stamp, want = folder / "stamp", sha256(lock.read_bytes() + sys.version.encode()).hexdigest()
    python = folder / "bin" / "python"
    if not stamp.is_file() or stamp.read_text() != want:
        run = [sys.executable, "-m", "venv", "--clear", str(folder)]
        subprocess.run(run, check=True, timeout=120)
        pip = [str(python), "-m", "pip", "install", "-q", "--no-compile", "--no-deps"]
        subprocess.run([*pip, "--require-hashes", "-r", str(lock)], check=True, timeout=280)
        stamp.write_text(want)
    return python

"""The unit tests on each Python of this machine, in environments of their own.

The short form installs only what the chosen tests import, from the same lock, and runs the Pythons
side by side. It leaves out the Python in use, which runs all tests anyway.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import requires
from pathlib import Path
from typing import Final

from packaging.requirements import Requirement

from tests.platforms.trees import ROOT

VERSIONS: Final = ("3.11", "3.12", "3.13", "3.14")
LOCK: Final = ROOT / "requirements.lock"
DEPENDENT: Final = (
    "tests/unit/inspect/test_asyncapi.py",
    "tests/unit/core/test_dates.py",
    "tests/unit/core/test_kept_body.py",
    "tests/unit/core/test_rows.py",
    "tests/unit/messages",
    "tests/unit/schemas",
    "tests/unit/settings/test_load.py",
    "tests/unit/tally/test_messages.py",
)
"""Where another version of Python gave another result, or is likely to."""
_FOR_DEPENDENT: Final = (
    "scrutin",
    "cryptography",
    "hypothesis",
    "jsonschema-rs",
    "pytest",
    "pytest-asyncio",
    "pytest-timeout",
)
_PIN: Final = re.compile(r"^([\w.-]+)==[^\n]*(?:\n[ \t]+[^\n]*)*", re.MULTILINE)


def run(folder: Path, *, short: bool) -> int:
    """Install the lock for each Python, and run the tests.

    Args:
        folder: of the environments and logs.
        short: only the tests that depend on the version.

    Returns:
        The exit code: 1 if anything failed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    own = f"{sys.version_info.major}.{sys.version_info.minor}"
    found: dict[str, str] = {}
    for version in VERSIONS:
        if short and version == own:
            print(f"Python {version}: runs all tests", flush=True)
        elif (program := python(version)) is None:
            print(f"Python {version}: not on this machine", flush=True)
        else:
            found[version] = program
    with ThreadPoolExecutor(os.cpu_count() if short else 1) as pool:
        passed = pool.map(lambda version: _try(folder, version, found[version], short), found)
        return int(not all(list(passed)))


def _try(folder: Path, version: str, program: str, short: bool) -> bool:
    """Install and test with one Python; says how it went."""
    venv = folder / f"python-{version}{'-short' if short else ''}"
    pip = [
        str(venv / "bin/python"),
        "-m",
        "pip",
        "install",
        "-q",
        "--no-compile",
        "--require-hashes",
        "-r",
    ]
    lock = LOCK
    if short:
        lock = folder / f"python-{version}.lock"
        lock.write_text(pins(LOCK.read_text(), closure(_FOR_DEPENDENT)))
    tests = DEPENDENT if short else ("tests/unit",)
    steps = [
        [program, "-m", "venv", "--clear", str(venv)],
        [*pip, str(lock)],
        *([] if short else [[*pip[:5], "--no-deps", "--no-build-isolation", "-e", "."]]),
        [str(venv / "bin/python"), "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests],
    ]
    log = folder / f"python-{version}.log"
    begin = time.monotonic()
    with log.open("w") as out:
        done = all(_call(step, out.fileno()) for step in steps)
    lines = log.read_text(errors="replace").strip().splitlines() or ["no output"]
    said = lines[-1] if done else "\n".join(["failed", *lines[-60:]])
    print(f"Python {version}: {said}, {time.monotonic() - begin:.0f} s in all", flush=True)
    return done


def _call(argv: Sequence[str], out: int) -> bool:
    # The tests set what they need: an editable install is not there in the short form.
    env: Mapping[str, str] = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(argv, cwd=ROOT, check=False, stdout=out, stderr=out, env=env)
    return done.returncode == 0


def python(version: str) -> str | None:
    """A program of that version that runs: a shim of pyenv may name one that is switched off."""
    places = [shutil.which(f"python{version}")]
    places += sorted(map(str, Path.home().glob(f".pyenv/versions/{version}.*/bin/python3")))
    for place in filter(None, places):
        if subprocess.run([place, "-V"], check=False, capture_output=True).returncode == 0:
            return place
    return None


def closure(names: Iterable[str]) -> set[str]:
    """What these distributions need, and what that needs, whatever the version of Python."""
    found: set[str] = set()
    left = list(names)
    while left:
        if (name := _plain(left.pop())) in found:
            continue
        found.add(name)
        try:
            needed = [Requirement(line) for line in requires(name) or ()]
        except ModuleNotFoundError:  # of another version of Python or another system
            continue
        left += [one.name for one in needed if "extra" not in str(one.marker or "")]
    return found


def pins(lock: str, names: set[str]) -> str:
    """The part of a lock that pins these distributions."""
    return "\n".join(pin[0] for pin in _PIN.finditer(lock) if _plain(pin[1]) in names) + "\n"


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
